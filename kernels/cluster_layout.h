// Where a phase's task copies stand in a launch with clusters: those that read the same tokens of the same heads side
// by side in one.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/params.h"
#include "scheduler/plan.h"

namespace espalier::kernels {

/// One entry a block; a block without mates has count 0 and no task, and fills a cluster up.
struct ClusterLayout {
  std::int32_t cluster = 1;  ///< blocks each; 1: nobody has a mate, and there are no entries
  std::vector<scheduler::QueueItem> items;
  std::vector<Mates> mates;
};

/// Copies in the plan's order, those of mates one after the other; groups of mates that are smaller than a cluster
/// share it with others.
ClusterLayout lay_out_clusters(const scheduler::Plan& plan, const scheduler::Phase& phase);

}  // namespace espalier::kernels

// Clusters: CTAs that stand side by side, read the same KV and have each load of it delivered to all of them.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/plan.h"

namespace espalier::sim {

/// Tasks first, first + 1, … first + count - 1 read the same tokens of the same heads in one cluster.
struct Multicast {
  scheduler::TaskId first;
  std::int32_t count = 2;
};

/// Every run of neighbouring attend tasks of one phase over equal segments, cut at the cluster size of the phase's kernel; of launches without
/// queues, since those bring CTAs one by one. A kernel lays out its grid so that tasks over the same KV of one head are neighbours. In order of tasks.
std::vector<Multicast> multicasts(const scheduler::Plan& plan);

}  // namespace espalier::sim

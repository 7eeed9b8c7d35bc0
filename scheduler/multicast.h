// Clusters: CTAs that stand side by side, read the same KV and have each load of it delivered to all of them.
//
// Which tasks these are follows from the plan alone, so that simulator and kernels find the same ones.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/plan.h"

namespace espalier::scheduler {

/// Tasks first, first + 1, … first + count - 1 read the same tokens of the same heads in one cluster.
struct Multicast {
  TaskId first;
  std::int32_t count = 2;
};

/// Every run of neighbouring attend tasks of one phase over equal segments, cut at the cluster size of the phase's
/// kernel; of launches without queues, since those bring CTAs one by one. A kernel lays out its grid so that tasks over
/// the same KV of one head are neighbours. In order of tasks.
std::vector<Multicast> multicasts(const Plan& plan);
/// Those of one phase, which is taken to be of a launch without queues.
std::vector<Multicast> multicasts(const Plan& plan, const Phase& phase);

/// Gives the kernels of tasks in launches without queues this cluster size, brings together tasks of a phase that read
/// alike, as many as a cluster holds, behind the first of them; and says in the plan what that is good for.
void form_clusters(Plan& plan, std::int32_t blocks);

}  // namespace espalier::scheduler

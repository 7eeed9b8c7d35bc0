// In which order an interpreter may run a plan: one sequence that keeps every wait in it.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/plan.h"

namespace espalier::kernels {

/// One copy of a task, or one step.
struct WorkItem {
  scheduler::PhaseKind kind = scheduler::PhaseKind::tasks;
  std::int32_t index = 0;
  std::int32_t copy = 0;
};

/// Every item of the plan's launches in an order that its launches, phases, queues and arrivals allow: the first such
/// order, or for shuffle_seed != 0 a random one. Throws Error (bad input) when launches, or steps on arrival, wait in a
/// circle, or an index points outside its column.
std::vector<WorkItem> execution_order(const scheduler::Plan& plan, std::uint64_t shuffle_seed);

}  // namespace espalier::kernels

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

/// What launches wait for: their dependencies, and the launch before on their stream.
struct LaunchWaits {
  std::vector<std::vector<std::size_t>> followers;  ///< of each launch, those that wait for it
  std::vector<std::size_t> waits;                   ///< of each launch, how many it waits for
};
/// Throws Error (bad input) when an index points outside its column.
LaunchWaits launch_waits(const scheduler::Plan& plan);

/// Copies to run: none of padding. Throws Error (bad input) for more than the heads, so that a broken count can't ask
/// for 2^31 items.
std::int32_t copies_to_run(const scheduler::Plan& plan, const scheduler::Task& task);

/// Whether a persistent worker runs the item in this phase: not a task of another phase, nor padding, which it passes
/// over. Throws Error (bad input) for a copy that the task doesn't have.
bool runs_in_phase(const scheduler::Plan& plan, const scheduler::Phase& phase, const scheduler::QueueItem& item);

/// Every item of the plan's launches in an order that its launches, phases, queues and arrivals allow: the first such
/// order, or for shuffle_seed != 0 a random one. Throws Error (bad input) when launches, or steps on arrival, wait in a
/// circle, or an index points outside its column.
std::vector<WorkItem> execution_order(const scheduler::Plan& plan, std::uint64_t shuffle_seed);

}  // namespace espalier::kernels

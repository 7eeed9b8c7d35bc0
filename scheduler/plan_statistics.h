// Figures of a plan that need no clock: tasks, traffic, partial rows, cut sizes; and the least time any plan could
// take.
#pragma once

#include <cstdint>

#include "costmodel/device_spec.h"
#include "costmodel/work_counts.h"
#include "scheduler/plan.h"

namespace espalier::scheduler {

struct PlanStatistics {
  std::int64_t tasks = 0;  ///< copies counted, padding left out
  std::int64_t padding = 0;
  std::int64_t launches = 0;
  std::int64_t steps = 0;
  std::int64_t partial_rows = 0;  ///< rows of one head that are merged
  std::int64_t max_partials_per_request = 0;
  std::int64_t requested_kv_tokens =
      0;  ///< of one KV head: sum of task KV tokens (per query head if heads aren't packed / group)
  double requested_over_unique = 1.0;
  std::int64_t longest_task_tokens = 0;
  costmodel::WorkCounts counts;  ///< whole plan, copies counted
  std::int64_t workspace_bytes = 0;
};
PlanStatistics statistics(const Plan& plan);

/// Least time of any plan for this forest on this device: launch gap + max(unique KV bytes / achievable read rate,
/// logical FLOPs / fastest engine's rate). Nothing plan-dependent.
struct LowerBound {
  double us = 0;
  double memory_us = 0;
  double compute_us = 0;
  double launch_us = 0;
  double datasheet_us = 0;  ///< the same against the data-sheet peak bandwidth
  bool memory_bound = true;
};
LowerBound lower_bound(const traces::PrefixForest& forest, const traces::HeadConfig& heads,
                       const costmodel::DeviceSpec& device);

}  // namespace espalier::scheduler

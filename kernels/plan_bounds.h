// Upper bounds of plans: what launches that are captured once, in a CUDA graph, set aside for every plan that they will
// run; and plans filled up to such bounds.
//
// A captured launch keeps its kernel, its blocks and its addresses. A plan fits when its launches are among the
// captured ones, in their order, and no column has more rows than there is room for. What it doesn't need is masked:
// launches of padding alone, blocks whose task is padding or whose queue is empty, rows without a step to merge them.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/device_plan.h"
#include "scheduler/plan.h"

namespace espalier::kernels {

/// Rows of what a plan has on a device.
struct ColumnSizes {
  std::int64_t segments = 0, tasks = 0, query_rows = 0, fold_slots = 0, slots = 0, steps = 0, reduction_inputs = 0;
  std::int64_t nodes = 0, page_ids = 0;
  std::int64_t queue_items = 0, queues = 0, items = 0, mates = 0;
  std::int64_t task_arrivals = 0, step_arrivals = 0, arrivals = 0, counters = 0;
  std::int64_t partial_bytes = 0;  ///< of partial rows
};
ColumnSizes column_sizes(const scheduler::Plan& plan, const DevicePlan& lowered);

/// A captured launch.
struct LaunchBounds {
  const AttendInstance* attend = nullptr;
  const ReduceInstance* reduce = nullptr;  ///< one of the two is set
  std::int32_t blocks = 0;
  std::int32_t cluster = 1;
  bool queued = false;
  bool arrivals = false;
  std::int32_t merge_steps = 0, merge_rows = 0;  ///< of a reduction, or behind a grid barrier
};

struct PlanBounds {
  std::vector<LaunchBounds> launches;
  ColumnSizes most;
};

/// What one plan needs.
PlanBounds bounds_of(const scheduler::Plan& plan, const DevicePlan& lowered);

/// What either needs: launches of both, those with equal kernels once.
PlanBounds both(PlanBounds bounds, const PlanBounds& other);

/// Room for a batch that changes: `factor` (>= 1) times as much of everything, but for blocks with queues, of which a
/// device holds so many and no more. Of what the plan has none of there is no room then: take the bounds of the largest
/// batch that is expected, or both() of several; `most` may also be raised by hand. Throws Error (bad input) for other
/// factors and where kernels couldn't count what comes out.
PlanBounds with_room(PlanBounds bounds, double factor);

/// The lowered plan filled up to the bounds, with exactly their launches. Throws PlanRefused, naming the first thing
/// that there is no room for.
DevicePlan padded(const scheduler::Plan& plan, const DevicePlan& lowered, const PlanBounds& bounds);

}  // namespace espalier::kernels

// What became of a plan's tasks in another plan of the same batch: matched by the work they do, not by their ids.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/plan.h"

namespace espalier::viz {

enum class TaskChange : std::uint8_t {
  same,       ///< the same work in the same place
  moved,      ///< the same work, elsewhere in the order of dispatch or in another queue
  only_here,  ///< work that no task of the other plan does as one
};

struct TaskDiff {
  std::vector<std::int32_t>
      partner;  ///< of each task of the new plan: the task of the old one that does the same work; -1: none
  std::vector<TaskChange> change;  ///< of each task of the new plan; empty CTAs are the same
  std::int64_t moved = 0, only_new = 0, only_old = 0;
  bool any() const { return moved + only_new + only_old > 0; }
};

/// Tasks are the same work where kind, kernel, heads, copies, queries and tokens are; of several alike the first ones
/// match. Of tasks in hardware order as few as possible count as moved. O(tasks log tasks).
TaskDiff diff_tasks(const scheduler::Plan& old_plan, const scheduler::Plan& new_plan);

}  // namespace espalier::viz

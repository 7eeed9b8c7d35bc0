// What leaving and joining share; see the header.
#include "scheduler/batch_update.h"

#include <algorithm>

#include "core/units.h"
#include "scheduler/batch_update_internal.h"

namespace espalier::scheduler {
namespace updating {

bool rewritable(const Plan& plan) {
  const auto requests = static_cast<std::int32_t>(plan.forest.request_count());
  if (!plan.fold_slots.empty() || plan.query_rows.size() < plan.forest.request_count()) return false;
  for (std::int32_t r = 0; r < requests; ++r) {
    if (plan.query_rows[static_cast<std::size_t>(r)].value != r) return false;
  }
  std::int32_t segments = 0, inputs = 0;
  for (const Task& task : plan.tasks) {
    if (task.kind == TaskKind::padding) continue;
    if (task.kind != TaskKind::attend || task.segments.begin != segments) return false;
    if (task.slot.valid() && plan.slots[task.slot].queries != task.queries) return false;
    if (task.queries.begin < requests && task.queries.end > requests) return false;
    segments = task.segments.end;
  }
  for (const ReductionStep& step : plan.steps) {
    if (step.out.valid() || step.op != ReductionOp::log_sum_exp || step.inputs.begin != inputs ||
        step.inputs.size() == 0) {
      return false;
    }
    const RowRef first = plan.reduction_inputs[static_cast<std::size_t>(step.inputs.begin)];
    if (step.out_row != plan.slots[first.slot].queries.begin + first.row) return false;
    inputs = step.inputs.end;
  }
  return segments == static_cast<std::int32_t>(plan.segments.size()) &&
         inputs == static_cast<std::int32_t>(plan.reduction_inputs.size());
}

bool pages_are_packed(const traces::PrefixForest& forest) {
  const traces::PageTable& pages = forest.pages;
  if (!pages.page_ids.empty()) return false;
  std::int64_t next = 0;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    if (pages.first_page[n] != next || pages.first_offset[n] != 0) return false;
    next = traces::last_page(pages, n, forest.tokens[n]) + 1;
  }
  return true;
}

void pack_pages(traces::PrefixForest& forest) {
  std::int64_t next = 0;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    forest.pages.first_page[n] = next;
    next += core::ceil_div(forest.tokens[n], forest.pages.page_size);
  }
}

}  // namespace updating

std::int64_t longest_task_tokens(const Plan& plan) {
  std::int64_t longest = 0;
  for (const Task& task : plan.tasks) {
    std::int64_t tokens = 0;
    for (std::int32_t i = task.segments.begin; i < task.segments.end; ++i) {
      tokens += segment_tokens(plan, plan.segments[static_cast<std::size_t>(i)]);
    }
    longest = std::max(longest, tokens);
  }
  return longest;
}

}  // namespace espalier::scheduler

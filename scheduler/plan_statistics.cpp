// Figures of a plan without a clock, and the lower bound that no plan can beat.
#include "scheduler/plan_statistics.h"

#include <algorithm>

#include "core/units.h"

namespace espalier::scheduler {
namespace {

using core::checked_add;
using core::checked_mul;

/// Elements of K and V a task of this kind reads of one token and KV head.
std::int64_t elements_per_token(TaskKind kind, const traces::HeadConfig& heads) {
  switch (kind) {
    case TaskKind::attend:
      return heads.kv_elements_per_token_head();
    case TaskKind::scores:
      return heads.qk_dim;
    case TaskKind::values:
      return heads.v_dim;
    case TaskKind::padding:
    case TaskKind::softmax:
      break;
  }
  return 0;
}

/// Rows of one head in slots that tasks write, and the most of them that any request has for a head (mean over its
/// heads).
void count_partial_rows(const Plan& plan, PlanStatistics& figures) {
  core::Column<RequestId, std::int64_t> rows(plan.forest.request_count());
  core::Column<SlotId, char> of_task(plan.slots.size());
  for (const Task& task : plan.tasks) {
    if (task.slot.valid()) of_task[task.slot] = 1;
  }
  for (const SlotId s : core::ids<SlotId>(plan.slots.size())) {
    const Slot& slot = plan.slots[s];
    if (slot.kind != SlotKind::partial) continue;
    figures.partial_rows = checked_add(figures.partial_rows, checked_mul(slot.queries.size(), slot.head_count));
    if (!of_task[s]) continue;
    for (std::int32_t q = slot.queries.begin; q < slot.queries.end; ++q) {
      rows[plan.query_rows[static_cast<std::size_t>(q)]] += slot.head_count;
    }
  }
  for (const std::int64_t of_request : rows) {
    figures.max_partials_per_request =
        std::max(figures.max_partials_per_request, core::ceil_div(of_request, plan.heads.q_heads));
  }
}

}  // namespace

PlanStatistics statistics(const Plan& plan) {
  PlanStatistics figures;
  figures.launches = static_cast<std::int64_t>(plan.launches.size());
  figures.steps = static_cast<std::int64_t>(plan.steps.size());
  figures.workspace_bytes = plan.workspace_bytes;
  const auto task_kernel = task_kernels(plan);
  const auto step_kernel = step_kernels(plan);
  std::int64_t elements = 0;
  for (const TaskId t : core::ids<TaskId>(plan.tasks.size())) {
    const Task& task = plan.tasks[t];
    if (task.kind == TaskKind::padding) {
      figures.padding = checked_add(figures.padding, task.copies);
      continue;
    }
    const costmodel::TaskShape shape = task_shape(plan, task);
    figures.tasks = checked_add(figures.tasks, task.copies);
    figures.longest_task_tokens = std::max(figures.longest_task_tokens, shape.kv_tokens);
    const std::int64_t read = checked_mul(shape.kv_tokens, elements_per_token(task.kind, plan.heads));
    elements = checked_add(elements, checked_mul(read, task.copies));
    if (!task_kernel[t].valid()) continue;
    figures.counts.add_times(costmodel::count_task(shape, plan.kernels[task_kernel[t]], plan.heads), task.copies);
  }
  for (const StepId s : core::ids<StepId>(plan.steps.size())) {
    if (!step_kernel[s].valid()) continue;
    const auto shape = step_shape(plan, plan.steps[s]);
    figures.counts.add_times(costmodel::count_reduction(shape, plan.kernels[step_kernel[s]], plan.heads), 1);
  }
  const std::int64_t per_token = checked_mul(plan.heads.kv_elements_per_token_head(), plan.heads.kv_heads);
  figures.requested_kv_tokens = core::ceil_div(elements, per_token);
  const std::int64_t unique = traces::unique_tokens(plan.forest);
  if (unique > 0) {
    figures.requested_over_unique =
        static_cast<double>(elements) / (static_cast<double>(per_token) * static_cast<double>(unique));
  }
  count_partial_rows(plan, figures);
  return figures;
}

LowerBound lower_bound(const traces::PrefixForest& forest, const traces::HeadConfig& heads,
                       const costmodel::DeviceSpec& device) {
  LowerBound bound;
  if (forest.request_count() == 0) return bound;  // nothing to launch
  const auto bytes = static_cast<double>(checked_mul(traces::unique_tokens(forest), heads.kv_bytes_per_token()));
  const double flops =
      2.0 * (heads.qk_dim + heads.v_dim) * heads.q_heads * static_cast<double>(traces::logical_tokens(forest));
  double flop_per_clk = std::max({device.mma_flop_per_clk, device.wgmma_flop_per_clk, device.fma_flop_per_clk});
  const bool fp8 = heads.q_dtype == traces::Dtype::fp8_e4m3 && device.fp8_rate_factor > 0;
  if (fp8) flop_per_clk *= device.fp8_rate_factor;
  bound.memory_us = bytes / device.hbm_achievable_bytes_per_us();
  bound.compute_us = flops / (flop_per_clk * device.sms * device.clocks_per_us());
  bound.launch_us = device.least_launch_gap_us();
  bound.us = bound.launch_us + std::max(bound.memory_us, bound.compute_us);
  bound.datasheet_us = bound.launch_us + std::max(bytes / (device.hbm_gbps * 1e3), bound.compute_us);
  bound.memory_bound = bound.memory_us >= bound.compute_us;
  return bound;
}

}  // namespace espalier::scheduler

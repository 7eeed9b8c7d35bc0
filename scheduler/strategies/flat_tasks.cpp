// Tasks, launches and queues of the flat methods; see the header.
#include "scheduler/strategies/flat_tasks.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/error.h"
#include "core/units.h"

namespace espalier::scheduler::planning {

Contexts contexts_of(const traces::PrefixForest& forest) {
  Contexts contexts;
  contexts.requests = traces::batch_order(forest);
  contexts.tokens.reserve(contexts.requests.size());
  for (const RequestId r : contexts.requests) {
    contexts.tokens.push_back(forest.context_tokens(r));
    contexts.longest = std::max(contexts.longest, contexts.tokens.back());
    contexts.total = core::checked_add(contexts.total, contexts.tokens.back());
  }
  return contexts;
}

FlatTasks::FlatTasks(PlanBuilder& builder, KernelId kernel) : builder_(builder) {
  const Plan& plan = builder.plan();
  heads_ = heads_per_copy(plan.kernels[kernel], plan.heads);
  copies_ = plan.heads.q_heads / heads_;
}

TaskId FlatTasks::add(RequestId request, std::int64_t begin, std::int64_t end, Interval copies) {
  const traces::PrefixForest& forest = builder_.plan().forest;
  if (at_ != request) {
    route_.emplace(forest, traces::path_of(forest, forest.leaf[request]));
    at_ = request;
  }
  segments_.clear();
  route_->cut(builder_, begin, end, 1, segments_);
  Task task;
  task.segments = builder_.segments(segments_);
  task.queries = builder_.queries(request, RequestId(request.value + 1));
  task.head_begin = copies.begin * heads_;
  task.head_count = heads_;
  task.copies = copies.size();
  return builder_.task(task);
}

namespace {

/// A slot and a merge of one row for a request that is in one piece.
void merge_alone(PlanBuilder& builder, TaskId task, traces::Dtype dtype) {
  Plan& plan = builder.plan();
  Slot slot;
  slot.queries = plan.tasks[task].queries;
  slot.head_count = plan.heads.q_heads;
  slot.dtype = dtype;
  slot.columns = plan.heads.v_dim;
  plan.tasks[task].slot = builder.slot(slot);
  ReductionStep step;
  step.out_row = slot.queries.begin;
  step.head_count = slot.head_count;
  const RowRef row{plan.tasks[task].slot, 0};
  builder.step(step, std::span(&row, 1));
}

void check_size(const PlanRequest& request, std::span<const ContextCut> cuts) {
  std::int64_t pieces = 0;
  for (const ContextCut& cut : cuts) {
    pieces = core::checked_add(pieces, core::ceil_div(request.forest.context_tokens(cut.request), cut.chunk));
  }
  require_at_most("tasks", pieces + static_cast<std::int64_t>(cuts.size()), kMaxTasks);
  require_at_most("segments", path_rows(request.forest) + pieces, kMaxPlanRows);
}

}  // namespace

Plan flat_cuts_plan(const PlanRequest& request, const StrategyInfo& info, const FlatRun& run,
                    std::span<const ContextCut> cuts, std::vector<std::string> why) {
  check_size(request, cuts);
  PlanBuilder builder(request.forest, request.heads);
  const KernelId attend = builder.kernel(run.attend), reduce = builder.kernel(run.reduce);
  FlatTasks tasks(builder, attend);
  if (run.planner_ctas > 0) {
    builder.launch();
    const TaskId planner = builder.padding(static_cast<std::int32_t>(run.planner_ctas));
    builder.task_phase(attend, planner);
  }
  builder.launch();
  const TaskId first = builder.next_task();
  const StepId steps = builder.next_step();
  std::int64_t pieces = 0;
  for (const ContextCut& cut : cuts) {
    const std::int64_t tokens = request.forest.context_tokens(cut.request), filled = core::ceil_div(tokens, cut.chunk);
    for (std::int64_t begin = 0; begin < tokens; begin += cut.chunk) {
      const TaskId task = tasks.add(cut.request, begin, std::min(begin + cut.chunk, tokens));
      if (filled == 1 && run.merge_single) merge_alone(builder, task, run.attend.partial_dtype);
    }
    builder.padding(static_cast<std::int32_t>(std::max<std::int64_t>(0, cut.grid - filled) * tasks.copies()));
    pieces += filled;
  }
  builder.padding(static_cast<std::int32_t>(std::max<std::int64_t>(0, run.grid_items - pieces) * tasks.copies()));
  builder.task_phase(attend, first);
  merge_rows(request, builder, steps, {reduce, run.attend.partial_dtype, run.merge_follow});

  Provenance from = provenance(info, request);
  from.why = std::move(why);
  add_no_sharing(request.forest, from.why);
  return std::move(builder).finish(std::move(from));
}

QueuePlan::QueuePlan(const PlanRequest& request, const costmodel::KernelConfig& attend, std::int64_t workers)
    : builder_(request.forest, request.heads), attend_(builder_.kernel(attend)), tasks_(builder_, attend_),
      queues_(static_cast<std::size_t>(workers)) {}

void QueuePlan::plan_first(std::int32_t ctas) {
  builder_.launch();
  const TaskId planner = builder_.padding(ctas);
  builder_.task_phase(attend_, planner);
  first_ = builder_.next_task();
}

void QueuePlan::close(const costmodel::KernelConfig& reduce, PhaseStart start) {
  builder_.launch();
  builder_.task_phase(attend_, first_);
  const StepId steps = builder_.finish_rows(builder_.plan().kernels[attend_].partial_dtype);
  if (steps < builder_.next_step()) builder_.step_phase(builder_.kernel(reduce), steps, start);
  builder_.queues(queues_);
}

void QueuePlan::close_apart(const costmodel::KernelConfig& reduce, Follow follow) {
  builder_.launch();
  builder_.task_phase(attend_, first_);
  builder_.queues(queues_);
  const StepId steps = builder_.finish_rows(builder_.plan().kernels[attend_].partial_dtype);
  if (steps < builder_.next_step()) merge_launch(builder_, builder_.kernel(reduce), steps, follow);
}

std::int64_t resident_ctas(const costmodel::KernelConfig& kernel, const PlanRequest& request) {
  return static_cast<std::int64_t>(request.device.sms) * costmodel::ctas_per_sm(kernel, request.heads, request.device);
}

void add_no_sharing(const traces::PrefixForest& forest, std::vector<std::string>& why) {
  const std::int64_t unique = traces::unique_tokens(forest), logical = traces::logical_tokens(forest);
  if (logical <= unique) return;
  why.push_back(fmt::format("prefixes are read by each request anew: {} tokens requested, {} unique ({:.2f} x)",
                            logical, unique, static_cast<double>(logical) / static_cast<double>(unique)));
}

}  // namespace espalier::scheduler::planning

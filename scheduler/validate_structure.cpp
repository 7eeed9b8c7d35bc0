// First stage of the validator: every index and interval points into its column, every enumerator exists, the embedded
// forest and heads are what they claim to be. Everything after this may index freely.
#include <algorithm>
#include <cmath>

#include "scheduler/validate_internal.h"

namespace espalier::scheduler::validation {
namespace {

using enum ViolationClass;

/// A page index beyond this can't be a real cache, and its byte offset might not fit 63 bits.
constexpr std::int64_t kMaxPages = std::int64_t{1} << 42;

bool inside(Interval interval, std::size_t size) {
  return 0 <= interval.begin && interval.begin <= interval.end && static_cast<std::size_t>(interval.end) <= size;
}
template <class I>
bool known(I id, std::size_t size) {
  return id.value >= 0 && id.index() < size;
}
template <class I>
bool known_or_none(I id, std::size_t size) {
  return id.value == -1 || known(id, size);
}

/// Adds bad_index for each interval or id that is not as it must be. `what` and `i` name the record.
class IndexCheck {
 public:
  IndexCheck(Report& report, std::string_view what) : report_(report), what_(what) {}
  void interval(std::size_t i, std::string_view field, Interval value, std::size_t size) {
    if (!inside(value, size)) {
      report_.add(bad_index, "{} {}: {} [{}, {}) is no interval of a column of {}", what_, i, field, value.begin,
                  value.end, size);
    }
  }
  void id(std::size_t i, std::string_view field, bool good, std::int32_t value) {
    if (!good) report_.add(bad_index, "{} {}: {} is {}, which doesn't exist", what_, i, field, value);
  }

 private:
  Report& report_;
  std::string_view what_;
};

/// Row intervals are relative to the group of the task that uses the segment.
void check_task_rows(const Plan& plan, std::size_t i, const Task& task, Report& report) {
  if (task.kind == TaskKind::padding || !inside(task.segments, plan.segments.size())) return;
  const std::int64_t rows = std::int64_t{task.queries.end} - task.queries.begin;
  for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
    const Segment& segment = plan.segments[static_cast<std::size_t>(s)];
    if (segment.row_begin < 0 || segment.row_begin > segment.row_end || segment.row_end > rows) {
      report.add(bad_index, "task {}: segment {} is seen by rows [{}, {}) of a group of {}", i, s, segment.row_begin,
                 segment.row_end, rows);
    }
  }
}

void check_tasks(const Plan& plan, Report& report) {
  IndexCheck check(report, "task");
  for (std::size_t i = 0; i < plan.tasks.size(); ++i) {
    const Task& task = plan.tasks.raw()[i];
    const auto kind = static_cast<std::int32_t>(task.kind);
    check.id(i, "kind", kind >= 0 && kind <= static_cast<std::int32_t>(TaskKind::values), kind);
    check.interval(i, "segments", task.segments, plan.segments.size());
    check.interval(i, "queries", task.queries, plan.query_rows.size());
    check.interval(i, "folds", task.folds, plan.fold_slots.size());
    check.id(i, "slot", known_or_none(task.slot, plan.slots.size()), task.slot.value);
    check_task_rows(plan, i, task, report);
  }
  IndexCheck segment(report, "segment");
  for (std::size_t i = 0; i < plan.segments.size(); ++i) {
    segment.id(i, "node", known(plan.segments[i].node, plan.forest.node_count()), plan.segments[i].node.value);
  }
  IndexCheck fold(report, "fold");
  for (std::size_t i = 0; i < plan.fold_slots.size(); ++i) {
    fold.id(i, "slot", known(plan.fold_slots[i], plan.slots.size()), plan.fold_slots[i].value);
  }
}

void check_slots_and_steps(const Plan& plan, Report& report) {
  IndexCheck slot_check(report, "slot");
  for (std::size_t i = 0; i < plan.slots.size(); ++i) {
    const Slot& slot = plan.slots.raw()[i];
    const auto kind = static_cast<std::int32_t>(slot.kind);
    slot_check.id(i, "kind", kind >= 0 && kind <= static_cast<std::int32_t>(SlotKind::scores), kind);
    slot_check.id(i, "dtype", known_dtype(slot.dtype), static_cast<std::int32_t>(slot.dtype));
    slot_check.interval(i, "queries", slot.queries, plan.query_rows.size());
  }
  IndexCheck step_check(report, "step");
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const ReductionStep& step = plan.steps.raw()[i];
    const auto op = static_cast<std::int32_t>(step.op);
    step_check.id(i, "op", op >= 0 && op <= static_cast<std::int32_t>(ReductionOp::sum), op);
    step_check.id(i, "rows", step.rows >= 1, step.rows);
    step_check.interval(i, "inputs", step.inputs, plan.reduction_inputs.size());
    step_check.id(i, "out", known_or_none(step.out, plan.slots.size()), step.out.value);
    const bool row = step.out_row >= 0 && (step.out.valid() || std::int64_t{step.out_row} + step.rows <=
                                                                   static_cast<std::int64_t>(plan.query_rows.size()));
    step_check.id(i, "out_row", row, step.out_row);
  }
  IndexCheck input(report, "reduction input");
  for (std::size_t i = 0; i < plan.reduction_inputs.size(); ++i) {
    input.id(i, "slot", known(plan.reduction_inputs[i].slot, plan.slots.size()), plan.reduction_inputs[i].slot.value);
    input.id(i, "row", plan.reduction_inputs[i].row >= 0, plan.reduction_inputs[i].row);
  }
}

void check_launches(const Plan& plan, Report& report) {
  IndexCheck check(report, "launch");
  for (std::size_t i = 0; i < plan.launches.size(); ++i) {
    const Launch& launch = plan.launches.raw()[i];
    check.interval(i, "phases", launch.phases, plan.phases.size());
    check.interval(i, "dependencies", launch.dependencies, plan.dependencies.size());
    const auto follow = static_cast<std::int32_t>(launch.follow);
    check.id(i, "follow", follow >= 0 && follow <= static_cast<std::int32_t>(Follow::programmatic), follow);
    check.id(i, "workers", launch.workers >= 0, launch.workers);
    const bool queued =
        launch.workers <= 0 || (launch.queue_begin >= 0 && std::int64_t{launch.queue_begin} + launch.workers <=
                                                               static_cast<std::int64_t>(plan.queues.size()));
    check.id(i, "queue_begin", queued, launch.queue_begin);
  }
  IndexCheck dependency(report, "dependency");
  for (std::size_t i = 0; i < plan.dependencies.size(); ++i) {
    dependency.id(i, "launch", known(plan.dependencies[i], plan.launches.size()), plan.dependencies[i].value);
  }
  IndexCheck phase_check(report, "phase");
  for (std::size_t i = 0; i < plan.phases.size(); ++i) {
    const Phase& phase = plan.phases[i];
    const auto kind = static_cast<std::int32_t>(phase.kind), start = static_cast<std::int32_t>(phase.start);
    phase_check.id(i, "kind", kind == 0 || kind == 1, kind);
    phase_check.id(i, "start", start >= 0 && start <= static_cast<std::int32_t>(PhaseStart::on_arrival), start);
    phase_check.id(i, "kernel", known(phase.kernel, plan.kernels.size()), phase.kernel.value);
    phase_check.interval(i, "range", phase.range,
                         phase.kind == PhaseKind::tasks ? plan.tasks.size() : plan.steps.size());
  }
}

void check_queue_indices(const Plan& plan, Report& report) {
  IndexCheck queue(report, "queue");
  for (std::size_t i = 0; i < plan.queues.size(); ++i) {
    queue.interval(i, "items", plan.queues[i], plan.queue_items.size());
  }
  IndexCheck item(report, "queue item");
  for (std::size_t i = 0; i < plan.queue_items.size(); ++i) {
    const QueueItem& entry = plan.queue_items[i];
    item.id(i, "task", known(entry.task, plan.tasks.size()), entry.task.value);
  }
}

/// The parent must be the previous node or one of its ancestors: that is depth-first preorder.
std::string preorder_fault(const traces::PrefixForest& forest) {
  std::vector<std::int32_t> path;
  for (std::size_t n = 0; n < forest.node_count(); ++n) {
    const NodeId node(n);
    const std::int32_t parent = forest.parent[node].value;
    if (parent < -1) return fmt::format("node {} has parent {}", n, parent);
    while (!path.empty() && path.back() != parent) path.pop_back();
    if (path.empty() && parent != -1) {
      return fmt::format("node {} with parent {} is out of depth-first order", n, parent);
    }
    path.push_back(static_cast<std::int32_t>(n));
    const std::int64_t tokens = forest.tokens[node];
    if (tokens < 1 || tokens > traces::kMaxNodeTokens) return fmt::format("node {} has {} tokens", n, tokens);
    // Both terms are checked before they are added; depth x length can't reach 63 bits at kMaxNodes.
    const std::int64_t before = parent < 0 ? 0 : forest.tokens_before[NodeId(parent)] + forest.tokens[NodeId(parent)];
    if (forest.tokens_before[node] != before) {
      return fmt::format("node {} says {} tokens before it, they are {}", n, forest.tokens_before[node], before);
    }
  }
  return {};
}

std::string reader_fault(const traces::PrefixForest& forest) {
  const std::size_t nodes = forest.node_count();
  std::vector<std::int32_t> low(nodes, -1), high(nodes, -1);
  std::int32_t previous = 0;
  for (std::size_t r = 0; r < forest.request_count(); ++r) {
    const std::int32_t leaf = forest.leaf[RequestId(r)].value;
    if (leaf < previous || static_cast<std::size_t>(leaf) >= nodes) {
      return fmt::format("request {} ends at node {}", r, leaf);
    }
    previous = leaf;
    const auto at = static_cast<std::size_t>(leaf);
    if (low[at] < 0) low[at] = static_cast<std::int32_t>(r);
    high[at] = static_cast<std::int32_t>(r) + 1;
  }
  for (std::size_t n = nodes; n-- > 0;) {
    if (low[n] != forest.request_begin[NodeId(n)].value || high[n] != forest.request_end[NodeId(n)].value ||
        low[n] < 0) {
      return fmt::format("node {} says requests [{}, {}) read it, they are [{}, {})", n,
                         forest.request_begin[NodeId(n)].value, forest.request_end[NodeId(n)].value, low[n], high[n]);
    }
    if (forest.is_root(NodeId(n))) continue;
    const std::size_t parent = forest.parent[NodeId(n)].index();
    low[parent] = low[parent] < 0 ? low[n] : std::min(low[parent], low[n]);
    high[parent] = std::max(high[parent], high[n]);
  }
  return {};
}

std::string page_fault(const traces::PrefixForest& forest) {
  const traces::PageTable& pages = forest.pages;
  if (pages.page_size < 1) return fmt::format("the page size is {}", pages.page_size);
  if (pages.first_page.size() != forest.node_count() || pages.first_offset.size() != forest.node_count()) {
    return "the page table has another number of nodes";
  }
  for (std::size_t n = 0; n < forest.node_count(); ++n) {
    const std::int64_t page = pages.first_page[NodeId(n)], offset = pages.first_offset[NodeId(n)];
    if (page < 0 || page > kMaxPages || offset < 0 || offset >= pages.page_size) {
      return fmt::format("node {} begins at offset {} of page {}", n, offset, page);
    }
    const std::int64_t end = page + (offset + forest.tokens[NodeId(n)] - 1) / pages.page_size;
    if (!pages.page_ids.empty() && end >= static_cast<std::int64_t>(pages.page_ids.size())) {
      return fmt::format("node {} ends in logical page {} of {}", n, end, pages.page_ids.size());
    }
  }
  return {};
}

}  // namespace

bool known_dtype(traces::Dtype dtype) { return static_cast<int>(dtype) <= static_cast<int>(traces::Dtype::fp8_e4m3); }

std::string forest_fault(const traces::PrefixForest& forest) {
  const std::size_t nodes = forest.node_count(), requests = forest.request_count();
  const bool columns = forest.tokens.size() == nodes && forest.tokens_before.size() == nodes &&
                       forest.request_begin.size() == nodes && forest.request_end.size() == nodes &&
                       forest.node_label.size() == nodes && forest.request_label.size() == requests &&
                       traces::is_permutation_of_rows(forest.batch_position.raw(), requests);
  if (!columns) return "its columns differ in length";
  if (static_cast<std::int64_t>(nodes) > traces::kMaxNodes) return fmt::format("it has {} nodes", nodes);
  std::string fault = preorder_fault(forest);
  if (fault.empty()) fault = reader_fault(forest);
  if (fault.empty()) fault = page_fault(forest);
  return fault;
}

std::string heads_fault(const traces::HeadConfig& heads) {
  const auto within = [](std::int32_t value, std::int32_t high) { return value >= 1 && value <= high; };
  if (!within(heads.q_heads, 4096) || !within(heads.kv_heads, 4096) || heads.q_heads % heads.kv_heads != 0) {
    return fmt::format("{} query heads don't divide into {} KV heads", heads.q_heads, heads.kv_heads);
  }
  if (!within(heads.qk_dim, 1024) || !within(heads.v_dim, 1024)) {
    return fmt::format("head dimensions {} and {} are out of range", heads.qk_dim, heads.v_dim);
  }
  if (!known_dtype(heads.q_dtype) || !known_dtype(heads.kv_dtype)) return "its element types don't exist";
  return {};
}

bool check_structure(Facts& facts, Report& report) {
  const Plan& plan = facts.plan;
  const std::string forest = forest_fault(plan.forest);
  if (!forest.empty()) report.add(bad_index, "the plan's forest is broken: {}", forest);
  const std::string heads = heads_fault(plan.heads);
  if (!heads.empty()) report.add(head_range, "the plan's heads are broken: {}", heads);
  check_tasks(plan, report);
  check_slots_and_steps(plan, report);
  check_launches(plan, report);
  check_queue_indices(plan, report);
  return heads.empty() && !report.has(bad_index);
}

}  // namespace espalier::scheduler::validation

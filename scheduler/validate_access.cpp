// Who touches which rows of which slot: the table that the proofs of data flow and of storage read. On the way, each
// writer and reader is checked against the slot's rows, heads, kind, width and type.
//
// A task's row goes to, or comes from, the slot's row of the same request. A partial slot holds either attention
// partials (merged by log-sum-exp) or sums of weighted values (added); its writers decide which, and its readers must
// agree.
#include <algorithm>
#include <optional>

#include "scheduler/validate_internal.h"

namespace espalier::scheduler::validation {
namespace {

using enum ViolationClass;

AccessTable by_slot(const std::vector<Access>& accesses, std::size_t slots) {
  AccessTable table;
  table.begin.assign(slots + 1, 0);
  for (const Access& access : accesses) ++table.begin[access.slot.index() + 1];
  for (std::size_t s = 1; s < table.begin.size(); ++s) table.begin[s] += table.begin[s - 1];
  std::vector<std::int32_t> next(table.begin.begin(), table.begin.end() - 1);
  table.rows.resize(accesses.size());
  for (const Access& access : accesses) table.rows[static_cast<std::size_t>(next[access.slot.index()]++)] = access;
  return table;
}

class Collector {
 public:
  Collector(const Facts& facts, Report& report)
      : facts_(facts), plan_(facts.plan), report_(report), merge_op_(facts.plan.slots.size()) {}

  SlotAccesses run() {
    for (std::size_t i = 0; i < plan_.tasks.size(); ++i) {
      if (facts_.task_good[i]) write_of(static_cast<std::int32_t>(i));
    }
    for (std::size_t i = 0; i < plan_.steps.size(); ++i) {
      if (facts_.step_good[i]) write_of_step(static_cast<std::int32_t>(i));
    }
    for (std::size_t i = 0; i < plan_.tasks.size(); ++i) {
      if (facts_.task_good[i]) folds_of(static_cast<std::int32_t>(i));
    }
    for (std::size_t i = 0; i < plan_.steps.size(); ++i) {
      if (facts_.step_good[i]) inputs_of(static_cast<std::int32_t>(i));
    }
    const std::size_t slots = plan_.slots.size();
    return {by_slot(writes_, slots), by_slot(reads_, slots), by_slot(scans_, slots)};
  }

 private:
  bool good(SlotId slot) const { return facts_.slot_good[slot.index()] != 0; }
  std::int32_t phase_of(std::int32_t task) const { return facts_.task_phase[static_cast<std::size_t>(task)]; }

  /// The slot's rows of the task's queries, for the heads that both have; returns how many queries have one.
  std::int32_t touch(std::int32_t i, SlotId id, std::vector<Access>& into) const {
    const Task& task = plan_.tasks[TaskId(i)];
    const Slot& slot = plan_.slots[id];
    const std::int32_t h0 = std::max(task.head_begin, slot.head_begin), h1 = std::min(head_end(task), head_end(slot));
    if (h0 >= h1) return 0;
    std::int32_t queries = 0;
    const auto add = [&](std::int32_t row, std::int32_t n) {
      into.push_back({id, row, row + n, h0, h1, phase_of(i), i, false});
      queries += n;
    };
    if (task.queries == slot.queries) {
      add(0, slot.queries.size());
    } else {
      for_common(facts_, task.queries, slot.queries,
                 [&](std::int32_t, std::int32_t at, std::int32_t n) { add(at - slot.queries.begin, n); });
    }
    return queries;
  }

  void write_of(std::int32_t i) {
    const Task& task = plan_.tasks[TaskId(i)];
    if (task.kind == TaskKind::softmax) {
      if (task.slot.valid() || task.segments.size() > 0) {
        report_.add(slot_mismatch, "softmax task {} works in place, yet names a slot to write or tokens to read", i);
      }
      return;
    }
    if (!task.slot.valid()) {
      if (task.kind == TaskKind::scores) report_.add(slot_mismatch, "scores task {} has no slot", i);
      return;
    }
    if (!good(task.slot)) return;
    const Slot& slot = plan_.slots[task.slot];
    const std::int32_t rows = touch(i, task.slot, writes_);
    if (rows != task.queries.size() || task.head_begin < slot.head_begin || head_end(task) > head_end(slot)) {
      report_.add(
          slot_mismatch, "task {} writes {} queries, heads [{}, {}): slot {} has rows of {} of them, heads [{}, {})", i,
          task.queries.size(), task.head_begin, head_end(task), task.slot.value, rows, slot.head_begin, head_end(slot));
    }
    if (task.kind == TaskKind::scores) {
      check_scores(i, task, slot);
    } else {
      check_partial(i, task, slot);
    }
  }

  void check_scores(std::int32_t i, const Task& task, const Slot& slot) {
    if (slot.kind != SlotKind::scores) {
      report_.add(slot_mismatch, "scores task {} writes slot {}, which is for partial rows", i, task.slot.value);
    }
    std::int64_t tokens = 0;
    for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
      tokens += std::max<std::int64_t>(segment_tokens(plan_, plan_.segments[static_cast<std::size_t>(s)]), 0);
    }
    if (tokens > slot.columns) {
      report_.add(slot_mismatch, "scores task {} writes {} columns, slot {} has {}", i, tokens, task.slot.value,
                  slot.columns);
    }
  }

  void check_partial(std::int32_t i, const Task& task, const Slot& slot) {
    if (slot.kind != SlotKind::partial) {
      report_.add(slot_mismatch, "{} task {} writes slot {}, which is for scores", kind_name(task.kind), i,
                  task.slot.value);
      return;
    }
    check_type("task", i, phase_of(i), task.slot);
    decide_op(task.slot, task.kind == TaskKind::attend ? ReductionOp::log_sum_exp : ReductionOp::sum);
  }

  /// Kernels read and write partial rows of one type.
  void check_type(std::string_view actor, std::int32_t i, std::int32_t phase, SlotId id) {
    if (phase < 0) return;  // told by phase_order
    const auto& kernel = plan_.kernels[plan_.phases[static_cast<std::size_t>(phase)].kernel];
    const traces::Dtype dtype = plan_.slots[id].dtype;
    if (kernel.partial_dtype == dtype || !known_dtype(kernel.partial_dtype)) return;
    report_.add(slot_mismatch, "{} {}: partial rows of {} are {}, slot {} holds {}", actor, i, kernel.name,
                traces::dtype_name(kernel.partial_dtype), id.value, traces::dtype_name(dtype));
  }

  void decide_op(SlotId slot, ReductionOp op) {
    std::optional<ReductionOp>& decided = merge_op_[slot.index()];
    if (decided.value_or(op) != op) {
      report_.add(slot_mismatch, "slot {} is written both as attention partials and as sums", slot.value);
    }
    decided = op;
  }

  /// Position in Plan::query_rows of a step's first output row.
  std::int32_t out_position(const ReductionStep& step) const {
    return step.out.valid() ? plan_.slots[step.out].queries.begin + step.out_row : step.out_row;
  }

  /// Rows [row, row + step.rows) and the step's heads lie within the slot, which holds partial rows.
  bool fits(std::int32_t i, const ReductionStep& step, SlotId id, std::int32_t row) {
    const Slot& slot = plan_.slots[id];
    if (std::int64_t{row} + step.rows > slot.queries.size() || step.head_begin < slot.head_begin ||
        head_end(step) > head_end(slot)) {
      report_.add(slot_mismatch, "step {}: rows [{}, {}), heads [{}, {}) of slot {}, which has {} rows, heads [{}, {})",
                  i, row, std::int64_t{row} + step.rows, step.head_begin, head_end(step), id.value, slot.queries.size(),
                  slot.head_begin, head_end(slot));
      return false;
    }
    if (slot.kind != SlotKind::partial) {
      report_.add(slot_mismatch, "step {} takes slot {}, which is for scores", i, id.value);
    }
    return slot.kind == SlotKind::partial;
  }

  void write_of_step(std::int32_t i) {
    const ReductionStep& step = plan_.steps[StepId(i)];
    if (step.inputs.size() == 0) report_.add(slot_mismatch, "step {} merges nothing", i);
    if (!step.out.valid() || !good(step.out) || !fits(i, step, step.out, step.out_row)) return;
    writes_.push_back({step.out, step.out_row, step.out_row + step.rows, step.head_begin, head_end(step),
                       facts_.step_phase[static_cast<std::size_t>(i)], i, true});
    decide_op(step.out, step.op);
    check_type("step", i, facts_.step_phase[static_cast<std::size_t>(i)], step.out);
  }

  void folds_of(std::int32_t i) {
    const Task& task = plan_.tasks[TaskId(i)];
    if (task.kind == TaskKind::scores) {
      if (task.folds.size() > 0) report_.add(slot_mismatch, "scores task {} folds slots", i);
      return;
    }
    const SlotKind wanted = task.kind == TaskKind::attend ? SlotKind::partial : SlotKind::scores;
    for (std::int32_t f = task.folds.begin; f < task.folds.end; ++f) {
      const SlotId id = plan_.fold_slots[static_cast<std::size_t>(f)];
      if (!good(id)) continue;
      const Slot& slot = plan_.slots[id];
      if (slot.kind != wanted) {
        report_.add(slot_mismatch, "{} task {} folds slot {}, which is for {}", kind_name(task.kind), i, id.value,
                    slot.kind == SlotKind::scores ? "scores" : "partial rows");
        continue;
      }
      if (task.kind == TaskKind::attend) {
        check_op("task", i, id, ReductionOp::log_sum_exp);
        check_type("task", i, phase_of(i), id);
      }
      const std::int32_t rows = touch(i, id, task.kind == TaskKind::values ? scans_ : reads_);
      if (rows == 0) {
        report_.add(merge_row_mismatch, "task {} folds slot {}, which has no row of its queries and heads", i,
                    id.value);
      }
    }
  }

  void check_op(std::string_view reader, std::int32_t i, SlotId slot, ReductionOp op) {
    const std::optional<ReductionOp>& decided = merge_op_[slot.index()];
    if (decided.value_or(op) == op) return;
    report_.add(slot_mismatch, "{} {} takes slot {} by {}, it holds {}", reader, i, slot.value,
                op == ReductionOp::sum ? "sum" : "log-sum-exp", op == ReductionOp::sum ? "attention partials" : "sums");
  }

  void inputs_of(std::int32_t i) {
    const ReductionStep& step = plan_.steps[StepId(i)];
    std::optional<traces::Dtype> dtype;
    if (step.out.valid()) dtype = plan_.slots[step.out].dtype;
    for (std::int32_t k = step.inputs.begin; k < step.inputs.end; ++k) {
      const RowRef& input = plan_.reduction_inputs[static_cast<std::size_t>(k)];
      if (!good(input.slot) || !fits(i, step, input.slot, input.row)) continue;
      const Slot& slot = plan_.slots[input.slot];
      check_op("step", i, input.slot, step.op);
      check_type("step", i, facts_.step_phase[static_cast<std::size_t>(i)], input.slot);
      if (dtype.value_or(slot.dtype) != slot.dtype) {
        report_.add(slot_mismatch, "step {} brings {} and {} rows together", i, traces::dtype_name(*dtype),
                    traces::dtype_name(slot.dtype));
      }
      dtype = slot.dtype;
      check_rows(i, step, slot, input);
      reads_.push_back({input.slot, input.row, input.row + step.rows, step.head_begin, head_end(step),
                        facts_.step_phase[static_cast<std::size_t>(i)], i, true});
    }
  }

  /// The input's rows and the output's rows are of the same requests. Runs are compared, not rows.
  void check_rows(std::int32_t i, const ReductionStep& step, const Slot& slot, const RowRef& input) {
    if (step.out.valid() &&
        (!good(step.out) || std::int64_t{step.out_row} + step.rows > plan_.slots[step.out].queries.size())) {
      return;
    }
    auto a = static_cast<std::size_t>(slot.queries.begin + input.row), b = static_cast<std::size_t>(out_position(step));
    for (std::int32_t left = step.rows; left > 0;) {
      if (plan_.query_rows[a] != plan_.query_rows[b]) {
        const std::int32_t to = plan_.query_rows[b].value;
        const bool named = to >= 0 && static_cast<std::size_t>(to) < plan_.forest.request_count();
        report_.add(merge_row_mismatch, "step {} brings slot {}'s row of request {} to that of request {}", i,
                    input.slot.value, request_name(plan_, plan_.query_rows[a].value),
                    named ? request_name(plan_, to) : fmt::format("number {}", to));
        return;
      }
      const auto run = std::min({left, facts_.consecutive_end[a] - static_cast<std::int32_t>(a),
                                 facts_.consecutive_end[b] - static_cast<std::int32_t>(b)});
      a += static_cast<std::size_t>(run);
      b += static_cast<std::size_t>(run);
      left -= run;
    }
  }

  const Facts& facts_;
  const Plan& plan_;
  Report& report_;
  std::vector<std::optional<ReductionOp>> merge_op_;  ///< by slot: how its rows merge, as its writers decide
  std::vector<Access> writes_, reads_, scans_;
};

}  // namespace

SlotAccesses collect_accesses(const Facts& facts, Report& report) {
  for (std::size_t i = 0; i < facts.plan.slots.size(); ++i) {
    const Slot& slot = facts.plan.slots.raw()[i];
    if (slot.kind == SlotKind::partial ? slot.columns != facts.plan.heads.v_dim : slot.columns < 1) {
      report.add(slot_mismatch, "slot {} has {} columns, v has {}", i, slot.columns, facts.plan.heads.v_dim);
    }
  }
  return Collector(facts, report).run();
}

}  // namespace espalier::scheduler::validation

// Executes a plan item by item on the CPU in fp64: online softmax over the segments, partial rows into slots, merges.
// It stands for what every executor must compute, so it takes nothing from the plan on trust and leaves poison where
// nothing wrote.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "kernels/execution_order.h"
#include "kernels/online_row.h"
#include "kernels/oracle.h"
#include "kernels/plan_access.h"
#include "kernels/slot_store.h"

namespace espalier::kernels {
namespace {

using scheduler::Interval;
using scheduler::Plan;
using scheduler::ReductionOp;
using scheduler::ReductionStep;
using scheduler::RowRef;
using scheduler::Segment;
using scheduler::SlotId;
using scheduler::SlotKind;
using scheduler::StepId;
using scheduler::Task;
using scheduler::TaskId;
using scheduler::TaskKind;
using traces::RequestId;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kPoison = std::numeric_limits<double>::quiet_NaN();

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

double dot(const double* a, const double* b, std::int64_t n) {
  double sum[4] = {0, 0, 0, 0};
  for (std::int64_t i = 0; i + 3 < n; i += 4) {
    for (int lane = 0; lane < 4; ++lane) sum[lane] += a[i + lane] * b[i + lane];
  }
  for (std::int64_t i = n / 4 * 4; i < n; ++i) sum[0] += a[i] * b[i];
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/// One copy of a task with its intervals resolved and its heads checked.
struct TaskCopy {
  TaskId id;
  const Task& task;
  std::span<const Segment> segments;
  std::span<const RequestId> requests;
  std::span<const SlotId> folds;
  std::int32_t head_begin;
  std::int32_t kv_head;
  std::int64_t rows() const { return static_cast<std::int64_t>(requests.size()) * task.head_count; }
  std::int32_t head(std::int64_t row) const { return head_begin + static_cast<std::int32_t>(row % task.head_count); }
  std::int64_t query(std::int64_t row) const { return row / task.head_count; }
};

class Interpreter {
 public:
  Interpreter(const Plan& plan, const TensorSource& source, const InterpretOptions& options)
      : plan_(plan), heads_(plan.heads), source_(source), slots_(plan, options.shared_storage),
        scored_by_(plan.slots.size()), out_(make_output(plan.forest, plan.heads, kPoison)) {}

  AttentionOutput run(const std::vector<WorkItem>& order) {
    for (const WorkItem& item : order) {
      if (item.kind == scheduler::PhaseKind::steps) {
        merge(plan_.steps[StepId(item.index)]);
      } else {
        run_copy(copy_of(TaskId(item.index), item.copy));
      }
    }
    return std::move(out_);
  }

 private:
  TaskCopy copy_of(TaskId id, std::int32_t copy) const {
    const Task& task = plan_.tasks[id];
    const std::int64_t head_begin = task.head_begin + std::int64_t{copy} * task.head_count;
    check_interval("heads of a task", head_begin, head_begin + task.head_count, heads_.q_heads);
    const auto first = static_cast<std::int32_t>(head_begin);
    if (task.head_count < 1 || first / heads_.group() != (first + task.head_count - 1) / heads_.group()) {
      throw core::bad_input("plan: heads of a task", "heads that share one KV head",
                            fmt::format("[{}, {})", first, first + task.head_count));
    }
    TaskCopy c{id,
               task,
               slice("segments of a task", plan_.segments, task.segments),
               slice("queries of a task", plan_.query_rows, task.queries),
               slice("folds of a task", plan_.fold_slots, task.folds),
               first,
               first / heads_.group()};
    for (const RequestId r : c.requests) row_of("query of a task", plan_.forest.leaf, r);
    for (const Segment& s : c.segments) {
      const std::int64_t node_tokens = row_of("node of a segment", plan_.forest.tokens, s.node);
      check_interval("tokens of a segment", s.token_begin, scheduler::segment_end(plan_, s), node_tokens);
      check_interval("rows of a segment", s.row_begin, s.row_end, static_cast<std::int64_t>(c.requests.size()));
    }
    return c;
  }

  void run_copy(const TaskCopy& c) {
    switch (c.task.kind) {
      case TaskKind::padding:
        return;
      case TaskKind::attend:
        return attend(c);
      case TaskKind::scores:
        return scores(c);
      case TaskKind::softmax:
        return softmax(c);
      case TaskKind::values:
        return values(c);
    }
    throw core::bad_input("plan: kind of a task", "one of the five kinds",
                          std::to_string(static_cast<int>(c.task.kind)));
  }

  std::vector<double> queries(const TaskCopy& c) const {
    std::vector<double> q(at(c.rows() * heads_.qk_dim));
    for (std::int64_t row = 0; row < c.rows(); ++row) {
      source_.query(plan_.forest, heads_, c.requests[at(c.query(row))], c.head(row), &q[at(row * heads_.qk_dim)]);
    }
    return q;
  }

  void attend(const TaskCopy& c) {
    std::vector<OnlineRow> state(at(c.rows()), OnlineRow(heads_.v_dim));
    const std::vector<double> q = queries(c);
    std::vector<double> key(at(heads_.qk_dim)), value(at(heads_.v_dim));
    const double scale = heads_.softmax_scale();
    for (const Segment& s : c.segments) {
      const std::int64_t end = scheduler::segment_end(plan_, s);
      const std::int64_t first = std::int64_t{s.row_begin} * c.task.head_count,
                         last = std::int64_t{s.row_end} * c.task.head_count;
      for (std::int64_t t = s.token_begin; t < end; ++t) {
        source_.key(plan_.forest, heads_, s.node, t, c.kv_head, key.data());
        source_.value(plan_.forest, heads_, s.node, t, c.kv_head, value.data());
        for (std::int64_t row = first; row < last; ++row) {
          const double score = scale * dot(&q[at(row * heads_.qk_dim)], key.data(), heads_.qk_dim);
          state[at(row)].push(score, value.data());
        }
      }
    }
    std::vector<double> folded(at(heads_.v_dim));
    for (const SlotId fold : c.folds) {
      for (std::int64_t row = 0; row < c.rows(); ++row) {
        const std::int64_t from = slots_.find_row(fold, c.requests[at(c.query(row))], c.query(row));
        if (from >= 0) push_partial(slots_.partial(fold, from, c.head(row)), folded, state[at(row)]);
      }
    }
    for (std::int64_t row = 0; row < c.rows(); ++row) write_task_row(c, row, state[at(row)]);
  }

  void check_width(const SlotRow& row, std::int64_t columns) const {
    if (row.columns() < columns) {
      throw core::bad_input("plan: columns of a slot", fmt::format("at least {}", columns),
                            std::to_string(row.columns()));
    }
  }

  void push_partial(const SlotRow& from, std::vector<double>& scratch, OnlineRow& into) const {
    check_width(from, heads_.v_dim);
    for (std::int64_t col = 0; col < heads_.v_dim; ++col) scratch[at(col)] = from[col];
    into.push(from.lse(), scratch.data());
  }

  /// A row of an attend task or of a merge goes to a slot, or is the request's final row.
  void write_partial(const SlotRow& to, const OnlineRow& row) const {
    check_width(to, heads_.v_dim);
    for (std::int64_t col = 0; col < heads_.v_dim; ++col) to.set(col, row.value(col));
    to.set_lse(row.lse());
  }
  void write_final(RequestId request, std::int32_t head, const OnlineRow& row) {
    row_of("request of a final row", plan_.forest.leaf, request);
    // A final row without any token is nothing an executor could compute.
    for (std::int32_t col = 0; col < heads_.v_dim; ++col) {
      out_.at(request.value, head, col) = row.lse() == -kInfinity ? kPoison : row.value(col);
    }
    final_lse(request, head) = row.lse();
  }
  double& final_lse(RequestId request, std::int32_t head) {
    return out_.lse[request.index() * at(heads_.q_heads) + at(head)];
  }
  std::int64_t slot_row(const TaskCopy& c, std::int64_t row) const {
    return slots_.find_row(c.task.slot, c.requests[at(c.query(row))], c.query(row));
  }
  void write_task_row(const TaskCopy& c, std::int64_t row, const OnlineRow& state) {
    if (c.task.slot.valid()) {
      write_partial(slots_.partial(c.task.slot, slot_row(c, row), c.head(row)), state);
    } else {
      write_final(c.requests[at(c.query(row))], c.head(row), state);
    }
  }

  /// Columns are the task's tokens in segment order; -inf where a query doesn't see the token, and beyond the last.
  void scores(const TaskCopy& c) {
    const std::vector<double> q = queries(c);
    std::vector<double> key(at(heads_.qk_dim));
    for (std::int64_t row = 0; row < c.rows(); ++row) {
      const SlotRow to = slots_.scores(c.task.slot, slot_row(c, row), c.head(row));
      for (std::int64_t col = 0; col < to.columns(); ++col) to.set(col, -kInfinity);
    }
    std::int64_t column = 0;
    for (const Segment& s : c.segments) {
      const std::int64_t end = scheduler::segment_end(plan_, s);
      for (std::int64_t t = s.token_begin; t < end; ++t, ++column) {
        source_.key(plan_.forest, heads_, s.node, t, c.kv_head, key.data());
        for (std::int64_t row = std::int64_t{s.row_begin} * c.task.head_count;
             row < std::int64_t{s.row_end} * c.task.head_count; ++row) {
          const SlotRow to = slots_.scores(c.task.slot, slot_row(c, row), c.head(row));
          check_width(to, column + 1);
          to.set(column, heads_.softmax_scale() * dot(&q[at(row * heads_.qk_dim)], key.data(), heads_.qk_dim));
        }
      }
    }
    scored_by_[row_of_slot(c.task.slot)] = c.id;
  }
  SlotId row_of_slot(SlotId slot) const {
    row_of("slot of a task", plan_.slots, slot);
    return slot;
  }

  void softmax(const TaskCopy& c) {
    for (std::int64_t row = 0; row < c.rows(); ++row) {
      const RequestId request = c.requests[at(c.query(row))];
      std::vector<SlotRow> parts;
      for (const SlotId fold : c.folds) {
        const std::int64_t from = slots_.find_row(fold, request, c.query(row));
        if (from >= 0) parts.push_back(slots_.scores(fold, from, c.head(row)));
      }
      double most = -kInfinity, sum = 0;
      for (const SlotRow& part : parts) {
        for (std::int64_t col = 0; col < part.columns(); ++col) most = std::max(most, part[col]);
      }
      for (const SlotRow& part : parts) {
        for (std::int64_t col = 0; col < part.columns(); ++col) sum += std::exp(part[col] - most);
      }
      for (const SlotRow& part : parts) {
        for (std::int64_t col = 0; col < part.columns(); ++col) part.set(col, std::exp(part[col] - most) / sum);
      }
      final_lse(request, c.head(row)) = most + std::log(sum);
    }
  }

  /// Each visible token's probability is looked up by (node, token) in the folded slots, whatever way their writers cut
  /// it.
  void values(const TaskCopy& c) {
    std::vector<std::vector<double>> sums(at(c.rows()), std::vector<double>(at(heads_.v_dim), 0.0));
    std::vector<double> value(at(heads_.v_dim));
    std::int64_t wanted = 0, found = 0;
    for (const Segment& s : c.segments) wanted += scheduler::segment_tokens(plan_, s) * (s.row_end - s.row_begin);
    for (const SlotId fold : c.folds) {
      const TaskId writer = scored_by_[row_of_slot(fold)];
      if (!writer.valid()) {
        throw core::bad_input("plan: folds of a values task", "slots that hold scores", "one nobody wrote");
      }
      std::int64_t column = 0;
      for (const Segment& held : slice("segments of a task", plan_.segments, plan_.tasks[writer].segments)) {
        const std::int64_t held_end = scheduler::segment_end(plan_, held);
        for (const Segment& s : c.segments) {
          if (s.node != held.node) continue;
          const std::int64_t begin = std::max(s.token_begin, held.token_begin),
                             end = std::min(scheduler::segment_end(plan_, s), held_end);
          for (std::int64_t t = begin; t < end; ++t) {
            source_.value(plan_.forest, heads_, s.node, t, c.kv_head, value.data());
            found += weigh(c, s, {fold, column + t - held.token_begin}, value, sums);
          }
        }
        column += held_end - held.token_begin;
      }
    }
    if (found != wanted) {
      throw core::bad_input("plan: folds of a values task", fmt::format("scores of {} (query, token) pairs", wanted),
                            std::to_string(found));
    }
    for (std::int64_t row = 0; row < c.rows(); ++row) write_task_sum(c, row, sums[at(row)]);
  }

  struct ScoreColumn {
    SlotId slot;
    std::int64_t column;
  };
  /// Adds one token's value to the rows that see it; returns the number of queries with a probability for it.
  std::int64_t weigh(const TaskCopy& c, const Segment& s, ScoreColumn from, const std::vector<double>& value,
                     std::vector<std::vector<double>>& sums) {
    std::int64_t found = 0;
    for (std::int64_t query = s.row_begin; query < s.row_end; ++query) {
      const std::int64_t slot_row = slots_.find_row(from.slot, c.requests[at(query)], query);
      if (slot_row < 0) continue;
      ++found;
      for (std::int64_t row = query * c.task.head_count; row < (query + 1) * c.task.head_count; ++row) {
        const double p = slots_.scores(from.slot, slot_row, c.head(row))[from.column];
        for (std::size_t col = 0; col < value.size(); ++col) sums[at(row)][col] += p * value[col];
      }
    }
    return found;
  }

  /// Sums carry no log-sum-exp: that of the final row is the softmax task's.
  void write_task_sum(const TaskCopy& c, std::int64_t row, const std::vector<double>& sum) {
    if (c.task.slot.valid()) {
      write_sum(slots_.partial(c.task.slot, slot_row(c, row), c.head(row)), sum);
    } else {
      write_final_sum(c.requests[at(c.query(row))], c.head(row), sum);
    }
  }
  void write_sum(const SlotRow& to, const std::vector<double>& sum) const {
    check_width(to, heads_.v_dim);
    for (std::int64_t col = 0; col < heads_.v_dim; ++col) to.set(col, sum[at(col)]);
  }
  void write_final_sum(RequestId request, std::int32_t head, const std::vector<double>& sum) {
    row_of("request of a final row", plan_.forest.leaf, request);
    std::copy(sum.begin(), sum.end(), &out_.at(request.value, head, 0));
  }

  void merge(const ReductionStep& step) {
    check_interval("heads of a step", step.head_begin, std::int64_t{step.head_begin} + step.head_count, heads_.q_heads);
    for (std::int32_t r = 0; r < step.rows; ++r) {
      for (std::int32_t head = step.head_begin; head < step.head_begin + step.head_count; ++head) {
        if (step.op == ReductionOp::log_sum_exp) {
          merge_row(step, r, head);
        } else {
          sum_row(step, r, head);
        }
      }
    }
  }
  RequestId final_request(const ReductionStep& step, std::int32_t r) const {
    const std::int64_t row = std::int64_t{step.out_row} + r;
    check_interval("final rows of a step", row, row + 1, static_cast<std::int64_t>(plan_.query_rows.size()));
    return plan_.query_rows[at(row)];
  }

  void merge_row(const ReductionStep& step, std::int32_t r, std::int32_t head) {
    OnlineRow state(heads_.v_dim);
    std::vector<double> scratch(at(heads_.v_dim));
    for (const RowRef& input : slice("inputs of a step", plan_.reduction_inputs, step.inputs)) {
      push_partial(slots_.partial(input.slot, std::int64_t{input.row} + r, head), scratch, state);
    }
    if (step.out.valid()) {
      write_partial(slots_.partial(step.out, std::int64_t{step.out_row} + r, head), state);
    } else {
      write_final(final_request(step, r), head, state);
    }
  }

  void sum_row(const ReductionStep& step, std::int32_t r, std::int32_t head) {
    std::vector<double> sum(at(heads_.v_dim), 0.0);
    for (const RowRef& input : slice("inputs of a step", plan_.reduction_inputs, step.inputs)) {
      const SlotRow from = slots_.partial(input.slot, std::int64_t{input.row} + r, head);
      check_width(from, heads_.v_dim);
      for (std::int64_t col = 0; col < heads_.v_dim; ++col) sum[at(col)] += from[col];
    }
    if (step.out.valid()) {
      write_sum(slots_.partial(step.out, std::int64_t{step.out_row} + r, head), sum);
    } else {
      write_final_sum(final_request(step, r), head, sum);
    }
  }

  const Plan& plan_;
  const traces::HeadConfig& heads_;
  const TensorSource& source_;
  SlotStore slots_;
  core::Column<SlotId, TaskId> scored_by_;  ///< the task whose scores a slot holds, once written
  AttentionOutput out_;
};

}  // namespace

AttentionOutput interpret(const Plan& plan, const TensorSource& source, const InterpretOptions& options) {
  traces::check_heads(plan.heads, "plan: heads");
  const std::vector<WorkItem> order = execution_order(plan, options.shuffle_seed);
  return Interpreter(plan, source, options).run(order);
}

double interpret_cost(const Plan& plan) {
  const double qk = plan.heads.qk_dim, v = plan.heads.v_dim;
  double cost = 0;
  for (const Task& task : plan.tasks) {
    const bool reads_k = task.kind == TaskKind::attend || task.kind == TaskKind::scores;
    const bool reads_v = task.kind == TaskKind::attend || task.kind == TaskKind::values;
    const double elements = (reads_k ? qk : 0.0) + (reads_v ? v : 0.0);
    double pairs = 0, tokens = 0;
    for (const Segment& s : slice("segments of a task", plan.segments, task.segments)) {
      row_of("node of a segment", plan.forest.tokens, s.node);
      const auto length = static_cast<double>(scheduler::segment_tokens(plan, s));
      tokens += length;
      pairs += length * (s.row_end - s.row_begin);
    }
    cost += task.copies * elements * (pairs * task.head_count + tokens);
  }
  for (const ReductionStep& step : plan.steps) cost += v * step.rows * step.head_count * step.inputs.size();
  return cost;
}

}  // namespace espalier::kernels

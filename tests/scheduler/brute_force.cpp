// Written from the comments of scheduler/plan.h alone, with maps and counters, sharing no code with the validator.
#include "tests/scheduler/brute_force.h"

#include <array>
#include <map>
#include <set>
#include <tuple>

#include "tests/scheduler/brute_force_flow.h"

namespace espalier::scheduler::samples {
namespace {

using Token = std::tuple<int, int, int, int>;  // request, head, node, token

class BruteForce {
 public:
  explicit BruteForce(const Plan& plan) : plan_(plan), flow_{plan} {}

  bool valid() {
    if (!indices() || !phases()) return false;
    for (std::size_t i = 0; i < plan_.slots.size(); ++i) {
      const Slot& s = plan_.slots.raw()[i];
      if (!group(s.queries) || !heads(s.head_begin, s.head_count, 1)) return false;
      if (s.kind == SlotKind::partial ? s.columns != plan_.heads.v_dim : s.columns < 1) return false;
    }
    for (const Segment& s : plan_.segments) {
      if (s.token_begin < 0 || s.token_begin > end_of(s) || end_of(s) > length(s)) return false;
    }
    // Writers decide what slots hold before readers ask.
    for (int pass = 0; pass < 2; ++pass) {
      for (std::size_t i = 0; i < plan_.tasks.size(); ++i) {
        if (!task(static_cast<int>(i), pass == 0)) return false;
      }
      for (std::size_t i = 0; i < plan_.steps.size(); ++i) {
        if (!step(static_cast<int>(i), pass == 0)) return false;
      }
    }
    return covered() && slots_used() && values_scored() && finals_written() && ordered(flow_);
  }

  /// After valid().
  bool storage() const { return storage_sound(flow_); }

 private:
  static bool inside(Interval v, std::size_t n) {
    return 0 <= v.begin && v.begin <= v.end && v.end <= static_cast<int>(n);
  }
  template <class I>
  static bool id(I v, std::size_t n) {
    return v.value >= 0 && v.value < static_cast<int>(n);
  }
  long end_of(const Segment& s) const { return s.token_end == -1 ? length(s) : s.token_end; }
  long length(const Segment& s) const { return plan_.forest.tokens[s.node]; }
  int request(int position) const { return plan_.query_rows[static_cast<std::size_t>(position)].value; }

  bool indices() const {
    for (const Task& t : plan_.tasks) {
      const int kind = static_cast<int>(t.kind);
      if (kind < 0 || kind > 4 || !inside(t.segments, plan_.segments.size()) ||
          !inside(t.queries, plan_.query_rows.size()) || !inside(t.folds, plan_.fold_slots.size()) ||
          t.slot.value < -1 || t.slot.value >= static_cast<int>(plan_.slots.size())) {
        return false;
      }
      if (t.kind == TaskKind::padding) continue;
      for (int s = t.segments.begin; s < t.segments.end; ++s) {
        const Segment& g = plan_.segments[static_cast<std::size_t>(s)];
        if (g.row_begin < 0 || g.row_begin > g.row_end || g.row_end > t.queries.size()) return false;
      }
    }
    for (const Segment& s : plan_.segments) {
      if (!id(s.node, plan_.forest.node_count())) return false;
    }
    for (const RequestId r : plan_.query_rows) {
      if (!id(r, plan_.forest.request_count())) return false;
    }
    for (const SlotId s : plan_.fold_slots) {
      if (!id(s, plan_.slots.size())) return false;
    }
    for (const Slot& s : plan_.slots) {
      if (static_cast<int>(s.kind) < 0 || static_cast<int>(s.kind) > 1 || !inside(s.queries, plan_.query_rows.size())) {
        return false;
      }
    }
    for (const ReductionStep& s : plan_.steps) {
      if (!inside(s.inputs, plan_.reduction_inputs.size()) || s.rows < 1 || s.out.value < -1 || s.out_row < 0) {
        return false;
      }
      if (static_cast<int>(s.op) < 0 || static_cast<int>(s.op) > 1 ||
          s.out.value >= static_cast<int>(plan_.slots.size())) {
        return false;
      }
      if (s.out.value < 0 && long{s.out_row} + s.rows > static_cast<long>(plan_.query_rows.size())) return false;
    }
    for (const RowRef& r : plan_.reduction_inputs) {
      if (!id(r.slot, plan_.slots.size()) || r.row < 0) return false;
    }
    for (const Launch& l : plan_.launches) {
      if (!inside(l.phases, plan_.phases.size()) || !inside(l.dependencies, plan_.dependencies.size())) return false;
      if (static_cast<int>(l.follow) < 0 || static_cast<int>(l.follow) > 2) return false;
    }
    for (const LaunchId l : plan_.dependencies) {
      if (!id(l, plan_.launches.size())) return false;
    }
    for (const Phase& p : plan_.phases) {
      if (static_cast<int>(p.kind) < 0 || static_cast<int>(p.kind) > 1 || static_cast<int>(p.start) < 0 ||
          static_cast<int>(p.start) > 2 || !id(p.kernel, plan_.kernels.size()) ||
          !inside(p.range, p.kind == PhaseKind::tasks ? plan_.tasks.size() : plan_.steps.size())) {
        return false;
      }
    }
    return true;
  }

  /// Phases in launch order hold tasks 0, 1, 2, … and steps 0, 1, 2, …; launches wait only for earlier ones.
  bool phases() {
    std::vector<int> seen_phases, tasks, steps;
    for (std::size_t l = 0; l < plan_.launches.size(); ++l) {
      const Launch& launch = plan_.launches.raw()[l];
      for (int before = 0; before < static_cast<int>(l); ++before) {
        if (plan_.launches[LaunchId(before)].stream != launch.stream) continue;
        flow_.after_launch[static_cast<int>(l)].insert(before);
        flow_.after_launch[static_cast<int>(l)].insert(flow_.after_launch[before].begin(),
                                                       flow_.after_launch[before].end());
      }
      for (int d = launch.dependencies.begin; d < launch.dependencies.end; ++d) {
        const int before = plan_.dependencies[static_cast<std::size_t>(d)].value;
        if (before >= static_cast<int>(l)) return false;
        flow_.after_launch[static_cast<int>(l)].insert(before);
        flow_.after_launch[static_cast<int>(l)].insert(flow_.after_launch[before].begin(),
                                                       flow_.after_launch[before].end());
      }
      if (launch.phases.begin != static_cast<int>(seen_phases.size())) return false;
      for (int p = launch.phases.begin; p < launch.phases.end; ++p) {
        seen_phases.push_back(p);
        const Phase& phase = plan_.phases[static_cast<std::size_t>(p)];
        std::vector<int>& list = phase.kind == PhaseKind::tasks ? tasks : steps;
        if (phase.range.begin != static_cast<int>(list.size())) return false;
        for (int i = phase.range.begin; i < phase.range.end; ++i) {
          list.push_back(i);
          flow_.phase_of[{phase.kind == PhaseKind::steps, i}] = {static_cast<int>(l), p};
        }
      }
    }
    return seen_phases.size() == plan_.phases.size() && tasks.size() == plan_.tasks.size() &&
           steps.size() == plan_.steps.size();
  }

  bool group(Interval queries) const {
    for (int q = queries.begin; q + 1 < queries.end; ++q) {
      if (request(q) >= request(q + 1)) return false;
    }
    return queries.size() > 0;
  }
  bool heads(long begin, long count, long copies) const {
    return begin >= 0 && count >= 1 && copies >= 1 && begin + count * copies <= plan_.heads.q_heads;
  }

  bool task(int i, bool writing) {
    const Task& t = plan_.tasks[TaskId(i)];
    if (t.kind == TaskKind::padding) return t.copies >= 1;
    if (!group(t.queries) || !heads(t.head_begin, t.head_count, t.copies)) return false;
    if (t.kind == TaskKind::softmax && (t.slot.valid() || t.segments.size() > 0)) return false;
    if (t.kind == TaskKind::scores && (!t.slot.valid() || t.folds.size() > 0)) return false;
    for (int c = 0; c < t.copies; ++c) {
      const int first = t.head_begin + c * t.head_count, last = first + t.head_count - 1;
      if (t.kind != TaskKind::softmax && first / plan_.heads.group() != last / plan_.heads.group()) return false;
      for (int h = first; h <= last; ++h) {
        for (int q = t.queries.begin; q < t.queries.end; ++q) {
          if (writing ? !write_row(i, t, h, q) : !read_row(i, t, h, q)) return false;
        }
      }
    }
    return writing || folds_meet(t);
  }

  /// Row of the request in the slot, or -1.
  int row_in(SlotId slot, int r) const {
    const Interval queries = plan_.slots[slot].queries;
    for (int q = queries.begin; q < queries.end; ++q) {
      if (request(q) == r) return q - queries.begin;
    }
    return -1;
  }
  bool has_head(SlotId slot, int h) const {
    const Slot& s = plan_.slots[slot];
    return h >= s.head_begin && h < s.head_begin + s.head_count;
  }

  bool write_row(int i, const Task& t, int h, int q) {
    const int r = request(q);
    if (t.kind == TaskKind::softmax) {
      if (++softmaxes_[{r, h}] > 1) return false;
    }
    if (t.kind != TaskKind::attend) chain_.insert({r, h});
    if (t.kind == TaskKind::values) weighed_[i];
    long columns = 0;
    for (int s = t.segments.begin; s < t.segments.end; ++s) {
      const Segment& g = plan_.segments[static_cast<std::size_t>(s)];
      for (long token = g.token_begin; token < end_of(g); ++token, ++columns) {
        if (q - t.queries.begin < g.row_begin || q - t.queries.begin >= g.row_end) continue;
        if (r < plan_.forest.request_begin[g.node].value || r >= plan_.forest.request_end[g.node].value) return false;
        if (++reads_[static_cast<std::size_t>(t.kind)][{r, h, g.node.value, static_cast<int>(token)}] > 1) return false;
        if (t.kind == TaskKind::values) weighed_[i].insert({r, h, g.node.value, static_cast<int>(token)});
        if (t.kind == TaskKind::scores) scored_in_[{r, h, g.node.value, static_cast<int>(token)}] = t.slot.value;
      }
      // A row that sees an empty segment must still be of its path.
      if (g.row_begin <= q - t.queries.begin && q - t.queries.begin < g.row_end &&
          (r < plan_.forest.request_begin[g.node].value || r >= plan_.forest.request_end[g.node].value)) {
        return false;
      }
    }
    if (t.kind == TaskKind::softmax) return true;
    if (!t.slot.valid()) return ++finals_[{r, h}] == 1;
    const Slot& slot = plan_.slots[t.slot];
    const int row = row_in(t.slot, r);
    if (row < 0 || !has_head(t.slot, h)) return false;
    if ((slot.kind == SlotKind::scores) != (t.kind == TaskKind::scores)) return false;
    if (t.kind == TaskKind::scores) {
      if (columns > slot.columns) return false;
      const auto [at, fresh] = layout_.emplace(t.slot.value, t.segments);
      if (!fresh && at->second != t.segments) return false;
    } else if (!kernel_takes({false, i}, slot) ||
               !holds(t.slot, t.kind == TaskKind::attend ? ReductionOp::log_sum_exp : ReductionOp::sum)) {
      return false;
    }
    flow_.writer[{t.slot.value, row, h}] = {false, i};
    return ++flow_.written[{t.slot.value, row, h}] == 1;
  }

  bool kernel_takes(Event actor, const Slot& slot) const {
    const int phase = flow_.phase_of.at(actor).second;
    return plan_.kernels[plan_.phases[static_cast<std::size_t>(phase)].kernel].partial_dtype == slot.dtype;
  }
  bool holds(SlotId slot, ReductionOp op) {
    const auto [at, fresh] = op_.emplace(slot.value, op);
    return fresh || at->second == op;
  }

  bool read_row(int i, const Task& t, int h, int q) {
    const int r = request(q);
    for (int f = t.folds.begin; f < t.folds.end; ++f) {
      const SlotId slot = plan_.fold_slots[static_cast<std::size_t>(f)];
      if ((plan_.slots[slot].kind == SlotKind::scores) != (t.kind != TaskKind::attend)) return false;
      if (t.kind == TaskKind::attend &&
          !(holds(slot, ReductionOp::log_sum_exp) && kernel_takes({false, i}, plan_.slots[slot]))) {
        return false;
      }
      const int row = row_in(slot, r);
      if (row < 0 || !has_head(slot, h)) continue;
      if (t.kind == TaskKind::values) {
        flow_.scans.push_back({{slot.value, row, h}, {false, i}});
      } else if (!consume({slot.value, row, h}, {false, i})) {
        return false;
      }
    }
    return true;
  }
  bool consume(Cell cell, Event reader) {
    flow_.reader[cell] = reader;
    return ++consumed_[cell] == 1;
  }

  /// Every folded slot has at least one row of the task.
  bool folds_meet(const Task& t) const {
    for (int f = t.folds.begin; f < t.folds.end; ++f) {
      const SlotId slot = plan_.fold_slots[static_cast<std::size_t>(f)];
      bool row = false, head = false;
      for (int q = t.queries.begin; q < t.queries.end; ++q) row = row || row_in(slot, request(q)) >= 0;
      for (int h = t.head_begin; h < t.head_begin + t.head_count * t.copies; ++h) head = head || has_head(slot, h);
      if (!row || !head) return false;
    }
    return true;
  }

  bool step(int i, bool writing) {
    const ReductionStep& s = plan_.steps[StepId(i)];
    if (!heads(s.head_begin, s.head_count, 1) || s.inputs.size() == 0) return false;
    for (int row = 0; row < s.rows; ++row) {
      for (int h = s.head_begin; h < s.head_begin + s.head_count; ++h) {
        if (writing ? !step_write(i, s, row, h) : !step_read(i, s, row, h)) return false;
      }
    }
    return true;
  }
  bool usable(SlotId slot, int row, int h) const {
    return plan_.slots[slot].kind == SlotKind::partial && row < plan_.slots[slot].queries.size() && has_head(slot, h);
  }
  bool step_write(int i, const ReductionStep& s, int row, int h) {
    if (!s.out.valid()) return ++finals_[{request(s.out_row + row), h}] == 1;
    if (!usable(s.out, s.out_row + row, h) || !holds(s.out, s.op) || !kernel_takes({true, i}, plan_.slots[s.out])) {
      return false;
    }
    const Cell cell{s.out.value, s.out_row + row, h};
    flow_.writer[cell] = {true, i};
    flow_.written_row[cell] = row;
    return ++flow_.written[cell] == 1;
  }
  bool step_read(int i, const ReductionStep& s, int row, int h) {
    const int position = s.out.valid() ? plan_.slots[s.out].queries.begin + s.out_row + row : s.out_row + row;
    const Slot& first = s.out.valid()
                            ? plan_.slots[s.out]
                            : plan_.slots[plan_.reduction_inputs[static_cast<std::size_t>(s.inputs.begin)].slot];
    for (int k = s.inputs.begin; k < s.inputs.end; ++k) {
      const RowRef& input = plan_.reduction_inputs[static_cast<std::size_t>(k)];
      if (!usable(input.slot, input.row + row, h) || !holds(input.slot, s.op)) return false;
      const Slot& slot = plan_.slots[input.slot];
      if (slot.dtype != first.dtype || !kernel_takes({true, i}, slot) ||
          request(slot.queries.begin + input.row + row) != request(position)) {
        return false;
      }
      if (!consume({input.slot.value, input.row + row, h}, {true, i})) return false;
      flow_.taken_row[{input.slot.value, input.row + row, h}] = row;
    }
    return true;
  }

  bool covered() const {
    for (int r = 0; r < static_cast<int>(plan_.forest.request_count()); ++r) {
      for (NodeId n = plan_.forest.leaf[RequestId(r)]; n.valid(); n = plan_.forest.parent[n]) {
        for (int token = 0; token < plan_.forest.tokens[n]; ++token) {
          for (int h = 0; h < plan_.heads.q_heads; ++h) {
            const bool chain = chain_.count({r, h}) > 0;
            for (const TaskKind kind : {TaskKind::attend, TaskKind::scores, TaskKind::values}) {
              const bool wanted = (kind != TaskKind::attend) == chain;
              if (reads_[static_cast<std::size_t>(kind)].count({r, h, n.value, token}) != (wanted ? 1U : 0U)) {
                return false;
              }
            }
          }
        }
      }
    }
    return true;
  }

  bool slots_used() const {
    for (int s = 0; s < static_cast<int>(plan_.slots.size()); ++s) {
      const Slot& slot = plan_.slots[SlotId(s)];
      for (int row = 0; row < slot.queries.size(); ++row) {
        for (int h = slot.head_begin; h < slot.head_begin + slot.head_count; ++h) {
          if (flow_.written.count({s, row, h}) == 0 || consumed_.count({s, row, h}) == 0) return false;
        }
      }
    }
    return true;
  }

  /// Each token that is weighed has its score in a slot that the task folds; no slot is folded twice.
  bool values_scored() const {
    for (const auto& [i, tokens] : weighed_) {
      const Interval folds = plan_.tasks[TaskId(i)].folds;
      std::set<int> slots;
      for (int f = folds.begin; f < folds.end; ++f) slots.insert(plan_.fold_slots[static_cast<std::size_t>(f)].value);
      if (static_cast<int>(slots.size()) != folds.size()) return false;
      for (const Token& token : tokens) {
        const auto scored = scored_in_.find(token);
        if (scored == scored_in_.end() || slots.count(scored->second) == 0) return false;
      }
    }
    return true;
  }

  bool finals_written() const {
    return finals_.size() == plan_.forest.request_count() * static_cast<std::size_t>(plan_.heads.q_heads);
  }

  const Plan& plan_;
  std::array<std::map<Token, int>, 5> reads_;  // by task kind
  std::map<int, std::set<Token>> weighed_;     // by values task
  std::map<Token, int> scored_in_;             // slot
  std::map<int, Interval> layout_;             // segments behind a score slot's columns
  std::set<std::pair<int, int>> chain_;        // request, head
  std::map<std::pair<int, int>, int> softmaxes_, finals_;
  std::map<Cell, int> consumed_;
  std::map<int, ReductionOp> op_;
  Flow flow_;
};

}  // namespace

bool brute_force_valid(const Plan& plan) { return BruteForce(plan).valid(); }

bool brute_force_storage_valid(const Plan& plan) {
  BruteForce force(plan);
  return force.valid() && force.storage();
}

}  // namespace espalier::scheduler::samples

// A request leaves a plan. Positions below are rows of Plan::query_rows, whose first rows are all requests in order.
#include <algorithm>
#include <vector>

#include "core/error.h"
#include "scheduler/batch_update.h"
#include "scheduler/batch_update_internal.h"

namespace espalier::scheduler {
namespace {

using namespace updating;

class Leaving {
 public:
  Leaving(Plan& plan, RequestId request) : plan_(plan), forest_(plan.forest), gone_(request) {
    // What it alone reads is the end of its path: consecutive nodes in preorder.
    last_node_ = forest_.leaf[gone_].value + 1;
    first_node_ = last_node_;
    while (first_node_ > 0 && own(first_node_ - 1)) --first_node_;
    for (std::size_t i = 0; i < plan_.query_rows.size(); ++i) {
      if (plan_.query_rows[i] == gone_) removed_.push_back(static_cast<std::int32_t>(i));
    }
  }

  bool run() {
    if (forest_.request_count() < 2 || !rewritable(plan_) || !steps_remain()) return false;
    const bool packed = pages_are_packed(forest_);
    rewrite_tasks();
    rewrite_steps();
    rewrite_rows();
    rewrite_forest();
    if (packed) pack_pages(forest_);
    seal(plan_);
    return true;
  }

 private:
  /// On the request's path and read by nobody else.
  bool own(std::int32_t n) const {
    return forest_.request_begin[NodeId(n)] == gone_ && forest_.readers(NodeId(n)) == 1;
  }
  bool dropped(NodeId n) const { return n.value >= first_node_ && n.value < last_node_; }
  NodeId moved(NodeId n) const { return n.value >= last_node_ ? NodeId(n.value - (last_node_ - first_node_)) : n; }
  RequestId moved(RequestId r) const { return r > gone_ ? RequestId(r.value - 1) : r; }
  std::int32_t removed_before(std::int32_t position) const {
    return static_cast<std::int32_t>(std::lower_bound(removed_.begin(), removed_.end(), position) - removed_.begin());
  }
  std::int32_t moved(std::int32_t position) const { return position - removed_before(position); }
  Interval moved(Interval rows) const { return {moved(rows.begin), moved(rows.end)}; }
  std::int32_t rows_left(const ReductionStep& step) const {
    return moved(Interval{step.out_row, step.out_row + step.rows}).size();
  }

  /// A launch that only merges needs a step that remains; elsewhere a phase may vanish.
  bool steps_remain() const {
    for (const Launch& launch : plan_.launches) {
      bool works = false;
      for (std::int32_t p = launch.phases.begin; p < launch.phases.end; ++p) {
        const Phase& phase = plan_.phases[static_cast<std::size_t>(p)];
        works = works || phase.kind == PhaseKind::tasks;
        bool any = phase.kind == PhaseKind::tasks;
        for (std::int32_t s = phase.range.begin; s < phase.range.end && !any; ++s) {
          any = rows_left(plan_.steps[StepId(s)]) > 0;
        }
        // The phase goes: it must be the last of all, so that no other moves.
        if (!any && (!works || p + 1 != static_cast<std::int32_t>(plan_.phases.size()))) return false;
      }
    }
    return true;
  }

  /// Row of the request among these, or one past any row.
  std::int32_t row_in(Interval rows) const {
    const auto found = std::lower_bound(removed_.begin(), removed_.end(), rows.begin);
    return found != removed_.end() && *found < rows.end ? *found - rows.begin : rows.size();
  }

  void rewrite_tasks() {
    slot_of_.assign(plan_.slots.size(), SlotId());
    row_in_slot_.reserve(plan_.slots.size());
    for (const Slot& slot : plan_.slots) row_in_slot_.push_back(row_in(slot.queries));
    std::int32_t end = 0;
    for (Task& task : plan_.tasks) {
      if (task.kind == TaskKind::padding) continue;
      const Interval segments = task.segments;
      const std::int32_t row = row_in(task.queries);
      task.queries = moved(task.queries);
      task.segments.begin = end;
      for (std::int32_t i = segments.begin; i < segments.end; ++i) {
        Segment s = plan_.segments[static_cast<std::size_t>(i)];
        if (dropped(s.node) || (s.row_begin == row && s.row_end == row + 1)) continue;  // nobody else saw it here
        s.node = moved(s.node);
        s.row_begin -= s.row_begin > row ? 1 : 0;
        s.row_end -= s.row_end > row ? 1 : 0;
        plan_.segments[static_cast<std::size_t>(end++)] = s;
      }
      task.segments.end = end;
      if (task.queries.size() > 0) {
        if (task.slot.valid()) slot_of_[task.slot.index()] = task.slot;
        continue;
      }
      const std::int32_t copies = task.copies;
      task = Task{};
      task.kind = TaskKind::padding;
      task.copies = copies;
    }
    plan_.segments.resize(static_cast<std::size_t>(end));
    std::size_t slots = 0;
    for (const SlotId s : core::ids<SlotId>(plan_.slots.size())) {
      if (!slot_of_[s.index()].valid()) continue;
      Slot slot = plan_.slots[s];
      slot.queries = moved(slot.queries);
      slot_of_[s.index()] = SlotId(slots);
      plan_.slots[SlotId(slots++)] = slot;
    }
    plan_.slots.raw().resize(slots);
    for (Task& task : plan_.tasks) {
      if (task.slot.valid()) task.slot = slot_of_[task.slot.index()];
    }
  }

  void rewrite_steps() {
    std::vector<std::int32_t> step_of(plan_.steps.size() + 1);
    std::int32_t steps = 0, end = 0;
    for (const StepId s : core::ids<StepId>(plan_.steps.size())) {
      step_of[s.index()] = steps;
      ReductionStep step = plan_.steps[s];
      const std::int32_t left = rows_left(step);
      if (left == 0) continue;
      const Interval inputs = step.inputs;
      step.inputs.begin = end;
      for (std::int32_t i = inputs.begin; i < inputs.end; ++i) {
        RowRef input = plan_.reduction_inputs[static_cast<std::size_t>(i)];
        input.row -= input.row > row_in_slot_[input.slot.index()] ? 1 : 0;
        input.slot = slot_of_[input.slot.index()];
        plan_.reduction_inputs[static_cast<std::size_t>(end++)] = input;
      }
      step.inputs.end = end;
      step.out_row = moved(step.out_row);
      step.rows = left;
      plan_.steps[StepId(steps++)] = step;
    }
    step_of.back() = steps;
    plan_.steps.raw().resize(static_cast<std::size_t>(steps));
    plan_.reduction_inputs.resize(static_cast<std::size_t>(end));
    for (Phase& phase : plan_.phases) {
      if (phase.kind != PhaseKind::steps) continue;
      phase.range = {step_of[static_cast<std::size_t>(phase.range.begin)],
                     step_of[static_cast<std::size_t>(phase.range.end)]};
    }
    if (plan_.phases.back().range.size() > 0) return;
    plan_.phases.pop_back();
    plan_.launches.raw().back().phases.end = static_cast<std::int32_t>(plan_.phases.size());
  }

  void rewrite_rows() {
    std::size_t end = 0;
    for (const RequestId r : plan_.query_rows) {
      if (r != gone_) plan_.query_rows[end++] = moved(r);
    }
    plan_.query_rows.resize(end);
  }

  void rewrite_forest() {
    const std::int32_t place = forest_.batch_position[gone_];
    forest_.leaf.raw().erase(forest_.leaf.raw().begin() + gone_.value);
    forest_.request_label.raw().erase(forest_.request_label.raw().begin() + gone_.value);
    forest_.batch_position.raw().erase(forest_.batch_position.raw().begin() + gone_.value);
    for (NodeId& leaf : forest_.leaf) leaf = moved(leaf);
    for (std::int32_t& position : forest_.batch_position) position -= position > place ? 1 : 0;
    const auto drop = [this](auto& column) {
      column.raw().erase(column.raw().begin() + first_node_, column.raw().begin() + last_node_);
    };
    drop(forest_.parent);
    drop(forest_.tokens);
    drop(forest_.tokens_before);
    drop(forest_.request_begin);
    drop(forest_.request_end);
    drop(forest_.node_label);
    drop(forest_.pages.first_page);
    drop(forest_.pages.first_offset);
    for (const NodeId n : core::ids<NodeId>(forest_.node_count())) {
      forest_.parent[n] = moved(forest_.parent[n]);
      forest_.request_begin[n].value -= forest_.request_begin[n] > gone_ ? 1 : 0;
      forest_.request_end[n].value -= forest_.request_end[n] > gone_ ? 1 : 0;
    }
  }

  Plan& plan_;
  traces::PrefixForest& forest_;
  RequestId gone_;
  std::int32_t first_node_ = 0, last_node_ = 0;  ///< nodes that go
  std::vector<std::int32_t> removed_;            ///< positions that go
  std::vector<std::int32_t> row_in_slot_;        ///< of each old slot: the row that goes
  std::vector<SlotId> slot_of_;                  ///< new number of each old slot
};

}  // namespace

bool leave(Plan& plan, RequestId request) {
  ESPALIER_CHECK(request.valid() && request.index() < plan.forest.request_count());
  return Leaving(plan, request).run();
}

}  // namespace espalier::scheduler

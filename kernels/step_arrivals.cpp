// Counting of arrivals at steps, by units of heads.
#include "kernels/step_arrivals.h"

#include <algorithm>
#include <map>
#include <set>

#include "core/error.h"
#include "kernels/plan_access.h"

namespace espalier::kernels {
namespace {

using scheduler::Interval;
using scheduler::Plan;
using scheduler::ReductionStep;
using scheduler::RowRef;
using scheduler::StepId;
using scheduler::Task;
using scheduler::TaskId;

/// Heads that one arrival brings.
struct Heads {
  std::int32_t begin, count;
};

struct Writer {
  bool is_step = false;
  std::int32_t index = -1;
};

std::vector<Writer> slot_writers(const Plan& plan) {
  std::vector<Writer> writers(plan.slots.size());
  for (const TaskId t : core::ids<TaskId>(plan.tasks.size())) {
    if (plan.tasks[t].slot.valid()) writers[plan.tasks[t].slot.index()] = {false, t.value};
  }
  for (const StepId s : core::ids<StepId>(plan.steps.size())) {
    if (plan.steps[s].out.valid()) writers[plan.steps[s].out.index()] = {true, s.value};
  }
  return writers;
}

std::vector<std::int32_t> input_slots(const Plan& plan, const ReductionStep& step) {
  std::set<std::int32_t> slots;
  for (const RowRef& input : slice("inputs of a step", plan.reduction_inputs, step.inputs)) {
    slots.insert(input.slot.value);
  }
  return {slots.begin(), slots.end()};
}

/// How one step is counted.
struct Unit {
  std::int32_t heads = 0;  ///< of a unit; 0: it can't be counted
  std::int32_t expected = 0;
};

class ArrivalCounter {
 public:
  ArrivalCounter(const Plan& plan, const std::vector<Interval>& ranges) : plan_(plan), writers_(slot_writers(plan)) {
    for (const Interval& range : ranges) {
      for (std::int32_t s = range.begin; s < range.end; ++s) on_arrival_.insert(s);
    }
  }

  bool fill(DevicePlan& lowered) {
    std::map<std::int32_t, std::vector<Arrival>> by_task, by_step;
    std::int32_t counters = 0;
    for (const std::int32_t s : on_arrival_) {
      const ReductionStep& step = plan_.steps[StepId(s)];
      const Unit unit = unit_of(s);
      if (unit.heads == 0 || step.head_count > 0x7FFF) return false;
      for (const std::int32_t slot : input_slots(plan_, step)) {
        const Writer w = writers_[static_cast<std::size_t>(slot)];
        if (w.index < 0 || (w.is_step && !on_arrival_.contains(w.index))) return false;
        auto& list = (w.is_step ? by_step : by_task)[w.index];
        list.push_back({s, counters, unit.heads, unit.expected});
        if (w.is_step && list.size() > 1) return false;
      }
      counters += step.head_count / unit.heads;
    }
    lowered.counters = counters;
    lowered.task_arrivals = columns(by_task, plan_.tasks.size(), lowered.arrivals);
    lowered.step_arrivals = columns(by_step, plan_.steps.size(), lowered.arrivals);
    return true;
  }

 private:
  static std::vector<Interval> columns(const std::map<std::int32_t, std::vector<Arrival>>& by_writer,
                                       std::size_t writers, std::vector<Arrival>& arrivals) {
    std::vector<Interval> intervals(writers);
    for (const auto& [writer, list] : by_writer) {
      const auto first = static_cast<std::int32_t>(arrivals.size());
      arrivals.insert(arrivals.end(), list.begin(), list.end());
      intervals[static_cast<std::size_t>(writer)] = {first, static_cast<std::int32_t>(arrivals.size())};
    }
    return intervals;
  }

  /// Heads of every arrival that a writer makes.
  std::vector<Heads> arrivals_of(Writer writer) {
    std::vector<Heads> heads;
    if (writer.is_step) {
      const ReductionStep& step = plan_.steps[StepId(writer.index)];
      const std::int32_t unit = unit_of(writer.index).heads;
      for (std::int32_t h = 0; unit > 0 && h < step.head_count; h += unit) heads.push_back({step.head_begin + h, unit});
    } else {
      const Task& task = plan_.tasks[TaskId(writer.index)];
      for (std::int32_t c = 0; c < task.copies; ++c) {
        heads.push_back({task.head_begin + c * task.head_count, task.head_count});
      }
    }
    return heads;
  }

  Unit unit_of(std::int32_t s) {
    if (const auto known = units_.find(s); known != units_.end()) return known->second;
    units_[s] = {};  // a circle of steps can't be counted
    const ReductionStep& step = plan_.steps[StepId(s)];
    std::vector<Heads> all;
    for (const std::int32_t slot : input_slots(plan_, step)) {
      const Writer writer = writers_[static_cast<std::size_t>(slot)];
      if (writer.index < 0) return {};
      for (const Heads h : arrivals_of(writer)) {
        const bool apart = h.begin + h.count <= step.head_begin || h.begin >= step.head_begin + step.head_count;
        if (!apart) all.push_back(h);
      }
    }
    if (all.empty()) return {};
    Unit unit = counted(step, all, all.front().count);
    if (unit.heads == 0) unit = counted(step, all, step.head_count);
    return units_[s] = unit;
  }

  /// With units of `heads`: every arrival lies in one unit, and all units expect as many.
  static Unit counted(const ReductionStep& step, const std::vector<Heads>& all, std::int32_t heads) {
    if (heads <= 0 || step.head_count % heads != 0) return {};
    std::vector<std::int32_t> counts(static_cast<std::size_t>(step.head_count / heads), 0);
    for (const Heads h : all) {
      const std::int32_t from = h.begin - step.head_begin;
      if (from < 0 || from / heads != (from + h.count - 1) / heads || from + h.count > step.head_count) return {};
      ++counts[static_cast<std::size_t>(from / heads)];
    }
    const bool even = std::all_of(counts.begin(), counts.end(), [&](std::int32_t n) { return n == counts.front(); });
    return even ? Unit{heads, counts.front()} : Unit{};
  }

  const Plan& plan_;
  std::vector<Writer> writers_;
  std::set<std::int32_t> on_arrival_;
  std::map<std::int32_t, Unit> units_;
};

}  // namespace

bool count_arrivals(const Plan& plan, const std::vector<Interval>& step_ranges, DevicePlan& lowered) {
  return ArrivalCounter(plan, step_ranges).fill(lowered);
}

std::vector<std::vector<std::int32_t>> step_levels(const Plan& plan, Interval steps) {
  const std::vector<Writer> writers = slot_writers(plan);
  std::map<std::int32_t, std::size_t> level;
  std::vector<std::vector<std::int32_t>> levels;
  // Steps are few and chains short: passes until nothing is left, each taking those whose inputs are there.
  for (std::size_t left = static_cast<std::size_t>(steps.size()), taken = 1; left > 0; left -= taken) {
    std::vector<std::int32_t> ready;
    for (std::int32_t s = steps.begin; s < steps.end; ++s) {
      if (level.contains(s)) continue;
      const std::vector<std::int32_t> slots = input_slots(plan, plan.steps[StepId(s)]);
      const bool waits = std::any_of(slots.begin(), slots.end(), [&](std::int32_t slot) {
        const Writer w = writers[static_cast<std::size_t>(slot)];
        return w.is_step && w.index >= steps.begin && w.index < steps.end && !level.contains(w.index);
      });
      if (!waits) ready.push_back(s);
    }
    taken = ready.size();
    if (taken == 0) {
      throw core::bad_input("plan: steps", "steps that don't wait for each other in a circle", "a circle");
    }
    for (const std::int32_t s : ready) level[s] = levels.size();
    levels.push_back(std::move(ready));
  }
  return levels;
}

}  // namespace espalier::kernels

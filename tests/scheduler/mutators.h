// Ways of breaking a valid plan, one table a theme, and the small tools they are written with.
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "core/rng.h"
#include "scheduler/validate.h"

namespace espalier::scheduler::samples {

using core::Rng;

/// Breaks the plan; false when this plan offers no place for it.
using Break = std::function<bool(Plan&, Rng&)>;
struct Mutator {
  ViolationClass violation;
  const char* name;
  Break apply;
};

template <class T>
T* any(std::vector<T>& column, Rng& rng) {
  return column.empty()
             ? nullptr
             : &column[static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(column.size()) - 1))];
}
/// A random row that fits, or none.
template <class T, class F>
T* any_where(std::vector<T>& column, Rng& rng, F&& fits) {
  std::vector<T*> rows;
  for (T& row : column) {
    if (fits(row)) rows.push_back(&row);
  }
  T** row = any(rows, rng);
  return row == nullptr ? nullptr : *row;
}

inline bool reads_kv(const Task& task) { return task.kind != TaskKind::padding && task.segments.size() > 0; }

/// A random task with segments, and one of them.
struct TaskSegment {
  Task* task = nullptr;
  Segment* segment = nullptr;
};
inline TaskSegment any_segment(Plan& plan, Rng& rng) {
  Task* task = any_where(plan.tasks.raw(), rng, reads_kv);
  if (task == nullptr) return {};
  return {task, &plan.segments[static_cast<std::size_t>(rng.integer(task->segments.begin, task->segments.end - 1))]};
}
inline std::int64_t length(const Plan& plan, const Segment& segment) { return plan.forest.tokens[segment.node]; }

inline RowRef* input_of(Plan& plan, const ReductionStep& step, std::int32_t k) {
  return &plan.reduction_inputs[static_cast<std::size_t>(step.inputs.begin + k)];
}
template <class F>
ReductionStep* any_step(Plan& plan, Rng& rng, F&& fits) {
  return any_where(plan.steps.raw(), rng, fits);
}
inline ReductionStep* any_step(Plan& plan, Rng& rng) {
  return any_step(plan, rng, [](const ReductionStep&) { return true; });
}
inline RequestId first_request(const Plan& plan, Interval queries) {
  return plan.query_rows[static_cast<std::size_t>(queries.begin)];
}

/// Lets a step write the final row of a request that isn't its own.
inline bool take_final_row_of_another(Plan& p, Rng& r) {
  ReductionStep* step = any_step(p, r, [](const ReductionStep& s) { return !s.out.valid() && s.rows == 1; });
  if (step == nullptr) return false;
  const RequestId own = p.query_rows[static_cast<std::size_t>(step->out_row)];
  const auto other = std::find_if(p.query_rows.begin(), p.query_rows.end(), [&](RequestId q) { return q != own; });
  if (other == p.query_rows.end()) return false;
  step->out_row = static_cast<std::int32_t>(other - p.query_rows.begin());
  return true;
}

/// Sets `field` of a random row of a column to `value`.
template <class T, class Field>
bool set(std::vector<T>& column, Rng& rng, Field T::*field, Field value) {
  T* row = any(column, rng);
  if (row == nullptr) return false;
  row->*field = value;
  return true;
}

std::vector<Mutator> index_mutators();
std::vector<Mutator> coverage_mutators();
std::vector<Mutator> head_mutators();
std::vector<Mutator> slot_mutators();
std::vector<Mutator> mismatch_mutators();
std::vector<Mutator> order_mutators();
std::vector<Mutator> limit_mutators();

}  // namespace espalier::scheduler::samples

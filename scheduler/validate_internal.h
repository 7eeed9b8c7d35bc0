// Shared by the validator's parts: the report they write to, facts computed once, and the exact-cover check that every
// "exactly once" rule comes down to. Not for use outside scheduler/validate*.cpp.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "scheduler/validate.h"

namespace espalier::scheduler::validation {

/// Collects violations, at most `most` a class; text is formatted only when it will be kept.
class Report {
 public:
  explicit Report(int most) : most_(most < 1 ? 1 : most) {}

  template <class... Args>
  void add(ViolationClass violation, fmt::format_string<Args...> text, Args&&... args) {
    if (!room(violation)) return;
    ++count_[static_cast<std::size_t>(violation)];
    violations_.push_back({violation, fmt::format(text, std::forward<Args>(args)...)});
  }
  bool room(ViolationClass violation) const { return count_[static_cast<std::size_t>(violation)] < most_; }
  bool has(ViolationClass violation) const { return count_[static_cast<std::size_t>(violation)] > 0; }
  int most() const { return most_; }
  std::vector<Violation> take() { return std::move(violations_); }

 private:
  int most_;
  std::array<int, kViolationClasses> count_{};
  std::vector<Violation> violations_;
};

/// Half-open box of the plane, and the record it came from.
struct Rect {
  std::int64_t x0 = 0, x1 = 0, y0 = 0, y1 = 0;
  std::int32_t item = -1;
};

/// A place covered by two rectangles, or by none: the line x, from y0 to y1.
struct CoverFault {
  bool twice = false;
  std::int64_t x = 0, y0 = 0, y1 = 0;
  std::int32_t first = -1, second = -1;  ///< items of the two rectangles
};

/// Checks that `rects` (all inside `domain`; reordered) cover each point of `domain` exactly once. Faults in a fixed
/// order, at most `limit` of each sort. O(n log n), without touching points.
std::vector<CoverFault> check_cover(const Rect& domain, std::vector<Rect>& rects, int limit);

/// What the later checks need of a plan whose indices are sound.
struct Facts {
  const Plan& plan;
  const costmodel::DeviceSpec& device;
  // By position in Plan::query_rows: where the strictly increasing run, and the run of consecutive requests, from here
  // end.
  std::vector<std::int32_t> increasing_end = {};
  std::vector<std::int32_t> consecutive_end = {};
  // Global phase index of each task and step, -1 when it stands in none; launch of each phase, -1 likewise; grid
  // barriers up to and including each phase of its launch.
  std::vector<std::int32_t> task_phase = {};
  std::vector<std::int32_t> step_phase = {};
  std::vector<std::int32_t> phase_launch = {};
  std::vector<std::int32_t> barriers = {};
  // Queries and heads are sound, so that the record takes part in coverage and data flow. Padding never does.
  std::vector<char> task_good = {};
  std::vector<char> slot_good = {};
  std::vector<char> step_good = {};
};

inline std::int32_t head_end(const Task& task) { return task.head_begin + task.head_count * task.copies; }
inline std::int32_t head_end(const Slot& slot) { return slot.head_begin + slot.head_count; }
inline std::int32_t head_end(const ReductionStep& step) { return step.head_begin + step.head_count; }

inline const std::string& request_name(const Plan& plan, std::int64_t request) {
  return plan.forest.request_label[RequestId(static_cast<std::int32_t>(request))];
}
inline std::int64_t node_name(const Plan& plan, NodeId node) { return plan.forest.node_label[node]; }

/// Visits the runs [r0, r1) of consecutive requests in rows of Plan::query_rows. Rows of requests that don't exist are
/// passed over.
template <class F>
void for_runs(const Facts& facts, Interval rows, F&& visit) {
  const auto requests = static_cast<std::int32_t>(facts.plan.forest.request_count());
  for (std::int32_t at = rows.begin; at < rows.end;) {
    const std::int32_t end = std::min(rows.end, facts.consecutive_end[static_cast<std::size_t>(at)]);
    const std::int32_t r0 = facts.plan.query_rows[static_cast<std::size_t>(at)].value;
    if (r0 >= 0 && r0 < requests) visit(r0, std::min(requests, r0 + (end - at)));
    at = end;
  }
}

/// Visits the intersection of two query groups: positions [a, a + n) of the first hold the same requests as [b, b + n)
/// of the second.
template <class F>
void for_common(const Facts& facts, Interval first, Interval second, F&& visit) {
  std::int32_t a = first.begin, b = second.begin;
  while (a < first.end && b < second.end) {
    const std::int32_t a_end = std::min(first.end, facts.consecutive_end[static_cast<std::size_t>(a)]);
    const std::int32_t b_end = std::min(second.end, facts.consecutive_end[static_cast<std::size_t>(b)]);
    const std::int32_t ra = facts.plan.query_rows[static_cast<std::size_t>(a)].value;
    const std::int32_t rb = facts.plan.query_rows[static_cast<std::size_t>(b)].value;
    const std::int32_t low = std::max(ra, rb), high = std::min(ra + (a_end - a), rb + (b_end - b));
    if (low < high) visit(a + (low - ra), b + (low - rb), high - low);
    if (ra + (a_end - a) <= rb + (b_end - b)) {
      a = a_end;
    } else {
      b = b_end;
    }
  }
}

/// One touch of a slot: rows and heads, by a task or a step of a phase.
struct Access {
  SlotId slot;
  std::int32_t row_begin = 0, row_end = 0, head_begin = 0, head_end = 0;
  std::int32_t phase = -1;
  std::int32_t item = -1;  ///< task or step
  bool by_step = false;
};

/// Accesses of all slots, those of one slot together.
struct AccessTable {
  std::vector<Access> rows;
  std::vector<std::int32_t> begin;  ///< by slot, and one past the last
  std::span<const Access> of(SlotId slot) const {
    return std::span(rows).subspan(static_cast<std::size_t>(begin[slot.index()]),
                                   static_cast<std::size_t>(begin[slot.index() + 1] - begin[slot.index()]));
  }
};

struct SlotAccesses {
  AccessTable writes;
  AccessTable reads;  ///< the one use that consumes: step inputs and folds of partials, softmax of scores
  AccessTable scans;  ///< probabilities read by values tasks
};

/// Everything in the execution of `before` is finished when `after` begins: by launch dependencies, the order of a
/// stream or a grid barrier. Other order (queues, list position) is not relied on.
class PhaseOrder {
 public:
  explicit PhaseOrder(const Facts& facts);
  bool ordered(std::int32_t before, std::int32_t after);

 private:
  bool reaches(std::int32_t before, std::int32_t after);
  void find_ancestors();
  /// Visits the launches that `launch` itself waits for: its dependencies and the launch before it on its stream.
  template <class F>
  void for_waited(std::int32_t launch, F&& visit) const;

  const Facts& facts_;
  std::vector<std::int32_t> previous_;  ///< by launch: the one before it on its stream, or -1
  // Bit `b` of row `a`: launch b comes before launch a. Only of plans with few launches; others search, and remember
  // the last search: launches before `after_` are those whose `seen_` is `stamp_`.
  std::size_t words_ = 0;
  std::vector<std::uint64_t> ancestors_;
  std::vector<std::int32_t> seen_, stack_;
  std::int32_t stamp_ = 0, after_ = -1;
};

// The parts, in the order validate() runs them. check_structure returns false when indices are broken: then nothing
// else may run.
bool check_structure(Facts& facts, Report& report);
void check_shapes(Facts& facts, Report& report);
void check_kernels(const Facts& facts, Report& report);
void check_queues(const Facts& facts, Report& report);
void check_coverage(const Facts& facts, Report& report);
SlotAccesses collect_accesses(const Facts& facts, Report& report);
void check_flow(const Facts& facts, const SlotAccesses& accesses, Report& report);
void check_score_chain(const Facts& facts, const SlotAccesses& accesses, Report& report);
void check_storage(const Facts& facts, const SlotAccesses& accesses, Report& report);
void check_memory(const Facts& facts, Report& report);

/// The forest's columns agree with one another as traces/prefix_forest.h says; else a sentence on the first that
/// doesn't.
std::string forest_fault(const traces::PrefixForest& forest);
/// The same for the head configuration.
std::string heads_fault(const traces::HeadConfig& heads);
bool known_dtype(traces::Dtype dtype);

}  // namespace espalier::scheduler::validation

// What the planners that share nothing have in common: every task reads a run of one request's context.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "scheduler/strategies/common.h"

namespace espalier::scheduler::planning {

/// KV tokens of each request in batch order, and which requests those are.
struct Contexts {
  std::vector<RequestId> requests;
  std::vector<std::int64_t> tokens;
  std::int64_t longest = 0, total = 0;
};
Contexts contexts_of(const traces::PrefixForest& forest);

/// Appends tasks that read a run of one request's context. Calls for one request should follow one another.
class FlatTasks {
 public:
  FlatTasks(PlanBuilder& builder, KernelId kernel);
  /// CTAs that read the same KV run: one a head interval.
  std::int32_t copies() const { return copies_; }
  /// Context tokens [begin, end) of the request for copies [copies.begin, copies.end).
  TaskId add(RequestId request, std::int64_t begin, std::int64_t end, Interval copies);
  TaskId add(RequestId request, std::int64_t begin, std::int64_t end) { return add(request, begin, end, {0, copies_}); }

 private:
  PlanBuilder& builder_;
  std::int32_t heads_, copies_;
  RequestId at_;
  std::optional<Route> route_;
  std::vector<Segment> segments_;
};

/// A request's context in pieces of `chunk` tokens, with empty pieces up to `grid` of them.
struct ContextCut {
  RequestId request;
  std::int64_t chunk;
  std::int64_t grid = 0;
};

/// How a flat method runs.
struct FlatRun {
  const costmodel::KernelConfig& attend;
  const costmodel::KernelConfig& reduce;
  Follow merge_follow = Follow::graph;
  std::int64_t planner_ctas = 0;  ///< CTAs of a launch that plans on the device, in front of everything
  std::int64_t grid_items = 0;    ///< pieces of a fixed grid; the rest is empty CTAs
  bool merge_single = false;      ///< a request in one piece passes through the merge too
};

/// Attention in the order of the cuts, one CTA a piece and copy, then a merge. Throws Refused when the plan would be
/// too large.
Plan flat_cuts_plan(const PlanRequest& request, const StrategyInfo& info, const FlatRun& run,
                    std::span<const ContextCut> cuts, std::vector<std::string> why);

/// Persistent workers with queues: tasks are added, then given to workers; merges follow in the same launch.
class QueuePlan {
 public:
  QueuePlan(const PlanRequest& request, const costmodel::KernelConfig& attend, std::int64_t workers);
  std::int64_t workers() const { return static_cast<std::int64_t>(queues_.size()); }
  FlatTasks& tasks() { return tasks_; }
  void give(std::int64_t worker, TaskId task, std::int32_t copy) {
    queues_[static_cast<std::size_t>(worker)].push_back({task, copy});
  }
  PlanBuilder& builder() { return builder_; }
  /// A launch of `ctas` CTAs in front that plan on the device. Before any task.
  void plan_first(std::int32_t ctas);
  /// Merges on `reduce`, started as `start` says.
  void close(const costmodel::KernelConfig& reduce, PhaseStart start);
  /// Merges in a launch of their own.
  void close_apart(const costmodel::KernelConfig& reduce, Follow follow);
  Plan finish(Provenance from) && { return std::move(builder_).finish(std::move(from)); }

 private:
  PlanBuilder builder_;
  KernelId attend_;
  FlatTasks tasks_;
  TaskId first_{0};
  std::vector<std::vector<QueueItem>> queues_;
};

/// CTAs of the kernel the device holds at once.
std::int64_t resident_ctas(const costmodel::KernelConfig& kernel, const PlanRequest& request);

/// "prefixes are read by each request anew …", when there are any.
void add_no_sharing(const traces::PrefixForest& forest, std::vector<std::string>& why);

}  // namespace espalier::scheduler::planning

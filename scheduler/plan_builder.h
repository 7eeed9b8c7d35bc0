// How strategies write plans: append tasks, let the builder place partial rows by prefix sums and merge them.
//
// The builder never numbers a partial row by a running rank; slots are made a task at a time and the merge of a request
// lists exactly the rows that hold it, whatever was cut how.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "scheduler/plan.h"

namespace espalier::scheduler {

/// Query heads one CTA copy of this kernel takes: the largest divisor of the group that fits the query tile when the
/// kernel packs heads, else 1. And how many requests then fit the tile.
std::int32_t heads_per_copy(const costmodel::KernelConfig& kernel, const traces::HeadConfig& heads);
std::int32_t queries_per_tile(const costmodel::KernelConfig& kernel, const traces::HeadConfig& heads);

/// Bytes of a slot's storage; checked.
std::int64_t slot_bytes(const Slot& slot);

class PlanBuilder {
 public:
  PlanBuilder(const traces::PrefixForest& forest, const traces::HeadConfig& heads);

  KernelId kernel(const costmodel::KernelConfig& config);       ///< registers once, by name
  void reserve_tasks(std::size_t tasks, std::size_t segments);  ///< so many more will be added
  /// The same of slots, steps, and what steps take in.
  void reserve_merges(std::size_t slots, std::size_t steps, std::size_t inputs);

  /// Query groups. An interval of requests (costs nothing: query_rows begins with all requests in order), or any list
  /// in depth-first order.
  Interval queries(RequestId begin, RequestId end);
  Interval queries(std::span<const RequestId> list);

  /// One attend task over `segments` for `group`, with as many copies of heads_per_copy() heads as cover all query
  /// heads. Its output is decided by finish_rows().
  TaskId attend(KernelId kernel, std::span<const Segment> segments, Interval group);
  /// A task as given, for kinds and head intervals beyond attend().
  TaskId task(const Task& task);
  /// `count` empty CTAs; nothing is added for 0.
  TaskId padding(std::int32_t count);
  Interval segments(std::span<const Segment> list);  ///< for task()
  Segment segment(NodeId node, std::int64_t begin, std::int64_t end,
                  std::int32_t rows) const;  ///< open at the node's end

  SlotId slot(const Slot& slot);  ///< offset is assigned by finish()
  /// `later` lives in the bytes of `earlier` (merges in place). Both must take the same number of bytes.
  void reuse_storage(SlotId later, SlotId earlier);
  Interval folds(std::span<const SlotId> slots);
  StepId step(const ReductionStep& step, std::span<const RowRef> inputs);

  /// Opens a launch; phases added until the next launch() belong to it. It depends on `after` and on the previous
  /// launch of its stream. A launch that gets no phase is dropped by finish().
  LaunchId launch(Follow follow = Follow::graph, std::int32_t stream = 0, std::span<const LaunchId> after = {});
  /// Adds tasks [begin, now) or steps [begin, now) as a phase of the open launch. Nothing is added when the range is
  /// empty.
  void task_phase(KernelId kernel, TaskId begin, PhaseStart start = PhaseStart::together);
  void step_phase(KernelId kernel, StepId begin, PhaseStart start = PhaseStart::together);
  /// Per-worker queues of the open launch, items in order of execution. Nothing is added when no worker has an item.
  void queues(std::span<const std::vector<QueueItem>> workers);
  /// The same, all items in one list: those of worker w end before items[ends[w]].
  void queues(std::span<const QueueItem> items, std::span<const std::size_t> ends);
  TaskId next_task() const { return TaskId(plan_.tasks.size()); }
  StepId next_step() const { return StepId(plan_.steps.size()); }

  /// Gives every attend task made since the last call that has neither slot nor folds its output: final rows when none
  /// of its queries has another partial row for the same heads, else a slot of `dtype`; then appends one merge step per
  /// request with partial rows (requests whose lists have the same slots at consecutive rows share one) and maximal run
  /// of heads that the same tasks cover. Returns the first step; equal to next_step() when nothing needs merging.
  /// Linear in the rows, except that requests whose tasks cover different heads pay (tasks x distinct head borders).
  StepId finish_rows(traces::Dtype dtype);

  Plan& plan() { return plan_; }
  /// Drops empty launches, lays out the workspace (256-byte aligned), stores provenance, seals.
  Plan finish(Provenance provenance) &&;

 private:
  void add_phase(const Phase& phase);
  SlotId storage_of(SlotId slot) const;
  void lay_out_workspace();
  void drop_empty_launches();

  Plan plan_;
  TaskId unfinished_{0};                    ///< first task that no finish_rows() has seen
  core::Column<SlotId, SlotId> stored_in_;  ///< slot whose bytes a slot reuses, or invalid
};

}  // namespace espalier::scheduler

// The rows of a plan's columns: plain structs of fixed layout, in memory and on a device alike. What they mean together
// is in scheduler/plan.h.
#pragma once

#include <cstdint>

#include "core/id.h"
#include "traces/head_config.h"
#include "traces/prefix_forest.h"

namespace espalier::scheduler {

using traces::NodeId;
using traces::RequestId;
struct TaskTag;
struct SlotTag;
struct StepTag;
struct LaunchTag;
struct KernelTag;
using TaskId = core::Id<TaskTag>;
using SlotId = core::Id<SlotTag>;
using StepId = core::Id<StepTag>;
using LaunchId = core::Id<LaunchTag>;
using KernelId = core::Id<KernelTag>;

/// Segment end meaning "to the end of the node": such a plan stays valid when the node grows by a decoded token.
inline constexpr std::int32_t kToNodeEnd = -1;

struct Segment {
  NodeId node;
  std::int32_t token_begin = 0;         ///< first token within the node
  std::int32_t token_end = kToNodeEnd;  ///< one past the last, or kToNodeEnd
  std::int32_t row_begin = 0;           ///< queries of the task's group that see it: [row_begin, row_end)
  std::int32_t row_end = 0;
};

enum class TaskKind : std::int32_t {
  padding,  ///< a CTA that is launched and returns at once (empty splits, padded graph grids)
  attend,   ///< partial attention over its segments; optional slots folded in by log-sum-exp
  scores,   ///< q.k over its segments, stored into a score slot (columns in segment order)
  softmax,  ///< for each query: one softmax over its rows of all folded score slots, in place
  values,   ///< probabilities of the folded score slots x v over its segments; rows are summed, not log-sum-exp merged
};

/// Row interval of `Plan::query_rows`, half open.
struct Interval {
  std::int32_t begin = 0, end = 0;
  std::int32_t size() const { return end - begin; }
  friend bool operator==(Interval, Interval) = default;
};

struct Task {
  TaskKind kind = TaskKind::attend;
  Interval segments;            ///< of Plan::segments; none for softmax and padding
  Interval queries;             ///< of Plan::query_rows: the query group, requests in depth-first order
  std::int32_t head_begin = 0;  ///< query heads of copy 0: [head_begin, head_begin + head_count)
  std::int32_t head_count = 0;  ///< query heads of one copy; a copy's heads share one KV head
  std::int32_t copies = 1;      ///< copy c serves heads head_begin + c*head_count …; padding: equal empty CTAs
  SlotId slot;                  ///< where the rows go; invalid: they are the requests' final rows
  Interval folds;               ///< of Plan::fold_slots
};

enum class SlotKind : std::int32_t { partial, scores };

/// Slots begin at multiples of this many bytes, so that rows can be moved in 16-byte pieces.
inline constexpr std::int64_t kSlotAlignment = 16;

/// Rows of partial results: row r belongs to request query_rows[queries.begin + r]. Storage begins at byte `offset` of
/// the workspace and is row-major, [rows][heads][columns] of dtype; for partials then [rows][heads] fp32 log-sum-exps.
/// Storage may be shared by slots whose lifetimes don't overlap.
struct Slot {
  SlotKind kind = SlotKind::partial;
  Interval queries;
  std::int32_t head_begin = 0;
  std::int32_t head_count = 0;
  traces::Dtype dtype = traces::Dtype::fp32;
  std::int64_t columns =
      0;  ///< v_dim of partials; scores: tokens of the writing task's segments when planned (an upper bound later)
  std::int64_t offset = 0;  ///< bytes, a multiple of kSlotAlignment
};

enum class ReductionOp : std::int32_t { log_sum_exp, sum };

/// First row of a run of rows of a slot.
struct RowRef {
  SlotId slot;
  std::int32_t row = 0;
};

/// Merges, for r in [0, rows): row `input.row + r` of every input, heads [head_begin, head_begin+head_count), into row
/// `out_row + r` of `out`; or, when `out` is invalid, into the final rows of requests query_rows[out_row + r].
struct ReductionStep {
  Interval inputs;  ///< of Plan::reduction_inputs; one input is a copy
  std::int32_t rows = 1;
  SlotId out;
  std::int32_t out_row = 0;
  std::int32_t head_begin = 0;
  std::int32_t head_count = 0;
  ReductionOp op = ReductionOp::log_sum_exp;
};

enum class PhaseKind : std::int32_t { tasks, steps };
/// When a phase may begin, relative to the phase before it in the same launch.
enum class PhaseStart : std::int32_t {
  together,    ///< at once: another class of work in the same grid
  barrier,     ///< after a grid barrier (cooperative launch)
  on_arrival,  ///< each step as soon as its inputs are written, by the last CTA to arrive
};

struct Phase {
  PhaseKind kind = PhaseKind::tasks;
  Interval range;  ///< of tasks or of steps
  KernelId kernel;
  PhaseStart start = PhaseStart::together;
};

/// How a launch follows the launches it depends on.
enum class Follow : std::int32_t { stream, graph, programmatic };

struct Launch {
  Interval phases;
  Interval dependencies;    ///< of Plan::dependencies: launches that must have finished
  std::int32_t stream = 0;  ///< launches on one stream run in order, each after the one before it has finished
  Follow follow = Follow::graph;
  std::int32_t workers = 0;  ///< persistent CTAs; 0: hardware order, one CTA a task copy (a step: by the kernel's rows)
  std::int32_t queue_begin = 0;  ///< first of `workers` entries of Plan::queues
};

/// One copy of a task in a worker's queue.
struct QueueItem {
  TaskId task;
  std::int32_t copy = 0;
};

}  // namespace espalier::scheduler

// The plan: who reads which KV, in which tile, on which SM, merged how. The only plan format, in memory, on disk, on the GPU.
//
// A plan is a set of columns of plain structs. Strategies fill them through PlanBuilder, the validator proves them, the
// simulator times them, every executor runs them unchanged. Identical work is stored once with a multiplicity: a task has
// `copies`, one for each head interval, and the same forest tokens serve all of them.
//
// Vocabulary
//   segment   a run of tokens of one node, and the interval of the task's queries that see it (masks are constant in a node)
//   task      segments x a query group x a head interval -> a slot, or final rows
//   slot      a partial result: one row a query of its group, for a head interval; a score slot holds scores instead
//   step      a reduction: merges rows of slots into rows of a slot, or into final rows
//   phase     a run of tasks or steps of one kernel inside a launch
//   launch    one kernel launch: phases in order, dependencies on other launches, optional per-worker queues
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/id.h"
#include "costmodel/kernel_config.h"
#include "costmodel/work_counts.h"
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
  std::int32_t token_begin = 0;          ///< first token within the node
  std::int32_t token_end = kToNodeEnd;   ///< one past the last, or kToNodeEnd
  std::int32_t row_begin = 0;            ///< queries of the task's group that see it: [row_begin, row_end)
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
  Interval segments;              ///< of Plan::segments; none for softmax and padding
  Interval queries;               ///< of Plan::query_rows: the query group, requests in depth-first order
  std::int32_t head_begin = 0;    ///< query heads of copy 0: [head_begin, head_begin + head_count)
  std::int32_t head_count = 0;    ///< query heads of one copy; a copy's heads share one KV head
  std::int32_t copies = 1;        ///< copy c serves heads head_begin + c*head_count …; padding: equal empty CTAs
  SlotId slot;                    ///< where the rows go; invalid: they are the requests' final rows
  Interval folds;                 ///< of Plan::fold_slots
};

enum class SlotKind : std::int32_t { partial, scores };

/// Slots begin at multiples of this many bytes, so that rows can be moved in 16-byte pieces.
inline constexpr std::int64_t kSlotAlignment = 16;

/// Rows of partial results: row r belongs to request query_rows[queries.begin + r]. Storage begins at byte `offset` of the workspace and
/// is row-major, [rows][heads][columns] of dtype; for partials then [rows][heads] fp32 log-sum-exps. Storage may be shared by slots
/// whose lifetimes don't overlap.
struct Slot {
  SlotKind kind = SlotKind::partial;
  Interval queries;
  std::int32_t head_begin = 0;
  std::int32_t head_count = 0;
  traces::Dtype dtype = traces::Dtype::fp32;
  std::int64_t columns = 0;  ///< v_dim of partials; scores: tokens of the writing task's segments when planned (an upper bound later)
  std::int64_t offset = 0;   ///< bytes, a multiple of kSlotAlignment
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
  Interval dependencies;  ///< of Plan::dependencies: launches that must have finished
  std::int32_t stream = 0;  ///< launches on one stream run in order, each after the one before it has finished
  Follow follow = Follow::graph;
  std::int32_t workers = 0;     ///< persistent CTAs; 0: hardware order, one CTA a task copy (a step: by the kernel's rows)
  std::int32_t queue_begin = 0; ///< first of `workers` entries of Plan::queues
};

/// One copy of a task in a worker's queue.
struct QueueItem {
  TaskId task;
  std::int32_t copy = 0;
};

/// Who made the plan, of what, and why it looks as it does.
struct Provenance {
  std::string strategy;
  std::map<std::string, std::string> options;
  std::string cost_model;  ///< empty: none consulted
  std::string device;      ///< device it was made for
  std::string kernels;     ///< "ours" or "published"
  std::uint64_t seed = 0;
  bool graph_safe = true;  ///< may run inside a CUDA graph
  std::vector<std::string> why;  ///< sentences, most important first
};

struct Plan {
  traces::PrefixForest forest;
  traces::HeadConfig heads;
  Provenance provenance;

  core::Column<KernelId, costmodel::KernelConfig> kernels;
  core::Column<LaunchId, Launch> launches;
  std::vector<LaunchId> dependencies;
  std::vector<Phase> phases;
  core::Column<TaskId, Task> tasks;
  std::vector<Segment> segments;
  std::vector<RequestId> query_rows;
  std::vector<SlotId> fold_slots;
  core::Column<SlotId, Slot> slots;
  core::Column<StepId, ReductionStep> steps;
  std::vector<RowRef> reduction_inputs;
  std::vector<Interval> queues;  ///< one a worker, of queue_items
  std::vector<QueueItem> queue_items;
  std::int64_t workspace_bytes = 0;

  std::uint64_t hash = 0;  ///< of everything above except the forest's name; set by seal()
};

std::string_view kind_name(TaskKind kind);

/// Tokens of a segment in this plan's forest: the resolved end minus begin.
std::int64_t segment_end(const Plan& plan, const Segment& segment);
inline std::int64_t segment_tokens(const Plan& plan, const Segment& s) { return segment_end(plan, s) - s.token_begin; }

/// Kernel of each task and of each step: that of the phase it stands in (invalid id when it stands in none).
core::Column<TaskId, KernelId> task_kernels(const Plan& plan);
core::Column<StepId, KernelId> step_kernels(const Plan& plan);

/// Shape of one copy of a task, for counts and cost models.
costmodel::TaskShape task_shape(const Plan& plan, const Task& task);
costmodel::ReductionShape step_shape(const Plan& plan, const ReductionStep& step);

std::uint64_t plan_hash(const Plan& plan);
/// Stores the content hash. A plan is not changed afterwards, except by grow() and the updates of batch_update.h.
void seal(Plan& plan);

/// The plan of the next decode step of the same structure: node lengths replaced (same nodes, none shorter than what closed
/// segments cover), segments that reach a node's end follow, hash renewed. Throws Error (bad input) when lengths don't fit.
void grow(Plan& plan, const core::Column<NodeId, std::int64_t>& tokens);

/// plan/1. Reading checks every index and the hash: a mismatch is an Error (bad input) that names both.
std::string write_plan(const Plan& plan);
Plan read_plan(std::string_view text, const std::string& file);

}  // namespace espalier::scheduler

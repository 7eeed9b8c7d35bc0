// The plan: who reads which KV, in which tile, on which SM, merged how. The only plan format, in memory, on disk, on
// the GPU.
//
// A plan is a set of columns of plain structs. Strategies fill them through PlanBuilder, the validator proves them, the
// simulator times them, every executor runs them unchanged. Identical work is stored once with a multiplicity: a task
// has `copies`, one for each head interval, and the same forest tokens serve all of them.
//
// Vocabulary
//   segment   a run of tokens of one node, and the interval of the task's queries that see it (masks are constant in a
//             node)
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
#include "scheduler/plan_records.h"
#include "traces/head_config.h"
#include "traces/prefix_forest.h"

namespace espalier::scheduler {

/// Who made the plan, of what, and why it looks as it does.
struct Provenance {
  std::string strategy;
  std::map<std::string, std::string> options;
  std::string cost_model;  ///< empty: none consulted
  std::string device;      ///< device it was made for
  std::string kernels;     ///< "ours" or "published"
  std::uint64_t seed = 0;
  bool graph_safe = true;        ///< may run inside a CUDA graph
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

/// The plan of the next decode step of the same structure: node lengths replaced (same nodes, none shorter than what
/// closed segments cover), segments that reach a node's end follow, hash renewed. Throws Error (bad input) when lengths
/// don't fit.
void grow(Plan& plan, const core::Column<NodeId, std::int64_t>& tokens);

/// plan/1. Reading checks every index and the hash: a mismatch is an Error (bad input) that names both.
std::string write_plan(const Plan& plan);
Plan read_plan(std::string_view text, const std::string& file);

}  // namespace espalier::scheduler

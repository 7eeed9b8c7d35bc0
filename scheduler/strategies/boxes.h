// Boxes: what most methods on trees launch. A box is a run of tokens of one path x a group of queries that see all of
// it. Private to scheduler/strategies.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "scheduler/strategies/common.h"

namespace espalier::scheduler::planning {

/// The nodes `top` … `last` of one path, read as one run of tokens.
struct Chain {
  NodeId top, last;
  std::int64_t tokens = 0;
};
Chain chain_of(const traces::PrefixForest& forest, NodeId top, NodeId last);

struct Box {
  Chain chain;
  std::int64_t begin = 0, end = 0;  ///< tokens of the chain
  Interval queries;                 ///< of Plan::query_rows
  std::size_t kernel = 0;           ///< index into the kernels given to launch_boxes()
  TaskId task;                      ///< set by launch_boxes()
};

/// Appends `chain` cut every `piece` tokens, for queries [begin, end) of `group` cut every `most_queries`: token pieces
/// of a query tile stand side by side.
struct Cut {
  std::int64_t piece;
  std::int32_t most_queries;
  std::size_t kernel = 0;
};
void cut_boxes(const Chain& chain, Interval group, const Cut& cut, std::vector<Box>& out);

/// Consecutive nodes read by the same requests: one node of a radix tree.
struct Run {
  Chain chain;
  RequestId begin, end;
  std::int32_t level = 0;  ///< runs above it
  std::int32_t readers() const { return end.value - begin.value; }
};
/// In preorder. `levels`: runs on each request's path, the last of which is run `last`.
struct Runs {
  std::vector<Run> runs;
  core::Column<RequestId, std::int32_t> levels;
  core::Column<NodeId, std::size_t> run_of;
};
Runs runs_of(const traces::PrefixForest& forest);

struct LaunchStyle {
  Follow follow = Follow::graph;
  bool longest_first = false;  ///< else as given
  std::int32_t stream = 0;     ///< of the first launch
  bool side_by_side = false;   ///< each launch on a stream of its own; else all on `stream`
};

/// Refuses with class `size` when the boxes make too many tasks, segments or partial rows.
/// Then one launch a kernel that has boxes, in the kernels' order; sets Box::task. Boxes keep their places in the span.
std::vector<LaunchId> launch_boxes(PlanBuilder& builder, std::span<const costmodel::KernelConfig* const> kernels,
                                   std::span<Box> boxes, const LaunchStyle& style);

}  // namespace espalier::scheduler::planning

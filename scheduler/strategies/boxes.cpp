// Cutting chains into boxes, and boxes into launches; see the header.
#include "scheduler/strategies/boxes.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/units.h"

namespace espalier::scheduler::planning {

using traces::PrefixForest;

Chain chain_of(const PrefixForest& forest, NodeId top, NodeId last) {
  return {top, last, forest.tokens_before[last] + forest.tokens[last] - forest.tokens_before[top]};
}

void cut_boxes(const Chain& chain, Interval group, const Cut& cut, std::vector<Box>& out) {
  ESPALIER_CHECK(cut.piece > 0 && cut.most_queries > 0);
  for (std::int32_t q = group.begin; q < group.end; q += cut.most_queries) {
    const Interval queries{q, std::min(group.end, q + cut.most_queries)};
    for (std::int64_t at = 0; at < chain.tokens; at += cut.piece) {
      out.push_back({chain, at, std::min(chain.tokens, at + cut.piece), queries, cut.kernel, TaskId()});
    }
  }
}

Runs runs_of(const PrefixForest& forest) {
  Runs result;
  result.runs.reserve(forest.node_count());
  result.run_of = core::Column<NodeId, std::size_t>(forest.node_count());
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    const NodeId parent = forest.parent[n];
    const bool same_readers = parent.valid() && forest.request_begin[parent] == forest.request_begin[n] &&
                              forest.request_end[parent] == forest.request_end[n];
    if (same_readers) {
      result.run_of[n] = result.run_of[parent];
      Chain& chain = result.runs[result.run_of[n]].chain;
      chain.last = n;
      chain.tokens += forest.tokens[n];
    } else {
      result.run_of[n] = result.runs.size();
      const std::int32_t level = parent.valid() ? result.runs[result.run_of[parent]].level + 1 : 0;
      result.runs.push_back({{n, n, forest.tokens[n]}, forest.request_begin[n], forest.request_end[n], level});
    }
  }
  result.levels = core::Column<RequestId, std::int32_t>(forest.request_count());
  for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
    result.levels[r] = result.runs[result.run_of[forest.leaf[r]]].level + 1;
  }
  return result;
}

namespace {

/// Segments of the box: its path is walked upwards from the last node, then turned around.
void box_segments(const PlanBuilder& builder, const PrefixForest& forest, const Box& box, std::vector<Segment>& out) {
  out.clear();
  const std::int64_t base = forest.tokens_before[box.chain.top];
  for (NodeId n = box.chain.last;; n = forest.parent[n]) {
    const std::int64_t node_begin = forest.tokens_before[n] - base, node_end = node_begin + forest.tokens[n];
    const std::int64_t begin = std::max(box.begin, node_begin), end = std::min(box.end, node_end);
    if (begin < end) out.push_back(builder.segment(n, begin - node_begin, end - node_begin, box.queries.size()));
    if (node_begin <= box.begin) break;
  }
  std::reverse(out.begin(), out.end());
}

void check_sizes(const PlanBuilder& builder, std::span<const Box> boxes) {
  std::int64_t rows = 0;
  for (const Box& box : boxes) rows = core::checked_add(rows, box.queries.size());
  require_at_most("tasks",
                  static_cast<std::int64_t>(builder.next_task().value) + static_cast<std::int64_t>(boxes.size()),
                  kMaxTasks);
  require_at_most("partial rows", rows, kMaxPlanRows);
}

}  // namespace

std::vector<LaunchId> launch_boxes(PlanBuilder& builder, std::span<const costmodel::KernelConfig* const> kernels,
                                   std::span<Box> boxes, const LaunchStyle& style) {
  check_sizes(builder, boxes);
  std::vector<std::vector<std::size_t>> of_kernel(kernels.size());
  for (std::size_t i = 0; i < boxes.size(); ++i) of_kernel[boxes[i].kernel].push_back(i);
  const PrefixForest& forest = builder.plan().forest;
  std::vector<LaunchId> launches;
  std::vector<Segment> segments;
  for (std::size_t k = 0; k < kernels.size(); ++k) {
    std::vector<std::size_t>& order = of_kernel[k];
    if (order.empty()) continue;
    if (style.longest_first) {
      std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return boxes[a].end - boxes[a].begin > boxes[b].end - boxes[b].begin;
      });
    }
    const KernelId kernel = builder.kernel(*kernels[k]);
    launches.push_back(builder.launch(
        style.follow, style.stream + (style.side_by_side ? static_cast<std::int32_t>(launches.size()) : 0)));
    const TaskId first = builder.next_task();
    for (const std::size_t i : order) {
      box_segments(builder, forest, boxes[i], segments);
      boxes[i].task = builder.attend(kernel, segments, boxes[i].queries);
      require_at_most("segments", static_cast<std::int64_t>(builder.plan().segments.size()), kMaxPlanRows);
    }
    builder.task_phase(kernel, first);
  }
  return launches;
}

}  // namespace espalier::scheduler::planning

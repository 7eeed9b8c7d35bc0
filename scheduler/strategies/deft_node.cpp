// DeFT-Node: one item a node and group of its queries.
//
// Faithful: the queries of a node in groups of at most 32; an item is a whole node (node-chunk mode: 128 tokens of it)
// for one group; nodes in depth-first order; one CTA a query head with the published kernel, which doesn't pack heads
// and walks the node in tiles of 16 tokens; fp32 partials; the metadata is made on the host every step, so no CUDA
// graph.
// Deviates: the reduction by atomics in two kernels is one merge launch; a query with one item writes its final row.
// With our kernels heads are packed, groups shrink to what the tile holds, longest items go first, and the plan may run
// in a graph.
#include "scheduler/strategies/deft_node.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "scheduler/strategies/boxes.h"

namespace espalier::scheduler {
namespace planning {

Plan deft_node_plan(const PlanRequest& request, const StrategyInfo& info, std::int64_t chunk) {
  const traces::PrefixForest& forest = request.forest;
  const bool published = request.kernels == KernelSet::published;
  std::int64_t readers = 1, longest = 1;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    readers = std::max<std::int64_t>(readers, forest.readers(n));
    longest = std::max(longest, forest.tokens[n]);
  }
  const auto most = static_cast<std::int32_t>(request.options.at("queries"));
  const costmodel::KernelConfig* const kernels[] = {
      published ? &published_kernel(request, "deft_node")
                : &our_kernel(request, std::min<std::int64_t>(most, readers) * request.heads.group())};
  const Cut cut{chunk > 0 ? chunk : longest, std::min(most, queries_per_tile(*kernels[0], request.heads))};

  PlanBuilder builder(forest, request.heads);
  std::vector<Box> boxes;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    cut_boxes({n, n, forest.tokens[n]}, builder.queries(forest.request_begin[n], forest.request_end[n]), cut, boxes);
    require_at_most("tasks", static_cast<std::int64_t>(boxes.size()), kMaxTasks);
  }
  const KernelId reduce = builder.kernel(reduce_kernel(request, "deft_reduce"));
  const Follow follow = published ? Follow::stream : Follow::graph;
  const std::vector<LaunchId> launches = launch_boxes(builder, kernels, boxes, {follow, !published});
  merge_rows(request, builder, {reduce, kernels[0]->partial_dtype, follow, launches});

  Provenance from = provenance(info, request);
  from.graph_safe = !published;
  from.why = {fmt::format("{} make {} of at most {} and {} tokens",
                          counted(static_cast<std::int64_t>(forest.node_count()), "node"),
                          counted(static_cast<std::int64_t>(boxes.size()), "item"),
                          counted(cut.most_queries, "query row"), std::min(cut.piece, longest))};
  if (!kernels[0]->packs_heads && request.heads.group() > 1) {
    from.why.push_back(fmt::format("heads aren't packed: each KV head is read {} times", request.heads.group()));
  }
  return std::move(builder).finish(std::move(from));
}

namespace {

class DeftNode final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{"deft_node",
                                    "one item a node and group of queries, however long the node",
                                    "DeFT-Node (arXiv 2404.00242)",
                                    "at most 4000000 tasks and 16777216 partial rows; refuses head configurations "
                                    "whose tile fits no kernel of the set",
                                    false,
                                    {{"queries", 32, 1, 128, "most queries a task"}}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] { return deft_node_plan(request, info(), 0); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& deft_node_strategy() {
  static const planning::DeftNode kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler

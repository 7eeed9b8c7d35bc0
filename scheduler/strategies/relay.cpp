// RelayAttention: one system prompt, read by all queries as if they were one long query; the rest of each request as
// ordinary decode; the two parts fused.
//
// Faithful: only what all requests share from the first token on is shared; dense attention over it with all queries as
// one sequence, without head packing in the published kernels; paged decode with log-sum-exps over each rest; one fuse
// launch, whose sigmoid of the difference of log-sum-exps is the two-input merge. No rule asks whether it is worth it.
// Usable in a CUDA graph.
// Deviates: both attentions are FlashAttention-2's split-KV kernels with its rule (dense attention that needs no split
// would run on a wider tile); the prefix stays in the paged cache; a request that ends with the prefix has nothing to
// fuse. With our kernels heads are packed, the two launches run side by side and one launch merges all partial rows.
#include <fmt/core.h>

#include "scheduler/strategies/layers.h"

namespace espalier::scheduler {
namespace planning {
namespace {

Plan relay_plan(const PlanRequest& request, const StrategyInfo& info) {
  const traces::PrefixForest& forest = request.forest;
  const auto requests = static_cast<std::int32_t>(forest.request_count());
  std::int64_t roots = 0;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) roots += forest.is_root(n) ? 1 : 0;
  if (roots != 1) {
    refuse(RefusalClass::structure,
           fmt::format("relay needs one prefix shared by all requests, the forest has {} roots", roots));
  }
  const Run prefix = runs_of(forest).runs.front();
  Layer rest{{}, false};
  for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
    const NodeId last = forest.leaf[r];
    NodeId top;
    for (NodeId n = last; n > prefix.chain.last; n = forest.parent[n]) top = n;
    if (top.valid()) rest.segments.push_back({chain_of(forest, top, last), r, RequestId(r.value + 1), 1});
  }
  const std::int64_t unique = traces::unique_tokens(forest),
                     read = prefix.chain.tokens + traces::logical_tokens(forest) - prefix.chain.tokens * requests;
  const LayeredMethod method{Follow::graph, Follow::graph, "fa2_split", true, "fa2_combine", "relay_fuse"};
  return layered_plan(request, info, {{{prefix}, true}, rest}, method,
                      fmt::format("the prefix of {} tokens is read once for {} in tiles; sharing below it isn't used: "
                                  "{} tokens read, {} unique",
                                  prefix.chain.tokens, counted(requests, "request"), read, unique));
}

class Relay final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{"relay",
                                    "one prefix read by all queries as one sequence, then ordinary decode of the rest",
                                    "RelayAttention (arXiv 2402.14808)",
                                    "exactly one root; uses no sharing below the prefix that all requests share",
                                    false,
                                    {}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] { return relay_plan(request, info()); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& relay_strategy() {
  static const planning::Relay kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler

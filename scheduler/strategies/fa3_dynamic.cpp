// FlashAttention-3 with a split count of each request's own (variable-length path, dynamic tile scheduler).
//
// Faithful: blocks an SM from the total of the batch with 10 % to spare; each request's splits from its own blocks,
// under the static rule's bound for one request; no split above 992 requests; longest pieces first; fp32 partials,
// combine launched programmatically.
// Deviates: the planner kernel in front is left out unless asked for (planner=1), as serving engines run it once a step
// for all layers; the dynamic scheduler is hardware order; otherwise as fa3_static.
#include <fmt/core.h>

#include "core/units.h"
#include "scheduler/strategies/fa3.h"
#include "scheduler/strategies/flat_tasks.h"

namespace espalier::scheduler {
namespace planning {

Plan fa3_dynamic_plan(const PlanRequest& request, const StrategyInfo& info, bool planner,
                      std::vector<std::string> why) {
  const Fa3Kernel kernel = fa3_kernel(request, request.heads.group());
  const Contexts contexts = contexts_of(request.forest);
  const Fa3Cut cut = fa3_dynamic_cut(request, kernel.tile, contexts.tokens, request.heads.group());
  std::vector<ContextCut> cuts;
  std::int64_t most = 1;
  for (const std::size_t i : fa3_longest_first(cut)) {
    cuts.push_back({contexts.requests[i], fa3_piece_tokens(contexts.tokens[i], kernel.tile.tokens, cut.splits.of[i])});
    most = std::max(most, cut.splits.of[i]);
  }
  const auto requests = static_cast<std::int64_t>(contexts.requests.size());
  const FlatRun run{
      .attend = kernel.config,
      .reduce = reduce_kernel(request, "fa3_combine"),
      .merge_follow = request.kernels == KernelSet::published ? Follow::programmatic : Follow::graph,
      .planner_ctas = planner ? core::ceil_div(requests, static_cast<std::int64_t>(kFa3MostSplitRequests)) : 0};
  why.push_back(cut.splits.blocks_per_sm == 0
                    ? fmt::format("no split: {} requests are more than the {} one CTA of the planner counts", requests,
                                  kFa3MostSplitRequests)
                    : fmt::format("up to {} of {} allowed, {} of {} tokens an SM; longest pieces first",
                                  counted(most, "split"), cut.bound, counted(cut.splits.blocks_per_sm, "block"),
                                  kernel.tile.tokens));
  return flat_cuts_plan(request, info, run, cuts, std::move(why));
}

namespace {

class Fa3Dynamic final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{
        "fa3_dynamic",
        "each request split by its own length against the batch's blocks an SM, longest first",
        "FlashAttention-3, variable-length path with its device-side planner",
        "published kernels need warp-group MMA and head dims up to 256 or latent attention of 576 and 512",
        false,
        {{"planner", 0, 0, 1, "1: the planner kernel runs in front of the layer; 0: once a step for all layers"}}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] { return fa3_dynamic_plan(request, info(), request.options.at("planner") > 0, {}); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& fa3_dynamic_strategy() {
  static const planning::Fa3Dynamic kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler

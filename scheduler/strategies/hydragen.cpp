// Hydragen: dense attention of every shared level of the tree, decode of the unique rest, all joined at once.
//
// Faithful: a level's segments with their queries are one batch of dense attention, which needs equal branching: as
// many queries under each segment of a level, and every request on every level; library kernels without head packing;
// the unique part by a split-K decode kernel with FlashAttention-2's split rule; one combination of all levels. No cost
// rule: every level there is is used. Only the unique part runs in a CUDA graph.
// Deviates: segments of a level may differ in length (the original then takes its variable-length kernel); the dense
// attention is FlashAttention-2's split-KV kernel with its rule; a request without a unique part has no item there.
// With our kernels heads are packed, levels run side by side and one launch merges all partial rows.
#include <fmt/core.h>

#include <algorithm>

#include "scheduler/strategies/layers.h"

namespace espalier::scheduler {
namespace planning {
namespace {

/// Shared levels from the roots down. Refuses with class `structure` when a level isn't equally branched.
std::vector<Layer> shared_levels(const traces::PrefixForest& forest, const Runs& runs) {
  std::vector<Layer> levels;
  for (const Run& run : runs.runs) {
    if (run.readers() == 1) continue;
    const auto level = static_cast<std::size_t>(run.level);
    if (levels.size() <= level) levels.resize(level + 1);
    levels[level].segments.push_back(run);
  }
  for (std::size_t l = 0; l < levels.size(); ++l) {
    const auto [fewest, most] =
        std::minmax_element(levels[l].segments.begin(), levels[l].segments.end(),
                            [](const Run& a, const Run& b) { return a.readers() < b.readers(); });
    if (fewest->readers() != most->readers()) {
      refuse(RefusalClass::structure,
             fmt::format("hydragen needs equal branching: segments of level {} serve {} to {} requests", l,
                         fewest->readers(), most->readers()));
    }
    const std::size_t covered = levels[l].segments.size() * static_cast<std::size_t>(most->readers());
    if (covered != forest.request_count()) {
      refuse(RefusalClass::structure,
             fmt::format("hydragen needs every request on every shared level: level {} serves {} of {}", l, covered,
                         counted(static_cast<std::int64_t>(forest.request_count()), "request")));
    }
  }
  return levels;
}

Plan hydragen_plan(const PlanRequest& request, const StrategyInfo& info) {
  const Runs runs = runs_of(request.forest);
  std::vector<Layer> layers = shared_levels(request.forest, runs);
  const std::size_t shared = layers.size();
  layers.push_back(rest_layer(runs));
  const LayeredMethod method{Follow::stream, Follow::graph, "hydragen_decode",
                             false,          "fa2_combine", "hydragen_combine"};
  return layered_plan(
      request, info, layers, method,
      fmt::format("{}, each dense attention of one batch", counted(static_cast<std::int64_t>(shared), "shared level")));
}

class Hydragen final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{
        "hydragen",
        "dense attention a shared level, decode of the rest, one combination",
        "Hydragen (arXiv 2402.05099)",
        "equal branching: every request on every shared level, as many under each of its segments",
        false,
        {}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] { return hydragen_plan(request, info()); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& hydragen_strategy() {
  static const planning::Hydragen kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler

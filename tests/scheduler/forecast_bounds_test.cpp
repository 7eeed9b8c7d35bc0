// What is said of a cover before it is laid out, against what is forecast of it then.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "scheduler/strategies/cover.h"
#include "scheduler/strategies/forecast.h"
#include "scheduler/strategies/shares.h"
#include "tests/scheduler/sample_plans.h"

namespace espalier::scheduler::planning {
namespace {

using core::Rng;

/// A forest of up to 60 nodes with lengths of `unit` to 40 times that.
traces::PrefixForest forest_of(Rng& rng, std::int64_t unit) {
  traces::PrefixForest forest = samples::ragged_forest(rng, 60, 40);
  for (auto* column : {&forest.tokens, &forest.tokens_before}) {
    for (std::int64_t& tokens : *column) tokens *= unit;
  }
  return forest;
}

/// Tiles uncut, as one class of CTAs a run of tiles.
Forecast forecast_uncut(const PlanRequest& request, const std::vector<TileKernel>& kernels, const Cover& cover) {
  const double copies = request.heads.kv_heads;
  std::vector<CtaClass> classes;
  for (std::size_t h = 0; h < kernels.size(); ++h) {
    std::int64_t read = 0;
    for (const TileRun& run : cover.layers[h].runs) read += run.tokens * run.tiles;
    for (const TileRun& run : cover.layers[h].runs) {
      if (run.tokens == 0) continue;
      classes.push_back({&kernels[h], static_cast<double>(run.tokens), run.tiles * copies,
                         static_cast<double>(cover.layers[h].unique) / static_cast<double>(read)});
    }
  }
  std::stable_sort(classes.begin(), classes.end(), [](const CtaClass& a, const CtaClass& b) {
    return std::pair(a.kernel, a.tokens) < std::pair(b.kernel, b.tokens);
  });
  return forecast(request, {classes, kernels.size() == 1, copies, static_cast<double>(request.forest.request_count()),
                            static_cast<double>(cover.partial_rows)});
}

TEST(Forecast, IsBoundedBeforeACoverIsLaidOut) {
  const auto heads = traces::parse_heads("32/8/128");
  double closest = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Rng rng(seed);
    const traces::PrefixForest forest = forest_of(rng, 64);
    const costmodel::DeviceSpec device = costmodel::find_device(seed % 2 == 0 ? "h100-sxm" : "a100-80");
    const PlanRequest request{forest, heads, device};
    const std::vector<TileKernel> all = tile_kernels(request);
    std::vector<TileKernel> kernels = {all[seed % all.size()]};
    if (seed % 3 == 0) kernels = {all.front(), all.back()};
    std::vector<HeightCost> costs;
    for (const TileKernel& kernel : kernels) costs.push_back({kernel.queries, kernel.tile_us * 8});
    const CoverPrices prices{costs, 0.01, 64};
    const HeightChoice choice = choose_heights(group_nodes(forest), prices);
    const PathTokens path = path_tokens(forest);
    LeastLoad load;
    load.cold_tokens = static_cast<double>(path.unique * heads.kv_heads);
    load.requests = static_cast<double>(forest.request_count());
    load.partial_rows = static_cast<double>(choice.partial_rows);
    load.merges_in_place = kernels.size() == 1;
    for (std::size_t h = 0; h < kernels.size(); ++h) {
      const double tokens = static_cast<double>(choice.least_tokens[h] * heads.kv_heads);
      load.tokens += tokens;
      load.compute_us += tokens / kernels[h].config->kv_tile * kernels[h].tile_us / device.sms;
      load.bytes_per_us = std::max(load.bytes_per_us, kernels[h].residents * kernels[h].bytes_per_us);
    }
    const double least = least_forecast(request, load).total_us,
                 us = forecast_uncut(request, kernels, cover_forest(forest, prices, path)).total_us;
    EXPECT_LE(least, us) << "seed " << seed;
    closest = std::max(closest, least / us);
  }
  EXPECT_GT(closest, 0.9) << "a bound that is never near rules nothing out";
}

TEST(Forecast, OfEqualSharesIsRuledOutOnlyWhereItWouldLose) {
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    Rng rng(seed);
    const traces::PrefixForest forest = forest_of(rng, seed % 5 == 0 ? 64 : 1);
    const auto heads = traces::parse_heads(seed % 3 == 0 ? "128/1/576:512" : seed % 3 == 1 ? "64/1/128" : "16/1/128");
    const costmodel::DeviceSpec device = costmodel::find_device(seed % 2 == 0 ? "h100-sxm" : "l4");
    const PlanRequest request{forest, heads, device};
    const std::vector<TileKernel> kernels = tile_kernels(request);
    const TileKernel& kernel = kernels[seed % kernels.size()];
    const std::int32_t copies = heads.q_heads / heads_per_copy(*kernel.config, heads);
    const std::vector<HeightCost> costs{{kernel.queries, kernel.tile_us * copies}};
    const CoverPrices prices{costs, 0.01, 64};
    const Cover cover = cover_forest(forest, prices, path_tokens(forest));
    const ShareTask task{&kernel, &cover.layers[0], copies, static_cast<double>(heads.kv_heads) / copies};
    const double best = try_equal_shares(request, task, std::numeric_limits<double>::infinity()).forecast.total_us;
    EXPECT_FALSE(try_equal_shares(request, task, best * 1.0001).shares.list.empty()) << "seed " << seed;
    EXPECT_TRUE(try_equal_shares(request, task, best).shares.list.empty()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace espalier::scheduler::planning

// Forecasts of plans, and what is said of a cover before it is laid out, against what is forecast of it then.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "scheduler/strategies/cover.h"
#include "scheduler/strategies/forecast.h"
#include "scheduler/strategies/shares.h"
#include "tests/scheduler/sample_plans.h"
#include "traces/import.h"

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
      classes.push_back({&kernels[run.height], static_cast<double>(run.tokens), run.tiles * copies,
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

class ForecastLimits : public testing::Test {
 protected:
  ForecastLimits() : request_{forest_, heads_, device_}, kernels_(tile_kernels(request_)) {}
  Forecast of(double tokens, double ctas, double cold = 1, double partial_rows = 0) {
    const CtaClass one{&kernels_[0], tokens, ctas, cold};
    return forecast(request_, {std::span(&one, 1), true, 8, 64, partial_rows});
  }
  traces::PrefixForest forest_ = traces::parse_tree("64|8192");
  traces::HeadConfig heads_ = traces::parse_heads("32/8/128");
  costmodel::DeviceSpec device_ = costmodel::find_device("h100-sxm");
  PlanRequest request_;
  std::vector<TileKernel> kernels_;
};

TEST_F(ForecastLimits, KnowsFourTileHeights) {
  ASSERT_EQ(kernels_.size(), 4u);
  EXPECT_EQ(kernels_[0].queries, 4);
  EXPECT_EQ(kernels_[3].queries, 32);
}

TEST_F(ForecastLimits, ManyCtasTakeTheirBytesOverBandwidth) {
  const double bytes = 1e5 * 8192 * 512;
  EXPECT_NEAR(of(8192, 1e5).total_us, bytes / device_.hbm_achievable_bytes_per_us(),
              0.03 * bytes / device_.hbm_achievable_bytes_per_us());
  // What others have read comes from L2.
  EXPECT_LT(of(8192, 1e5, 0).total_us, 0.5 * of(8192, 1e5).total_us);
}

TEST_F(ForecastLimits, OneCtaCantDrawTheWholeBandwidth) {
  const double us = of(65536, 1).total_us;
  EXPECT_GT(us, 65536 * 512 / kernels_[0].bytes_per_us);
  EXPECT_GT(us, 20 * 65536 * 512 / device_.hbm_achievable_bytes_per_us());
}

TEST_F(ForecastLimits, AnotherRoundCostsAnotherRound) {
  const double slots = device_.sms * kernels_[0].residents;
  const double full = of(512, slots).total_us, more = of(512, slots + 1).total_us;
  EXPECT_GT(more, full + 1);
  EXPECT_GT(of(512, slots, 1, 6400).total_us, full);
}

TEST_F(ForecastLimits, QueriesAndResultsPassBesideKv) {
  // A wave and a fifth, so that HBM isn't all that counts: the first wave's queries and results keep the second
  // waiting.
  const CtaClass one{&kernels_[2], 576, 1.2 * device_.sms * kernels_[2].residents, 0.6};
  const auto us = [&](double requests) {
    return forecast(request_, {std::span(&one, 1), true, 8, requests, 0}).total_us;
  };
  const double hbm_us = 600 * 32 * (128 + 128) * 2 / device_.hbm_achievable_bytes_per_us();
  EXPECT_GT(us(600), us(0) + 0.6 * hbm_us);
  EXPECT_LT(us(600), us(0) + 1.05 * hbm_us);
}

TEST_F(ForecastLimits, ReadersOfTheSameKvBeginInSmallerGroups) {
  // As many bytes from HBM, opening requests and rates; but of those that find some in L2 the last begin later.
  CtaClass one{&kernels_[2], 256, 132, 1};
  const auto us = [&](double copies) { return forecast(request_, {std::span(&one, 1), true, copies, 64, 0}).total_us; };
  EXPECT_EQ(us(8), us(64));
  one.cold = 0.9;
  EXPECT_GT(us(8), us(64) + 0.05);
}

TEST_F(ForecastLimits, SaysOfUnlikeCtasWhetherTheyAreBelowALimit) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Rng rng(seed);
    std::vector<CtaClass> classes;
    double tokens = 64;
    const double shared_cold = 0.2 + 0.8 * rng.uniform();
    for (std::int64_t i = rng.integer(1, 6); i > 0; --i) {
      tokens *= 1 + 3 * rng.uniform();
      classes.push_back({&kernels_[2], tokens, static_cast<double>(8 * rng.integer(1, i == 1 ? 2 : 60)),
                         rng.chance(0.3) ? 1 : shared_cold, tokens * (1 + 0.2 * rng.uniform())});
    }
    const Workload work{classes, true, 8, 64, 100, true};
    const double exact = forecast(request_, work).total_us;
    for (const double limit : {0.3 * exact, 0.9 * exact, 0.99 * exact}) {
      EXPECT_GE(forecast(request_, work, limit).total_us, limit) << "seed " << seed;
    }
    EXPECT_EQ(forecast(request_, work, 1.01 * exact).total_us, exact) << "seed " << seed;
    // What is known before of the longest is below what comes out: without it, only half of a latency is less.
    Workload like = work;
    like.unlike = false;
    EXPECT_NEAR(forecast(request_, like).total_us, exact - 0.5e-3 * device_.hbm_latency_ns, 1e-9 * exact)
        << "seed " << seed;
  }
  // A long one takes its own time and no more, whatever is known of it before.
  const TileKernel& kernel = kernels_[2];
  const CtaClass alone{&kernel, 65536, 8, 1, 65536};
  const double us = forecast(request_, {std::span(&alone, 1), true, 8, 64, 0, true}).total_us;
  EXPECT_NEAR(us, 65536 * std::max(512 / kernel.bytes_per_us, kernel.tile_us / kernel.config->kv_tile), 0.05 * us);
}

}  // namespace
}  // namespace espalier::scheduler::planning

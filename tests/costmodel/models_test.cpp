// The published cost models against hand-computed values, and what must hold for every model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "core/rng.h"
#include "costmodel/cost_model.h"

namespace espalier::costmodel {
namespace {

using traces::parse_heads;

/// 10^4 bytes/us for each SM: at 512 bytes a token, 1,024 tokens take 52.4288 us, the calibration point of relative
/// models.
DeviceSpec round_device() {
  DeviceSpec device;
  device.name = "round";
  device.sms = 132;
  device.hbm_gbps = 1320;
  device.hbm_read_fraction = 1;
  return device;
}
constexpr double kAnchorUs = 52.4288;

TaskShape attend(std::int32_t queries, std::int32_t heads, std::int64_t tokens, bool partial = true) {
  TaskShape shape;
  shape.queries = queries;
  shape.heads = heads;
  shape.kv_tokens = tokens;
  shape.visible_pairs = queries * tokens;
  shape.writes_partial = partial;
  return shape;
}

KernelConfig tile(std::int32_t rows, std::int32_t tokens) {
  KernelConfig kernel;
  kernel.name = "test";
  kernel.query_tile = rows;
  kernel.kv_tile = tokens;
  return kernel;
}

class Relative {
 public:
  Relative(const char* name, double anchor_units)
      : model_(make_cost_model(name, round_device(), parse_heads("32/8/128"))), scale_(anchor_units / kAnchorUs) {}
  double units(const TaskShape& shape, const KernelConfig& kernel) const {
    return model_->task(shape, kernel).us * scale_;
  }
  double units(const ReductionShape& shape) const { return model_->reduction(shape, tile(4, 1)).us * scale_; }

 private:
  std::unique_ptr<CostModel> model_;
  double scale_;
};

TEST(RelativeModels, AllMeetTheCalibrationPoint) {
  for (const CostModelInfo& info : cost_models()) {
    if (!info.relative) continue;
    const auto model = make_cost_model(info.name, round_device(), parse_heads("32/8/128"));
    EXPECT_NEAR(model->task(attend(1, 4, 1024), tile(16, 64)).us, kAnchorUs, 1e-9) << info.name;
  }
}

TEST(UnitModel, CallsAllTasksEqual) {
  const Relative model("unit", 1);
  EXPECT_NEAR(model.units(attend(1, 4, 1), tile(16, 64)), 1, 1e-12);
  EXPECT_NEAR(model.units(attend(32, 4, 100'000), tile(128, 64)), 1, 1e-12);
  EXPECT_NEAR(model.units(ReductionShape{.rows = 7, .heads = 4, .inputs = 9}), 1, 1e-12);
}

TEST(LinearModel, AddsTwiceTheTileToTheTokens) {
  const Relative model("linear", 2 * 16 + 1024);
  EXPECT_NEAR(model.units(attend(1, 4, 100), tile(16, 64)), 132, 1e-9);
  EXPECT_NEAR(model.units(attend(1, 4, 100), tile(128, 64)), 356, 1e-9);
  EXPECT_NEAR(model.units(attend(5, 4, 100), tile(16, 64)), 264, 1e-9);  // 20 rows are two tiles
  EXPECT_EQ(model.units(ReductionShape{}), 0);
}

TEST(WaveModel, CountsWholeKvTiles) {
  const Relative model("wave", 16);
  EXPECT_NEAR(model.units(attend(1, 4, 64), tile(16, 64)), 1, 1e-9);
  EXPECT_NEAR(model.units(attend(1, 4, 65), tile(16, 64)), 2, 1e-9);
  EXPECT_NEAR(model.units(attend(16, 4, 65), tile(64, 128)), 1, 1e-9);
  EXPECT_NEAR(model.units(attend(1, 4, 0), tile(16, 64)), 1, 1e-9);
}

TEST(PayloadModel, AddsFiveBlocksAPiece) {
  const Relative model("payload", 16 + 5);
  EXPECT_NEAR(model.units(attend(1, 4, 64), tile(16, 128)), 6, 1e-9);
  EXPECT_NEAR(model.units(attend(1, 4, 641), tile(16, 128)), 16, 1e-9);
}

TEST(MemoryProfitModel, PricesAPartialRowAtFourTokens) {
  const Relative model("memory_profit", 1024 + 2);
  EXPECT_NEAR(model.units(attend(3, 4, 500), tile(16, 64)), 506, 1e-9);
  EXPECT_NEAR(model.units(attend(3, 4, 500, false), tile(16, 64)), 500, 1e-9);
  EXPECT_NEAR(model.units(ReductionShape{.rows = 3, .heads = 4, .inputs = 1}), 6, 1e-9);
}

/// PAT's rule itself: absorb iff kv [ceil(S/q) - ceil((S-s)/q) - ceil(s/q)] + 4 s >= 0.
TEST(MemoryProfitModel, DecidesAsThePackRule) {
  const Relative model("memory_profit", 1024 + 2);
  core::Rng rng(3);
  int absorbed = 0;
  for (int trial = 0; trial < 2000; ++trial) {
    const auto live = static_cast<std::int32_t>(rng.integer(2, 60)),
               child = static_cast<std::int32_t>(rng.integer(1, live - 1));
    const std::int64_t kv = rng.integer(1, 300), own = rng.integer(1, 300);
    const auto tiles = [](std::int64_t n) { return (n + 15) / 16; };
    const bool rule = kv * (tiles(live) - tiles(live - child) - tiles(child)) + 4 * child >= 0;
    const KernelConfig kernel = tile(64, 64);  // 16 requests of 4 heads
    const double keep = model.units(attend(live, 4, kv), kernel) + model.units(attend(child, 4, own), kernel) +
                        model.units(ReductionShape{.rows = child, .heads = 4, .inputs = 2}) +
                        model.units(ReductionShape{.rows = live - child, .heads = 4, .inputs = 1});
    const double absorb = model.units(attend(live - child, 4, kv), kernel) +
                          model.units(attend(child, 4, kv + own), kernel) +
                          model.units(ReductionShape{.rows = live, .heads = 4, .inputs = 1});
    EXPECT_EQ(absorb <= keep + 1e-6, rule) << live << " " << child << " " << kv;
    absorbed += rule;
  }
  EXPECT_GT(absorbed, 300);
  EXPECT_LT(absorbed, 1900);
}

TEST(PaddingModel, WeighsUnusedRowsAndTokens) {
  const double anchor = 4096 + 0.66 * 3 * 4 * 1024;
  const Relative model("padding", anchor);
  // 3 queries of 4 heads on a tile of 4 queries x 32 tokens, 20 tokens: 240 live pairs, 1 query and 12 tokens unused.
  EXPECT_NEAR(model.units(attend(3, 4, 20), tile(16, 32)), 240 + 0.66 * 4 * 20 + 0.33 * 12 * 12, 1e-9);
  EXPECT_NEAR(model.units(attend(4, 4, 64), tile(16, 32)), 1024, 1e-9);  // full tiles waste nothing
  EXPECT_NEAR(model.units(ReductionShape{.rows = 5, .heads = 4, .inputs = 2}), 1.0, 1e-9);
}

/// FastTree's keep-or-absorb difference, computed with its own formula, is the model's.
TEST(PaddingModel, ComparesAsFastTree) {
  const double anchor = 4096 + 0.66 * 3 * 4 * 1024;
  const Relative model("padding", anchor);
  const KernelConfig kernel = tile(64, 32);
  const auto published = [](std::int64_t n, std::int64_t k) {
    const std::int64_t pad_q = n == 0 ? 0 : 16 - ((n - 1) % 16 + 1), pad_k = std::max<std::int64_t>(0, 32 - k);
    return 0.66 * static_cast<double>(pad_q * 4 * k) + 0.33 * static_cast<double>(pad_k * n * 4);
  };
  core::Rng rng(4);
  for (int trial = 0; trial < 500; ++trial) {
    const auto q = static_cast<std::int32_t>(rng.integer(2, 100)), c = static_cast<std::int32_t>(rng.integer(1, q - 1));
    const std::int64_t up = rng.integer(1, 4000), own = rng.integer(1, 300);
    const double theirs = published(q, up) + published(c, own) - published(q - c, up) - published(c, up + own);
    const double ours = model.units(attend(q, 4, up), kernel) + model.units(attend(c, 4, own), kernel) -
                        model.units(attend(q - c, 4, up), kernel) - model.units(attend(c, 4, up + own), kernel);
    EXPECT_NEAR(ours, theirs, 1e-6 * (1 + std::abs(theirs)) + 1e-4) << q << " " << c << " " << up << " " << own;
  }
}

TEST(RooflineModel, IsTheGreaterOfBytesAndFlops) {
  const auto heads = parse_heads("32/8/128");
  DeviceSpec device = round_device();
  KernelConfig kernel = tile(64, 64);
  kernel.smem_bytes = 150 * 1024;  // one CTA an SM
  const TaskShape shape = attend(16, 4, 6400);
  const double bytes = 6400.0 * 512 + 64 * 256 + 64 * (512 + 4);
  EXPECT_NEAR(make_cost_model("roofline", device, heads)->task(shape, kernel).us, bytes / 1e4, 1e-6);
  device.hbm_gbps = 1e6;
  const double flops = 2.0 * 64 * 6400 * 256;
  EXPECT_NEAR(make_cost_model("roofline", device, heads)->task(shape, kernel).us,
              flops / device.mma_flop_per_clk / device.clocks_per_us(), 1e-6);
}

TEST(RooflineModel, NeverExceedsTheAnalyticModel) {
  core::Rng rng(5);
  for (const char* text : {"32/8/128", "32/32/128", "16/1/128"}) {
    const auto heads = parse_heads(text);
    for (const DeviceSpec& device : device_catalog()) {
      const auto roofline = make_cost_model("roofline", device, heads),
                 analytic = make_cost_model("analytic", device, heads);
      const KernelConfig& kernel = our_attend_kernel(heads.group(), heads, device);
      const TaskShape shape = attend(1, heads.group(), rng.integer(1000, 50'000));
      EXPECT_LE(roofline->task(shape, kernel).us, 1.01 * analytic->task(shape, kernel).us)
          << device.name << " " << text;
    }
  }
}

TEST(EveryModel, IsMonotoneInTokensPositiveAndPure) {
  core::Rng rng(6);
  for (const CostModelInfo& info : cost_models()) {
    if (info.name == "table") continue;
    for (int trial = 0; trial < 150; ++trial) {
      const auto heads = parse_heads(rng.chance(0.5) ? "32/8/128" : "128/1/576:512");
      const DeviceSpec& device = device_catalog()[static_cast<std::size_t>(rng.integer(0, 3))];
      const auto model = make_cost_model(info.name, device, heads);
      const KernelConfig kernel =
          tile(static_cast<std::int32_t>(16 << rng.integer(0, 3)), static_cast<std::int32_t>(32 << rng.integer(0, 2)));
      TaskShape shape = attend(static_cast<std::int32_t>(rng.integer(1, 40)), heads.group(), 0, rng.chance(0.5));
      double before = 0;
      for (std::int64_t tokens = 0; tokens < 3'000'000;
           tokens += rng.chance(0.7) ? rng.integer(1, 40) : rng.integer(1, 400'000)) {
        shape.kv_tokens = tokens;
        shape.visible_pairs = tokens * shape.queries;
        const Cost cost = model->task(shape, kernel);
        EXPECT_GT(cost.us, 0) << info.name;
        EXPECT_GE(cost.us, before * (1 - 1e-12)) << info.name << " " << tokens;
        EXPECT_EQ(cost.us, model->task(shape, kernel).us);
        EXPECT_FALSE(cost.extrapolated);
        before = cost.us;
        if (tokens > 4000) tokens = std::min<std::int64_t>(tokens * 2, 3'000'000);
      }
      EXPECT_GE(model->reduction({.rows = 1, .heads = 4, .inputs = 3}, our_reduce_kernel()).us, 0) << info.name;
    }
  }
}

TEST(CostModelSpec, NamesWhatIsWrong) {
  const auto error_of = [](const char* spec) -> std::string {
    try {
      make_cost_model(spec, round_device(), parse_heads("32/8/128"));
    } catch (const core::Error& error) {
      EXPECT_EQ(error.kind(), core::ErrorKind::usage);
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(error_of("linaer"), ::testing::HasSubstr("linear"));
  EXPECT_THAT(error_of("linear:x.json"), ::testing::HasSubstr("takes no file"));
  EXPECT_THAT(error_of("table"), ::testing::HasSubstr("table:FILE"));
  EXPECT_THAT(error_of("table:"), ::testing::HasSubstr("table:FILE"));
  EXPECT_EQ(cost_model_info("table:a/b.json").name, "table");
}

}  // namespace
}  // namespace espalier::costmodel

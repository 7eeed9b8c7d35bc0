// Properties of cost models, and the analytic one in its limits.
#include "costmodel/cost_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/rng.h"
#include "costmodel/host_kernel.h"

namespace espalier::costmodel {
namespace {

using traces::parse_heads;

TaskShape attend(std::int32_t queries, std::int32_t heads, std::int64_t tokens) {
  TaskShape shape;
  shape.queries = queries;
  shape.heads = heads;
  shape.kv_tokens = tokens;
  shape.visible_pairs = queries * tokens;
  shape.writes_partial = true;
  return shape;
}

struct Case {
  DeviceSpec device;
  traces::HeadConfig heads;
  KernelConfig kernel;
  TaskShape shape;
};

Case random_case(core::Rng& rng) {
  const auto& devices = device_catalog();
  const std::vector<const char*> head_texts = {"32/32/128", "32/8/128", "64/8/64", "16/1/128", "128/1/576:512"};
  Case c;
  c.device = devices[static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(devices.size()) - 1))];
  c.heads = parse_heads(head_texts[static_cast<std::size_t>(rng.integer(0, 4))]);
  const auto queries = static_cast<std::int32_t>(rng.integer(1, 128));
  const std::int32_t group = c.heads.group();
  c.kernel =
      rng.chance(0.7) ? our_attend_kernel(std::int64_t{queries} * group, c.heads, c.device) : find_kernel("fa2_split");
  c.shape = attend(std::max(1, std::min(queries, c.kernel.query_tile / group)), group, 1);
  return c;
}

TEST(CostModel, IsKnownByName) {
  const DeviceSpec d = find_device("h100-sxm");
  for (const std::string& name : cost_model_names()) {
    if (name == "table") continue;  // needs a file
    EXPECT_EQ(make_cost_model(name, d, parse_heads("32/8/128"))->name(), name);
  }
  try {
    make_cost_model("analytc", d, parse_heads("32/8/128"));
    FAIL();
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::usage);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("analytic"));
  }
}

TEST(CostModel, IsMonotoneInTokensAndPositiveAtNone) {
  core::Rng rng(1);
  for (int trial = 0; trial < 400; ++trial) {
    Case c = random_case(rng);
    const auto model = make_cost_model("analytic", c.device, c.heads);
    double before = 0;
    std::int64_t tokens = 0;
    for (int i = 0; i < 20; ++i) {
      c.shape.kv_tokens = tokens;
      c.shape.visible_pairs = tokens * c.shape.queries;
      const double us = model->task(c.shape, c.kernel).us;
      EXPECT_GE(us, before) << c.device.name << " " << c.kernel.name << " " << tokens;
      EXPECT_GT(us, 0.5) << c.device.name;
      before = us;
      tokens += rng.chance(0.5) ? rng.integer(1, 3) : rng.integer(1, 5000);
    }
  }
}

TEST(CostModel, NeverGainsInTotalByCutting) {
  core::Rng rng(2);
  for (int trial = 0; trial < 400; ++trial) {
    Case c = random_case(rng);
    const auto model = make_cost_model("analytic", c.device, c.heads);
    const auto cost = [&](std::int64_t tokens) {
      c.shape.kv_tokens = tokens;
      return model->task(c.shape, c.kernel).us;
    };
    const std::int64_t a = rng.integer(1, 20000), b = rng.integer(1, 20000);
    EXPECT_LE(cost(a + b), cost(a) + cost(b)) << c.device.name << " " << c.kernel.name << " " << a << " " << b;
    // Equal pieces of whole tiles: each further cut adds at least the fixed cost.
    const std::int64_t tiles = 1 << rng.integer(0, 8);
    double before = 0;
    for (std::int64_t pieces = 1; pieces <= tiles; pieces *= 2) {
      const double total = static_cast<double>(pieces) * cost(tiles / pieces * c.kernel.kv_tile);
      EXPECT_GE(total, before + (pieces > 1 ? 0.5 * static_cast<double>(pieces) / 2 : 0))
          << c.kernel.name << " " << pieces;
      before = total;
    }
  }
}

TEST(AnalyticCostModel, TendsToTheFairShareOfBandwidth) {
  // 16 rows, one million tokens: memory-bound everywhere, so 2 x 132 CTAs move their bytes at the achievable rate.
  const DeviceSpec d = find_device("h100-sxm");
  const auto heads = parse_heads("32/8/128");
  const KernelConfig& kernel = find_kernel("espalier_mma_m16");
  const double us = make_cost_model("analytic", d, heads)->task(attend(4, 4, 1'000'000), kernel).us;
  const double bytes = 264.0 * 1e6 * 512;
  // 128 KiB in flight an SM: x = 10.3, so the law gives 0.995 of the achievable rate.
  EXPECT_NEAR(us, bytes / d.hbm_achievable_bytes_per_us() / 0.9953, us * 0.002);
}

TEST(AnalyticCostModel, TendsToLatencyWithLittleInFlight) {
  // One tile in flight a CTA under enormous bandwidth: every tile costs the loaded latency.
  const DeviceSpec d =
      find_device("h100-sxm:hbm_gbps=1000000,l2_bytes_per_clk=1000000,sm_port_bytes_per_clk=4096,hbm_latency_ns=5000");
  const auto heads = parse_heads("32/8/128");
  KernelConfig kernel = find_kernel("espalier_mma_m16");
  kernel.stages = 2;
  const auto model = make_cost_model("analytic", d, heads);
  const double step = model->task(attend(1, 1, 128 * 64), kernel).us - model->task(attend(1, 1, 64 * 64), kernel).us;
  EXPECT_NEAR(step / 64, d.hbm_latency_ns * 1e-3, 1e-3);
}

TEST(AnalyticCostModel, TendsToComputeWhenBandwidthIsAbundant) {
  const DeviceSpec d = find_device(
      "h100-sxm:hbm_gbps=1000000,l2_bytes_per_clk=1000000,hbm_latency_ns=1,l2_latency_ns=1,sm_port_bytes_per_clk=4096");
  const auto heads = parse_heads("32/8/128");
  const KernelConfig& kernel = find_kernel("espalier_mma_m128");
  const auto model = make_cost_model("analytic", d, heads);
  const double step = model->task(attend(32, 4, 640), kernel).us - model->task(attend(32, 4, 64), kernel).us;
  const double tile = tile_cycles(attend(32, 4, 64), kernel, heads, d).total / d.clocks_per_us();
  EXPECT_NEAR(step, 9 * tile, 1e-9);
}

TEST(AnalyticCostModel, AddsLoadAndComputeWithoutARing) {
  const DeviceSpec d = find_device("h100-sxm");
  const auto heads = parse_heads("32/8/128");
  KernelConfig one = find_kernel("espalier_mma_m64");
  one.smem_bytes = 100 * 1024;
  KernelConfig two = one;
  one.stages = 1;
  two.stages = 2;
  const auto model = make_cost_model("analytic", d, heads);
  const TaskShape shape = attend(16, 4, 6400);
  const double compute = 100 * 2 * tile_cycles(shape, one, heads, d).total / d.clocks_per_us();
  EXPECT_NEAR(model->task(shape, one).us - model->task(shape, two).us, compute, 1e-6);
}

TEST(AnalyticCostModel, TakesTimeForEachRow) {
  const auto heads = parse_heads("32/8/128");
  const KernelConfig& kernel = find_kernel("espalier_mma_m64");
  const auto us = [&](const TaskShape& shape, const char* device) {
    return make_cost_model("analytic", find_device(device), heads)->task(shape, kernel).us;
  };
  TaskShape shape = attend(3, 4, 500);
  EXPECT_NEAR(us(shape, "h100-sxm:row_ns=20") - us(shape, "h100-sxm"), 12 * 0.02, 1e-9);
  shape.role = KernelRole::scores;
  EXPECT_EQ(us(shape, "h100-sxm:row_ns=20"), us(shape, "h100-sxm"));
}

TEST(PhysicalCostModels, PriceWhatACpuRunsInAKernelsPlace) {
  DeviceSpec d = find_device("h100-sxm:sms=4,row_ns=20");
  d.ctas_per_sm = 1;
  const auto heads = parse_heads("32/8/128");
  const KernelConfig& kernel = find_kernel("espalier_mma_m64");
  const TaskShape shape = attend(3, 4, 500);
  const auto us = [&](const char* name, const KernelConfig& k, const traces::HeadConfig& h) {
    return make_cost_model(name, d, h)->task(shape, k).us;
  };
  for (const char* name : {"analytic", "roofline"}) {
    d.compute_capability = 9;
    const double gpu = us(name, kernel, heads), own = us(name, host_kernel(kernel, heads), host_heads(heads));
    EXPECT_NE(own, gpu) << name;
    d.compute_capability = 1;
    EXPECT_EQ(us(name, kernel, heads), own) << name;
    EXPECT_EQ(us(name, host_kernel(kernel, heads), heads), own) << name;
  }
}

TEST(AnalyticCostModel, SharingBeatsRepeatingUntilTheTileIsFull) {
  const DeviceSpec d = find_device("h100-sxm");
  const auto heads = parse_heads("32/8/128");
  const auto model = make_cost_model("analytic", d, heads);
  const double alone = model->task(attend(1, 4, 8192), find_kernel("espalier_mma_m16")).us;
  const double four = model->task(attend(4, 4, 8192), find_kernel("espalier_mma_m16")).us;
  EXPECT_LT(four, 1.05 * alone);
}

TEST(AnalyticCostModel, ReductionGrowsWithInputsRowsAndHeads) {
  const auto model = make_cost_model("analytic", find_device("a100-80"), parse_heads("32/8/128"));
  const KernelConfig& kernel = our_reduce_kernel();
  const auto us = [&](std::int64_t rows, std::int32_t heads, std::int32_t inputs) {
    return model->reduction({.rows = rows, .heads = heads, .inputs = inputs}, kernel).us;
  };
  EXPECT_GT(us(1, 1, 0), 0.5);
  EXPECT_GT(us(1, 4, 3), us(1, 4, 2));
  EXPECT_GT(us(2, 4, 2), us(1, 4, 2));
  EXPECT_NEAR(us(8, 4, 2), us(32, 1, 2), 1e-12);
}

}  // namespace
}  // namespace espalier::costmodel

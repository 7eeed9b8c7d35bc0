// Tables made by the simulator: their limits, and that they say what a simulated plan says.
#include "sim/cost_table_maker.h"

#include <gtest/gtest.h>

#include "sim/simulator.h"

namespace espalier::sim {
namespace {

using costmodel::KernelConfig;

costmodel::CostTable table_of(const costmodel::DeviceSpec& device, const traces::HeadConfig& heads,
                              const char* kernel) {
  const KernelConfig* kernels[] = {&costmodel::find_kernel(kernel)};
  return make_cost_table(device, heads, kernels);
}

TEST(CostTableMaker, RowsAreWholeRequestsUpToTheFullestTile) {
  const auto device = costmodel::find_device("h100-sxm");
  using Rows = std::vector<std::int64_t>;
  EXPECT_EQ(table_of(device, traces::parse_heads("32/8/128"), "espalier_mma_m16").tasks[0].rows, (Rows{4, 8, 16}));
  EXPECT_EQ(table_of(device, traces::parse_heads("24/8/128"), "espalier_mma_m16").tasks[0].rows, (Rows{3, 6, 12, 15}));
  EXPECT_EQ(table_of(device, traces::parse_heads("32/1/128"), "espalier_mma_m16").tasks[0].rows, (Rows{16}));
}

TEST(CostTableMaker, TendsToTheFairShareOfBandwidth) {
  const auto device = costmodel::find_device("h100-sxm");
  const auto heads = traces::parse_heads("32/8/128");
  const KernelConfig& kernel = costmodel::find_kernel("espalier_mma_m16");
  const auto model = costmodel::make_table_model(table_of(device, heads, "espalier_mma_m16"), "table", device, heads);
  costmodel::TaskShape shape;
  shape.heads = 4;
  shape.kv_tokens = 131072;
  const double share =
      device.hbm_achievable_bytes_per_us() / (device.sms * costmodel::ctas_per_sm(kernel, heads, device));
  EXPECT_NEAR(model->task(shape, kernel).us, 131072.0 * 512 / share, 0.01 * 131072.0 * 512 / share);
}

TEST(CostTableMaker, SuitsEveryHeadConfigurationAndKernel) {
  for (const char* text : {"32/32/128", "16/1/64", "128/1/576:512"}) {
    for (const char* name : {"a100-80", "h100-sxm"}) {
      const auto device = costmodel::find_device(name);
      const auto heads = traces::parse_heads(text);
      const auto kernels = profiled_kernels(device, heads, false);
      const costmodel::CostTable table = make_cost_table(device, heads, kernels);
      EXPECT_EQ(table.tasks.size() + table.reductions.size(), kernels.size());
      const auto model = costmodel::make_table_model(table, "table", device, heads);
      for (const KernelConfig* kernel : kernels) {
        if (kernel->role == costmodel::KernelRole::reduce) {
          const auto cost = model->reduction({.rows = 1, .heads = 1, .inputs = 5}, *kernel);
          EXPECT_GT(cost.us, 0);
          EXPECT_FALSE(cost.extrapolated);
        } else {
          costmodel::TaskShape shape;
          shape.kv_tokens = 5000;
          shape.heads = kernel->packs_heads ? std::min(heads.group(), kernel->query_tile) : 1;
          EXPECT_FALSE(model->task(shape, *kernel).extrapolated) << kernel->name << " " << text;
        }
      }
    }
  }
}

TEST(CostTableMaker, MergesGrowWithTheirInputs) {
  const auto device = costmodel::find_device("h100-sxm");
  const costmodel::CostTable table = table_of(device, traces::parse_heads("32/8/128"), "espalier_reduce");
  ASSERT_EQ(table.reductions.size(), 1U);
  const costmodel::CostGrid& grid = table.reductions[0];
  EXPECT_EQ(grid.rows.back(), costmodel::our_reduce_kernel().query_tile);
  EXPECT_GT(grid.us.front(), device.cta_end_ns * 1e-3);
  EXPECT_GT(grid.us.back(), 4 * grid.us.front());
}

TEST(CostTableMaker, OursAreASubsetOfAllKernels) {
  const auto device = costmodel::find_device("h100-sxm");
  const auto heads = traces::parse_heads("32/8/128");
  const auto ours = profiled_kernels(device, heads, true), all = profiled_kernels(device, heads, false);
  EXPECT_LT(ours.size(), all.size());
  for (const KernelConfig* kernel : ours) {
    EXPECT_TRUE(kernel->name.starts_with("espalier_"));
    EXPECT_NE(std::find(all.begin(), all.end(), kernel), all.end());
  }
}

}  // namespace
}  // namespace espalier::sim

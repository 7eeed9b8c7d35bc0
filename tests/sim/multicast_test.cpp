// Clusters that load once for several CTAs.
#include "scheduler/multicast.h"

#include <gtest/gtest.h>

#include "sim/bandwidth.h"
#include "sim/closed_form.h"
#include "sim/work_list.h"
#include "sim_plans.h"

namespace espalier::sim::testing {
namespace {

using scheduler::multicasts;

KernelConfig cluster_kernel(std::int32_t cluster) {
  KernelConfig kernel = streaming_kernel(16);
  kernel.cluster = cluster;
  return kernel;
}

/// 64 requests behind one root: four tasks of 16 rows over all of it, then the leaves.
Plan four_readers(std::int32_t cluster) {
  return node_plan(shared_root(200'000, 64, 1), one_head(), cluster_kernel(cluster), kTokensOfAll);
}

TEST(Multicast, FindsNeighboursOverTheSameTokens) {
  const auto found = multicasts(four_readers(2));
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].first, TaskId(0));
  EXPECT_EQ(found[0].count, 2);
  EXPECT_EQ(found[1].first, TaskId(2));
  EXPECT_EQ(multicasts(four_readers(4)).size(), 1U);
  EXPECT_EQ(multicasts(four_readers(3)).front().count, 3) << "the fourth stays alone";
  EXPECT_TRUE(multicasts(four_readers(1)).empty());
  EXPECT_TRUE(multicasts(node_plan(unshared({500, 500, 500}), one_head(), cluster_kernel(4), kTokensOfAll)).empty());
}

TEST(Multicast, LoadsOnceWhateverL2Merges) {
  // Without miss merging four readers at a time read memory four times; a cluster of four reads it once.
  DeviceSpec device = device_with();
  device.l2_merge_fraction = 0;
  const auto root = 200'000.0 * 512;
  const SimResult apart = simulate(four_readers(1), device), together = simulate(four_readers(4), device),
                  pairs = simulate(four_readers(2), device);
  EXPECT_NEAR(static_cast<double>(apart.hbm_bytes - together.hbm_bytes), 3 * root, 2);
  EXPECT_NEAR(static_cast<double>(pairs.hbm_bytes - together.hbm_bytes), root, 2);
  EXPECT_NEAR(static_cast<double>(apart.l2_bytes - together.l2_bytes), 3 * root, 2);
  EXPECT_EQ(apart.counts, together.counts) << "shared memory takes in all of it either way";
}

TEST(Multicast, CountsTheBytesThatL2SendsToTheByte) {
  // Thirds of a load are no whole bytes; the three together are.
  for (const std::int64_t tokens : {1, 2, 3001}) {
    const PrefixForest forest = shared_root(tokens, 48, 1);
    const SimResult apart = simulate(node_plan(forest, one_head(), cluster_kernel(1), kTokensOfAll), device_with());
    const SimResult together = simulate(node_plan(forest, one_head(), cluster_kernel(3), kTokensOfAll), device_with());
    EXPECT_EQ(apart.l2_bytes - together.l2_bytes, 2 * tokens * 512);
  }
}

TEST(Multicast, TakesTheTimeOfOneReaderWhereL2Binds) {
  // Rings without end, ports and memory out of the way: only L2's rate is left.
  DeviceSpec device = device_with();
  device.hbm_gbps = 50;
  device.hbm_read_fraction = 1;
  device.l2_bytes_per_clk = 50e9 / (device.clock_ghz * 1e9) * 1.0001;
  device.sm_port_bytes_per_clk = device.l2_bytes_per_clk;
  device.hbm_ramp_exponent = 20;
  device.hbm_latency_ns = device.l2_latency_ns = 1;
  const double one =
      simulate(node_plan(unshared({200'000}), one_head(), streaming_kernel(), kTokensOfAll), device).makespan_us;
  const double apart = simulate(four_readers(1), device).makespan_us,
               together = simulate(four_readers(4), device).makespan_us;
  const double alone_us = 200'000.0 * 512 / 5e4;
  EXPECT_NEAR((apart - together) / alone_us, 3, 0.1);
  EXPECT_NEAR((together - one) / alone_us, 0, 0.1) << "the leaves and merges are small";
}

TEST(Multicast, OfUnlikeNeighboursChangesNothing) {
  core::Rng rng(3);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::int64_t> tokens;
    for (int i = 0; i < 50; ++i) tokens.push_back(rng.integer(1, 3000));
    const auto us = [&](std::int32_t cluster) {
      return simulate(node_plan(unshared(tokens), one_head(), cluster_kernel(cluster), kTokensOfAll), device_with(16))
          .makespan_us;
    };
    EXPECT_EQ(us(1), us(2));
  }
}

TEST(Multicast, NeverSlowerAndTheClosedFormFollows) {
  core::Rng rng(4);
  for (int round = 0; round < 40; ++round) {
    const PrefixForest forest =
        shared_root(rng.integer(2000, 60'000), static_cast<std::int32_t>(rng.integer(20, 120)), rng.integer(1, 400));
    const DeviceSpec device = device_with(24);
    const auto us = [&](std::int32_t cluster) {
      return simulate(node_plan(forest, one_head(), cluster_kernel(cluster), kTokensOfAll), device).makespan_us;
    };
    const double apart = us(1);
    // Waves may fall otherwise, as with any faster resource.
    EXPECT_LE(us(2), apart * 1.03);
    const Plan plan = node_plan(forest, one_head(), cluster_kernel(2), kTokensOfAll);
    EXPECT_NEAR(closed_form_us(plan, device, make_work_list(plan, device)) / simulate(plan, device).makespan_us, 1,
                0.2);
  }
}

TEST(Multicast, NeedsADeviceWithClusters) {
  DeviceSpec device = device_with();
  device.l2_merge_fraction = 0;
  device.compute_capability = 8.9;
  EXPECT_EQ(simulate(four_readers(4), device).hbm_bytes, simulate(four_readers(1), device).hbm_bytes);
  device.compute_capability = 9.0;
  EXPECT_LT(simulate(four_readers(4), device).hbm_bytes, simulate(four_readers(1), device).hbm_bytes);
}

TEST(Multicast, ALatencyIsThatOfTheLoadItself) {
  DeviceSpec device = device_with();
  FlowClass flow;
  flow.hbm_fraction = 0.25;
  flow.l2_fraction = 0.25;
  EXPECT_EQ(path_latency_us(flow, device), path_latency_us(1, device));
  flow.hbm_fraction = 0;
  EXPECT_EQ(path_latency_us(flow, device), path_latency_us(0, device));
}

}  // namespace
}  // namespace espalier::sim::testing

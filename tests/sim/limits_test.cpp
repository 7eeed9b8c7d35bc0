// The closed forms a simulation must reach in its limits.
#include <fmt/core.h>
#include <gmock/gmock.h>

#include <cmath>
#include <numeric>

#include "sim/bandwidth.h"
#include "sim_plans.h"

namespace espalier::sim::testing {
namespace {

/// The equations of docs/model.md for a task that has the device to itself, on a kernel of several stages; no launch
/// gap.
double lone_task_us(const Plan& plan, const DeviceSpec& device, TaskId task = TaskId(0)) {
  const KernelConfig& kernel = plan.kernels[scheduler::KernelId(0)];
  const auto shape = task_shape(plan, plan.tasks[task]);
  const auto counts = count_task(shape, kernel, plan.heads);
  const auto bytes = static_cast<double>(counts.kv_bytes);
  const double tile_bytes = static_cast<double>(plan.heads.kv_bytes_per_token_head()) * kernel.kv_tile;
  const double in_flight = (kernel.stages - 1) * tile_bytes;
  const double cycles = tile_cycles(shape, kernel, plan.heads, device).total;
  const double latency = device.hbm_latency_ns * 1e-3;
  const double port = device.sm_port_bytes_per_clk * device.clocks_per_us();
  const auto law = [&](double n) {
    return std::min(supply_rate(n, latency, device.hbm_achievable_bytes_per_us(), device.hbm_ramp_exponent),
                    supply_rate(n, latency, device.l2_bytes_per_us(), device.hbm_ramp_exponent));
  };
  const double rate = std::min({law(in_flight), port, device.clocks_per_us() / cycles * tile_bytes});
  const double padded = static_cast<double>(counts.kv_tiles * kernel.kv_tile - shape.kv_tokens) / kernel.kv_tile;
  const auto io = static_cast<double>(counts.read_bytes() - counts.kv_bytes + counts.write_bytes());
  return device.cta_start_ns * 1e-3 + latency * (1 - std::min(1.0, bytes / in_flight)) + bytes / rate +
         padded * cycles / device.clocks_per_us() + io / law(port * latency) + device.cta_end_ns * 1e-3 +
         shape.queries * shape.heads * device.row_ns * 1e-3 * (plan.heads.qk_dim + plan.heads.v_dim) / 256;
}

TEST(Limits, OneTaskTakesItsClosedForm) {
  for (const std::int64_t tokens : {1, 17, 64, 127, 128, 1000, 100'000, 50'000'000}) {
    const Plan plan = node_plan(unshared({tokens}), one_head(), streaming_kernel(), kTokensOfAll);
    DeviceSpec device = device_with();
    for (device.row_ns = 0; device.row_ns < 100; device.row_ns += 30) {
      const double expected = device.launch_graph_us + lone_task_us(plan, device);
      EXPECT_NEAR(simulate(plan, device).makespan_us / expected, 1, 1e-6) << tokens << " " << device.row_ns;
    }
  }
}

TEST(Limits, ShortTaskWaitsOneLatency) {
  // Pure latency: everything a CTA reads is requested at once.
  DeviceSpec device = device_with();
  device.hbm_latency_ns = 10'000;
  device.cta_start_ns = device.cta_end_ns = 0;
  const Plan plan = node_plan(unshared({40}), one_head(), streaming_kernel(), kTokensOfAll);
  EXPECT_NEAR(simulate(plan, device).makespan_us, device.launch_graph_us + 10, 0.2);
}

TEST(Limits, EachLookupWaitsOneLatency) {
  KernelConfig kernel = streaming_kernel();
  const DeviceSpec device = device_with();
  const auto us = [&](std::int32_t lookups) {
    kernel.lookups = lookups;
    return simulate(node_plan(unshared({1000}), one_head(), kernel, kTokensOfAll), device).makespan_us;
  };
  EXPECT_NEAR(us(3) - us(0), 3 * device.hbm_latency_ns * 1e-3, 1e-6);
}

TEST(Limits, OneSmAddsUp) {
  DeviceSpec device = device_with(1);
  const std::vector<std::int64_t> tokens = {500, 10'000, 3, 64, 7777};
  const Plan plan =
      node_plan(unshared(tokens), one_head(), with_occupancy(streaming_kernel(), device, 1), kTokensOfAll);
  double expected = device.launch_graph_us;
  for (const TaskId t : core::ids<TaskId>(tokens.size())) expected += lone_task_us(plan, device, t);
  EXPECT_NEAR(simulate(plan, device).makespan_us / expected, 1, 1e-6);
}

TEST(Limits, MoreSmsThanTasksTakeTheLongest) {
  DeviceSpec device = device_with(10'000);
  // Nothing is shared between tasks: bandwidth without end.
  device.hbm_gbps = 1e6;
  device.l2_bytes_per_clk = 1e6;
  const Plan plan = node_plan(unshared({500, 40'000, 3, 64, 7777}), one_head(), streaming_kernel(), kTokensOfAll);
  const double expected = device.launch_graph_us + lone_task_us(plan, device, TaskId(1));
  EXPECT_NEAR(simulate(plan, device).makespan_us / expected, 1, 2e-3);
}

TEST(Limits, BandwidthAloneMovesBytesAtTheAchievableRate) {
  const DeviceSpec device = device_with();
  const HeadConfig heads{.q_heads = 32, .kv_heads = 8};
  const Plan plan = node_plan(unshared(std::vector<std::int64_t>(330, 16'000)), heads, streaming_kernel(), 4000);
  const SimResult result = simulate(plan, device);
  const double bytes = 330.0 * 16'000 * static_cast<double>(heads.kv_bytes_per_token());
  const double ideal = bytes / device.hbm_achievable_bytes_per_us();
  EXPECT_GT(result.makespan_us, ideal);
  EXPECT_LT(result.makespan_us, 1.05 * ideal);
  EXPECT_EQ(result.bound_by, Bound::hbm);
  EXPECT_EQ(result.l2_hit_fraction, 0);
}

TEST(Limits, BandwidthWithoutEndLeavesCompute) {
  DeviceSpec device = device_with();
  device.hbm_gbps = device.l2_bytes_per_clk = device.sm_port_bytes_per_clk = 1e9;
  device.hbm_latency_ns = device.l2_latency_ns = 1e-3;
  device.cta_start_ns = device.cta_end_ns = 0;
  const HeadConfig heads{.q_heads = 64, .kv_heads = 1};
  const KernelConfig kernel = with_occupancy(streaming_kernel(64), device, 2);
  const Plan plan = node_plan(unshared(std::vector<std::int64_t>(264, 64 * 1000)), heads, kernel, kTokensOfAll);
  const auto shape = task_shape(plan, plan.tasks[TaskId(0)]);
  const double cycles = tile_cycles(shape, kernel, heads, device).total * 1000;  // of one task; two share an SM
  const SimResult result = simulate(plan, device);
  EXPECT_NEAR(result.makespan_us / (device.launch_graph_us + 2 * cycles / device.clocks_per_us()), 1, 1e-3);
  EXPECT_EQ(result.bound_by, Bound::compute);
}

TEST(Limits, OneCtaNeverHasMoreThanOneSm) {
  // A CTA of 128 rows beside light ones: the pipes and ports of the other SMs, mostly idle, are of no use to it.
  for (const bool slow_port : {false, true}) {
    DeviceSpec device = device_with(8);
    device.hbm_gbps = device.l2_bytes_per_clk = 1e6;
    if (slow_port) {
      device.sm_port_bytes_per_clk = 4;  // binds before the pipes
      device.hbm_latency_ns = 20'000;    // and the light ones don't need theirs
    }
    KernelConfig heavy = with_occupancy(streaming_kernel(128), device, 1),
                 light = with_occupancy(streaming_kernel(), device, 1);
    heavy.name = "heavy";
    heavy.stages = 16;
    heavy.warps = 8;
    heavy.registers = 200;
    light.stages = 2;
    const auto plan_with = [&](std::int32_t light_tasks) {
      traces::ForestSource source;
      source.leaf.assign(128, 0);
      for (std::int32_t n = 0; n <= light_tasks; ++n) {
        source.parent.push_back(-1);
        source.tokens.push_back(20'000);
        if (n > 0) source.leaf.push_back(n);
      }
      const PrefixForest forest = traces::make_forest(source);
      PlanBuilder builder(forest, one_head());
      builder.launch();
      for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
        const auto kernel = builder.kernel(n.value == 0 ? heavy : light);
        const TaskId begin = builder.next_task();
        const auto group = builder.queries(forest.request_begin[n], forest.request_end[n]);
        const Segment segment = builder.segment(n, 0, forest.tokens[n], group.size());
        builder.attend(kernel, std::span(&segment, 1), group);
        builder.task_phase(kernel, begin);
      }
      return std::move(builder).finish({});
    };
    const Plan alone = plan_with(0);
    const double expected = device.launch_graph_us + lone_task_us(alone, device);
    EXPECT_NEAR(simulate(alone, device).makespan_us / expected, 1, 1e-6);
    EXPECT_NEAR(simulate(plan_with(7), device).phases[0].end_us / expected, 1, 0.01);
  }
}

TEST(Limits, EmptyPlanTakesNoTime) {
  const Plan plan = PlanBuilder(unshared({}), one_head()).finish({});
  const SimResult result = simulate(plan, device_with());
  EXPECT_EQ(result.makespan_us, 0);
  EXPECT_EQ(result.split.total(), 0);
  EXPECT_EQ(result.hbm_bytes, 0);
}

TEST(Limits, FourCtasBeyondTheLastWaveCostMoreThanAQuarter) {
  // Known measurement of wave quantisation: 108 SMs of two CTAs hold 216; with 220 the time jumps.
  DeviceSpec device = device_with(108);
  device.hbm_gbps = device.l2_bytes_per_clk = 1e6;
  const KernelConfig kernel = with_occupancy(streaming_kernel(), device, 2);
  const auto time = [&](std::size_t ctas) {
    return simulate(node_plan(unshared(std::vector<std::int64_t>(ctas, 8192)), one_head(), kernel, kTokensOfAll),
                    device)
        .makespan_us;
  };
  EXPECT_GT(time(220) / time(216), 1.25) << "bound by the SM";
  device.hbm_latency_ns = 4000;
  EXPECT_GT(time(220) / time(216), 1.25) << "bound by latency";
  EXPECT_NEAR(time(216) / time(110), 1, 0.01) << "a wave is a wave";
}

TEST(Limits, LatentAttentionReadsItsKeysOnce) {
  // QK 576 and V 512 inside K: 1152 B a token of bf16, not 2176.
  const DeviceSpec device = device_with();
  const HeadConfig heads{.q_heads = 16, .kv_heads = 1, .qk_dim = 576, .v_dim = 512, .v_in_k = true};
  KernelConfig kernel = streaming_kernel();
  kernel.kv_tile = 32;
  const Plan plan = node_plan(unshared(std::vector<std::int64_t>(660, 40'000)), heads, kernel, 4000);
  const double ideal = 660.0 * 40'000 * 1152 / device.hbm_achievable_bytes_per_us();
  EXPECT_GT(simulate(plan, device).makespan_us, ideal);
  EXPECT_LT(simulate(plan, device).makespan_us, 1.05 * ideal);
}

TEST(Limits, Fp8KvHalvesTheBytesUntilConversionBinds) {
  const HeadConfig half{.q_heads = 4, .kv_heads = 1};
  HeadConfig bytes = half;
  bytes.kv_dtype = traces::Dtype::fp8_e4m3;
  DeviceSpec device = device_with();
  device.fp8_convert_per_clk = 1000;
  const auto time = [&](const HeadConfig& heads) {
    return simulate(
               node_plan(unshared(std::vector<std::int64_t>(1320, 40'000)), heads, streaming_kernel(), kTokensOfAll),
               device)
        .makespan_us;
  };
  EXPECT_NEAR(time(half) / time(bytes), 2, 0.1) << "bandwidth";
  device.fp8_convert_per_clk = 1;  // 256 elements a token and SM
  const double conversion_us = 1320.0 * 40'000 * 256 / device.sms / device.clocks_per_us();
  EXPECT_GT(time(bytes), conversion_us);
  EXPECT_LT(time(bytes), 1.1 * conversion_us);
}

TEST(Limits, MoreBandwidthIsNeverSlower) {
  core::Rng rng(11);
  for (int round = 0; round < 20; ++round) {
    const Plan plan = node_plan(
        unshared(std::vector<std::int64_t>(static_cast<std::size_t>(rng.integer(1, 600)), rng.integer(1, 20'000))),
        one_head(), streaming_kernel(), 2048);
    double last = std::numeric_limits<double>::infinity();
    for (const double gbps : {500.0, 1000.0, 2000.0, 4000.0, 8000.0}) {
      DeviceSpec device = device_with();
      device.hbm_gbps = gbps;
      const double us = simulate(plan, device).makespan_us;
      EXPECT_LE(us, last * (1 + 1e-9)) << gbps;
      last = us;
    }
  }
}

/// Waves fall differently when CTAs end at other times, so a faster device may be slower by part of a last wave. How
/// often and how much is counted.
TEST(Limits, MoreOfAnythingIsSeldomSlowerAndByLittle) {
  int anomalies = 0, cases = 0;
  double worst = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    core::Rng rng(seed);
    const PrefixForest forest = random_forest(rng, 80, 8000);
    const Plan plan = node_plan(forest, {.q_heads = 8, .kv_heads = 2}, streaming_kernel(), rng.integer(128, 4096));
    const DeviceSpec device = device_with(static_cast<double>(rng.integer(4, 132)));
    const double us = simulate(plan, device).makespan_us;
    for (double DeviceSpec::*field : {&DeviceSpec::hbm_gbps, &DeviceSpec::l2_bytes_per_clk, &DeviceSpec::clock_ghz,
                                      &DeviceSpec::l2_knee_mib, &DeviceSpec::sms}) {
      DeviceSpec faster = device;
      faster.*field = std::ceil(1.1 * faster.*field);
      const double slower = simulate(plan, faster).makespan_us / us - 1;
      ++cases;
      anomalies += slower > 1e-9;
      worst = std::max(worst, slower);
    }
  }
  fmt::print("more of one resource was slower in {} of {} cases, by {:.2f} % at worst\n", anomalies, cases,
             100 * worst);
  EXPECT_LE(anomalies, cases / 10);
  EXPECT_LE(worst, 0.03);
}

}  // namespace
}  // namespace espalier::sim::testing

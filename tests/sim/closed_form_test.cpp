// The closed-form twin against the event engine: equal in the limits, near on plans of every strategy.
#include "sim/closed_form.h"

#include <fmt/core.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "scheduler/strategy.h"
#include "sim/work_list.h"
#include "sim_plans.h"
#include "traces/families.h"

namespace espalier::sim::testing {
namespace {

double twin_us(const Plan& plan, const DeviceSpec& device) {
  return closed_form_us(plan, device, make_work_list(plan, device));
}

double over_events(const Plan& plan, const DeviceSpec& device) {
  return twin_us(plan, device) / simulate(plan, device).makespan_us;
}

TEST(ClosedForm, IsExactForOneTask) {
  for (const std::int64_t tokens : {1, 17, 64, 127, 128, 1000, 100'000, 50'000'000}) {
    EXPECT_NEAR(over_events(node_plan(unshared({tokens}), one_head(), streaming_kernel(), kTokensOfAll), device_with()),
                1, 1e-9);
  }
}

TEST(ClosedForm, IsExactForOneSmAndForSmsWithoutEnd) {
  const PrefixForest forest = unshared({500, 40'000, 3, 64, 7777});
  EXPECT_NEAR(
      over_events(node_plan(forest, one_head(), with_occupancy(streaming_kernel(), device_with(1), 1), kTokensOfAll),
                  device_with(1)),
      1, 1e-6);
  DeviceSpec device = device_with(10'000);
  device.hbm_gbps = device.l2_bytes_per_clk = 1e6;
  EXPECT_NEAR(over_events(node_plan(forest, one_head(), streaming_kernel(), kTokensOfAll), device), 1, 1e-6);
}

TEST(ClosedForm, IsExactWhereOneResourceBinds) {
  const DeviceSpec device = device_with();
  const auto long_batch = node_plan(unshared(std::vector<std::int64_t>(330, 16'000)), {.q_heads = 32, .kv_heads = 8},
                                    streaming_kernel(), 4000);
  EXPECT_NEAR(over_events(long_batch, device), 1, 1e-3) << "HBM";
  const auto wave = node_plan(unshared(std::vector<std::int64_t>(132, 16'000)), one_head(),
                              with_occupancy(streaming_kernel(), device, 1), kTokensOfAll);
  EXPECT_NEAR(over_events(wave, device), 1, 1e-3) << "a wave";
  DeviceSpec fast = device_with();
  fast.hbm_gbps = fast.l2_bytes_per_clk = fast.sm_port_bytes_per_clk = 1e9;
  fast.hbm_latency_ns = fast.l2_latency_ns = 1e-3;
  const auto heavy = node_plan(unshared(std::vector<std::int64_t>(528, 64'000)), {.q_heads = 64, .kv_heads = 1},
                               with_occupancy(streaming_kernel(64), fast, 2), kTokensOfAll);
  EXPECT_NEAR(over_events(heavy, fast), 1, 1e-3) << "compute";
}

TEST(ClosedForm, CountsLaunchesBarriersAndNothing) {
  const DeviceSpec device = device_with();
  EXPECT_NEAR(over_events(node_plan(shared_root(16, 2, 16), one_head(), streaming_kernel(), kTokensOfAll), device), 1,
              1e-5);
  EXPECT_EQ(twin_us(PlanBuilder(unshared({}), one_head()).finish({}), device), 0);
  const PrefixForest forest = unshared({5000, 6000});
  PlanBuilder builder(forest, one_head());
  const auto k = builder.kernel(streaming_kernel());
  builder.launch();
  for (std::int32_t n = 0; n < 2; ++n) {
    const Segment segment = builder.segment(NodeId(n), 0, forest.tokens[NodeId(n)], 1);
    builder.attend(k, std::span(&segment, 1), builder.queries(RequestId(n), RequestId(n + 1)));
    builder.task_phase(k, TaskId(n), n == 0 ? scheduler::PhaseStart::together : scheduler::PhaseStart::barrier);
  }
  EXPECT_NEAR(over_events(std::move(builder).finish({}), device), 1, 1e-6);
}

TEST(ClosedForm, AddsUpTheLongestQueue) {
  const PrefixForest forest = unshared({50'000, 1000, 2000, 70'000});
  PlanBuilder builder(forest, one_head());
  const auto k = builder.kernel(with_occupancy(streaming_kernel(), device_with(), 1));
  builder.launch();
  for (std::int32_t n = 0; n < 4; ++n) {
    const Segment segment = builder.segment(NodeId(n), 0, forest.tokens[NodeId(n)], 1);
    builder.attend(k, std::span(&segment, 1), builder.queries(RequestId(n), RequestId(n + 1)));
  }
  builder.task_phase(k, TaskId(0));
  const std::vector<std::vector<scheduler::QueueItem>> queues = {
      {{TaskId(0), 0}, {TaskId(3), 0}}, {{TaskId(1), 0}}, {{TaskId(2), 0}}};
  builder.queues(queues);
  EXPECT_NEAR(over_events(std::move(builder).finish({}), device_with()), 1, 0.01);
}

#ifdef __SANITIZE_ADDRESS__
constexpr std::uint64_t kSeeds = 5;
#else
constexpr std::uint64_t kSeeds = 20;
#endif

/// |twin / events - 1| of every strategy's plan of forests that no part of the twin was looked at with.
std::vector<double> differences() {
  const char* devices[] = {"h100-sxm", "a100-80", "l4", "h200"};
  const HeadConfig heads[] = {{.q_heads = 32, .kv_heads = 8},
                              {.q_heads = 8, .kv_heads = 8, .qk_dim = 64, .v_dim = 64},
                              {.q_heads = 28, .kv_heads = 4}};
  std::vector<double> all;
  for (std::uint64_t seed = 500; seed < 500 + kSeeds; ++seed) {
    core::Rng rng(seed);
    const DeviceSpec device = costmodel::find_device(devices[rng.integer(0, 3)]);
    const HeadConfig& head = heads[rng.integer(0, 2)];
    const auto& families = traces::families();
    const PrefixForest forests[] = {random_forest(rng, 60, rng.chance(0.5) ? 2000 : 20'000),
                                    traces::generate_family(families[seed % families.size()].name, seed)};
    for (const PrefixForest& forest : forests) {
      for (const scheduler::Strategy* strategy : scheduler::strategies()) {
        const auto made = scheduler::make_plan({strategy, {}}, {.forest = forest, .heads = head, .device = device});
        if (const Plan* plan = std::get_if<Plan>(&made)) all.push_back(std::abs(over_events(*plan, device) - 1));
      }
    }
  }
  std::sort(all.begin(), all.end());
  return all;
}

TEST(ClosedForm, IsNearTheEventsForEveryStrategy) {
  const std::vector<double> all = differences();
  ASSERT_GT(all.size(), 30 * kSeeds);
  const auto quantile = [&](double q) {
    return all[static_cast<std::size_t>(q * static_cast<double>(all.size() - 1))];
  };
  fmt::print(
      "closed form against events, {} plans: median {:.2f} %, p75 {:.2f} %, p90 {:.2f} %, p95 {:.2f} %, worst {:.1f} "
      "%\n",
      all.size(), 100 * quantile(0.5), 100 * quantile(0.75), 100 * quantile(0.9), 100 * quantile(0.95),
      100 * all.back());
  EXPECT_LE(quantile(0.5), 0.03);
  EXPECT_LE(quantile(0.95), 0.10);
}

}  // namespace
}  // namespace espalier::sim::testing

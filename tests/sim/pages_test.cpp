// What pages cost a plan: a stretch of every loop of loads, seen where latency is what loads wait for.
#include <gmock/gmock.h>

#include "core/units.h"
#include "sim/closed_form.h"
#include "sim_plans.h"

namespace espalier::sim::testing {
namespace {

constexpr double kPageNs = 40;
/// Keys and values lie in two places of a page.
constexpr double kPageUs = 2 * kPageNs * 1e-3;

/// Latencies are what loads wait for, neither ports nor pipes.
DeviceSpec walking(double page_ns = kPageNs) {
  DeviceSpec device = device_with();
  device.hbm_latency_ns *= 10;
  device.l2_latency_ns *= 10;
  device.page_ns = page_ns;
  return device;
}

PrefixForest paged(PrefixForest forest, std::int32_t page_size) { return floor_to_pages(std::move(forest), page_size); }

/// Pages of one token, which are no identity table as forests without pages have it.
PrefixForest scattered(PrefixForest forest) {
  std::int64_t tokens = 0;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    forest.pages.first_page[n] = tokens;
    tokens += forest.tokens[n];
  }
  for (std::int64_t t = 0; t < tokens; ++t) forest.pages.page_ids.push_back(tokens - 1 - t);
  return forest;
}

double added_us(const PrefixForest& forest) {
  const Plan plan = node_plan(forest, one_head(), streaming_kernel(), kTokensOfAll);
  return simulate(plan, walking()).makespan_us - simulate(plan, walking(0)).makespan_us;
}

TEST(Pages, EachLengthensALoneTask) {
  for (const std::int64_t tokens : {1, 16, 17, 63, 640, 10'000}) {
    for (const std::int32_t page_size : {8, 16, 64}) {
      const auto pages = static_cast<double>(core::ceil_div(tokens, page_size));
      EXPECT_NEAR(added_us(paged(unshared({tokens}), page_size)) / (pages * kPageUs), 1, 1e-3)
          << tokens << " tokens in pages of " << page_size;
    }
    EXPECT_NEAR(added_us(scattered(unshared({tokens}))) / (static_cast<double>(tokens) * kPageUs), 1, 1e-3);
  }
}

TEST(Pages, AreOnePlaceWhereValuesLieInsideKeys) {
  const HeadConfig latent{.q_heads = 1, .kv_heads = 1, .qk_dim = 128, .v_dim = 64, .v_in_k = true};
  const Plan plan = node_plan(paged(unshared({640}), 16), latent, streaming_kernel(), kTokensOfAll);
  EXPECT_NEAR(simulate(plan, walking()).makespan_us - simulate(plan, walking(0)).makespan_us, 40 * kPageNs * 1e-3,
              1e-3);
}

TEST(Pages, AreAskedForByAClusterOnce) {
  KernelConfig kernel = streaming_kernel();
  kernel.cluster = 4;
  // Four tiles of 16 requests read the root side by side, and nobody anything else worth mentioning.
  const Plan plan = node_plan(paged(shared_root(64'000, 64, 1), 16), one_head(), kernel, kTokensOfAll);
  const auto us = [&](double page_ns, double capability) {
    DeviceSpec device = walking(page_ns);
    device.compute_capability = capability;
    return simulate(plan, device).makespan_us;
  };
  EXPECT_NEAR((us(kPageNs, 8.0) - us(0, 8.0)) / (4000 * kPageUs), 1, 0.01) << "none";
  EXPECT_NEAR((us(kPageNs, 9.0) - us(0, 9.0)) / (1000 * kPageUs), 1, 0.01);
}

TEST(Pages, CostNothingWhereKvLiesInOnePiece) {
  const DeviceSpec walks = walking(), flies = walking(0);
  const Plan plan = node_plan(shared_root(5000, 7, 900), one_head(), streaming_kernel(), 512);
  EXPECT_EQ(simulate(plan, walks).makespan_us, simulate(plan, flies).makespan_us);
}

TEST(Pages, ASegmentThatBeginsWithinOneWalksItToo) {
  // 64 tokens from the 9th on: five pages of 16. One SM with room for one CTA: tasks one after another.
  PrefixForest forest = paged(unshared({144}), 16);
  forest.pages.first_offset[NodeId(0)] = 8;
  const KernelConfig kernel = with_occupancy(streaming_kernel(), device_with(1), 1);
  const auto us = [&](double page_ns) {
    DeviceSpec device = walking(page_ns);
    device.sms = 1;
    return simulate(node_plan(forest, one_head(), kernel, 64), device).makespan_us;
  };
  EXPECT_NEAR((us(kPageNs) - us(0)) / ((5 + 5 + 2) * kPageUs), 1, 1e-3);
}

TEST(Pages, AreWalkedAgainByEveryReader) {
  const PrefixForest forest = paged(shared_root(1600, 4, 16), 16);
  DeviceSpec walks = walking(), flies = walking(0);
  walks.sms = flies.sms = 1;
  const KernelConfig kernel = with_occupancy(streaming_kernel(), walks, 1);
  const auto added = [&](const Plan& plan) {
    return (simulate(plan, walks).makespan_us - simulate(plan, flies).makespan_us) / kPageUs;
  };
  EXPECT_NEAR(added(node_plan(forest, one_head(), kernel, kTokensOfAll)), 100 + 4, 0.5);
  EXPECT_NEAR(added(request_plan(forest, one_head(), kernel, kTokensOfAll)), 4 * 101, 0.5);
}

TEST(Pages, HideWhereBandwidthIsWhatLoadsWaitFor) {
  const HeadConfig heads{.q_heads = 32, .kv_heads = 8};
  const PrefixForest forest = paged(unshared(std::vector<std::int64_t>(330, 16'000)), 16);
  // With an ordinary latency ten times as much is requested as memory takes to be busy.
  const Plan plan = node_plan(forest, heads, streaming_kernel(), 4000);
  const auto us = [&](double page_ns) {
    DeviceSpec device = device_with();
    device.page_ns = page_ns;
    return simulate(plan, device).makespan_us;
  };
  EXPECT_LT(us(20), 1.01 * us(0));
  // Until asking takes so long that too little is.
  EXPECT_GT(us(2000), 1.2 * us(0));
}

TEST(Pages, LengthenLoopsThatComputeBetweenLoads) {
  KernelConfig kernel = streaming_kernel(64);
  kernel.stages = 1;
  const PrefixForest forest = paged(unshared({16 * 4000}), 16);
  const Plan plan = node_plan(forest, one_head(), kernel, kTokensOfAll);
  const double added = simulate(plan, walking()).makespan_us - simulate(plan, walking(0)).makespan_us;
  EXPECT_NEAR(added / (4000 * kPageUs), 1, 1e-3);
}

/// One wave that fills the device: all CTAs' first requests wait for each other, and then for arithmetic.
TEST(Pages, NeverShortenTheFirstTurn) {
  const HeadConfig heads{.q_heads = 16, .kv_heads = 4, .kv_dtype = traces::Dtype::fp8_e4m3};
  const PrefixForest forest = paged(unshared(std::vector<std::int64_t>(64, 997)), 2);
  const Plan plan = node_plan(forest, heads, streaming_kernel(), kTokensOfAll);
  double last = 0;
  for (const double page_ns : {0, 1, 5, 10, 20}) {
    DeviceSpec device = device_with();
    device.fp8_convert_per_clk = 4;
    device.page_ns = page_ns;
    const SimResult result = simulate(plan, device);
    EXPECT_EQ(result.bound_by, Bound::compute);
    EXPECT_GE(result.makespan_us, last) << page_ns << " ns";
    last = result.makespan_us;
  }
}

/// Else every event of a plan would look at as many classes as it has lengths.
TEST(Pages, LeaveTasksOfAnyLengthInOneClass) {
  core::Rng rng(3);
  std::vector<std::int64_t> tokens;
  for (int i = 0; i < 300; ++i) tokens.push_back(rng.integer(1, 5000));
  const Plan plan = node_plan(paged(unshared(tokens), 16), one_head(), streaming_kernel(), kTokensOfAll);
  const auto classes = [&](double page_ns) { return make_work_list(plan, walking(page_ns)).classes.size(); };
  EXPECT_EQ(classes(5), classes(0));
}

TEST(Pages, AreSeenByTheClosedFormAlike) {
  const Plan plan = node_plan(paged(unshared({500, 40'000, 3, 64, 7777}), 16), one_head(), streaming_kernel(), 4096);
  const auto form_us = [&](const DeviceSpec& device) {
    return closed_form_us(plan, device, make_work_list(plan, device));
  };
  EXPECT_NEAR(form_us(walking(100)) / simulate(plan, walking(100)).makespan_us, 1, 0.05);
  EXPECT_GT(form_us(walking(100)), 1.1 * form_us(walking(0)));
}

TEST(Pages, MoreOfThemNeverTakeLess) {
  core::Rng rng(11);
  for (int trial = 0; trial < 60; ++trial) {
    const PrefixForest forest = random_forest(rng, 12, 3000);
    // One SM with room for one CTA has no waves that could fall better.
    DeviceSpec device = walking(rng.uniform() * 200);
    device.sms = 1;
    const KernelConfig kernel = with_occupancy(streaming_kernel(), device, 1);
    double last = 0;
    for (const std::int32_t page_size : {64, 16, 4}) {
      // As the same forest stands in larger pages and in smaller ones: nodes begin where pages do.
      PrefixForest held = forest;
      held.pages.page_size = page_size;
      std::int64_t next = 0;
      for (const NodeId n : core::ids<NodeId>(held.node_count())) {
        held.pages.first_page[n] = next;
        next += core::ceil_div(held.tokens[n], page_size);
      }
      const double us = simulate(node_plan(held, one_head(), kernel, 512), device).makespan_us;
      EXPECT_GE(us, last) << trial << " pages of " << page_size;
      last = us;
    }
  }
}

}  // namespace
}  // namespace espalier::sim::testing

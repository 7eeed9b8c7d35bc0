// Widths by origin, effects by what binds, ratios in which common errors cancel.
#include "sim/interval.h"

#include <gmock/gmock.h>

#include <cmath>

#include "sim_plans.h"

namespace espalier::sim::testing {
namespace {

const DeviceSpec& h100() {
  static const DeviceSpec device = costmodel::find_device("h100-sxm");
  return device;
}

std::size_t index_of(std::string_view name) {
  const auto& fields = costmodel::device_fields();
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].name == name) return i;
  }
  ADD_FAILURE() << name;
  return 0;
}

double width(const DeviceSpec& device, std::string_view name) {
  return parameter_half_width(device, costmodel::device_fields()[index_of(name)]);
}

std::vector<double> effects(const Plan& plan, const DeviceSpec& device) {
  return parameter_effects(plan, device, simulate(plan, device));
}

Plan batch(std::size_t requests, std::int64_t tokens) {
  return node_plan(unshared(std::vector<std::int64_t>(requests, tokens)), one_head(), streaming_kernel(), kTokensOfAll);
}

TEST(Interval, WidthsFollowTheOrigin) {
  EXPECT_EQ(width(h100(), "sms"), 0) << "counted";
  EXPECT_EQ(width(h100(), "hbm_gbps"), 0.02) << "data sheet";
  EXPECT_EQ(width(h100(), "hbm_latency_ns"), 0.05) << "measured";
  EXPECT_EQ(width(h100(), "cta_start_ns"), 0.25) << "assumed";
  EXPECT_EQ(width(costmodel::find_device("h100-sxm:cta_start_ns=100"), "cta_start_ns"), 0) << "a what-if is exact";
  EXPECT_EQ(width(device_with(), "hbm_gbps"), 0.25) << "set in code: nobody vouches for it";
}

TEST(Interval, OfAnHbmBoundPlanIsTheBandwidths) {
  const auto e = effects(batch(1320, 20'000), h100());
  EXPECT_NEAR(e[index_of("hbm_read_fraction")], -std::log1p(std::hypot(0.02, 0.05)), 0.005);
  EXPECT_EQ(e[index_of("hbm_gbps")], 0) << "is in the product";
  EXPECT_EQ(e[index_of("launch_pdl_us")], 0);
  EXPECT_NEAR(log_half_width(e), 0.053, 0.01);
}

TEST(Interval, IsWhatPlansOfTheRegimeWereOffBy) {
  const Plan plan = batch(1320, 20'000), tiny = batch(1, 16);
  DeviceSpec device = h100();
  const SimResult result = simulate(plan, device), small = simulate(tiny, device);
  ASSERT_EQ(result.bound_by, Bound::hbm);
  ASSERT_NE(small.bound_by, Bound::hbm);
  EXPECT_EQ(time_effects(plan, device, result), parameter_effects(plan, device, result)) << "nothing ran on it";
  const double before = log_half_width(time_effects(plan, device, result));
  device.intervals = {{"hbm", {0.02, 30}}, {"all", {0.3, 50}}};
  EXPECT_NEAR(log_half_width(time_effects(plan, device, result)), 0.02, 1e-12) << "of its regime";
  EXPECT_NEAR(log_half_width(time_effects(tiny, device, small)), 0.3, 1e-12) << "of all: its regime has none";
  const TimeInterval interval = interval_of(result.makespan_us, time_effects(plan, device, result));
  EXPECT_NEAR(interval.high_us / result.makespan_us, std::exp(0.02), 1e-12);
  // One plan against itself stays certain; the ratio of two is scaled as they are.
  EXPECT_EQ(log_ratio_half_width(time_effects(plan, device, result), time_effects(plan, device, result)), 0);
  device.intervals = {{"all", {2 * before, 50}}};
  const Plan other = batch(1320, 10'000);
  const SimResult second = simulate(other, device);
  const double scale = 2 * before / log_half_width(parameter_effects(other, device, second));
  std::vector<double> scaled = parameter_effects(other, device, second);
  for (double& effect : scaled) effect *= scale;
  EXPECT_NEAR(log_ratio_half_width(time_effects(plan, device, result), time_effects(other, device, second)),
              log_ratio_half_width(time_effects(plan, device, result), scaled), 1e-12);
}

TEST(Interval, OfATinyPlanIsTheFixedCosts) {
  const auto e = effects(batch(1, 16), h100());
  EXPECT_GT(e[index_of("cta_start_ns")], 0.01);
  EXPECT_GT(e[index_of("launch_graph_us")], 0.01);
  EXPECT_NEAR(e[index_of("hbm_read_fraction")], 0, 0.001);
}

TEST(Interval, HoldsTheTimeAndGrowsWithDoubt) {
  const Plan plan = batch(200, 3000);
  const double us = simulate(plan, h100()).makespan_us;
  const TimeInterval interval = interval_of(us, effects(plan, h100()));
  EXPECT_LT(interval.low_us, us);
  EXPECT_GT(interval.high_us, us);
  EXPECT_NEAR(interval.low_us * interval.high_us, us * us, 1e-9 * us * us);
  DeviceSpec guessed = h100();
  for (auto& [name, provenance] : guessed.provenance) provenance.origin = costmodel::Origin::assumed;
  const TimeInterval wide = interval_of(us, effects(plan, guessed));
  EXPECT_LT(wide.low_us, interval.low_us);
  EXPECT_GT(wide.high_us, interval.high_us);
  DeviceSpec sure = h100();
  for (auto& [name, provenance] : sure.provenance) provenance.origin = costmodel::Origin::overridden;
  EXPECT_EQ(log_half_width(effects(plan, sure)), 0);
}

TEST(Interval, CommonErrorsCancelInARatio) {
  // Two plans that wait for HBM alike, and one that waits for launches.
  const auto a = effects(batch(1320, 20'000), h100()), b = effects(batch(1320, 25'000), h100());
  const auto tiny = effects(batch(1, 16), h100());
  EXPECT_LT(log_ratio_half_width(a, b), 0.1 * log_half_width(a));
  EXPECT_GT(log_ratio_half_width(a, tiny), log_half_width(a));
  EXPECT_EQ(log_ratio_half_width(a, a), 0);
}

TEST(Interval, DoubtsThatPagesCostNothing) {
  const auto width = [](std::int32_t page_size, const char* device, costmodel::Origin origin = {}) {
    DeviceSpec spec = costmodel::find_device(device);
    if (origin == costmodel::Origin::measured) spec.provenance["page_ns"].origin = origin;
    PrefixForest forest = floor_to_pages(unshared({20'000}), page_size);
    const Plan plan = node_plan(forest, one_head(), streaming_kernel(), kTokensOfAll);
    return log_half_width(parameter_effects(plan, spec, simulate(plan, spec)));
  };
  EXPECT_GT(width(2, "h100-sxm"), 2 * width(1, "h100-sxm")) << "assumed";
  EXPECT_LT(width(64, "h100-sxm"), 1.1 * width(1, "h100-sxm"));
  EXPECT_EQ(width(2, "h100-sxm:page_ns=0"), width(1, "h100-sxm")) << "said to be so";
  EXPECT_EQ(width(2, "h100-sxm", costmodel::Origin::measured), width(1, "h100-sxm"));
}

TEST(Interval, OfNothingIsNothing) {
  const Plan plan = PlanBuilder(unshared({}), one_head()).finish({});
  EXPECT_EQ(log_half_width(effects(plan, h100())), 0);
}

}  // namespace
}  // namespace espalier::sim::testing

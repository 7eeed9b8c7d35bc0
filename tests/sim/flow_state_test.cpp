// Virtual clocks of flow classes, by themselves.
#include "sim/flow_state.h"

#include <gtest/gtest.h>

#include <limits>
#include <utility>
#include <vector>

#include "core/rng.h"

namespace espalier::sim {
namespace {

FlowClass streaming(const costmodel::DeviceSpec& device, double in_flight_bytes) {
  FlowClass flow;
  flow.in_flight_bytes = in_flight_bytes;
  limit_flow(flow, device);
  return flow;
}

TEST(FlowState, ServesAClassInTheOrderOfItsBytesAndTheFewFaster) {
  const costmodel::DeviceSpec device;
  const std::vector<FlowClass> classes = {streaming(device, 32'768)};
  SmTime sm_time(device.sms);
  FlowState flows(classes, device, sm_time);
  constexpr std::int32_t kMany = 400;  // more than memory serves at once
  sm_time.resident(0, 3 * kMany, false);
  flows.enter(0, 1, kMany, 3e6);
  flows.enter(0, 2, kMany, 1e6);
  flows.enter(0, 3, kMany, 2e6);
  std::vector<std::int32_t> order;
  double now = 0;
  while (order.size() < 3) {
    now = flows.next_at();
    flows.advance(now);
    flows.for_due(1e-6, [&](std::int32_t cohort, const BoundTimes& times) {
      order.push_back(cohort);
      double us = 0;
      for (const double part : times.us) us += part;
      EXPECT_NEAR(us, now, 1e-9 * now) << "all time was spent in the class";
    });
  }
  EXPECT_EQ(order, (std::vector<std::int32_t>{2, 3, 1}));
  EXPECT_NEAR(now * device.hbm_achievable_bytes_per_us() / (kMany * 6e6), 1, 0.05) << "memory never idles";
  EXPECT_EQ(flows.next_at(), std::numeric_limits<double>::infinity());
}

/// A class that empties while another goes on, and is entered again: in the same moment, and later.
TEST(FlowState, TakesInAClassThatHadEmptied) {
  costmodel::DeviceSpec device;
  const std::vector<FlowClass> classes = {streaming(device, 32'768), streaming(device, 32'768)};
  SmTime sm_time(device.sms);
  FlowState flows(classes, device, sm_time);
  sm_time.resident(0, 2, false);
  flows.enter(0, 1, 1, 1e6);
  flows.enter(1, 2, 1, 4e6);
  std::vector<std::pair<std::int32_t, double>> through;
  double now = 0;
  const auto step = [&](auto visit) {
    now = flows.next_at();
    flows.advance(now);
    flows.for_due(1e-6, [&](std::int32_t cohort, const BoundTimes&) {
      through.emplace_back(cohort, now);
      visit();
    });
  };
  step([&] { flows.enter(0, 3, 1, 5e5); });
  const double rate = 1e6 / through[0].second, kNear = 2e3;  // two CTAs hardly share anything
  step([] {});
  EXPECT_NEAR(flows.next_at() * rate, 4e6, kNear) << "the other class alone";
  EXPECT_EQ(flows.active().size(), 1U);
  flows.advance(2e6 / rate);
  flows.enter(0, 4, 1, 1e6);
  step([] {});
  step([] {});
  ASSERT_EQ(through.size(), 4U);
  const std::pair<std::int32_t, double> expected[] = {{1, 1e6}, {3, 1.5e6}, {4, 3e6}, {2, 4e6}};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(through[i].first, expected[i].first);
    EXPECT_NEAR(through[i].second * rate, expected[i].second, kNear);
  }
  double busy = 0;
  for (const double part : sm_time.split(now).busy) busy += part;
  EXPECT_NEAR(busy * rate, 1.5e6 + 1e6 + 4e6, kNear)
      << "two CTAs, each with an SM of its own, for as long as they were in";
  EXPECT_EQ(flows.next_at(), std::numeric_limits<double>::infinity());
}

/// Where a clock's last digit is worth more than the slack, what is due must leave all the same: or the run would never
/// end.
TEST(FlowState, LetsCohortsGoInRunsOfHours) {
  costmodel::DeviceSpec device;
  device.hbm_gbps = 1e-3;
  const std::vector<FlowClass> classes = {streaming(device, 32'768), streaming(device, 8'192)};
  core::Rng rng(1);
  SmTime sm_time(device.sms);
  FlowState flows(classes, device, sm_time);
  sm_time.resident(0, 200, false);
  for (std::int32_t cohort = 0; cohort < 200; ++cohort) flows.enter(cohort % 2, cohort, 1, 1e12 * (1 + rng.uniform()));
  for (std::int32_t left = 2000, inside = 200; inside > 0; --left) {
    const double at = flows.next_at();
    flows.advance(at);
    std::int32_t gone = 0;
    flows.for_due(1e-6, [&](std::int32_t cohort, const BoundTimes&) {
      ++gone;
      if (left > 200) flows.enter(cohort % 2, cohort, 1, 1e12 * rng.uniform());
    });
    ASSERT_GT(gone, 0) << left;
    if (left <= 200) inside -= gone;
  }
}

}  // namespace
}  // namespace espalier::sim

// Virtual clocks of flow classes, by themselves.
#include "sim/flow_state.h"

#include <gtest/gtest.h>

#include "core/rng.h"

namespace espalier::sim {
namespace {

FlowClass streaming(const costmodel::DeviceSpec& device, double in_flight_bytes) {
  FlowClass flow;
  flow.in_flight_bytes = in_flight_bytes;
  limit_flow(flow, device);
  return flow;
}

TEST(FlowState, ServesAClassInTheOrderOfItsBytes) {
  const costmodel::DeviceSpec device;
  const std::vector<FlowClass> classes = {streaming(device, 32'768)};
  SmTime sm_time(device.sms);
  FlowState flows(classes, device, sm_time);
  sm_time.resident(0, 3, false);
  flows.enter(0, 1, 1, 3e6);
  flows.enter(0, 2, 1, 1e6);
  flows.enter(0, 3, 1, 2e6);
  std::vector<std::int32_t> order;
  double last = 0, now = 0;
  while (order.size() < 3) {
    now = flows.next_at();
    flows.advance(now);
    flows.for_due(1e-6, [&](std::int32_t cohort, const BoundTimes& times) {
      order.push_back(cohort);
      double us = 0;
      for (const double part : times.us) us += part;
      EXPECT_NEAR(us, now, 1e-9 * now) << "all time was spent in the class";
    });
    EXPECT_GT(now, last);
    last = now;
  }
  EXPECT_EQ(order, (std::vector<std::int32_t>{2, 3, 1}));
  EXPECT_EQ(flows.next_at(), std::numeric_limits<double>::infinity());
}

/// Where a clock's last digit is worth more than the slack, what is due must leave all the same: or the run would never end.
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

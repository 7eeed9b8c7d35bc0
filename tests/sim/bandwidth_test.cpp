#include "sim/bandwidth.h"

#include <gmock/gmock.h>

#include <cmath>

#include "sim_plans.h"

namespace espalier::sim::testing {
namespace {

TEST(SupplyRate, ReachesNinetyPercentAtTwiceTheCorner) {
  // Published point of the law: x = n/(L0 B) = 2.07 gives 90 % of the peak at p = 2.
  const double latency = 0.55, peak = 3e6;
  EXPECT_NEAR(supply_rate(2.07 * latency * peak, latency, peak, 2.0) / peak, 0.90, 0.001);
  EXPECT_NEAR(supply_rate(latency * peak, latency, peak, 2.0) / peak, std::sqrt(0.5), 1e-12);
}

TEST(SupplyRate, FollowsMeasuredCopiesOfAnH800) {
  // TMA copies of an H800 PCIe, 114 SMs: achieved TB/s at KB in flight per SM; one-dimensional fit L0 = 500 ns, p = 2.3
  // (the whole sweep fits to 2.3 % on average).
  const double kb[] = {8, 12, 16, 24}, tbps[] = {1.32, 1.62, 1.83, 1.94};
  for (int i = 0; i < 4; ++i) {
    const double rate = supply_rate(kb[i] * 1024 * 114, 0.5, 1.98e6, 2.3) * 1e-6;
    EXPECT_NEAR(rate / tbps[i], 1.0, 0.09) << kb[i] << " KB";
  }
}

TEST(SupplyRate, ApproachesTheHardMinimumWithTheExponent) {
  EXPECT_NEAR(supply_rate(50, 1, 100, 60), 50, 1e-6);
  EXPECT_NEAR(supply_rate(200, 1, 100, 60), 100, 1e-6);
  EXPECT_EQ(supply_rate(0, 1, 100, 2), 0);
}

FlowClass flow(double count, double cap, double hbm_fraction = 1, double cycles = 0) {
  FlowClass out;
  out.count = count;
  out.cap_bytes_per_us = cap;
  out.hbm_fraction = hbm_fraction;
  out.sm_cycles_per_byte = cycles;
  out.in_flight_bytes = 1 << 20;  // far beyond the corner unless a test says otherwise
  return out;
}

std::vector<FlowRate> share(const std::vector<FlowClass>& classes, const DeviceSpec& device) {
  std::vector<FlowRate> rates;
  share_bandwidth(classes, device, rates);
  return rates;
}

TEST(ShareBandwidth, GivesCappedClassesTheirCapAndTheOthersTheRest) {
  DeviceSpec device = device_with();
  device.hbm_ramp_exponent = 60;  // a hard corner, so that the sum is the peak
  const double peak = device.hbm_achievable_bytes_per_us();
  const auto rates = share({flow(100, peak / 1000), flow(50, 1e9)}, device);
  EXPECT_DOUBLE_EQ(rates[0].bytes_per_us, peak / 1000);
  EXPECT_EQ(rates[0].bound, Bound::latency);
  EXPECT_NEAR(rates[1].bytes_per_us, (peak - peak / 10) / 50, 1e-6 * peak);
  EXPECT_EQ(rates[1].bound, Bound::hbm);
}

TEST(ShareBandwidth, LetsHitsRunOnWhenHbmIsFull) {
  DeviceSpec device = device_with();
  device.hbm_ramp_exponent = 60;
  const double l2 = device.l2_bytes_per_us(), hbm = device.hbm_achievable_bytes_per_us();
  const auto rates = share({flow(100, 1e9, 1), flow(100, 1e9, 0)}, device);
  EXPECT_NEAR(rates[0].bytes_per_us * 100, hbm, 1e-6 * hbm);
  EXPECT_NEAR(rates[1].bytes_per_us * 100, l2 - hbm, 1e-6 * l2);
  EXPECT_EQ(rates[1].bound, Bound::l2);
}

TEST(ShareBandwidth, PoolsThePipesOfTheSmsThatHoldCtas) {
  DeviceSpec device = device_with(4);
  // 8 CTAs on 4 SMs need a cycle a byte: the device gives 4 clocks; 2 CTAs have an SM each.
  auto rates = share({flow(8, device.clocks_per_us(), 1, 1.0)}, device);
  EXPECT_NEAR(rates[0].bytes_per_us, device.clocks_per_us() / 2, 1e-9);
  EXPECT_EQ(rates[0].bound, Bound::compute);
  rates = share({flow(2, 1e9, 1, 1.0)}, device);
  EXPECT_NEAR(rates[0].bytes_per_us, device.clocks_per_us(), 1e-9);
}

TEST(ShareBandwidth, CallsTheRampLatency) {
  const DeviceSpec device = device_with();
  FlowClass few = flow(4, 1e9);
  few.in_flight_bytes = 1024;
  const auto rates = share({few}, device);
  EXPECT_EQ(rates[0].bound, Bound::latency);
  EXPECT_NEAR(rates[0].bytes_per_us * 4,
              supply_rate(4096, device.hbm_latency_ns * 1e-3, device.hbm_achievable_bytes_per_us(), 2), 1e-6);
}

TEST(ShareBandwidth, NeverExceedsAResource) {
  core::Rng rng(7);
  for (int round = 0; round < 500; ++round) {
    const DeviceSpec device = device_with(static_cast<double>(rng.integer(1, 132)));
    std::vector<FlowClass> classes;
    for (std::int64_t i = rng.integer(1, 12); i > 0; --i) {
      classes.push_back(
          flow(static_cast<double>(rng.integer(1, 200)), 1 + rng.uniform() * 1e5, rng.uniform(), rng.uniform()));
      classes.back().in_flight_bytes = 1 + rng.uniform() * 1e5;
    }
    const auto rates = share(classes, device);
    double hbm = 0, l2 = 0, pipes = 0;
    for (std::size_t i = 0; i < classes.size(); ++i) {
      ASSERT_GT(rates[i].bytes_per_us, 0);
      ASSERT_LE(rates[i].bytes_per_us, classes[i].cap_bytes_per_us);
      hbm += classes[i].count * rates[i].bytes_per_us * classes[i].hbm_fraction;
      l2 += classes[i].count * rates[i].bytes_per_us;
      pipes += classes[i].count * rates[i].bytes_per_us * classes[i].sm_cycles_per_byte;
    }
    ASSERT_LE(hbm, device.hbm_achievable_bytes_per_us() * (1 + 1e-9));
    ASSERT_LE(l2, device.l2_bytes_per_us() * (1 + 1e-9));
    ASSERT_LE(pipes, device.clocks_per_us() * device.sms * (1 + 1e-9));
  }
}

}  // namespace
}  // namespace espalier::sim::testing

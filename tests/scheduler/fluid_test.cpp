// The fluid of CTAs that the planner's forecast runs: limits that can be worked out by hand, and what holds for any
// load.
#include "scheduler/strategies/fluid.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/rng.h"

namespace espalier::scheduler::planning {
namespace {

/// A kernel that nothing limits but what a test sets.
FluidKernel free_kernel() {
  FluidKernel kernel;
  kernel.cap = 1e9;
  kernel.unloaded = 1e12;
  kernel.unloaded_hbm = 1e12;
  return kernel;
}

struct FluidLimits : testing::Test {
  costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  double hbm = device.hbm_achievable_bytes_per_us(), l2 = device.l2_bytes_per_us();
  std::vector<FluidKernel> kernels = {free_kernel()};
  double us(const std::vector<FluidClass>& classes) const { return fluid_us(device, kernels, classes); }
};

TEST_F(FluidLimits, NothingTakesNoTime) { EXPECT_EQ(us({}), 0); }

TEST_F(FluidLimits, OneCtaTakesItsOwnLimit) {
  kernels[0].cap = 1000;
  EXPECT_NEAR(us({{0, 1, 5e6, 0}}), 5000, 1e-6);
}

TEST_F(FluidLimits, TogetherTheyTakeTheBandwidth) {
  EXPECT_NEAR(us({{0, 100, 1e6, 0}}), 1e8 / hbm, 1e-3);
  kernels[0].missed = 0.01;
  EXPECT_NEAR(us({{0, 100, 1e6, 0}}), 1e8 / l2, 1e-3);
  kernels[0].sm_us_per_byte = 1e-4;  // 132 SMs, 100 of them with a CTA
  EXPECT_NEAR(us({{0, 100, 1e6, 0}}), 1e6 * 1e-4, 1e-6);
}

TEST_F(FluidLimits, FewBytesInFlightFillNoBandwidth) {
  kernels[0].unloaded = kernels[0].unloaded_hbm =
      hbm / 100;  // 100 of them wish for just the bandwidth: the soft corner
  EXPECT_NEAR(us({{0, 100, 1e6, 0}}), 1e8 / soft_corner(device, hbm, hbm), 1e-3);
  EXPECT_NEAR(soft_corner(device, hbm, hbm), hbm / std::sqrt(2.0), 1e-6 * hbm);
}

TEST_F(FluidLimits, WhoIsSlowAloneLeavesTheRestToOthers) {
  kernels.push_back(free_kernel());
  kernels[0].cap = 10;
  // The slow ones take 10 each for 18 us, the fast ones what is left: at equal rates they would need 23 us.
  EXPECT_NEAR(us({{0, 20, 180, 0}, {1, 50, 1e6, 0}}), 18, 1e-6);
  EXPECT_NEAR(us({{0, 20, 10, 0}, {1, 50, 1e6, 0}}), 50 * 1e6 / hbm, 0.1);
}

TEST_F(FluidLimits, ShortOnesLeaveAndOthersSpeedUp) {
  // Half of the bytes of the long ones are read by twice as many.
  EXPECT_NEAR(us({{0, 50, 2e6, 0}, {0, 50, 1e6, 0}}), 150e6 / hbm, 1e-3);
  kernels[0].cap = hbm / 60;
  const double first = 1e6 / (hbm / 100), rest = 1e6 / (hbm / 60);
  EXPECT_NEAR(us({{0, 50, 2e6, 0}, {0, 50, 1e6, 0}}), first + rest, 1e-3);
}

TEST_F(FluidLimits, WhoFindsNoSlotWaits) {
  kernels[0].sms = 0.5;
  kernels[0].cap = 100;
  const double slots = 2.0 * device.sms;
  EXPECT_NEAR(us({{0, slots, 1e4, 0}}), 100, 1e-6);
  EXPECT_NEAR(us({{0, slots + 1, 1e4, 0}}), 200, 1e-6);
  kernels[0].fixed_us = 3;
  EXPECT_NEAR(us({{0, slots, 1e4, 0}}), 100, 1e-6) << "what comes before the first byte is the caller's";
  EXPECT_NEAR(us({{0, slots + 1, 1e4, 0}}), 203, 1e-6);
  kernels[0].opening_us = 0.1;  // a quarter as many CTAs as SMs begin at once, and their slots are the first to be free
  EXPECT_NEAR(us({{0, slots + 1, 1e4, 0}}), 203, 1e-6);
  EXPECT_NEAR(us({{0, slots + 33, 1e4, 0}}), 203, 1e-6);
  EXPECT_GT(us({{0, slots + 34, 1e4, 0}}), 203.5);
  EXPECT_GT(us({{0, 2 * slots, 1e4, 0}}), 203.5);
}

TEST_F(FluidLimits, TheFirstWaveBeginsInTurn) {
  kernels[0].cap = 100;
  const double all = device.sms;
  kernels[0].opening_us = 0.1;
  // The fourth group waits for half of what the three before it asked for.
  EXPECT_NEAR(us({{0, all, 1e3, 0}}), 10 + 0.5 * 0.1 * 99, 1e-6);
  kernels[0].alike = 8;
  EXPECT_NEAR(us({{0, all, 1e3, 0}}), 10 + 0.5 * 0.1 * 128, 1e-6) << "132 CTAs, by eights";
  kernels[0].alike = 1;
  EXPECT_NEAR(us({{0, all - 1, 1e3, 0}}), 10 + 0.5 * 0.1 * 128, 1e-6) << "by fours: no more than about 32 groups";
  kernels[0].ring_bytes = 2e3;
  EXPECT_NEAR(us({{0, all - 1, 1e3, 0}}), 10 + 0.5 * 0.05 * 128, 1e-6) << "they ask for no more than they read";
}

TEST_F(FluidLimits, VeryManyLengthsOfOneKernelLeaveRoomForAnother) {
  kernels = {free_kernel(), free_kernel()};
  kernels[0].cap = kernels[1].cap = 100;
  kernels[0].sms = kernels[1].sms = 0.5;
  std::vector<FluidClass> classes = {{1, 1, 1e4, 0}};  // of those that begin at one time the last begins first
  for (int i = 0; i < 200; ++i) classes.push_back({0, 1, 1e4 * std::pow(1.02, i), 0});
  EXPECT_NEAR(us(classes), 100 * std::pow(1.02, 199), 0.2 * 100 * std::pow(1.02, 199));
}

TEST_F(FluidLimits, TheLastTileIsPadded) {
  kernels[0].cap = 100;
  EXPECT_NEAR(us({{0, 10, 1e4, 3}}), 103, 1e-6);
  EXPECT_NEAR(us({{0, 10, 1e4, 3}, {0, 10, 2e4, 0}}), 200, 1e-6) << "somebody else reads on";
  EXPECT_NEAR(us({{0, 10, 1e4, 150}, {0, 10, 2e4, 0}}), 250, 1e-6);
  EXPECT_NEAR(us({{0, 10, 1e4, 3}, {0, 10, 1e4 + 1, 7}}), 107, 0.01) << "alike, so taken for one";
}

TEST_F(FluidLimits, GivesUpAboveItsLimit) {
  const std::vector<FluidClass> classes = {{0, 500, 2e6, 0}, {0, 700, 1e6, 0}};
  const double exact = us(classes);
  EXPECT_EQ(fluid_us(device, kernels, classes, exact * 1.01), exact);
  const double given_up = fluid_us(device, kernels, classes, exact * 0.9);
  EXPECT_GT(given_up, exact * 0.9);
  EXPECT_LE(given_up, exact * (1 + 1e-9));
}

TEST(Fluid, NeverBeatsAResourceNorDoesOneThingAtATime) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    core::Rng rng(seed);
    const auto uniform = [&](double low, double high) { return low + (high - low) * rng.uniform(); };
    const auto count = [&](std::int64_t high) { return static_cast<std::size_t>(rng.integer(1, high)); };
    const costmodel::DeviceSpec device = costmodel::find_device(seed % 2 == 0 ? "h100-sxm" : "a100-80");
    std::vector<FluidKernel> kernels(count(3));
    for (FluidKernel& k : kernels) {
      k.missed = uniform(0.05, 1);
      k.unloaded = uniform(2e4, 3e5);
      k.unloaded_hbm = k.unloaded * uniform(0.2, 1) * k.missed;
      k.sm_us_per_byte = uniform(1e-6, 2e-5);
      k.cap = std::min(k.unloaded, 1 / k.sm_us_per_byte);
      k.sms = 1.0 / static_cast<double>(count(4));
      k.fixed_us = uniform(0.1, 2);
      k.opening_us = uniform(0, 0.05);
      k.ring_bytes = uniform(0, 2e5);
      if (rng.chance(0.5)) k.alike = static_cast<double>(count(64));
    }
    std::vector<FluidClass> classes(count(40));
    double misses = 0, bytes = 0, sm_us = 0, one_by_one = 0;
    for (FluidClass& c : classes) {
      c = {count(static_cast<std::int64_t>(kernels.size())) - 1, static_cast<double>(count(400)), uniform(3e4, 1e6),
           rng.chance(0.5) ? uniform(0, 2) : 0};
      const FluidKernel& k = kernels[c.kernel];
      misses += c.ctas * c.bytes * k.missed;
      bytes += c.ctas * c.bytes;
      sm_us += c.ctas * c.bytes * k.sm_us_per_byte;
      one_by_one +=
          c.ctas *
          (c.bytes /
               std::min(k.cap, soft_corner(device, k.unloaded_hbm, device.hbm_achievable_bytes_per_us()) / k.missed) +
           k.fixed_us + k.opening_us + c.end_us);
    }
    const double us = fluid_us(device, kernels, classes);
    // Cohorts that end within a hundredth of their bytes are taken for one.
    EXPECT_GE(us * 1.02, misses / device.hbm_achievable_bytes_per_us()) << "seed " << seed;
    EXPECT_GE(us * 1.02, bytes / device.l2_bytes_per_us()) << "seed " << seed;
    EXPECT_GE(us * 1.02, sm_us / device.sms) << "seed " << seed;
    EXPECT_LE(us, one_by_one) << "seed " << seed;
    for (const double share : {0.3, 0.9, 0.99}) {
      const double given_up = fluid_us(device, kernels, classes, share * us);
      EXPECT_GT(given_up, share * us) << "seed " << seed;
      EXPECT_LE(given_up, us * (1 + 1e-9)) << "seed " << seed << ": what it gives up by is no bound";
    }
  }
}

}  // namespace
}  // namespace espalier::scheduler::planning

// What a device is given: every piece placed once, its size known beforehand, refusals before anything is placed.
#include "kernels/device_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "kernels/emulate.h"
#include "scheduler/timeline.h"
#include "tests/kernels/hand_plans.h"

namespace espalier::kernels {
namespace {

using namespace testing;
using ::testing::HasSubstr;

TEST(DeviceImage, AsksForTheBytesThatItSaysBeforehand) {
  const Plan plan = node_halves(small_forest(), traces::parse_heads("8/2/128"));
  const DevicePlan lowered = lower_plan(plan, {host_kernels()});
  std::int64_t asked = 0;
  std::vector<std::vector<std::byte>> memory;
  const DevicePlacer place = [&](const DevicePiece& piece) -> void* {
    asked += static_cast<std::int64_t>((piece.bytes + 255) / 256 * 256);
    return memory.emplace_back(piece.bytes + 1).data();
  };
  const DeviceImage image = place_on_device(plan, lowered, {}, traces::Dtype::bf16, place);
  EXPECT_EQ(device_bytes(plan, lowered, traces::Dtype::bf16), asked);
  EXPECT_GT(device_bytes(plan, lowered, traces::Dtype::fp32), asked);
  EXPECT_EQ(image.merge_steps.size(), lowered.launches.size());
}

TEST(DeviceImage, PointsALaunchAtItsOwnItems) {
  const Plan plan = node_halves(small_forest(), traces::parse_heads("8/2/128"));
  const DevicePlan lowered = lower_plan(plan, {host_kernels()});
  std::vector<std::vector<std::byte>> memory;
  const DevicePlacer place = [&](const DevicePiece& piece) -> void* {
    return memory.emplace_back(piece.bytes + 1).data();
  };
  const DeviceImage image = place_on_device(plan, lowered, {}, traces::Dtype::bf16, place);
  ASSERT_EQ(lowered.launches.size(), 2U);
  EXPECT_EQ(attend_params(image, lowered, 0).items, image.items);
  EXPECT_EQ(attend_params(image, lowered, 0).queues, nullptr);
  EXPECT_EQ(reduce_params(image, lowered, 1).rows, lowered.launches[1].merge.rows);
  EXPECT_EQ(reduce_params(image, lowered, 1).steps, image.merge_steps[1]);
}

TEST(Measurement, IsWrittenWithPlanDeviceAndMedian) {
  const Plan plan = node_halves(small_forest(), traces::parse_heads("8/2/128"));
  scheduler::Measurement measurement;
  measurement.device = "a device";
  measurement.backend = "cuda";
  measurement.plan_hash = plan.hash;
  measurement.repeats_us = {4, 1, 2, 9};
  measurement.max_error = -1;
  measurement.environment = {"driver 1"};
  EXPECT_EQ(scheduler::median_us(measurement), 3);
  const std::string text = scheduler::write_measurement(measurement, plan);
  const core::JsonDocument document = core::JsonDocument::parse(text, "m.json");
  EXPECT_EQ(document.root().at("schema").string(), "run/1");
  EXPECT_EQ(document.root().at("plan").hash(), plan.hash);
  EXPECT_EQ(document.root().at("median_us").number(), 3);
  EXPECT_TRUE(document.root().at("max_error").is_null());
  measurement.max_error = 1e-3;
  EXPECT_THAT(scheduler::write_measurement(measurement, plan), HasSubstr("0.001"));
}

}  // namespace
}  // namespace espalier::kernels

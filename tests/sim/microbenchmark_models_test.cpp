// Models of microbenchmarks: one a family, sweeps that fill the columns, times that agree with the simulator's events.
#include "sim/calibration/microbenchmark_models.h"

#include <gtest/gtest.h>

#include <cmath>
#include <span>
#include <vector>

#include "scheduler/plan_builder.h"
#include "sim/simulator.h"

namespace espalier::sim {
namespace {

using costmodel::DeviceSpec;

TEST(MicrobenchmarkModels, EveryFamilyHasOne) {
  for (const costmodel::MicrobenchmarkFamily& family : costmodel::microbenchmark_families()) {
    EXPECT_EQ(find_model(family.id).id, family.id);
  }
}

TEST(MicrobenchmarkModels, AreOfKnownFamiliesAndTheirSweepsFillTheColumns) {
  for (const MicrobenchmarkModel& model : microbenchmark_models()) {
    const auto* family = costmodel::find_family(model.id);
    ASSERT_NE(family, nullptr) << model.id;
    for (const DeviceSpec& device : costmodel::device_catalog()) {
      const CalibrationSubject subject = usual_subject(device);
      for (const auto& point : model.sweep(device)) {
        ASSERT_EQ(point.size(), family->parameters.size()) << model.id;
        const double us = model.predict_us(point, subject);
        EXPECT_TRUE(std::isfinite(us) && us > 0) << model.id << " on " << device.name;
      }
    }
  }
}

TEST(MicrobenchmarkModels, ClocksAreReadOverManyStepsOfTheTimer) {
  constexpr double kTimerStep = 1;
  for (const DeviceSpec& device : costmodel::device_catalog()) {
    for (const auto& point : find_model("C0").sweep(device)) {
      EXPECT_GT(find_model("C0").predict_us(point, usual_subject(device)), 500 * kTimerStep) << device.name;
    }
  }
}

/// `ctas` equal CTAs of `tokens` each in one launch, KV of their own.
double simulated_us(std::int32_t ctas, std::int64_t tokens, const costmodel::KernelConfig& config,
                    const DeviceSpec& device, std::int32_t workers, std::int32_t page_size = 1) {
  traces::ForestSource source;
  source.name = "alike";
  source.page_size = page_size;
  for (std::int32_t i = 0; i < ctas; ++i) {
    source.parent.push_back(-1);
    source.tokens.push_back(tokens);
    source.leaf.push_back(i);
  }
  const traces::PrefixForest forest = traces::make_forest(source);
  traces::HeadConfig heads;
  heads.q_heads = heads.kv_heads = 1;
  scheduler::PlanBuilder builder(forest, heads);
  const auto kernel = builder.kernel(config);
  builder.launch();
  std::vector<std::vector<scheduler::QueueItem>> queues(static_cast<std::size_t>(workers));
  for (std::int32_t i = 0; i < ctas; ++i) {
    const scheduler::Segment segment = builder.segment(traces::NodeId(i), 0, tokens, 1);
    const scheduler::TaskId task =
        builder.attend(kernel, std::span(&segment, 1), builder.queries(traces::RequestId(i), traces::RequestId(i + 1)));
    if (workers > 0) queues[static_cast<std::size_t>(i % workers)].push_back({task, 0});
  }
  builder.task_phase(kernel, scheduler::TaskId(0));
  if (workers > 0) builder.queues(queues);
  builder.finish_rows(traces::Dtype::fp32);
  return simulate(std::move(builder).finish({}), device).makespan_us;
}

costmodel::KernelConfig ring_kernel(std::int32_t stages) {
  costmodel::KernelConfig config = costmodel::find_kernel("espalier_mma_m16");
  config.stages = stages;
  config.lookups = 0;
  return config;
}

TEST(MicrobenchmarkModels, AgreeWithTheEventsOnRings) {
  const CalibrationSubject subject = usual_subject(costmodel::find_device("h100-sxm"));
  constexpr std::int64_t kTokens = 65536;
  for (const std::int32_t stages : {2, 3}) {
    const costmodel::KernelConfig config = ring_kernel(stages);
    const double tile = config.kv_tile * 512.0, sms = subject.device.sms;
    const std::vector<double> point = {sms, static_cast<double>(stages), tile, sms * kTokens * 512.0};
    const double expected = find_model("C3").predict_us(point, subject);
    EXPECT_NEAR(simulated_us(static_cast<std::int32_t>(sms), kTokens, config, subject.device, 0) / expected, 1, 0.02)
        << stages;
  }
}

TEST(MicrobenchmarkModels, AgreeWithTheEventsOnGathers) {
  CalibrationSubject subject = usual_subject(costmodel::find_device("h100-sxm"));
  subject.device.page_ns = 40;
  constexpr std::int64_t kTokens = 65536;
  const costmodel::KernelConfig config = ring_kernel(3);
  const double in_flight = 2 * config.kv_tile * 512.0;
  for (const std::int32_t ctas : {33, 132}) {
    for (const std::int32_t page_size : {2, 16, 64}) {
      const std::vector<double> point = {static_cast<double>(ctas), in_flight, ctas * kTokens * 512.0,
                                         page_size * 256.0};
      const double expected = find_model("C19").predict_us(point, subject);
      EXPECT_NEAR(simulated_us(ctas, kTokens, config, subject.device, 0, page_size) / expected, 1, 0.02)
          << ctas << " CTAs, pages of " << page_size;
    }
  }
}

TEST(MicrobenchmarkModels, AgreeWithTheEventsOnItemsOfAWorker) {
  const CalibrationSubject subject = usual_subject(costmodel::find_device("h100-sxm"));
  const costmodel::KernelConfig config = ring_kernel(2);
  const double tile = config.kv_tile * 512.0;
  for (const std::int32_t items : {1, 5}) {
    for (const std::int32_t tiles : {1, 8}) {
      const std::vector<double> point = {static_cast<double>(items), static_cast<double>(tiles), tile, tile, 0.0};
      const double expected = find_model("C13").predict_us(point, subject);
      // Queries and rows, which the benchmark's model leaves to the intercept, are a few hundred bytes.
      EXPECT_NEAR(simulated_us(items, std::int64_t{tiles} * config.kv_tile, config, subject.device, 1) / expected, 1,
                  0.03)
          << items << " x " << tiles;
    }
  }
}

}  // namespace
}  // namespace espalier::sim

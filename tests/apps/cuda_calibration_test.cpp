// Calibration of a GPU without one: probes are answered by the model's own predictions, everything else is what runs on
// a device.
#include "apps/cuda_calibration.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "command.h"
#include "core/error.h"
#include "core/rng.h"
#include "kernels/device_plan.h"
#include "sim/calibration/fit.h"
#include "sim/calibration/microbenchmark_models.h"

namespace espalier::apps {
namespace {

using kernels::ProbePoint;
using kernels::ProbeTarget;
using testing::HasSubstr;
using testing::Not;

ProbeTarget target_of(const costmodel::DeviceSpec& device) {
  ProbeTarget target{device.label, "570.1", {}};
  for (const costmodel::DeviceField& field : costmodel::device_fields()) {
    if (costmodel::is_reported(field.name)) target.query.emplace(field.name, device.*field.member);
  }
  return target;
}

/// A device that is the model, with repeats that differ.
ProbeRunner model_of(const sim::CalibrationSubject& truth, core::Rng& rng) {
  return [&truth, &rng](std::string_view family, const ProbePoint& point) {
    const double us = sim::find_model(family).predict_us(point.parameters, truth);
    std::vector<double> repeats;
    for (std::int32_t r = 0; r < point.repeats; ++r) repeats.push_back(us * std::exp(0.02 * rng.normal()));
    return kernels::ProbeTimes{repeats, {}};
  };
}

costmodel::DeviceSpec disturbed(const char* name) {
  costmodel::DeviceSpec device = costmodel::find_device(name);
  device.hbm_latency_ns *= 1.15;
  device.hbm_read_fraction *= 0.95;
  device.l2_knee_mib *= 0.9;
  device.mma_flop_per_clk *= 0.9;
  device.ex2_per_clk *= 1.1;
  device.launch_graph_us *= 1.2;
  device.grid_sync_us *= 0.85;
  return device;
}

TEST(CudaCalibration, ProbesAsLaunchedIdentifyTheDevice) {
  for (const auto& [name, least] : {std::pair("h100-sxm", 22), std::pair("h200", 22), std::pair("a100-80", 18)}) {
    const costmodel::DeviceSpec base = costmodel::find_device(name);
    const sim::CalibrationSubject truth = sim::usual_subject(disturbed(name));
    core::Rng rng(3);
    const CudaCalibration measured = measure_device(target_of(base), model_of(truth, rng), {});
    const std::string text = costmodel::write_measurement(measured.file);
    const costmodel::MeasurementFile file = costmodel::read_measurement(text, "written");
    const sim::DeviceCalibration fit = sim::calibrate_device(std::span(&file, 1), base, {.draws = 40, .seed = 1});
    int found = 0;
    for (const sim::CalibratedNumber& n : fit.numbers) {
      if (!n.in_device || !n.measured()) continue;
      ++found;
      const double value = sim::calibration_parameter(n.name).get(truth);
      EXPECT_NEAR(n.fitted, value, 4 * std::max(n.high - n.fitted, n.fitted - n.low) + 1e-3 * value)
          << name << " " << n.name;
    }
    EXPECT_GE(found, least) << name;
  }
}

TEST(CudaCalibration, EveryFamilyIsMeasured) {
  const costmodel::DeviceSpec base = costmodel::find_device("h100-sxm");
  const sim::CalibrationSubject truth = sim::usual_subject(base);
  core::Rng rng(1);
  const CudaCalibration measured = measure_device(target_of(base), model_of(truth, rng), {});
  std::set<std::string> have, want;
  for (const auto& family : costmodel::microbenchmark_families()) want.emplace(family.id);
  for (const auto& family : measured.file.families) {
    have.insert(family.id);
    for (const std::int32_t repeats : family.repeats) EXPECT_GE(repeats, family.id == "C21" ? 3 : 20) << family.id;
  }
  EXPECT_EQ(have, want);
  EXPECT_EQ(measured.file.environment.kernels, costmodel::kernel_build_hash());
}

TEST(CudaCalibration, QuickRunsLeaveOutWhatTheSimulatorDoesNotRead) {
  const sim::CalibrationSubject truth = sim::usual_subject(costmodel::find_device("h100-sxm"));
  core::Rng rng(1);
  const CudaCalibration measured = measure_device(target_of(truth.device), model_of(truth, rng), {.quick = true});
  for (const auto& family : measured.file.families) {
    EXPECT_THAT(family.id, testing::Not(testing::AnyOf("C6", "C14", "C16", "C17", "C18", "C20")));
    if (family.id == "C21") {
      EXPECT_LE(*std::max_element(family.parameters[0].begin(), family.parameters[0].end()), 1e9);
    }
  }
  EXPECT_EQ(measured.file.families.size(), 16U);
}

TEST(CudaCalibration, AFailureKeepsWhatWasMeasured) {
  const sim::CalibrationSubject truth = sim::usual_subject(costmodel::find_device("h100-sxm"));
  core::Rng rng(1);
  const ProbeRunner works = model_of(truth, rng);
  const ProbeRunner fails = [&](std::string_view family, const ProbePoint& point) {
    if (family == "C5" && point.parameters[2] > 1e7) {
      throw core::Error(core::ErrorKind::check_failed, "CUDA: running a probe: out of luck");
    }
    return works(family, point);
  };
  const CudaCalibration measured = measure_device(target_of(truth.device), fails, {});
  std::set<std::string> have;
  for (const auto& family : measured.file.families) have.insert(family.id);
  EXPECT_EQ(have, (std::set<std::string>{"C0", "C12", "C3", "C5"}));
  EXPECT_THAT(measured.left_out, testing::Contains(HasSubstr("C5: CUDA: running a probe: out of luck")));
  EXPECT_THAT(measured.left_out, testing::Contains("C1: the device was lost in C5"));
  EXPECT_NO_THROW(costmodel::read_measurement(costmodel::write_measurement(measured.file), "cut off"));
}

TEST(CudaCalibration, WhatDoesNotFitTheDeviceIsNoLossOfIt) {
  const sim::CalibrationSubject truth = sim::usual_subject(costmodel::find_device("h100-sxm"));
  core::Rng rng(1);
  const ProbeRunner works = model_of(truth, rng);
  const ProbeRunner small = [&](std::string_view family, const ProbePoint& point) {
    if (family == "C5") throw kernels::PlanRefused("--backend cuda: too little memory");
    return works(family, point);
  };
  const CudaCalibration measured = measure_device(target_of(truth.device), small, {});
  EXPECT_THAT(measured.left_out,
              testing::Contains(testing::MatchesRegex("C5: .* points, n/a: --backend cuda: too little memory")));
  EXPECT_THAT(measured.left_out, Not(testing::Contains(HasSubstr("lost"))));
  EXPECT_TRUE(std::any_of(measured.file.families.begin(), measured.file.families.end(),
                          [](const auto& f) { return f.id == "C1"; }));
}

TEST(CudaCalibration, KernelsThatThisBuildHasNoCodeForAreNamed) {
  const sim::CalibrationSubject truth = sim::usual_subject(costmodel::find_device("h100-sxm"));
  core::Rng rng(1);
  const ProbeRunner works = model_of(truth, rng);
  const ProbeRunner old_code = [&](std::string_view family, const ProbePoint& point) {
    std::string why = kernels::unfit_code(point, 80);
    if (why.empty()) why = kernels::unfit_mark(point, 0);
    return why.empty() ? works(family, point) : kernels::ProbeTimes{{}, why};
  };
  const CudaCalibration measured = measure_device(target_of(truth.device), old_code, {});
  EXPECT_THAT(
      measured.left_out,
      testing::Contains(
          "C4: 7 of 26 points, n/a: probe_bulk_ring_2 was compiled for 8.0 and is empty there: it takes code for 9.0"));
  EXPECT_THAT(measured.left_out, testing::Contains(HasSubstr("probe_warp_group was compiled for 8.0")));
  EXPECT_THAT(measured.left_out, testing::Contains(HasSubstr("probe_follow was compiled for 8.0")));
  for (const auto& family : measured.file.families) {
    EXPECT_NE(family.id, "C4");
    if (family.id == "C12") {
      EXPECT_THAT(family.parameters[0], testing::Not(testing::Contains(2.0)));
    }
    if (family.id == "C9") {
      EXPECT_THAT(family.parameters[1], testing::Each(0.0));
    }
  }
}

TEST(CudaCalibration, DevicesOutsideTheCatalogAreSizedByWhatTheyReport) {
  ProbeTarget target = target_of(costmodel::find_device("h100-sxm"));
  target.query["sms"] = 60;
  target.query["l2_mib"] = 32;
  const costmodel::DeviceSpec device = nearest_device(target);
  EXPECT_EQ(device.sms, 60);
  EXPECT_EQ(device.l2_mib, 32);
}

TEST(CudaCalibration, PointsHoldMediansAndSpreads) {
  costmodel::MeasuredFamily family;
  add_point(family, {1, 2}, {10, 30, 20, 40, 50});
  EXPECT_EQ(family.median_us.at(0), 30);
  EXPECT_DOUBLE_EQ(family.spread.at(0), (40.0 - 20.0) / 30);
  EXPECT_EQ(family.repeats.at(0), 5);
  EXPECT_EQ(family.parameters, (std::vector<std::vector<double>>{{1}, {2}}));
}

class CalibrateCuda : public CommandTest {};

TEST_F(CalibrateCuda, SaysSoWithoutADevice) {
  const Result result = run("calibrate --device cuda --json m.json");
  EXPECT_EQ(result.code, 4) << result.err;
  EXPECT_THAT(result.err, HasSubstr("CUDA"));
  EXPECT_EQ(files(), 0U);
  EXPECT_EQ(run("calibrate --device cuda").code, 2);
  EXPECT_EQ(run("calibrate --device host --quick").code, 2);
}

}  // namespace
}  // namespace espalier::apps

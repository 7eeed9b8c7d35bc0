#include <fmt/core.h>
#include <gmock/gmock.h>

#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/rng.h"
#include "sim/calibration/fit.h"
#include "sim/calibration/microbenchmark_models.h"

namespace espalier::sim {
namespace {

using costmodel::DeviceSpec;
using costmodel::MeasurementFile;

constexpr CalibrationOptions kQuick = {.draws = 50, .seed = 1};

/// A device that differs from `base` in every number that benchmarks can show, by up to a fifth.
CalibrationSubject disturbed(const DeviceSpec& base, std::uint64_t seed) {
  core::Rng rng(seed);
  CalibrationSubject truth = usual_subject(base);
  truth.device.page_ns = 20;  // no device of the catalog has any
  for (const MicrobenchmarkModel& model : microbenchmark_models()) {
    for (const std::string_view name : model.identifies) {
      const CalibrationParameter& p = calibration_parameter(name);
      if (p.field == nullptr || !p.logarithmic) continue;
      const double factor = std::exp((rng.uniform() - 0.5) * 0.36);
      p.set(truth, std::clamp(p.get(truth) * factor, p.low, p.high));
    }
  }
  truth.device.hbm_read_fraction = std::min(truth.device.hbm_read_fraction, 0.97);
  return truth;
}

DeviceCalibration calibrated(const CalibrationSubject& truth, const DeviceSpec& base, const SynthesisOptions& noise) {
  const MeasurementFile file = synthesize_measurement(truth, noise);
  return calibrate_device(std::span(&file, 1), base, kQuick);
}

const CalibratedNumber& number_of(const DeviceCalibration& calibration, std::string_view name) {
  const auto found = std::find_if(calibration.numbers.begin(), calibration.numbers.end(),
                                  [&](const CalibratedNumber& n) { return n.name == name; });
  EXPECT_NE(found, calibration.numbers.end()) << name;
  return *found;
}

/// The measurements without some families, or with some points only.
template <class Keep>
MeasurementFile reduced(MeasurementFile file, std::string_view id, Keep keep) {
  for (costmodel::MeasuredFamily& family : file.families) {
    if (family.id != id) continue;
    costmodel::MeasuredFamily out;
    out.id = family.id;
    out.parameters.resize(family.parameters.size());
    for (std::size_t i = 0; i < family.points(); ++i) {
      std::vector<double> point;
      for (const auto& column : family.parameters) point.push_back(column[i]);
      if (!keep(point)) continue;
      for (std::size_t p = 0; p < point.size(); ++p) out.parameters[p].push_back(point[p]);
      out.repeats.push_back(family.repeats[i]);
      out.median_us.push_back(family.median_us[i]);
      out.spread.push_back(family.spread[i]);
    }
    family = out;
  }
  return file;
}

TEST(Calibration, FindsTheDeviceExactlyWithoutNoise) {
  for (const char* name : {"h100-sxm", "a100-80", "l4"}) {
    const DeviceSpec base = costmodel::find_device(name);
    const CalibrationSubject truth = disturbed(base, 3);
    const DeviceCalibration calibration = calibrated(truth, base, {.noise = 0});
    for (const CalibratedNumber& n : calibration.numbers) {
      if (!n.measured()) continue;
      EXPECT_NEAR(n.fitted / calibration_parameter(n.name).get(truth), 1, 2e-3) << name << " " << n.name;
    }
    for (const FamilyResidual& r : calibration.residuals) EXPECT_LT(r.worst, 1e-3) << name << " " << r.id;
  }
}

TEST(Calibration, RecoversNoisyDevicesWithinItsIntervals) {
  std::size_t within = 0, all = 0, fields = 0;
  for (const char* name : {"h100-sxm", "h200", "a100-80", "l40s"}) {
    const DeviceSpec base = costmodel::find_device(name);
    for (const std::uint64_t seed : {1, 2, 3}) {
      const CalibrationSubject truth = disturbed(base, seed);
      const DeviceCalibration calibration = calibrated(truth, base, {.noise = 0.02, .seed = seed});
      for (const CalibratedNumber& n : calibration.numbers) {
        if (!n.measured()) continue;
        const double value = calibration_parameter(n.name).get(truth);
        ++all;
        fields += n.in_device ? 1 : 0;
        const bool inside = value >= n.low * (1 - 1e-9) && value <= n.high * (1 + 1e-9);
        within += inside ? 1 : 0;
        const double reach = 3 * std::max(n.high - n.fitted, n.fitted - n.low) + 1e-9;
        EXPECT_NEAR(n.fitted, value, reach) << name << " seed " << seed << " " << n.name;
      }
    }
  }
  const double coverage = static_cast<double>(within) / static_cast<double>(all);
  fmt::print("{} numbers measured, {} of them of the device; {:.1f} % of truths within their 95 % intervals\n", all,
             fields, 100 * coverage);
  EXPECT_GE(coverage, 0.88);
  EXPECT_GE(fields, 12 * 19U) << "too little was identified";
}

TEST(Calibration, IntervalsHoldWhatNumbersThatStayAssumedMayBeOffBy) {
  // Without the families that show latencies and the launch costs, what is fitted later rests on the base's values,
  // which are off.
  std::size_t within = 0, all = 0;
  for (const char* name : {"h100-sxm", "a100-80", "l40s"}) {
    const DeviceSpec base = costmodel::find_device(name);
    for (const std::uint64_t seed : {1, 2, 3}) {
      const CalibrationSubject truth = disturbed(base, seed);
      MeasurementFile file = synthesize_measurement(truth, {.noise = 0.02, .seed = seed});
      for (const char* id : {"C3", "C7", "C12"}) file = reduced(std::move(file), id, [](const auto&) { return false; });
      const DeviceCalibration calibration = calibrate_device(std::span(&file, 1), base, kQuick);
      for (const CalibratedNumber& n : calibration.numbers) {
        if (!n.measured()) continue;
        const double value = calibration_parameter(n.name).get(truth);
        const bool inside = value >= n.low * (1 - 1e-9) && value <= n.high * (1 + 1e-9);
        ++all;
        within += inside ? 1 : 0;
        if (!inside) {
          fmt::print("{} seed {}: {} is {:.4g}, said {:.4g} to {:.4g}\n", name, seed, n.name, value, n.low, n.high);
        }
      }
    }
  }
  const double coverage = static_cast<double>(within) / static_cast<double>(all);
  fmt::print("{} numbers measured; {:.1f} % of truths within their 95 % intervals\n", all, 100 * coverage);
  EXPECT_GE(coverage, 0.93);
  EXPECT_GE(all, 9 * 28U) << "who refuses everything is never wrong";
}

TEST(Calibration, TrustsSheetValuesWhereNothingShowsThem) {
  // The clock stands in the data sheet: without its families the rates a clock are measured all the same.
  for (const char* name : {"h100-sxm", "a100-80"}) {
    const DeviceSpec base = costmodel::find_device(name);
    MeasurementFile file = synthesize_measurement(usual_subject(base), {.noise = 0.02});
    for (const char* id : {"C0", "C21"}) file = reduced(std::move(file), id, [](const auto&) { return false; });
    const DeviceCalibration calibration = calibrate_device(std::span(&file, 1), base, kQuick);
    std::size_t measured = 0;
    for (const CalibratedNumber& n : calibration.numbers) measured += n.measured() ? 1 : 0;
    EXPECT_GE(measured, 36U) << name;
    EXPECT_TRUE(number_of(calibration, "mma_flop_per_clk").measured())
        << number_of(calibration, "mma_flop_per_clk").why_not;
  }
}

TEST(Calibration, SaysWhomAWideIntervalFollows) {
  // A clock that somebody assumed may be anything within a quarter, and rates a clock with it.
  DeviceSpec base = costmodel::find_device("h100-sxm");
  base.provenance["clock_ghz"].origin = costmodel::Origin::assumed;
  MeasurementFile file = synthesize_measurement(usual_subject(base), {.noise = 0.02});
  for (const char* id : {"C0", "C21"}) file = reduced(std::move(file), id, [](const auto&) { return false; });
  const DeviceCalibration calibration = calibrate_device(std::span(&file, 1), base, kQuick);
  EXPECT_THAT(number_of(calibration, "mma_flop_per_clk").why_not,
              testing::HasSubstr("it follows clock_ghz, which isn't measured"));
}

TEST(Calibration, SameSeedSameDevice) {
  const DeviceSpec base = costmodel::find_device("h100-sxm");
  const CalibrationSubject truth = disturbed(base, 9);
  const SynthesisOptions noise{.noise = 0.03, .seed = 4};
  EXPECT_EQ(costmodel::write_device(calibrated(truth, base, noise).device),
            costmodel::write_device(calibrated(truth, base, noise).device));
}

TEST(Calibration, LeavesAnAssumptionWhereAFamilyIsMissing) {
  const DeviceSpec base = costmodel::find_device("h100-sxm");
  const MeasurementFile file =
      reduced(synthesize_measurement(disturbed(base, 1), {}), "C3", [](const auto&) { return false; });
  const DeviceCalibration calibration = calibrate_device(std::span(&file, 1), base, kQuick);
  const CalibratedNumber& latency = number_of(calibration, "hbm_latency_ns");
  EXPECT_EQ(latency.why_not, "no points of C3");
  EXPECT_EQ(calibration.device.hbm_latency_ns, base.hbm_latency_ns);
  const auto& provenance = calibration.device.provenance.at("hbm_latency_ns");
  EXPECT_EQ(provenance.origin, costmodel::Origin::assumed) << "what others measured elsewhere isn't measured here";
  EXPECT_THAT(provenance.source, testing::HasSubstr("no points of C3"));
  EXPECT_EQ(calibration.device.provenance.at("mma_flop_per_clk").origin, costmodel::Origin::measured);
}

constexpr std::pair<const char*, double> kMovedBeside[] = {{"barrier_cycles", 1.3},
                                                           {"named_barrier_cycles", 0.8},
                                                           {"phase_barrier_cycles", 1.4},
                                                           {"cluster_barrier_cycles", 0.9},
                                                           {"barrier_warp_cycles", 1.5},
                                                           {"phase_warp_cycles", 0.7},
                                                           {"address_reductions_per_clk", 0.6},
                                                           {"reductions_per_clk", 1.5},
                                                           {"dispatch_by_room", 0.2},
                                                           {"stream_overlap", 0.6},
                                                           {"merge_row_ns", 1.4},
                                                           {"merge_part_ns", 0.7}};

TEST(Calibration, RecoversCostsOfBarriersReductionsDispatchStreamsAndMerges) {
  for (const char* name : {"h100-sxm", "a100-80", "l40s"}) {
    const DeviceSpec base = costmodel::find_device(name);
    CalibrationSubject truth = disturbed(base, 1);
    for (const auto& [number, factor] : kMovedBeside) {
      const CalibrationParameter& p = calibration_parameter(number);
      p.set(truth, p.get(truth) * factor);
    }
    const DeviceCalibration calibration = calibrated(truth, base, {.noise = 0.02, .seed = 1});
    for (const auto& [number, factor] : kMovedBeside) {
      const CalibratedNumber& n = number_of(calibration, number);
      EXPECT_FALSE(n.in_device);
      if (base.compute_capability < 9 && n.name == "cluster_barrier_cycles") {
        EXPECT_EQ(n.why_not, "no point of C14 depends on it");
        continue;
      }
      const double value = calibration_parameter(number).get(truth),
                   reach = std::max(n.high - n.fitted, n.fitted - n.low);
      EXPECT_EQ(n.why_not, "") << name << " " << number;
      EXPECT_NEAR(n.fitted, value, 3 * reach + 1e-9) << name << " " << number;
      EXPECT_LT(reach, 0.25 * (calibration_parameter(number).logarithmic ? value : 1)) << name << " " << number;
    }
  }
}

TEST(Calibration, FindsSharesThatAreNoneOrWhole) {
  const DeviceSpec base = costmodel::find_device("h100-sxm");
  for (const double share : {0.0, 1.0}) {
    CalibrationSubject truth = usual_subject(base);
    truth.beside.dispatch_by_room = truth.beside.stream_overlap = share;
    const DeviceCalibration calibration = calibrated(truth, base, {});
    for (const char* number : {"dispatch_by_room", "stream_overlap"}) {
      const CalibratedNumber& n = number_of(calibration, number);
      EXPECT_EQ(n.why_not, "") << number << " " << share;
      EXPECT_NEAR(n.fitted, share, 0.1) << number;
    }
  }
}

TEST(Calibration, FindsWhatPagesCostOrThatNothingShows) {
  const DeviceSpec base = costmodel::find_device("h100-sxm");
  ASSERT_EQ(base.page_ns, 0);
  CalibrationSubject truth = usual_subject(base);
  for (const double page_ns : {4.0, 20.0, 150.0}) {
    truth.device.page_ns = page_ns;
    const DeviceCalibration calibration = calibrated(truth, base, {});
    const CalibratedNumber& n = number_of(calibration, "page_ns");
    EXPECT_EQ(n.why_not, "");
    EXPECT_NEAR(n.fitted, page_ns, 3 * std::max(n.high - n.fitted, n.fitted - n.low));
    EXPECT_LT(n.high - n.low, 0.3 * page_ns);
    EXPECT_EQ(calibration.device.page_ns, n.fitted);
  }
  // What can't be told from nothing is none, whatever the base supposes.
  for (const double page_ns : {0.0, 0.5}) {
    truth.device.page_ns = page_ns;
    for (const char* supposed : {"h100-sxm", "h100-sxm:page_ns=20"}) {
      const DeviceCalibration calibration = calibrated(truth, costmodel::find_device(supposed), {});
      EXPECT_THAT(
          number_of(calibration, "page_ns").why_not,
          testing::MatchesRegex("too little to tell from nothing: C19 at most [1-5]\\.[0-9]+ ns(; taken as none)?"));
      EXPECT_EQ(calibration.device.page_ns, 0);
      EXPECT_EQ(calibration.device.provenance.at("page_ns").origin, costmodel::Origin::assumed);
    }
  }
}

TEST(Calibration, TakesAsNoneWhatMayBeNothingAndIsLessThanSupposed) {
  CalibrationSubject truth = usual_subject(costmodel::find_device("h100-sxm"));
  truth.device.page_ns = 3;
  const DeviceSpec base = costmodel::find_device("h100-sxm:page_ns=20");
  const DeviceCalibration calibration = calibrated(truth, base, {.noise = 0.1});
  EXPECT_THAT(number_of(calibration, "page_ns").why_not, testing::HasSubstr("taken as none"));
  EXPECT_EQ(calibration.device.page_ns, 0);
}

TEST(Calibration, KeepsWhatSaturatedGathersCannotShow) {
  const DeviceSpec base = costmodel::find_device("h100-sxm:page_ns=3");
  CalibrationSubject truth = usual_subject(base);
  truth.device.page_ns = 1;
  const MeasurementFile file =
      reduced(synthesize_measurement(truth, {}), "C19", [&](const auto& p) { return p[0] == base.sms && p[3] > 4096; });
  const DeviceCalibration calibration = calibrate_device(std::span(&file, 1), base, kQuick);
  EXPECT_NE(number_of(calibration, "page_ns").why_not, "");
  EXPECT_EQ(calibration.device.page_ns, 3);
}

TEST(Calibration, NamesWhatItsPointsCannotTell) {
  const DeviceSpec base = costmodel::find_device("h100-sxm");
  MeasurementFile file = synthesize_measurement(disturbed(base, 1), {.noise = 0.002});
  file = reduced(file, "C14", [](const auto& p) { return p[1] == 8; });
  file = reduced(file, "C16", [](const auto& p) { return p[0] >= 1024; });
  file = reduced(file, "C17", [&](const auto& p) { return p[0] <= 2 * base.sms; });
  file = reduced(file, "C18", [](const auto& p) { return p[4] == 0; });
  file = reduced(file, "C20", [](const auto& p) { return p[0] >= 32 && p[1] == 4096; });
  const DeviceCalibration calibration = calibrate_device(std::span(&file, 1), base, kQuick);
  EXPECT_NE(number_of(calibration, "barrier_warp_cycles").why_not, "") << "as many warps everywhere";
  EXPECT_EQ(number_of(calibration, "address_reductions_per_clk").why_not, "no point of C16 depends on it");
  EXPECT_EQ(number_of(calibration, "dispatch_by_room").why_not, "no point of C17 depends on it") << "all fit at once";
  EXPECT_EQ(number_of(calibration, "stream_overlap").why_not, "no point of C18 depends on it");
  EXPECT_EQ(number_of(calibration, "merge_part_ns").why_not, "no point of C20 depends on it") << "memory binds";
}

TEST(Calibration, RefusesTooFewPoints) {
  const DeviceSpec base = costmodel::find_device("h100-sxm");
  int kept = 0;
  const MeasurementFile file =
      reduced(synthesize_measurement(disturbed(base, 1), {}), "C3", [&](const auto&) { return kept++ < 3; });
  const DeviceCalibration calibration = calibrate_device(std::span(&file, 1), base, kQuick);
  EXPECT_THAT(number_of(calibration, "hbm_latency_ns").why_not, testing::HasSubstr("too few points: 3"));
  EXPECT_THAT(number_of(calibration, "hbm_ramp_exponent").why_not, testing::HasSubstr("too few points"));
}

TEST(Calibration, RefusesNumbersThatOnlyShowTogether) {
  // One item a CTA: its start and its end always come together.
  const DeviceSpec base = costmodel::find_device("h100-sxm");
  const MeasurementFile file = reduced(synthesize_measurement(disturbed(base, 1), {.noise = 0.002}), "C13",
                                       [](const auto& p) { return p[0] == 1; });
  const DeviceCalibration calibration = calibrate_device(std::span(&file, 1), base, kQuick);
  EXPECT_THAT(number_of(calibration, "cta_start_ns").why_not, testing::HasSubstr("collinear with cta_end_ns"));
  EXPECT_THAT(number_of(calibration, "cta_end_ns").why_not, testing::HasSubstr("collinear with cta_start_ns"));
  EXPECT_EQ(calibration.device.cta_end_ns, base.cta_end_ns);
}

TEST(Calibration, RefusesAnExponentThatNoPointShows) {
  // Far below the corner the ramp is a line whatever its exponent.
  const DeviceSpec base = costmodel::find_device("h100-sxm");
  const CalibrationSubject truth = usual_subject(base);
  MeasurementFile file = synthesize_measurement(truth, {});
  for (costmodel::MeasuredFamily& family : file.families) {
    if (family.id != "C3") continue;
    family = {"C3", {{}, {}, {}, {}}, {}, {}, {}};
    for (const double tile : {64, 128, 192, 256, 320, 384, 448, 512}) {
      const std::vector<double> point = {base.sms, 2, tile, 1e8};
      for (std::size_t p = 0; p < point.size(); ++p) family.parameters[p].push_back(point[p]);
      family.repeats.push_back(9);
      family.median_us.push_back(find_model("C3").predict_us(point, truth));
      family.spread.push_back(0.01);
    }
  }
  const DeviceCalibration calibration = calibrate_device(std::span(&file, 1), base, kQuick);
  EXPECT_THAT(number_of(calibration, "hbm_ramp_exponent").why_not,
              testing::HasSubstr("0 of 8 points of C3 depend on it"));
  EXPECT_EQ(number_of(calibration, "hbm_latency_ns").why_not, "");
}

TEST(Calibration, RefusesIntervalsThatAreNoBetterThanAGuess) {
  const DeviceSpec base = costmodel::find_device("h100-sxm");
  const MeasurementFile file = synthesize_measurement(disturbed(base, 1), {.noise = 0.6, .repeats = 3});
  const DeviceCalibration calibration = calibrate_device(std::span(&file, 1), base, kQuick);
  std::size_t wide = 0;
  for (const CalibratedNumber& n : calibration.numbers) {
    wide += n.why_not.find("wider than") != std::string::npos ? 1 : 0;
  }
  EXPECT_GE(wide, 3U);
}

TEST(Calibration, RefusesALawThatMissesItsPoints) {
  const DeviceSpec base = costmodel::find_device("h100-sxm");
  MeasurementFile file = synthesize_measurement(usual_subject(base), {});
  for (costmodel::MeasuredFamily& family : file.families) {
    for (std::size_t i = 0; family.id == "C10" && i < family.points(); ++i) family.median_us[i] *= i % 2 != 0 ? 2 : 1;
  }
  const DeviceCalibration calibration = calibrate_device(std::span(&file, 1), base, kQuick);
  EXPECT_THAT(number_of(calibration, "ex2_per_clk").why_not, testing::HasSubstr("the law misses the points of C10"));
  EXPECT_EQ(calibration.device.ex2_per_clk, base.ex2_per_clk);
}

TEST(Calibration, RefusesABaseThatIsAnotherDevice) {
  const MeasurementFile file = synthesize_measurement(usual_subject(costmodel::find_device("h100-sxm")), {});
  try {
    calibrate_device(std::span(&file, 1), costmodel::find_device("h100-pcie"), kQuick);
    FAIL();
  } catch (const core::Error& error) {
    EXPECT_THAT(error.what(),
                testing::AllOf(testing::HasSubstr("h100-pcie"), testing::HasSubstr("sms"), testing::HasSubstr("132")));
  }
}

TEST(Calibration, FindsTheBaseByWhatTheDeviceReports) {
  const MeasurementFile file = synthesize_measurement(usual_subject(costmodel::find_device("h200")), {});
  EXPECT_EQ(base_device(std::span(&file, 1)).name, "h200");
  MeasurementFile unknown = file;
  unknown.query["sms"] = 131;
  EXPECT_THROW(base_device(std::span(&unknown, 1)), core::Error);
}

}  // namespace
}  // namespace espalier::sim

// Plans that ran on a GPU against their simulation: the figures, the regimes' intervals, and the command.
#include "apps/measured_plans.h"

#include <fmt/core.h>
#include <gmock/gmock.h>

#include <cmath>

#include "command.h"
#include "core/error.h"
#include "core/json.h"
#include "core/rng.h"

namespace espalier::apps {
namespace {

using testing::HasSubstr;

MeasuredPoint point(const std::string& input, double predicted, double measured, sim::Bound regime) {
  MeasuredPoint p;
  p.times.input = input;
  p.times.strategy = fmt::format("x");
  p.times.predicted_us = predicted;
  p.times.measured_us = p.times.median_us = measured;
  p.times.noise = 0.01;
  p.regime = regime;
  return p;
}

TEST(RegimeIntervals, CoverWhatTheySay) {
  core::Rng rng(7);
  std::vector<MeasuredPoint> points;
  for (int i = 0; i < 2000; ++i) {
    // Launch-bound plans are foretold thrice as badly, and 20 % too long.
    const bool fixed = rng.chance(0.25);
    points.push_back(point(fmt::format("input {:04}", i),
                           100 * std::exp((fixed ? 0.3 : 0.1) * rng.normal() + (fixed ? 0.18 : 0)), 100,
                           fixed ? sim::Bound::fixed : sim::Bound::hbm));
  }
  const auto intervals = regime_intervals(points);
  ASSERT_EQ(intervals.size(), 3U);
  EXPECT_EQ(intervals[0].regime, "hbm");
  EXPECT_EQ(intervals[1].regime, "fixed");
  EXPECT_EQ(intervals[2].regime, "all");
  for (const RegimeInterval& r : intervals) {
    ASSERT_TRUE(r.interval && r.coverage) << r.regime;
    EXPECT_NEAR(*r.coverage, 0.9, 0.05) << r.regime;
  }
  EXPECT_NEAR(*intervals[0].interval, 1.645 * 0.1, 0.02);
  EXPECT_GT(*intervals[1].interval, 2 * *intervals[0].interval);
  EXPECT_NEAR(intervals[1].bias, 0.18, 0.06);
}

TEST(RegimeIntervals, FewPlansHaveNone) {
  std::vector<MeasuredPoint> points;
  for (int i = 0; i < 16; ++i) points.push_back(point(fmt::format("input {:02}", i), 100 + i, 100, sim::Bound::l2));
  EXPECT_FALSE(regime_intervals(points)[0].interval.has_value()) << "eight can't hold 90 % of others";
  points.push_back(point("input 99", 100, 100, sim::Bound::l2));
  EXPECT_TRUE(regime_intervals(points)[0].interval.has_value());
}

TEST(RegimeIntervals, GoIntoTheDevice) {
  std::vector<MeasuredPoint> points;
  for (int i = 0; i < 16; ++i) points.push_back(point(fmt::format("input {:02}", i), 100 + i, 100, sim::Bound::l2));
  EXPECT_THROW(with_intervals(costmodel::find_device("l4"), points), core::Error) << "eight make none";
  for (int i = 0; i < 20; ++i) points.push_back(point(fmt::format("input {}", 100 + i), 120, 100, sim::Bound::hbm));
  auto device = costmodel::find_device("l4");
  device.intervals["fixed"] = {0.1, 9};
  device = with_intervals(device, points);
  ASSERT_EQ(device.intervals.size(), 2U) << "l2 has too few, fixed was of other measurements";
  EXPECT_NEAR(device.intervals.at("hbm").log_half_width, std::log(1.2), 1e-12);
  EXPECT_EQ(device.intervals.at("hbm").plans, 10);
  EXPECT_EQ(device.intervals.at("all").plans, 18);
}

class ValidateFrom : public CommandTest {
 protected:
  /// Two inputs, two strategies; "measured" is `factor` times what is simulated.
  void measure(double factor) const {
    costmodel::MeasurementFile file;
    file.environment = {"a card", "570.1", costmodel::kernel_build_hash()};
    for (const char* tree : {"1,16|4096,64", "1,64|8192,256"}) {
      for (const char* strategy : {"flash_decoding", "espalier"}) {
        const std::string name = fmt::format("{}{}.json", strategy, file.plans.size());
        ASSERT_EQ(run(fmt::format("plan --tree '{}' --heads 32/8/128 --device h100-sxm --strategy {} -o {}", tree,
                                  strategy, name))
                      .code,
                  0);
        const Result simulated = run(fmt::format("sim {} --json -", name));
        ASSERT_EQ(simulated.code, 0) << simulated.err;
        const auto sim = core::JsonDocument::parse(simulated.out, "sim");
        const auto plan = core::JsonDocument::parse(read(name), name);
        costmodel::MeasuredPlan measured;
        measured.file = name;
        measured.hash = plan.root().at("hash").string();
        measured.input = tree;
        measured.strategy = strategy;
        measured.repeats = 9;
        measured.median_us = factor * sim.root().at("makespan_us").number();
        measured.spread = 0.01;
        file.plans.push_back(measured);
      }
    }
    write("m.json", costmodel::write_measurement(file));
  }
};

TEST_F(ValidateFrom, ScoresPlansThatRan) {
  measure(1.1);
  const Result result = run("validate --from m.json --device h100-sxm --json scores.json --svg plot.svg");
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("mean error 9.1 %"));
  EXPECT_THAT(result.out, HasSubstr("too few plans"));
  const auto scores = core::JsonDocument::parse(read("scores.json"), "scores.json");
  EXPECT_NEAR(scores.root().at("mape").number(), 1 - 1 / 1.1, 1e-9);
  EXPECT_EQ(scores.root().at("tau").number(), 1);
  EXPECT_EQ(scores.root().at("regret_mean").number(), 0);
  EXPECT_EQ(scores.root().at("rows").size(), 4U);
  EXPECT_THAT(read("plot.svg"), HasSubstr("</svg>"));
}

TEST_F(ValidateFrom, RefusesPlansAndBuildsThatWereNotMeasured) {
  measure(1);
  EXPECT_EQ(
      run("plan --tree '1,8|128,16' --heads 32/8/128 --device h100-sxm --strategy espalier -o espalier1.json").code, 0);
  Result result = run("validate --from m.json --device h100-sxm --json scores.json");
  EXPECT_EQ(result.code, 3);
  EXPECT_THAT(result.err, testing::AllOf(HasSubstr("espalier1.json"), HasSubstr("m.json measured")));
  EXPECT_FALSE(exists("scores.json"));
  auto other = costmodel::read_measurement(read("m.json"), "m.json");
  other.environment.kernels = "another";
  write("m.json", costmodel::write_measurement(other));
  result = run("validate --from m.json --device h100-sxm");
  EXPECT_EQ(result.code, 3);
  EXPECT_THAT(result.err, HasSubstr("kernel build"));
  EXPECT_EQ(run("validate --from m.json").code, 2);
  EXPECT_EQ(run("validate --force --device host").code, 2);
  write("none.json", R"({"schema": "measurement/1", "environment": {"device": "x", "driver": "y", "kernels": "z"}})");
  result = run("validate --from none.json --device h100-sxm --force");
  EXPECT_EQ(result.code, 3);
  EXPECT_THAT(result.err, HasSubstr("plans"));
}

TEST_F(ValidateFrom, RefusesDevicesThatWereNotMeasured) {
  measure(1);
  auto other = costmodel::read_measurement(read("m.json"), "m.json");
  other.query["sms"] = 108;
  write("smaller.json", costmodel::write_measurement(other));
  Result result = run("validate --from smaller.json --device h100-sxm");
  EXPECT_EQ(result.code, 3);
  EXPECT_THAT(result.err, testing::AllOf(HasSubstr("smaller.json: query.sms"), HasSubstr("108"), HasSubstr("--force")));
  EXPECT_EQ(run("validate --from smaller.json --device h100-sxm --force").code, 0);

  costmodel::DeviceSpec card = costmodel::find_device("h100-sxm");
  card.calibrated = other.environment;
  write("card.json", costmodel::write_device(card));
  EXPECT_EQ(run("validate --from m.json --device card.json").code, 0);
  card.calibrated->driver = "535.2";
  write("card.json", costmodel::write_device(card));
  result = run("validate --from m.json --device card.json");
  EXPECT_EQ(result.code, 3);
  EXPECT_THAT(result.err, testing::AllOf(HasSubstr("m.json: environment"), HasSubstr("driver 535.2 and 570.1")));
  EXPECT_EQ(run("validate --from m.json --device card.json --force").code, 0);

  // Another machine's file, for plans that run here.
  card.sms = 1;
  card.calibrated = costmodel::host_calibrated_on("another processor");
  write("host.json", costmodel::write_device(card));
  result = run("validate --device host.json --tree '1|64' --heads 1/1/32 --strategy flash_decoding --repeats 8");
  EXPECT_EQ(result.code, 3);
  EXPECT_THAT(result.err, testing::AllOf(HasSubstr("--device host.json"), HasSubstr("device another processor and ")));
  EXPECT_EQ(
      run("validate --device host.json --tree '1|64' --heads 1/1/32 --strategy flash_decoding --repeats 8 --force")
          .code,
      0);
}

TEST_F(ValidateFrom, IntervalsOfTheDeviceAreThoseOfTimes) {
  measure(1.1);
  const Result few = run("validate --from m.json --device h100-sxm --out card.json");
  EXPECT_EQ(few.code, 3);
  EXPECT_THAT(few.err, HasSubstr("nine or more"));
  EXPECT_FALSE(exists("card.json"));
  write("card.json", R"({"schema": "device/1", "name": "card", "base": "h100-sxm", )"
                     R"("intervals": {"all": {"log_half_width": 0.25, "plans": 40}}})");
  const Result simulated = run("sim espalier1.json --device card.json --json -");
  ASSERT_EQ(simulated.code, 0) << simulated.err;
  const auto sim = core::JsonDocument::parse(simulated.out, "sim");
  EXPECT_NEAR(sim.root().at("makespan_high_us").number() / sim.root().at("makespan_us").number(), std::exp(0.25), 1e-9);
  const Result compared =
      run("compare --tree '1,16|4096,64' --heads 32/8/128 --device card.json --strategy espalier,codec --no-timing "
          "--json -");
  ASSERT_EQ(compared.code, 0) << compared.err;
  const auto report = core::JsonDocument::parse(compared.out, "report");
  const auto row = report.root().at("rows").at(0);
  EXPECT_NEAR(row.at("time_us").number() / row.at("time_low_us").number(), std::exp(0.25), 1e-9);
}

}  // namespace
}  // namespace espalier::apps

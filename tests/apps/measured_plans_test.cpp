// Plans that ran on a GPU against their simulation: the figures, the regimes' intervals, and the command.
#include "apps/measured_plans.h"

#include <fmt/core.h>
#include <gmock/gmock.h>

#include <cmath>

#include "command.h"
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
    points.push_back(point(fmt::format("input {:04}", i), 100 * std::exp((fixed ? 0.3 : 0.1) * rng.normal() + (fixed ? 0.18 : 0)), 100, fixed ? sim::Bound::fixed : sim::Bound::hbm));
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

class ValidateFrom : public CommandTest {
 protected:
  /// Two inputs, two strategies; "measured" is `factor` times what is simulated.
  void measure(double factor) const {
    costmodel::MeasurementFile file;
    file.environment = {"a card", "570.1", costmodel::kernel_build_hash()};
    for (const char* tree : {"1,16|4096,64", "1,64|8192,256"}) {
      for (const char* strategy : {"flash_decoding", "espalier"}) {
        const std::string name = fmt::format("{}{}.json", strategy, file.plans.size());
        ASSERT_EQ(run(fmt::format("plan --tree '{}' --heads 32/8/128 --device h100-sxm --strategy {} -o {}", tree, strategy, name)).code, 0);
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
  EXPECT_EQ(run("plan --tree '1,8|128,16' --heads 32/8/128 --device h100-sxm --strategy espalier -o espalier1.json").code, 0);
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

}  // namespace
}  // namespace espalier::apps

// The figures of a host validation from hand-made points, and a short real run with what holds on any machine.

#include "apps/host_validation.h"

#include <gmock/gmock.h>

#include <cmath>

#include "kernels/host_bench.h"
#include "traces/import.h"

namespace espalier::apps {
namespace {

using ::testing::HasSubstr;

HostPoint point(const char* input, const char* strategy, double predicted, double measured, double noise = 0.01) {
  HostPoint p;
  p.input = input;
  p.strategy = strategy;
  p.predicted_us = predicted;
  p.measured_us = measured;
  p.median_us = measured * 1.1;
  p.noise = noise;
  p.task_error = 0.2;
  return p;
}

TEST(HostSummary, SumsUpErrorsOrderAndRegret) {
  // In input b the plan predicted to be fastest takes 30 instead of 20: a regret of a half.
  const std::vector<HostPoint> points = {point("a", "x", 110, 100), point("a", "y", 180, 200), point("b", "x", 20, 30),
                                         point("b", "y", 25, 20)};
  const HostSummary s = summarise(points);
  EXPECT_EQ(s.plans, 4U);
  EXPECT_EQ(s.inputs, 2U);
  EXPECT_NEAR(s.mape, (0.1 + 0.1 + 1.0 / 3 + 0.25) / 4, 1e-12);
  EXPECT_NEAR(s.worst, 1.0 / 3, 1e-12);
  EXPECT_EQ(s.worst_plan, "b by x");
  EXPECT_DOUBLE_EQ(*s.tau, 0);  // right in a, wrong in b
  EXPECT_EQ(s.pairs, 2U);
  EXPECT_NEAR(s.regret_mean, 0.25, 1e-12);
  EXPECT_NEAR(s.regret_p95, 0.5, 1e-12);
  EXPECT_TRUE(s.conclusive);
  EXPECT_DOUBLE_EQ(*s.coverage, 0);  // a's errors are 10 %, b's are not
  EXPECT_THAT(render_host(points, s), HasSubstr("misses its target"));
}

TEST(HostSummary, NoiseMakesItInconclusiveAndPairsWithinItDontCount) {
  const std::vector<HostPoint> points = {point("a", "x", 100, 110, 0.2), point("a", "y", 90, 130, 0.2),
                                         point("a", "z", 300, 400, 0.2)};
  const HostSummary s = summarise(points);
  EXPECT_FALSE(s.conclusive);
  EXPECT_EQ(s.pairs, 2U);  // x and y lie closer than twice the noise
  EXPECT_DOUBLE_EQ(*s.tau, 1);
  EXPECT_THAT(render_host(points, s), HasSubstr("verdict: inconclusive"));
  EXPECT_THAT(write_host(points, s, {}), HasSubstr("\"conclusive\": false"));
}

TEST(HostSummary, DisturbanceMakesItInconclusiveAndTheUndisturbedFiguresSayWhatIsLeft) {
  // Neighbours took a third: as run the predictions are a quarter too low, and the order is theirs.
  std::vector<HostPoint> points = {point("a", "x", 100, 133), point("a", "y", 160, 120)};
  points[0].disturbed = points[1].disturbed = 0.3;
  points[0].undisturbed_us = 100;
  points[1].undisturbed_us = 200;
  points[0].undisturbed_noise = points[1].undisturbed_noise = 0.02;
  const HostSummary s = summarise(points);
  EXPECT_FALSE(s.conclusive);
  EXPECT_EQ(s.pairs, 0U) << "closer than twice the disturbance";
  EXPECT_GT(s.regret_mean, 0.1);
  const HostSummary quiet = summarise(undisturbed(points));
  EXPECT_TRUE(quiet.conclusive);
  EXPECT_NEAR(quiet.mape, 0.1, 1e-12);
  EXPECT_DOUBLE_EQ(quiet.tau.value(), 1);
  EXPECT_DOUBLE_EQ(quiet.regret_mean, 0);
  const std::string text = render_host(points, s);
  EXPECT_THAT(
      text,
      HasSubstr("inconclusive: tasks of the fastest repeats take 30.0 % longer than at their best, more than 5.0 %"));
  EXPECT_THAT(text,
              HasSubstr("mean error 10.0 %, worst 20.0 % (a by y), repeats differ by 2.0 %; tau 1.00 over 1 pair"));
  EXPECT_THAT(text, HasSubstr("  undisturbed: mean error of a plan's time within its target; order of strategies (tau) "
                              "within its target; mean regret within"));
  EXPECT_THAT(write_host(points, s, {}), HasSubstr("\"undisturbed\""));
}

TEST(HostSummary, EmptyHasNoFigures) {
  const HostSummary s = summarise(std::vector<HostPoint>{});
  EXPECT_EQ(s.plans, 0U);
  EXPECT_FALSE(s.tau.has_value());
  EXPECT_FALSE(s.conclusive);
}

TEST(HostScatter, PlotsEveryPointInsideTheFrame) {
  const std::string svg = scatter_svg({point("a<b", "x", 110, 100), point("a", "y", 1.8e5, 2e5)});
  EXPECT_THAT(svg, HasSubstr("a&lt;b x"));
  EXPECT_THAT(svg, HasSubstr("100 ms"));
  for (std::size_t at = svg.find("cx=\""); at != std::string::npos; at = svg.find("cx=\"", at + 1)) {
    const double x = std::stod(svg.substr(at + 4));
    EXPECT_GE(x, 80);
    EXPECT_LE(x, 560);
  }
  // Seven pixels a letter at most; the axis' name stands upright at 16, in letters of 12.
  const std::string_view tick = "\" text-anchor=\"end\">";
  for (std::size_t at = svg.find(tick); at != std::string::npos; at = svg.find(tick, at + 1)) {
    const double right = std::stod(svg.substr(svg.rfind("x=\"", at) + 3));
    const std::size_t begin = at + tick.size();
    EXPECT_GT(right - 7.0 * static_cast<double>(svg.find('<', begin) - begin), 22) << svg.substr(begin, 10);
  }
}

TEST(HostLoop, PredictsSignsAndTheOrderOfClearlyDifferentPlans) {
  // What holds on any machine, however busy: signs, and the order of a hundred times the work.
  HostValidationOptions options;
  options.heads = choose_heads({.heads = "2/2/64", .model = {}, .dtype = {}});
  kernels::HostBench bench({.threads = 2, .memory_bytes = 16 << 20});
  bench.run(3);
  const costmodel::HostSamples samples = bench.samples();
  options.device = costmodel::fit_host(samples).device;
  const auto& most = samples.kernel.back();
  EXPECT_LT(most.shape.queries * samples.row_us, most.us / 4) << "that many rows that see 512 tokens each";
  for (const char* strategy : {"flash_decoding", "codec"}) {
    options.strategies.push_back(scheduler::parse_strategy(strategy));
  }
  options.repeats = 5;
  options.threads = 2;
  std::vector<std::string> left_out;
  std::vector<HostPoint> points;
  const std::vector<Input> inputs = {{"short", 0, traces::parse_tree("1,8|256,8")},
                                     {"long", 0, traces::parse_tree("1,32|8192,8")}};
  points = validate_host(inputs, options, left_out);
  ASSERT_EQ(points.size(), 4U);
  EXPECT_TRUE(left_out.empty());
  for (const HostPoint& p : points) {
    EXPECT_GT(p.predicted_us, 0) << p.input << p.strategy;
    EXPECT_GT(p.measured_us, 0) << p.input << p.strategy;
    EXPECT_GE(p.median_us, p.measured_us);
    EXPECT_GE(p.disturbed, 0);
    EXPECT_LE(p.undisturbed_us, p.measured_us);
    EXPECT_NEAR(p.undisturbed_us * (1 + p.disturbed), p.measured_us, 1e-6 * p.measured_us)
        << "of the repeat that counts";
    EXPECT_GT(p.undisturbed_us, 0);
    EXPECT_GT(p.tasks, 0U);
  }
  // flash_decoding over 32 x 8,200 tokens against 8 x 264.
  EXPECT_GT(points[2].predicted_us, 8 * points[0].predicted_us);
  EXPECT_GT(points[2].measured_us, 8 * points[0].measured_us);
  // Fitted in turns with the plans, the machine is another one than before, but of the same kind.
  options.bench = &bench;
  std::vector<HostPoint> again = validate_host(inputs, options, left_out);
  ASSERT_EQ(again.size(), 4U);
  for (std::size_t i = 0; i < again.size(); ++i) {
    EXPECT_GT(again[i].predicted_us, points[i].predicted_us / 10);
    EXPECT_LT(again[i].predicted_us, points[i].predicted_us * 10);
  }
  EXPECT_NE(again[0].predicted_us, points[0].predicted_us) << "predicted for the machine as it was before";
  const HostSummary s = summarise(points);
  EXPECT_TRUE(s.coverage.has_value());
  EXPECT_GT(s.interval, 0);
}

TEST(HostLoop, OrdersPlansThatDifferClearly) {
  // A prefix of 32 requests by one core, for all of them at once or for each of them alone in small pieces: five times
  // the time, of which neither neighbours nor another machine take three fifths.
  HostValidationOptions options;
  options.heads = choose_heads({.heads = "1/1/64", .model = {}, .dtype = {}});
  kernels::HostBench bench({.threads = 1, .memory_bytes = 16 << 20});
  bench.run(3);
  options.device = costmodel::fit_host(bench.samples()).device;
  for (const char* strategy : {"deft_node_chunk:chunk=16,queries=1", "deft_node_chunk:chunk=128"}) {
    options.strategies.push_back(scheduler::parse_strategy(strategy));
  }
  options.repeats = 9;
  options.threads = 1;
  std::vector<std::string> left_out;
  const std::vector<HostPoint> points =
      validate_host({{"one", 0, traces::parse_tree("1,32|4096,8")}}, options, left_out);
  ASSERT_EQ(points.size(), 2U);
  EXPECT_GT(points[0].predicted_us, 2 * points[1].predicted_us);
  EXPECT_GT(points[0].undisturbed_us, 2 * points[1].undisturbed_us);
}

}  // namespace
}  // namespace espalier::apps

// All inputs together, from hand-made rows.
#include <gmock/gmock.h>

#include "apps/compare.h"

namespace espalier::apps {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

ReportRow row(const std::string& input, const std::string& strategy, double time_us, double bound_us = 50) {
  ReportRow r;
  r.input = input;
  r.device = "dev";
  r.strategy = strategy;
  r.time_us = time_us;
  r.lower_bound_us = bound_us;
  r.share_of_bound = bound_us / time_us;
  return r;
}

ReportRow refused(const std::string& input, const std::string& strategy) {
  ReportRow r = row(input, strategy, 1);
  r.status = RowStatus::refused;
  r.time_us.reset();
  r.share_of_bound.reset();
  return r;
}

CompareOptions options() {
  CompareOptions o;
  o.devices.emplace_back();
  o.devices.back().name = "dev";
  return o;
}

TEST(Overall, MeasuresEachStrategyAgainstTheBestOfEachInput) {
  // "a" is 1x and 1.21x behind, "b" 4x and 1x: in the mean 1.1x and 2x.
  const auto text =
      render_overall({row("x", "a", 100), row("x", "b", 400), row("y", "a", 121), row("y", "b", 100)}, options());
  EXPECT_THAT(text, HasSubstr("all 2 inputs on dev"));
  EXPECT_THAT(text, ContainsRegex("\\* a +1.100x +1.21x +y +1 +2\n"));
  EXPECT_THAT(text, ContainsRegex("b +2.000x +4.00x +x +1 +2\n"));
  // 400/100 and 100/121.
  EXPECT_THAT(
      text,
      HasSubstr("a against the best of the others on each input: 1.818x in the geometric mean, at least 0.826x (y)"));
  EXPECT_THAT(text, HasSubstr("its median share of the lower bound: 50 % at 20-100 us (2)"));
}

TEST(Overall, SaysWhatIsGainedWhereThereIsSomethingToShare) {
  std::vector<ReportRow> rows = {row("x", "a", 100), row("x", "b", 400), row("y", "a", 121), row("y", "b", 100)};
  for (ReportRow& r : rows) r.dedupe = r.input == "x" ? 1.2 : 1.19;
  EXPECT_THAT(render_overall(rows, options()), HasSubstr("of snapshots with a dedupe of 1.2 or more (1 input), a "
                                                         "against the best of the others on each input: 4.000x"));
  // A snapshot that shares nothing leaves its input's other one.
  rows.clear();
  for (const char* input : {"x", "y"}) {
    for (const double dedupe : {2, 1}) {
      rows.push_back(row(input, "a", 100));
      rows.push_back(row(input, "b", dedupe * 200));
      rows[rows.size() - 2].dedupe = rows.back().dedupe = dedupe;
    }
  }
  EXPECT_THAT(render_overall(rows, options()),
              HasSubstr("(2 inputs), a against the best of the others on each input: 4.000x"));
  for (ReportRow& r : rows) r.dedupe = 2;
  EXPECT_THAT(render_overall(rows, options()), ::testing::Not(HasSubstr("of snapshots")))
      << "all of them: said already";
}

TEST(Overall, CountsSnapshotsOfAnInputOnce) {
  const auto text =
      render_overall({row("x", "a", 100), row("x", "a", 100), row("x", "b", 100), row("x", "b", 400),  // 2x in the mean
                      row("y", "a", 100), row("y", "b", 200)},
                     options());
  EXPECT_THAT(text, ContainsRegex("b +2.000x +2.00x"));
}

TEST(Overall, RanksThoseLastThatDoNotServeAll) {
  const auto text =
      render_overall({row("x", "a", 1), refused("y", "a"), row("x", "b", 2), row("y", "b", 2)}, options());
  EXPECT_THAT(text, ContainsRegex("\\* b .* 2\n.*a +1.000x +1.00x +x +1 +1\n"));
  EXPECT_THAT(render_overall({refused("x", "a"), refused("y", "a"), row("x", "b", 2), row("y", "b", 2)}, options()),
              ContainsRegex("a +- +- +0 +0\n"));
}

TEST(Overall, IsSilentAboutOneInputOrOneStrategy) {
  EXPECT_EQ(render_overall({row("x", "a", 1), row("x", "b", 2)}, options()), "");
  EXPECT_EQ(render_overall({row("x", "a", 1), row("y", "a", 2)}, options()), "");
}

}  // namespace
}  // namespace espalier::apps

// Ranking and verdicts from hand-made rows.

#include <gmock/gmock.h>

#include "apps/compare.h"

namespace espalier::apps {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ReportRow row(const std::string& strategy, double time_us, double speedup, double dedupe) {
  ReportRow r;
  r.input = "in";
  r.device = "dev";
  r.strategy = strategy;
  r.kernels = "ours";
  r.dedupe = dedupe;
  r.time_us = time_us;
  r.speedup_vs_flash_decoding = speedup;
  r.lower_bound_us = 50;
  r.share_of_bound = 50 / time_us;
  r.share_of_datasheet_bound = 45 / time_us;
  r.plan_us = 100;
  r.bound_by = "HBM";
  return r;
}

CompareOptions options(std::int32_t layers = 0) {
  CompareOptions o;
  o.heads.text = "32/8/128";
  o.heads.layers = layers;
  o.heads.model = layers > 0 ? "a-model" : "";
  return o;
}

TEST(Verdict, NamesTheFastestAndItsGain) {
  const auto text = render({row("flash_decoding", 200, 1, 4), row("codec", 60, 200.0 / 60, 4)}, options(), false);
  EXPECT_THAT(text, HasSubstr("use codec: 3.33x over flash_decoding at dedupe 4.00"));
  EXPECT_THAT(text, HasSubstr("83 % of the lower bound"));
}

TEST(Verdict, MarksWhatIsTooCloseToCall) {
  ReportRow best = row("codec", 60, 200.0 / 60, 4), near = row("pat", 61, 200.0 / 61, 4),
            shared = row("relay", 63, 200.0 / 63, 4), unknown = row("lean", 61, 3, 4);
  best.effects = {-0.05, 0.01};
  near.effects = {-0.05, 0.04};    // 1.7 % behind, and 3 % of doubt that is its own
  shared.effects = {-0.09, 0.01};  // 5 % behind, 4 % of doubt
  const auto text = render({row("flash_decoding", 200, 1, 4), best, near, shared, unknown}, options(), false);
  EXPECT_THAT(text, HasSubstr("Too close, measure: pat (+1.7 %, +- 3.0 %).\n"));
  EXPECT_THAT(text, HasSubstr("codec: 60.0 us +- 5.2 % a layer"));
  near.effects = best.effects;  // whatever the device's numbers are, it is behind
  EXPECT_THAT(render({row("flash_decoding", 200, 1, 4), best, near}, options(), false), Not(HasSubstr("Too close")));
}

TEST(Verdict, SaysWhenThereIsNothingToShare) {
  const auto text = render({row("flash_decoding", 100, 1, 1.04), row("codec", 99, 1.01, 1.04)}, options(), false);
  EXPECT_THAT(text, HasSubstr("sharing is not worth it here"));
  EXPECT_THAT(text, HasSubstr("Keep flash_decoding"));
}

TEST(Verdict, TellsBalanceFromSharing) {
  const auto text = render({row("flash_decoding", 100, 1, 1.02), row("codec", 70, 1.43, 1.02)}, options(), false);
  EXPECT_THAT(text, HasSubstr("by balance and cuts rather than by sharing"));
}

TEST(Verdict, SaysWhenSharingExistsButDoesNotPay) {
  const auto text = render({row("flash_decoding", 100, 1, 2.0), row("codec", 105, 0.95, 2.0)}, options(), false);
  EXPECT_THAT(
      text,
      HasSubstr("sharing does not pay here although dedupe is 2.00: keep flash_decoding; no other plan is faster."));
}

TEST(Verdict, WeighsPlanningAgainstTheGainOverLayers) {
  const auto paid = render({row("flash_decoding", 200, 1, 4), row("codec", 60, 200.0 / 60, 4)}, options(32), false);
  EXPECT_THAT(paid, HasSubstr("pays for itself from 1 layer on"));
  const auto unpaid = render({row("flash_decoding", 61, 1, 4), row("codec", 58, 61.0 / 58, 4)}, options(8), false);
  EXPECT_THAT(unpaid, HasSubstr("Planning is not free here"));
}

TEST(Verdict, RefusedRowsAreNeverTheWinner) {
  ReportRow refused = row("bifurcated", 1, 1, 4);
  refused.status = RowStatus::refused;
  refused.time_us.reset();
  refused.why = "structure: several roots";
  const auto text = render({refused, row("flash_decoding", 200, 1, 4)}, options(), false);
  EXPECT_THAT(text, Not(HasSubstr("use bifurcated")));
  EXPECT_THAT(text, HasSubstr("several roots"));
}

TEST(Verdict, RanksByTimeWhenFlashDecodingIsRefused) {
  ReportRow flash = row("flash_decoding", 1, 1, 11);
  flash.status = RowStatus::refused;
  flash.time_us.reset();
  flash.speedup_vs_flash_decoding.reset();
  flash.why = "kernel: no tile fits";
  ReportRow slow = row("cascade", 103, 1, 11), fast = row("deft_flatten", 60, 1, 11);
  slow.speedup_vs_flash_decoding.reset();
  fast.speedup_vs_flash_decoding.reset();
  const auto text = render({flash, slow, fast}, options(), false);
  EXPECT_THAT(text, HasSubstr("use deft_flatten; flash_decoding can't serve this (kernel: no tile fits)"));
  EXPECT_THAT(text, HasSubstr("* deft_flatten"));
  EXPECT_THAT(text, Not(HasSubstr("1.00x")));
}

TEST(Verdict, StrategiesThatRefuseASnapshotDoNotWin) {
  ReportRow a = row("bifurcated", 10, 5, 4), b = row("bifurcated", 10, 5, 4);
  b.snapshot = 1;
  b.status = RowStatus::refused;
  b.time_us.reset();
  ReportRow c = row("codec", 20, 2.5, 4), d = row("codec", 20, 2.5, 4);
  d.snapshot = 1;
  const auto text = render({a, b, c, d}, options(), false);
  EXPECT_THAT(text, HasSubstr("use codec"));
  EXPECT_THAT(text, HasSubstr("refused 1/2, mean of the others"));
}

TEST(Verdict, NothingServedHasNoStar) {
  ReportRow refused = row("codec", 1, 1, 4);
  refused.status = RowStatus::refused;
  refused.time_us.reset();
  refused.why = "size: too large";
  const auto text = render({refused}, options(), false);
  EXPECT_THAT(text, HasSubstr("no strategy can serve this input: size: too large"));
  EXPECT_THAT(text, Not(HasSubstr("* codec")));
}

TEST(Verdict, NamesPlansThatAreAsGoodAndPlannedFaster) {
  ReportRow quick = row("cascade", 61, 200.0 / 61, 4), slow = row("pat", 61.5, 200.0 / 61.5, 4);
  quick.plan_us = 20;
  slow.plan_us = 900;
  const auto text =
      render({row("flash_decoding", 200, 1, 4), row("codec", 60, 200.0 / 60, 4), quick, slow}, options(), false);
  EXPECT_THAT(text,
              HasSubstr("As good within 3 %, where codec plans in 100 us: cascade (plans in 20.0 us), 1 more.\n"));
}

TEST(Summary, AveragesSnapshots) {
  auto a = row("codec", 100, 1.0, 2), b = row("codec", 400, 4.0, 8);
  b.snapshot = 1;
  const auto summaries = summarise({a, b});
  ASSERT_EQ(summaries.size(), 1U);
  EXPECT_DOUBLE_EQ(summaries[0].time_us, 250);
  ASSERT_TRUE(summaries[0].speedup.has_value());
  EXPECT_NEAR(*summaries[0].speedup, 2.0, 1e-12);
  EXPECT_NEAR(summaries[0].dedupe, 4.0, 1e-12);
}

}  // namespace
}  // namespace espalier::apps

// Simulated against measured: a run of side A's plan as side B.
#include <gtest/gtest.h>

#include "viz/explore/views.h"
#include "viz_samples.h"

namespace espalier::viz {
namespace {

/// A plan and a run of it that takes `slower` times as long as it is simulated, item by item.
Session measured_session(double slower) {
  Session session;
  auto plan =
      std::make_shared<scheduler::Plan>(plan_of("fasttree", "1,3,4|600,900,200", traces::parse_heads("8/2/128")));
  auto run = std::make_shared<scheduler::Measurement>();
  run->device = "a card";
  run->backend = "test";
  run->plan_hash = plan->hash;
  run->timeline = timeline_of(*plan).timeline;
  run->timeline.counters.clear();
  double end = 0;
  for (scheduler::Span& span : run->timeline.spans) {
    span.begin_us *= slower;
    span.end_us *= slower;
    end = std::max(end, span.end_us);
  }
  run->repeats_us = {end * 1.5, end, end * 1.1};
  session.settings.family.clear();
  session.settings.heads = plan->heads;
  session.settings.given_plan = session.settings.measured = true;
  session.given.forests = {std::make_shared<const traces::PrefixForest>(plan->forest)};
  session.given.plan = std::move(plan);
  session.given.measurement = std::move(run);
  return session;
}

TEST(Fit, EveryTaskAndMergeIsAPoint) {
  const Session session = measured_session(1.25);
  const Outcome outcome = compute(session.settings, session.given);
  const std::vector<FitPoint> points = fit_points(outcome);
  EXPECT_EQ(points.size(), session.given.plan->tasks.size() + session.given.plan->steps.size());
  for (const FitPoint& p : points) EXPECT_NEAR(p.error(), -0.2, 1e-9);
  EXPECT_EQ(verdict_of(outcome).front().substr(verdict_of(outcome).front().find(':')), ": −20.0 %.");
}

TEST(Fit, PointsAreWhereTheirTimesSay) {
  Session session = measured_session(0.5);
  session.selection = {ItemKind::task, 2};
  const Outcome outcome = compute(session.settings, session.given);
  const Scene scene = fit_view(session, outcome, {260, 360});
  std::vector<Rect> lit;
  for (const Shape& shape : scene.shapes) {
    const auto* rect = std::get_if<Rect>(&shape);
    if (rect != nullptr && rect->item == session.selection) lit.push_back(*rect);
  }
  ASSERT_EQ(lit.size(), 2U) << "once in each plane";
  EXPECT_EQ(lit[0].x, lit[1].x);
  EXPECT_LT(lit[0].y, lit[1].y);
  EXPECT_EQ(item_near(scene, lit[1].x + 2, lit[1].y + 2, 1), session.selection);
}

TEST(Fit, OnePlanIsSelectedOnBothSides) {
  Session session = measured_session(1.1);
  const Outcome outcome = compute(session.settings, session.given);
  perform(session, Select{{ItemKind::task, 1}, SideId::b}, outcome);
  for (const SideId side : kSides) EXPECT_EQ(linked_of(session, outcome, side).tasks, (std::vector<std::int32_t>{1}));
}

TEST(Fit, ADeviceIsVariedAgainstTheMeasurement) {
  Session session = measured_session(1.25);
  const Outcome before = compute(session.settings, session.given);
  perform(session, Choose{{Knob::device_field, SideId::a, "hbm_gbps", 1200}, false}, before);
  const Outcome after = compute(session.settings, session.given);
  EXPECT_GT(after.side(SideId::a).us(), before.side(SideId::a).us());
  ASSERT_NE(after.side(SideId::b).measurement, nullptr);
  EXPECT_EQ(after.side(SideId::b).us(), before.side(SideId::b).us());
}

TEST(Fit, AnotherPlanEndsTheComparison) {
  for (const Change& change : {Change{Knob::strategy, SideId::a, "pat", 0}, Change{Knob::strategy, SideId::b, "pat", 0},
                               Change{Knob::decode_step, SideId::a, {}, 4}}) {
    Session session = measured_session(1.25);
    const Outcome before = compute(session.settings, session.given);
    perform(session, Choose{change, false}, before);
    const Outcome after = compute(session.settings, session.given);
    EXPECT_EQ(after.side(SideId::b).measurement, nullptr);
    EXPECT_TRUE(fit_points(after).empty());
    perform(session, Undo{}, after);
    EXPECT_TRUE(shows_measurement(session.settings, session.given));
  }
  Session session = measured_session(1.25);
  perform(session, Choose{{Knob::edit, SideId::a, "split", 0}, false}, {});
  const Outcome edited = compute(session.settings, session.given);
  EXPECT_NE(edited.side(SideId::b).measurement, nullptr);
  EXPECT_TRUE(fit_points(edited).empty()) << "ids of an edited plan mean other tasks";
}

}  // namespace
}  // namespace espalier::viz

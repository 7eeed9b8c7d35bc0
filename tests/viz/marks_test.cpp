// Colours, ranges and the critical path of a timeline.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "viz/explore/views.h"
#include "viz/picture/pictures.h"
#include "viz_samples.h"

namespace espalier::viz {
namespace {

Session small_session(const std::string& strategy = "fasttree") {
  Session session;
  session.settings.family_options = {{"blocks", 3}, {"questions", 4}, {"root", 400}};
  session.settings.a.strategy = strategy;
  return session;
}

TEST(Colouring, LegendsNameEveryColourOfATask) {
  for (const char* strategy : {"espalier", "fasttree", "pat", "flash_decoding", "chunk_attention", "fa3_static"}) {
    const scheduler::Plan plan = plan_of(strategy, "1,4,64|2048,512,128");
    const sim::SimResult result = timeline_of(plan);
    for (int c = 0; c < kColourings; ++c) {
      const auto by = static_cast<ColourBy>(c);
      const std::vector<Paint> paints = task_paints(plan, result, by);
      ASSERT_EQ(paints.size(), plan.tasks.size());
      std::set<Paint> named;
      for (const LegendEntry& entry : colour_legend(plan, result, by)) named.insert(entry.paint);
      for (const Paint paint : paints) {
        EXPECT_TRUE(named.contains(paint))
            << strategy << " by " << colour_by_name(by) << " " << static_cast<int>(paint);
      }
    }
  }
}

TEST(Colouring, NeighboursDiffer) {
  const scheduler::Plan plan = plan_of("flash_decoding", "1,40|2048,512");
  const std::vector<Paint> paints = task_paints(plan, timeline_of(plan), ColourBy::request);
  for (std::size_t t = 1; t < paints.size(); ++t) {
    const auto request = [&](std::size_t i) {
      return plan.query_rows[static_cast<std::size_t>(plan.tasks[scheduler::TaskId(i)].queries.begin)];
    };
    EXPECT_EQ(paints[t] == paints[t - 1], request(t).value % 5 == request(t - 1).value % 5);
  }
}

TEST(Colouring, AnIsolatedColourDimsTheRest) {
  Session session = small_session();
  const Outcome outcome = compute(session.settings, {});
  perform(session, SetColourBy{ColourBy::depth}, outcome);
  perform(session, Isolate{Paint::step1}, outcome);
  std::set<std::uint8_t> shown, others;
  for (const Scene& scene :
       {cover_view(session, outcome, SideId::a, {600, 300}), timeline_view(session, outcome, {600, 300})}) {
    for (const Shape& shape : scene.shapes) {
      const auto* rect = std::get_if<Rect>(&shape);
      if (rect != nullptr && rect->item.kind == ItemKind::task) {
        (rect->fill == Paint::step1 ? shown : others).insert(rect->alpha);
      }
    }
  }
  ASSERT_FALSE(shown.empty());
  ASSERT_FALSE(others.empty());
  EXPECT_LT(*others.rbegin(), *shown.begin());
  perform(session, Isolate{Paint::step1}, outcome);
  EXPECT_EQ(session.look.isolated, Paint::none);
}

bool has_text(const Scene& scene, const std::string& part) {
  return std::any_of(scene.shapes.begin(), scene.shapes.end(), [&](const Shape& shape) {
    const auto* text = std::get_if<Text>(&shape);
    return text != nullptr && text->text.find(part) != std::string::npos;
  });
}

TEST(Timeline, SaysWhereItWasNotRecorded) {
  const scheduler::Plan plan = plan_of("flash_decoding", "1,400|2048,512");
  const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  const sim::SimResult all = timeline_of(plan),
                       some = sim::simulate(plan, device, {.timeline = true, .max_spans = 1500});
  const TimelineIndex whole = index_timeline(all, plan), part = index_timeline(some, plan);
  EXPECT_EQ(whole.left_out, 0);
  EXPECT_EQ(whole.recorded_us, all.makespan_us);
  EXPECT_EQ(part.left_out + 1500, static_cast<std::int64_t>(all.timeline.spans.size()));
  EXPECT_GT(part.recorded_us, 0.1 * all.makespan_us);
  EXPECT_LT(part.recorded_us, 0.9 * all.makespan_us);
  PictureSize size;
  size.width = 900;
  size.height = 300;
  EXPECT_FALSE(has_text(timeline_picture(plan, all, all.makespan_us, size), "recorded"));
  EXPECT_TRUE(has_text(timeline_picture(plan, some, all.makespan_us, size), "CTAs ran here and weren't recorded"));
}

TEST(Range, HalvesAddUpToTheWhole) {
  const Session session = small_session();
  const Outcome outcome = compute(session.settings, {});
  for (const SideOutcome& side : outcome.sides) {
    const RangeFigures whole = figures_in(side, 0, side.us()), left = figures_in(side, 0, side.us() * 0.37),
                       right = figures_in(side, side.us() * 0.37, side.us());
    double kv = 0, flops = 0;
    for (std::size_t t = 0; t < side.work.size(); ++t) {
      kv += side.work[t].kv_bytes * side.plan->tasks[scheduler::TaskId(t)].copies;
      flops += side.work[t].flops * side.plan->tasks[scheduler::TaskId(t)].copies;
    }
    EXPECT_NEAR(whole.kv_bytes, kv, kv * 1e-9);
    EXPECT_NEAR(whole.flops, flops, flops * 1e-9);
    EXPECT_NEAR(left.kv_bytes + right.kv_bytes, kv, kv * 1e-9);
    EXPECT_NEAR(left.hbm_bytes + right.hbm_bytes, whole.hbm_bytes, whole.hbm_bytes * 1e-9);
    EXPECT_NEAR(0.37 * left.busy + 0.63 * right.busy, whole.busy, 1e-9);
    EXPECT_LE(whole.busy, 1 + 1e-9);
    EXPECT_EQ(whole.tasks, static_cast<std::int64_t>(side.plan->tasks.size()));
    EXPECT_EQ(whole.merges, static_cast<std::int64_t>(side.plan->steps.size()));
    const auto& reasons = side.explanation.sm_time;
    const double empty = reasons.launch + reasons.few + reasons.tail + reasons.imbalance + reasons.merge;
    EXPECT_NEAR(whole.busy, 1 - empty / reasons.total(), 0.05);
  }
}

TEST(Range, NothingIsMeasuredOutsideOfTheAxis) {
  Session session = small_session();
  const Outcome outcome;
  perform(session, Measure{Span1{0.7, -3}}, outcome);
  ASSERT_TRUE(session.look.range);
  EXPECT_EQ(*session.look.range, (Span1{0, 0.7}));
  perform(session, Measure{Span1{2, 3}}, outcome);
  EXPECT_FALSE(session.look.range);
  perform(session, Measure{Span1{0.1, 0.2}}, outcome);
  perform(session, Select{}, outcome);
  EXPECT_FALSE(session.look.range);
}

TEST(CriticalPath, IsOnShowFromBeginningToEnd) {
  const Session session = small_session();
  const Outcome outcome = compute(session.settings, {});
  constexpr ViewSize kSize{900, 400};
  const Track track = timeline_places(outcome, kSize).tracks.front();
  const double length = outcome.side(SideId::a).us() / axis_us(outcome) * track.lanes.w;
  std::set<const sim::PathPart*> parts;
  for (double x = 1; x < length - 1; x += 0.5) {
    const TimelineHit hit = timeline_item_at(session, outcome, kSize, track.lanes.x + x, track.path_y + 2);
    ASSERT_NE(hit.path, nullptr) << x;
    parts.insert(hit.path);
    if (hit.path->kind == sim::PathPart::Kind::tasks) {
      EXPECT_EQ(hit.item, (Item{ItemKind::task, hit.path->longest}));
    }
  }
  EXPECT_GT(parts.size(), 1U);
  EXPECT_EQ(timeline_item_at(session, outcome, kSize, track.lanes.x + length + 5, track.path_y + 2).path, nullptr);
}

TEST(Counters, AllAreShownWhereThereIsRoom) {
  Session session = small_session();
  session.settings.compare = false;
  const Outcome outcome = compute(session.settings, {});
  EXPECT_EQ(timeline_places(outcome, {900, 400}).tracks.front().counters.size(), 3U);
  EXPECT_EQ(timeline_places(outcome, {900, 180}).tracks.front().counters.size(), 1U);
  const Scene scene = timeline_view(session, outcome, {900, 400});
  const auto drawn = [&](Paint paint) {
    return std::count_if(scene.shapes.begin(), scene.shapes.end(), [&](const Shape& shape) {
      const auto* rect = std::get_if<Rect>(&shape);
      return rect != nullptr && rect->fill == paint && rect->alpha == 150;
    });
  };
  for (const Paint paint : {Paint::hbm, Paint::l2, Paint::fixed}) EXPECT_GT(drawn(paint), 0);
}

}  // namespace
}  // namespace espalier::viz

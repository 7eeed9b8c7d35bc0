// A brush over the roofline: which tasks it holds, and what lights up with them elsewhere.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <utility>

#include "small_session.h"
#include "viz/explore/kept_scene.h"
#include "viz/scene/svg.h"

namespace espalier::viz {
namespace {

/// Around a share of the points, by their rate.
Brush brush_of(const SideOutcome& side, double share) {
  std::vector<double> rates;
  for (const RooflinePoint& p : side.points) rates.push_back(p.rate);
  std::sort(rates.begin(), rates.end());
  return {SideId::a,
          {1e-6, 1e9},
          {rates.at(static_cast<std::size_t>((1 - share) * static_cast<double>(rates.size() - 1))), 1e9}};
}

TEST(Brush, LightsItsTasksAndWhatTheyRead) {
  Session session = small_session();
  const Outcome outcome = compute(session.settings, {});
  const SideOutcome& side = outcome.side(SideId::a);
  perform(session, BrushTasks{brush_of(side, 0.3)}, outcome);
  EXPECT_TRUE(lights(session));
  const Linked all = linked_of(session, outcome, SideId::a), other = linked_of(session, outcome, SideId::b);
  ASSERT_GT(all.tasks.size(), 0U);
  ASSERT_LT(all.tasks.size(), side.plan->tasks.size());
  std::set<std::int32_t> nodes, requests;
  for (const RooflinePoint& p : side.points) {
    const bool inside = p.rate >= session.look.brush->rate.begin;
    EXPECT_EQ(all.has({ItemKind::task, p.task}), inside) << p.task;
    if (!inside) continue;
    const Linked one = linked(*side.plan, side.links, {ItemKind::task, p.task});
    nodes.insert(one.nodes.begin(), one.nodes.end());
    const scheduler::Interval queries = side.plan->tasks[scheduler::TaskId(p.task)].queries;
    for (std::int32_t q = queries.begin; q < queries.end; ++q) {
      requests.insert(side.plan->query_rows[static_cast<std::size_t>(q)].value);
    }
  }
  EXPECT_EQ(all.nodes, std::vector<std::int32_t>(nodes.begin(), nodes.end()));
  EXPECT_EQ(all.requests, std::vector<std::int32_t>(requests.begin(), requests.end()));
  EXPECT_EQ(other.nodes, all.nodes) << "the same batch";
  EXPECT_TRUE(other.tasks.empty()) << "another plan";
  const Facts facts = brush_facts(outcome, *session.look.brush);
  EXPECT_TRUE(facts.title.starts_with(std::to_string(all.tasks.size()))) << facts.title;
}

TEST(Brush, GoesWithWhatIsSelectedAndWithItsBatch) {
  Session session = small_session();
  std::swap(session.settings.a.strategy, session.settings.b.strategy);  // B ends first
  const Outcome outcome = compute(session.settings, {});
  Brush brush = brush_of(outcome.side(SideId::b), 0.5);
  brush.side = SideId::b;
  const auto brushed_anew = [&] {
    perform(session, Select{{ItemKind::node, 1}, SideId::a}, outcome);
    perform(session, BrushTasks{brush}, outcome);
    EXPECT_EQ(session.selection.kind, ItemKind::none);
    EXPECT_EQ(session.look.brush, brush);
  };
  brushed_anew();
  perform(session, FitSelection{}, outcome);
  EXPECT_NE(session.look.time, Span1{}) << "its tasks fill the time axis";
  perform(session, Select{}, outcome);
  EXPECT_FALSE(lights(session));
  brushed_anew();
  perform(session, Choose{{Knob::device_field, SideId::a, "hbm_gbps", 2000}, false}, outcome);
  EXPECT_TRUE(session.look.brush) << "another device's tasks are looked at through it";
  perform(session, Choose{{Knob::family, SideId::a, "tot"}, false}, outcome);
  EXPECT_FALSE(session.look.brush);
  brushed_anew();
  perform(session, Choose{{Knob::compare, SideId::a, {}, 0}, false}, outcome);
  EXPECT_FALSE(session.look.brush) << "its side isn't shown";
  brush.side = SideId::a;
  brushed_anew();
  perform(session, Choose{{Knob::compare, SideId::a, {}, 1}, false}, outcome);
  perform(session, Choose{{Knob::compare, SideId::a, {}, 0}, false}, outcome);
  EXPECT_TRUE(session.look.brush);
  perform(session, BrushTasks{Brush{SideId::a, {2, 2}, {1, 5}}}, outcome);
  EXPECT_FALSE(session.look.brush) << "too narrow to hold anything";
}

TEST(Brush, HoldsThePointsThatItsRectangleCovers) {
  Session session = small_session();
  const Outcome outcome = compute(session.settings, {});
  const ViewSize size{300, 300};
  const Scene scene = roofline_view(session, outcome, size);
  std::vector<Rect> points;
  for (const Shape& shape : scene.shapes) {
    if (const auto* rect = std::get_if<Rect>(&shape); rect != nullptr && rect->item.kind == ItemKind::task) {
      points.push_back(*rect);
    }
  }
  ASSERT_GT(points.size(), 3U);
  const Area flat{46, points[0].y - 20, 254, 30}, dragged{points[0].x - 20, points[0].y - 20, 30, 30};
  for (const Area& area : {Area{points[0].x - 4, 22, 9, 240}, flat, dragged}) {
    const auto brush = roofline_brush(session, outcome, size, area);
    ASSERT_TRUE(brush);
    perform(session, BrushTasks{brush}, outcome);
    const Linked all = linked_of(session, outcome, SideId::a);
    EXPECT_LT(all.tasks.size(), outcome.side(SideId::a).points.size());
    for (const Rect& point : points) {
      EXPECT_EQ(all.has(point.item), area.has(point.x + point.w / 2, point.y + point.h / 2)) << point.item.index;
    }
  }
  const Scene lit = roofline_view(session, outcome, size);
  const auto frame = std::find_if(lit.shapes.begin(), lit.shapes.end(), [](const Shape& s) {
    return std::holds_alternative<Rect>(s) && std::get<Rect>(s).stroke == Paint::select;
  });
  ASSERT_NE(frame, lit.shapes.end());
  EXPECT_NEAR(std::get<Rect>(*frame).x, dragged.x, 0.01);
  EXPECT_NEAR(std::get<Rect>(*frame).h, dragged.h, 0.01);
  EXPECT_TRUE(linked_of(session, outcome, SideId::a).merges.empty());
  EXPECT_NE(dump(timeline_view(session, outcome, {600, 300})),
            dump(timeline_view(small_session(), outcome, {600, 300})))
      << "the rest is dimmed";
  EXPECT_NE(time_key(session, size), time_key(small_session(), size));
  EXPECT_NE(plane_key(session, SideId::a, size), plane_key(small_session(), SideId::a, size));
}

}  // namespace
}  // namespace espalier::viz

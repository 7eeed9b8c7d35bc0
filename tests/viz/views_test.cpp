// The explorer's pictures without a window: what is lit by what is selected, what lies under the mouse, what is shown.
#include "viz/explore/views.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/rng.h"
#include "small_session.h"
#include "traces/import.h"
#include "viz/scene/svg.h"

namespace espalier::viz {
namespace {

/// Ids of a scene's boxes that aren't dimmed.
std::set<std::int32_t> lit(const Scene& scene, ItemKind kind) {
  std::set<std::int32_t> ids;
  for (const Shape& shape : scene.shapes) {
    const auto* rect = std::get_if<Rect>(&shape);
    if (rect != nullptr && rect->item.kind == kind && rect->alpha > 60) ids.insert(rect->item.index);
  }
  return ids;
}

TEST(Views, ClickOnANodeLightsItsTasksEverywhere) {
  Session session = small_session();
  const Outcome outcome = compute(session.settings, {});
  const ViewSize size{600, 400};
  const Area area = plane_area(size);
  const Item node = forest_item_at(session, outcome, size, area.x + area.w / 2, area.y + 4);
  ASSERT_EQ(node.kind, ItemKind::node);
  perform(session, Select{node, SideId::a}, outcome);
  const Linked linked = linked_of(session, outcome, SideId::a);
  const std::set<std::int32_t> tasks(linked.tasks.begin(), linked.tasks.end());
  ASSERT_FALSE(tasks.empty());
  EXPECT_EQ(
      lit(timeline_view(session, outcome, {900, 900}), ItemKind::task).size(),
      tasks.size() + linked_of(session, outcome, SideId::b).tasks.size() - [&] {
        std::size_t both = 0;
        for (const std::int32_t t : linked_of(session, outcome, SideId::b).tasks) both += tasks.count(t);
        return both;
      }());
  for (const std::int32_t t : lit(cover_view(session, outcome, SideId::a, size), ItemKind::task)) {
    EXPECT_TRUE(tasks.contains(t)) << t;
  }
  EXPECT_EQ(lit(forest_view(session, outcome, size), ItemKind::node), std::set<std::int32_t>{node.index});
}

TEST(Views, WhatIsSelectedIsLitHoweverSmallItIs) {
  Session session = small_session();
  session.settings.family_options = {{"blocks", 32}, {"questions", 16}, {"root", 400}};
  const Outcome outcome = compute(session.settings, {});
  const ViewSize size{240, 160};  // two requests a pixel
  const Item node{ItemKind::node, outcome.forest->leaf[traces::RequestId(101)].value};
  perform(session, Select{node, SideId::a}, outcome);
  EXPECT_TRUE(lit(forest_view(session, outcome, size), ItemKind::node).contains(node.index));
  const Linked of_node = linked_of(session, outcome, SideId::a);
  ASSERT_FALSE(of_node.tasks.empty());
  EXPECT_EQ(lit(cover_view(session, outcome, SideId::a, size), ItemKind::task),
            std::set<std::int32_t>(of_node.tasks.begin(), of_node.tasks.end()));
  perform(session, Select{{ItemKind::task, of_node.tasks.back()}, SideId::a}, outcome);
  const Linked of_task = linked_of(session, outcome, SideId::a);
  EXPECT_EQ(lit(forest_view(session, outcome, size), ItemKind::node),
            std::set<std::int32_t>(of_task.nodes.begin(), of_task.nodes.end()));
}

TEST(Views, WhatIsSelectedIsLitHoweverTheRestIsFolded) {
  Session session;
  session.given.forests = {std::make_shared<const traces::PrefixForest>(traces::parse_tree("1,700|128,4096"))};
  session.settings.family.clear();
  session.settings.compare = false;
  session.settings.a.strategy = "deft_flatten";  // more boxes of three pixels than are laid out
  const Outcome outcome = compute(session.settings, session.given);
  ASSERT_TRUE(outcome.side(SideId::a).shown()) << outcome.side(SideId::a).refusal;
  const ViewSize size{2350, 240};
  const auto laid_out = lit(cover_view(session, outcome, SideId::a, size), ItemKind::task);
  perform(session, Select{{ItemKind::request, 350}, SideId::a}, outcome);
  const Linked linked = linked_of(session, outcome, SideId::a);
  EXPECT_GT(
      std::count_if(linked.tasks.begin(), linked.tasks.end(), [&](std::int32_t t) { return !laid_out.contains(t); }),
      30)
      << "folded";
  EXPECT_EQ(lit(cover_view(session, outcome, SideId::a, size), ItemKind::task),
            std::set<std::int32_t>(linked.tasks.begin(), linked.tasks.end()));
  session.look.isolated = Paint::tail;  // nobody's
  EXPECT_TRUE(lit(cover_view(session, outcome, SideId::a, size), ItemKind::task).empty());
}

TEST(Views, ClickOnATaskLightsItsNodes) {
  Session session = small_session();
  const Outcome outcome = compute(session.settings, {});
  const ViewSize size{900, 500};
  const TimelinePlaces places = timeline_places(outcome, size);
  ASSERT_EQ(places.tracks.size(), 2U);
  const Area lanes = places.tracks[0].lanes;
  const TimelineHit hit = timeline_item_at(session, outcome, size, lanes.x + lanes.w * 0.1, lanes.y + 3);
  ASSERT_EQ(hit.item.kind, ItemKind::task);
  perform(session, Select{hit.item, hit.side}, outcome);
  const Linked linked = linked_of(session, outcome, SideId::a);
  ASSERT_FALSE(linked.nodes.empty());
  EXPECT_EQ(lit(forest_view(session, outcome, {1200, 4000}), ItemKind::node),
            std::set<std::int32_t>(linked.nodes.begin(), linked.nodes.end()));
  EXPECT_TRUE(linked_of(session, outcome, SideId::b).tasks.empty()) << "a task of A is none of B";
  EXPECT_EQ(linked_of(session, outcome, SideId::b).nodes, linked.nodes);
}

TEST(Views, ZoomKeepsThePointUnderTheMouse) {
  core::Rng rng(3);
  Span1 shown{0.2, 0.7};
  for (int i = 0; i < 200; ++i) {
    const double at = rng.uniform(), factor = 0.5 + rng.uniform();
    const double point = shown.begin + at * shown.size();
    const Span1 next = zoomed(shown, factor, at);
    ASSERT_GE(next.begin, 0);
    ASSERT_LE(next.end, 1 + 1e-12);
    if (next.begin > 1e-9 && next.end < 1 - 1e-9 && next.size() > 2e-4) {
      ASSERT_NEAR(next.begin + at * next.size(), point, 1e-9);
    }
    shown = next;
  }
}

TEST(Views, BothSidesShareOneTimeAxis) {
  Session session = small_session();
  const Outcome outcome = compute(session.settings, {});
  const TimelinePlaces places = timeline_places(outcome, {800, 400});
  EXPECT_EQ(places.end_us, std::max(outcome.side(SideId::a).us(), outcome.side(SideId::b).us()));
  EXPECT_EQ(places.tracks[0].lanes.x, places.tracks[1].lanes.x);
  EXPECT_EQ(places.tracks[0].lanes.w, places.tracks[1].lanes.w);
  EXPECT_LT(places.tracks[0].counters.back().y + places.tracks[0].counters.back().h, places.tracks[1].title_y);
}

TEST(Views, FitSelectionShowsAllItsSpans) {
  Session session = small_session();
  const Outcome outcome = compute(session.settings, {});
  perform(session, Select{{ItemKind::request, 3}, SideId::a}, outcome);
  perform(session, FitSelection{}, outcome);
  const Linked linked = linked_of(session, outcome, SideId::a);
  const double whole = std::max(outcome.side(SideId::a).us(), outcome.side(SideId::b).us());
  for (const scheduler::Span& span : outcome.side(SideId::a).explanation.result.timeline.spans) {
    if (span.kind != scheduler::SpanKind::task || !linked.has({ItemKind::task, span.item})) continue;
    EXPECT_GE(span.begin_us / whole, session.look.time.begin);
    EXPECT_LE(span.end_us / whole, session.look.time.end);
  }
  EXPECT_LT(session.look.time.size(), 1);
  const auto last = static_cast<std::int32_t>(outcome.forest->node_count()) - 1;
  perform(session, Select{{ItemKind::node, last}, SideId::a}, outcome);
  perform(session, FitSelection{}, outcome);
  EXPECT_GT(session.look.forest_requests.begin, 0.5);
  EXPECT_EQ(session.look.forest_requests.end, 1);
  perform(session, FitAll{}, outcome);
  EXPECT_EQ(session.look.time, Span1{});
}

TEST(Views, SelectionOfAnotherBatchIsForgotten) {
  Session session = small_session();
  const Outcome outcome = compute(session.settings, {});
  perform(session, Select{{ItemKind::node, 2}, SideId::a}, outcome);
  perform(session, Choose{{Knob::device_field, SideId::a, "sms", 60}, false}, outcome);
  EXPECT_EQ(session.selection.index, 2) << "the batch is the same";
  perform(session, Choose{{Knob::family_option, SideId::a, "blocks", 4}, false}, outcome);
  EXPECT_EQ(session.selection.kind, ItemKind::none);
}

TEST(Views, SurviveItemsThatAreNotThere) {
  Session session = small_session();
  const Outcome outcome = compute(session.settings, {}), nothing;
  for (const ItemKind kind : {ItemKind::node, ItemKind::request, ItemKind::task, ItemKind::merge}) {
    session.selection = {kind, 1'000'000};
    (void)forest_view(session, outcome, {300, 200});
    (void)timeline_view(session, outcome, {300, 200});
    EXPECT_TRUE(facts_of(outcome, SideId::a, session.selection).title.empty());
    EXPECT_TRUE(facts_of(nothing, SideId::a, session.selection).title.empty());
  }
  (void)forest_view(session, nothing, {300, 200});
  (void)cover_view(session, nothing, SideId::b, {300, 200});
  (void)timeline_view(session, nothing, {1, 1});
  (void)why_view(nothing, {300, 200});
  (void)helps_view(nothing, {300, 200});
  (void)roofline_view(session, nothing, {300, 200});
  EXPECT_TRUE(dump(summary_view(nothing, {300, 70})).find("–") != std::string::npos);
}

TEST(Views, PartialRowsPointToTheirMerges) {
  Session session = small_session();
  const Outcome outcome = compute(session.settings, {});
  const SideOutcome& side = outcome.side(SideId::a);
  ASSERT_GT(side.plan->steps.size(), 0U);
  session.selection = {ItemKind::merge, 0};
  const Linked linked = linked_of(session, outcome, SideId::a);
  const auto lines = [](const Scene& scene) {
    return std::count_if(scene.shapes.begin(), scene.shapes.end(), [](const Shape& s) {
      const auto* line = std::get_if<Line>(&s);
      return line != nullptr && line->paint == Paint::select;
    });
  };
  EXPECT_EQ(lines(timeline_view(session, outcome, {900, 900})), static_cast<std::ptrdiff_t>(linked.tasks.size()));
  session.selection = {};
  EXPECT_EQ(lines(timeline_view(session, outcome, {900, 900})), 0);
}

TEST(Views, RooflinePointsAreTasks) {
  Session session = small_session();
  const Outcome outcome = compute(session.settings, {});
  const Scene scene = roofline_view(session, outcome, {300, 300});
  const auto point = std::find_if(scene.shapes.begin(), scene.shapes.end(), [](const Shape& s) {
    const auto* rect = std::get_if<Rect>(&s);
    return rect != nullptr && rect->item.kind == ItemKind::task;
  });
  ASSERT_NE(point, scene.shapes.end());
  const Rect& rect = std::get<Rect>(*point);
  EXPECT_EQ(item_near(scene, rect.x + 1, rect.y - 2, 4).kind, ItemKind::task);
  EXPECT_EQ(item_near(scene, 5, 5, 4).kind, ItemKind::none);
}

}  // namespace
}  // namespace espalier::viz

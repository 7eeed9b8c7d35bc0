// The real panels without a display: scripted clicks, keys and drags, and the pixels they leave.
#include "viz/ui/offscreen.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <imgui.h>

#include <thread>

#include "small_session.h"
#include "viz/explore/copied_command.h"
#include "viz/explore/regions.h"
#include "viz/explore/view_parts.h"
#include "viz/ui/scene_image.h"

namespace espalier::viz {
namespace {

OffscreenOptions small_window() { return {1100, 700, 1, Face::builtin}; }

TEST(Offscreen, EqualSessionsGiveEqualBytes) {
  Image first;
  for (int i = 0; i < 2; ++i) {
    Offscreen window(small_session(), small_window());
    window.settle();
    const Image image = window.picture();
    EXPECT_EQ(image.width, 1100);
    if (i == 0) {
      first = image;
      continue;
    }
    EXPECT_TRUE(first == image);
    EXPECT_EQ(write_png(first), write_png(image));
  }
}

TEST(Offscreen, FramesSettle) {
  Offscreen window(small_session(), small_window());
  window.settle();
  const Image before = window.picture();
  window.frame();
  EXPECT_TRUE(before == window.picture());
}

TEST(Offscreen, ClickOnANodeSelectsIt) {
  Offscreen window(small_session(), small_window());
  window.settle();
  ASSERT_TRUE(window.click("forest picture", 0.5, 0.05));
  EXPECT_EQ(window.explorer().session().selection, (Item{ItemKind::node, 0}));
  EXPECT_FALSE(linked_of(window.explorer().session(), window.explorer().outcome(), SideId::a).tasks.empty());
  window.control_key('\x1b');
  EXPECT_EQ(window.explorer().session().selection.kind, ItemKind::none);
}

TEST(Offscreen, ClickOnATaskSelectsItOnItsSide) {
  Offscreen window(small_session(), small_window());
  window.settle();
  const Area picture = window.explorer().placements().find("timeline picture")->second;
  const Area lanes = timeline_places(window.explorer().outcome(), {picture.w, picture.h}).tracks.at(1).lanes;
  ASSERT_TRUE(window.click("timeline picture", (lanes.x + lanes.w * 0.4) / picture.w, (lanes.y + 2) / picture.h));
  EXPECT_EQ(window.explorer().session().selection.kind, ItemKind::task);
  EXPECT_EQ(window.explorer().session().selected_side, SideId::b);
}

TEST(Offscreen, DraggedSliderGivesANewSimulationThatUndoTakesBack) {
  Offscreen window(small_session(), small_window());
  window.settle();
  const double before = window.explorer().outcome().side(SideId::a).us();
  ASSERT_TRUE(window.drag("HBM", 0.5, 0.05));
  const double slower = window.explorer().outcome().side(SideId::a).us();
  EXPECT_GT(slower, 1.5 * before);
  EXPECT_LT(window.explorer().session().settings.a.device_fields.at("hbm_gbps"), 3350);
  ASSERT_TRUE(window.click("Undo"));
  EXPECT_EQ(window.explorer().outcome().side(SideId::a).us(), before) << "a drag is one step";
  EXPECT_TRUE(window.explorer().session().settings.a.device_fields.empty());
  window.control_key('y');
  EXPECT_EQ(window.explorer().outcome().side(SideId::a).us(), slower);
}

TEST(Offscreen, RunningBatchIsMadeSmallerAndTakenBack) {
  Offscreen window(small_session(), {1280, 800, 1, Face::builtin});
  window.settle();
  ASSERT_TRUE(window.drag("running", 0.98, 0.4));
  const std::size_t few = window.explorer().outcome().forest->request_count();
  EXPECT_LT(few, 8U);
  EXPECT_GT(few, 1U);
  window.control_key('z');
  EXPECT_EQ(window.explorer().outcome().forest->request_count(), 12U);
}

TEST(Offscreen, ComboChoosesAnotherStrategy) {
  Offscreen window(small_session(), small_window());
  window.settle();
  ASSERT_TRUE(window.click("strategy"));
  ASSERT_TRUE(window.click("strategy/flash_decoding"));
  EXPECT_EQ(window.explorer().session().settings.a.strategy, "flash_decoding");
  EXPECT_EQ(window.explorer().outcome().side(SideId::a).us(), window.explorer().outcome().side(SideId::b).us());
}

TEST(SceneImage, IsMadeBesideAWindowThatDraws) {
  const Outcome outcome = compute(small_session().settings, {});
  const Scene scene = why_view(outcome, {300, 300});
  const Image alone = scene_image(scene, Theme::dark, 2, Face::builtin);
  Offscreen window(small_session(), small_window());
  window.settle();
  const Image shown = window.picture();
  std::vector<Image> beside(3);
  std::thread other([&] {
    for (Image& image : beside) image = scene_image(scene, Theme::dark, 2, Face::builtin);
  });
  for (int i = 0; i < 5; ++i) window.frame();
  other.join();
  for (const Image& image : beside) EXPECT_TRUE(image == alone);
  EXPECT_TRUE(window.picture() == shown);
}

TEST(Offscreen, ExportMenuAsksForAFormat) {
  Offscreen window(small_session(), small_window());
  window.settle();
  ASSERT_TRUE(window.click("Export"));
  ASSERT_TRUE(window.click("Export/Page (HTML)"));
  EXPECT_EQ(window.explorer().take_exports(), std::vector<std::string>{"html"});
  EXPECT_TRUE(window.explorer().take_exports().empty());
  ASSERT_TRUE(window.click("Export"));
  ASSERT_TRUE(window.click("Export/Copy the command"));
  EXPECT_NE(window.clipboard().find("espalier plan --family few_shot"), std::string::npos);
}

TEST(Offscreen, KeysReachEveryPanel) {
  Offscreen window(small_session(), small_window());
  window.settle();
  const auto& look = window.explorer().session().look;
  window.type('2');
  EXPECT_EQ(look.panel, Panel::tasks);
  window.type('4');
  EXPECT_EQ(look.panel, Panel::requests);
  window.type('6');
  EXPECT_EQ(look.insight, Insight::helps);
  window.type('7');
  EXPECT_EQ(look.insight, Insight::roofline);
  window.type('t');
  EXPECT_EQ(look.theme, Theme::light);
  window.type('e');
  EXPECT_EQ(look.edited, SideId::b);
  window.type('1');
  window.type('w');
  EXPECT_LT(look.time.size(), 1);
  window.type('f');
  EXPECT_EQ(look.time.size(), 1);
  window.type('?');
  EXPECT_TRUE(look.help);
  EXPECT_TRUE(window.explorer().placements().contains("Close"));
  window.control_key('\x1b');
  EXPECT_FALSE(look.help);
}

TEST(Offscreen, WheelZoomsTheTimeline) {
  Offscreen window(small_session(), small_window());
  window.settle();
  window.wheel("timeline picture", 1);
  EXPECT_LT(window.explorer().session().look.time.size(), 1);
  EXPECT_EQ(window.explorer().session().look.forest_requests.size(), 1);
}

TEST(Offscreen, RowsSelectAndHeadingsSort) {
  Offscreen window(small_session(), small_window());
  window.settle();
  ASSERT_TRUE(window.click("wide/Nodes"));
  ASSERT_TRUE(window.click("row 1"));
  EXPECT_EQ(window.explorer().session().selection, (Item{ItemKind::node, 1}));
  ASSERT_TRUE(window.click("heading tokens"));
  EXPECT_EQ(window.explorer().session().look.sort_column, 4);
}

TEST(Offscreen, TypedFilterPicksRows) {
  Offscreen window(small_session(), small_window());
  window.settle();
  window.type('3');
  ASSERT_TRUE(window.click("find"));
  for (const char sign : std::string_view("tokens<300")) window.type(sign);
  EXPECT_EQ(window.explorer().session().look.filter, "tokens<300");
  EXPECT_FALSE(window.explorer().placements().contains("row 0")) << "the root has 400";
  EXPECT_EQ(window.explorer().session().look.time.size(), 1) << "typing is no key";
}

TEST(Offscreen, PlayingGrowsTheForest) {
  Offscreen window(small_session(), small_window());
  window.settle();
  const auto tokens = [&] { return traces::unique_tokens(*window.explorer().outcome().forest); };
  const std::int64_t before = tokens();
  window.type('p');
  for (int i = 0; i < 6; ++i) window.frame();
  window.type('p');
  EXPECT_GT(tokens(), before);
  const std::int64_t stopped = tokens();
  window.settle();
  EXPECT_EQ(tokens(), stopped);
}

TEST(Offscreen, ShowsProblemsInsteadOfStopping) {
  Session session = small_session();
  session.settings.family.clear();
  Offscreen window(std::move(session), small_window());
  window.settle();
  EXPECT_FALSE(window.explorer().outcome().problem.empty());
  window.click("forest picture");
  window.type('3');
  window.type('7');
  EXPECT_EQ(window.picture().height, 700);
}

/// Whether all cards have room of their own in a window, and all that is noted in the header stays apart.
void expect_apart(const OffscreenOptions& options) {
  Offscreen window(small_session(), options);
  window.settle();
  std::vector<std::pair<std::string, Area>> areas;
  const double s = options.scale;
  for (const auto& [name, area] : window.explorer().placements()) {
    if (name.starts_with("card ")) areas.emplace_back(name, Area{area.x * s, area.y * s, area.w * s, area.h * s});
  }
  for (const char* name : {"One side", "Swap", "Undo", "Redo", "Light", "?", "Views", "Export"}) {
    areas.emplace_back(name, window.explorer().placements().find(name)->second);
  }
  ASSERT_EQ(areas.size(), 7U + 8U);
  for (std::size_t i = 0; i < areas.size(); ++i) {
    const auto& [name, a] = areas[i];
    EXPECT_GE(a.x, 0) << name;
    EXPECT_LE(a.x + a.w, options.width * s) << name;
    EXPECT_LE(a.y + a.h, options.height * s) << name;
    for (std::size_t j = 0; j < i; ++j) {
      const Area& b = areas[j].second;
      EXPECT_TRUE(a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y)
          << name << " and " << areas[j].first;
    }
  }
}

/// Of a row's controls: none begins before the one on its left ends.
void expect_in_a_row(const Placements& placed, const std::vector<std::string>& names, double gap) {
  for (std::size_t i = 1; i < names.size(); ++i) {
    ASSERT_TRUE(placed.contains(names[i - 1]) && placed.contains(names[i])) << names[i - 1] << ", " << names[i];
    const Area &left = placed.find(names[i - 1])->second, &right = placed.find(names[i])->second;
    EXPECT_GE(right.x, left.x + left.w + gap) << names[i - 1] << " and " << names[i];
  }
}

TEST(Offscreen, RowsHaveRoomInTheLeastWindow) {
  for (const Face face : {Face::builtin, Face::best}) {
    Session session = small_session();
    session.settings.a.strategy = "flashinfer_persistent";
    session.settings.b.strategy = "codec_release";
    session.settings.b.device = "a100-sxm-80g";
    show_panel(session.look, Panel::strategies);
    session.settings.rank = true;
    Offscreen window(std::move(session), {1100, 700, 1, face});
    window.settle();
    const Placements& placed = window.explorer().placements();
    expect_in_a_row(placed, {"wide/Nodes", "wide/Requests", "wide/Strategies", "find"}, 2.5);
    expect_in_a_row(placed, {"wide/Strategies", "find"}, 10);
    for (const char* slider : {"SMs", "HBM", "L2 rate", "launch gap"}) {
      expect_in_a_row(placed, {slider, std::string(slider) + " value"}, 6);
    }
    ASSERT_TRUE(placed.contains("rows"));
    const Area table = placed.find("rows")->second, card = placed.find("card wide")->second;
    EXPECT_LE(table.y + table.h, card.y + card.h) << "rows end inside their card";
    int rows = 0;
    for (const auto& [name, area] : placed) {
      const double end = table.y + table.h - static_cast<double>(ImGui::GetStyle().ScrollbarSize);
      if (!name.starts_with("row ") || area.y >= end - 3) continue;
      EXPECT_LE(area.y + area.h, end + 3) << name << " is cut";
      ++rows;
    }
    EXPECT_GT(rows, 5);
  }
}

TEST(Offscreen, VerdictIsWholeInTheLeastWindow) {
  Session session = small_session();
  session.settings.a.strategy = "flashinfer_persistent";
  session.settings.b = {.strategy = "codec_release", .device = "l40s", .device_fields = {{"hbm_gbps", 1000}}};
  Offscreen window(std::move(session), {1100, 700, 1, Face::best});
  window.settle();
  const std::string verdict = verdict_of(window.explorer().outcome()).front();
  const Placements& placed = window.explorer().placements();
  double below = 0;
  for (int i = 0; placed.contains(fmt::format("verdict {}", i)); ++i) {
    const Area area = placed.find(fmt::format("verdict {}", i))->second;
    EXPECT_GE(area.y, below);
    below = area.y + area.h;
  }
  const Area figures = placed.find("summary picture")->second, card = placed.find("card summary")->second;
  EXPECT_GT(wrapped(verdict, 14.5, card.w - 24).size(), 1U) << verdict << ": long enough to be tried";
  EXPECT_TRUE(placed.contains("verdict 1")) << "in two rows";
  EXPECT_GT(placed.find("verdict 0")->second.w, 0.87 * (card.w - 24))
      << "which ends where the letters do, not where wider ones would";
  EXPECT_TRUE(placed.contains("verdict 2")) << "and what comes second below it";
  EXPECT_LE(below, figures.y + 1);
  EXPECT_LE(figures.y + figures.h, card.y + card.h);
}

TEST(Offscreen, NothingOverlapsInTheLeastWindow) {
  const auto width = static_cast<std::int32_t>(kLeastWindow.width),
             height = static_cast<std::int32_t>(kLeastWindow.height);
  expect_apart({width, height, 1, Face::builtin});
  expect_apart({width, height, 1.5, Face::best});
  expect_apart({1920, 1080, 1, Face::best});
}

TEST(Offscreen, ScaleDoublesThePicture) {
  OffscreenOptions options = small_window();
  options.scale = 2;
  Offscreen window(small_session(), options);
  window.settle();
  EXPECT_EQ(window.picture().width, 2200);
  const Area& forest = window.explorer().placements().find("forest picture")->second;
  EXPECT_GT(forest.w, 400);
}

TEST(Offscreen, ShiftAndDragMeasuresARange) {
  Offscreen window(small_session(), small_window());
  window.settle();
  const Span1 shown = window.explorer().session().look.time;
  ImGui::GetIO().KeyShift = true;
  ImGui::GetIO().KeyMods = ImGuiKeyModFlags_Shift;
  ASSERT_TRUE(window.drag("timeline picture", 0.3, 0.6));
  ImGui::GetIO().KeyShift = false;
  ImGui::GetIO().KeyMods = ImGuiKeyModFlags_None;
  EXPECT_EQ(window.explorer().session().look.time, shown) << "not moved";
  ASSERT_TRUE(window.explorer().session().look.range);
  EXPECT_NEAR(window.explorer().session().look.range->size(), 0.3, 0.05);
  window.type('m');
  EXPECT_FALSE(window.explorer().session().look.range);
}

TEST(Offscreen, LegendIsolatesAColour) {
  Offscreen window(small_session(), small_window());
  window.settle();
  ASSERT_TRUE(window.click("colour"));
  ASSERT_TRUE(window.click("colour/depth"));
  EXPECT_EQ(window.explorer().session().look.colour_by, ColourBy::depth);
  const Area legend = window.explorer().placements().find("plan legend")->second;
  const SideOutcome& side = window.explorer().outcome().side(SideId::a);
  const StepLegend drawn =
      step_legend("depth", colour_legend(*side.plan, side.explanation.result, ColourBy::depth), legend.w);
  const StepLegend::Swatch second = drawn.swatches.at(1);
  ASSERT_TRUE(window.click("plan legend", (second.area.x + 4) / legend.w, 0.5));
  EXPECT_EQ(window.explorer().session().look.isolated, second.paint);
}

TEST(Offscreen, PaletteFindsAndDoes) {
  Offscreen window(small_session(), small_window());
  window.settle();
  window.type('/');
  ASSERT_TRUE(window.explorer().session().look.palette);
  window.settle();
  for (const char sign : std::string("colour by kernel")) window.type(sign);
  EXPECT_EQ(window.explorer().session().look.palette_text, "colour by kernel");
  window.control_key('\r');
  EXPECT_EQ(window.explorer().session().look.colour_by, ColourBy::kernel);
  EXPECT_FALSE(window.explorer().session().look.palette);
  window.type('/');
  window.settle();
  window.control_key('\x1b');
  EXPECT_FALSE(window.explorer().session().look.palette);
}

TEST(Offscreen, ARowOfStrategiesIsTried) {
  Offscreen window(small_session(), small_window());
  window.settle();
  ASSERT_TRUE(window.click("wide/Strategies"));
  const auto& ranking = window.explorer().outcome().ranking;
  ASSERT_EQ(ranking.size(), scheduler::strategies().size());
  const std::string first = ranking.front().name;
  window.explorer().perform(SortBy{0});
  window.explorer().perform(Filter{first});
  window.settle();
  ASSERT_TRUE(window.click("row 0", 0.1, 0.5));
  EXPECT_EQ(window.explorer().session().settings.a.strategy, first);
  EXPECT_EQ(window.explorer().outcome().side(SideId::a).title, first);
  window.type('1');
  EXPECT_FALSE(window.explorer().session().settings.rank);
}

TEST(Offscreen, SaysWhyACommandCannotBeCopied) {
  Session session = small_session();
  session.settings.decode_step = 4;
  Offscreen window(std::move(session), small_window());
  window.settle();
  ASSERT_TRUE(window.click("Export"));
  ASSERT_TRUE(window.click("Export/Copy the command"));
  EXPECT_NE(window.explorer().message().find("can't make this plan"), std::string::npos) << window.explorer().message();
}

TEST(Offscreen, ViewsAreKeptAndCopied) {
  Offscreen window(small_session(), small_window());
  window.settle();
  ASSERT_TRUE(window.click("Views"));
  ASSERT_TRUE(window.click("Views/Keep this view"));
  window.type('x');
  window.type('v');
  EXPECT_EQ(window.explorer().session().settings.a.strategy, "espalier");
  ASSERT_TRUE(window.click("Views"));
  ASSERT_TRUE(window.click("Views/Copy its command"));
  EXPECT_EQ(window.clipboard(), view_command_of(window.explorer().session()).text);
  window.explorer().perform(Select{{ItemKind::task, 0}, SideId::a});
  window.settle();
  ASSERT_TRUE(window.click("Copy as JSON"));
  EXPECT_EQ(window.clipboard(), facts_json(window.explorer().outcome(), SideId::a, {ItemKind::task, 0}));
}

}  // namespace
}  // namespace espalier::viz

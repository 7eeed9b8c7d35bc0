// Plans changed by hand in the real panels, and what the keyboard reaches.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cctype>
#include <set>

#include "core/text.h"
#include "small_session.h"
#include "viz/explore/commands.h"
#include "viz/explore/queue_edit.h"
#include "viz/ui/offscreen.h"

namespace espalier::viz {
namespace {

OffscreenOptions small_window() { return {1100, 700, 1, Face::builtin}; }

TEST(Offscreen, SplittingATaskSimulatesAnotherPlan) {
  Session session = small_session();
  session.selection = {ItemKind::task, 0};
  Offscreen window(std::move(session), small_window());
  window.settle();
  const auto before = window.explorer().outcome().side(SideId::a).plan;
  ASSERT_TRUE(window.click("Split"));
  const SideOutcome& side = window.explorer().outcome().side(SideId::a);
  EXPECT_EQ(side.plan->tasks.size(), before->tasks.size() + 1);
  EXPECT_EQ(side.title, "espalier, 1 edit");
  EXPECT_GT(side.unedited_us, 0);
  EXPECT_EQ(window.explorer().session().selection, (Item{ItemKind::task, 0})) << "its first half";
  window.control_key('z');
  EXPECT_EQ(window.explorer().outcome().side(SideId::a).plan->hash, before->hash);
}

TEST(Offscreen, MovingATaskToAnotherQueueIsSimulatedAndTakenBack) {
  Session session = small_session();
  session.settings.a.strategy = "flashinfer_persistent";
  session.selection = {ItemKind::task, 1};
  Offscreen window(std::move(session), OffscreenOptions{1280, 800, 1, Face::builtin});
  window.settle();
  const auto before = window.explorer().outcome().side(SideId::a).plan;
  ASSERT_TRUE(window.click("copy"));
  ASSERT_TRUE(window.click(fmt::format("copy/2, in queue {}", queues_of(*before, 1).at(2))));
  EXPECT_EQ(window.explorer().session().look.copy, 2);
  ASSERT_TRUE(window.click("to queue"));
  const std::string first = "to queue/0: " + core::counted(before->queues.at(0).size(), "task") + ", " +
                            core::counted(queue_tokens(*before).at(0), "token");
  ASSERT_NE(queues_of(*before, 1).at(2), 0);
  ASSERT_TRUE(window.click(first)) << first;
  const SideOutcome& side = window.explorer().outcome().side(SideId::a);
  EXPECT_EQ(queues_of(*side.plan, 1).at(2), 0);
  EXPECT_TRUE(side.violations.empty());
  EXPECT_GT(side.us(), 0);
  EXPECT_EQ(diff_text(side), "1 task moved");
  EXPECT_EQ(window.explorer().session().selection, (Item{ItemKind::task, 1}));
  const auto& paints = side.paint_by(ColourBy::edits);
  EXPECT_EQ(std::count(paints.begin(), paints.end(), paints.at(1)), 1) << "only it is lit by what edits did";
  window.control_key('z');
  EXPECT_EQ(window.explorer().outcome().side(SideId::a).plan->hash, before->hash);
}

TEST(Offscreen, SelectionFollowsATaskThatRunsEarlier) {
  Session session = small_session();
  session.settings.a.strategy = "flash_decoding";
  session.selection = {ItemKind::task, 3};
  Offscreen window(std::move(session), small_window());
  window.settle();
  ASSERT_TRUE(window.click("Earlier"));
  EXPECT_EQ(window.explorer().session().selection.index, 2);
  EXPECT_EQ(diff_text(window.explorer().outcome().side(SideId::a)), "1 task moved");
  ASSERT_TRUE(window.click("Last"));
  EXPECT_EQ(window.explorer().session().selection.index,
            static_cast<std::int32_t>(window.explorer().outcome().side(SideId::a).plan->tasks.size()) - 1);
}

TEST(Offscreen, EveryPanelHasAKeyThatTheHelpNames) {
  Offscreen window(small_session(), {1280, 800, 1, Face::builtin});
  window.settle();
  const Look& look = window.explorer().session().look;
  std::set<Panel> panels;
  std::set<Insight> insights;
  std::string keys;
  for (const Command& command : commands_of(window.explorer().session())) {
    if (command.key == 0) continue;
    keys += command.key;
    const auto* panel = std::get_if<ShowPanel>(&command.action);
    const auto* insight = std::get_if<ShowInsight>(&command.action);
    if (panel == nullptr && insight == nullptr) continue;
    window.type(command.key);
    window.settle();
    if (panel != nullptr) {
      EXPECT_EQ(look.panel, panel->panel) << command.key;
      EXPECT_EQ(window.explorer().placements().contains("timeline picture"), look.panel == Panel::timeline);
      EXPECT_EQ(window.explorer().placements().contains("row 0"), look.panel != Panel::timeline) << command.key;
      panels.insert(look.panel);
    } else {
      EXPECT_EQ(look.insight, insight->insight) << command.key;
      insights.insert(look.insight);
    }
  }
  EXPECT_EQ(panels.size(), 5U);
  EXPECT_EQ(insights.size(), 4U);
  std::set<std::string> told;
  for (const HelpLine& line : help_lines()) {
    for (std::string word : core::split(line.key, ' ')) {
      if (word.size() > 1 && word.back() == ',') word.pop_back();
      told.insert(word);
    }
  }
  for (const char key : keys) {
    EXPECT_TRUE(told.contains(std::string(1, static_cast<char>(std::toupper(static_cast<unsigned char>(key))))))
        << "no line tells of " << key;
  }
  window.type('?');
  window.settle();
  for (const HelpLine& line : help_lines()) {
    EXPECT_TRUE(window.explorer().placements().contains(fmt::format("key {}", line.key))) << line.key;
  }
}

TEST(Offscreen, MovesTheCopyThatIsShown) {
  Session session = small_session();
  session.settings.a.strategy = "flashinfer_persistent";
  session.selection = {ItemKind::task, 1};
  session.look.copy = 99;
  Offscreen window(std::move(session), OffscreenOptions{1280, 800, 1, Face::builtin});
  window.settle();
  const auto before = window.explorer().outcome().side(SideId::a).plan;
  const std::vector<std::int32_t> queues = queues_of(*before, 1);
  EXPECT_EQ(window.explorer().session().look.copy, static_cast<std::int32_t>(queues.size()) - 1);
  ASSERT_TRUE(window.click("to queue"));
  ASSERT_NE(queues.back(), 0);
  ASSERT_TRUE(window.click("to queue/0: " + core::counted(before->queues.at(0).size(), "task") + ", " +
                           core::counted(queue_tokens(*before).at(0), "token")));
  EXPECT_EQ(queues_of(*window.explorer().outcome().side(SideId::a).plan, 1).back(), 0);
}

TEST(Offscreen, SaysOnceWhyAnEditCantBe) {
  Offscreen window(small_session(), small_window());
  window.settle();
  Explorer& explorer = window.explorer();
  explorer.perform(Choose{{Knob::edit, SideId::a, "to queue", 0, 0, 1}, false});
  window.frame();
  EXPECT_TRUE(explorer.message().starts_with("Can't be: move copy 0 of task 0 to queue 1: the plan has no queues"))
      << explorer.message();
  window.type('t');
  EXPECT_EQ(explorer.message(), "");
  explorer.take(std::make_shared<const Outcome>(explorer.outcome()));  // with sensitivities, as it comes in again
  EXPECT_EQ(explorer.message(), "") << "told once";
  explorer.perform(Choose{{Knob::edit, SideId::a, "split", 7000}, false});
  window.frame();
  EXPECT_TRUE(explorer.message().starts_with("Can't be: ")) << "another one";
}

TEST(Offscreen, EditsWaitForThePlanThatReplacesTheirs) {
  Session session = small_session();
  session.settings.a.strategy = "flashinfer_persistent";
  session.selection = {ItemKind::task, 1};
  Offscreen window(std::move(session), OffscreenOptions{1280, 800, 1, Face::builtin});
  window.settle();
  Explorer& explorer = window.explorer();
  explorer.perform(Choose{{Knob::edit, SideId::a, "to queue", 1, 0, 3}, false});
  explorer.perform(Choose{{Knob::edit, SideId::a, "to queue", 1, 1, 3}, false});
  EXPECT_EQ(explorer.session().settings.a.edits.size(), 1U);
  EXPECT_NE(explorer.message().find("being made anew"), std::string::npos) << explorer.message();
  window.settle();
  explorer.perform(Choose{{Knob::edit, SideId::a, "to queue", 1, 1, 3}, false});
  EXPECT_EQ(explorer.session().settings.a.edits.size(), 2U);
}

TEST(Offscreen, DraggedBrushLightsTasksUntilEscape) {
  Session session = small_session();
  session.look.insight = Insight::roofline;
  Offscreen window(std::move(session), small_window());
  window.settle();
  ASSERT_TRUE(window.drag("roofline picture", Offscreen::Share{0.2, 0.1}, Offscreen::Share{0.95, 0.85}));
  const Look& look = window.explorer().session().look;
  ASSERT_TRUE(look.brush);
  const Linked all = linked_of(window.explorer().session(), window.explorer().outcome(), SideId::a);
  EXPECT_GT(all.tasks.size(), 0U);
  ASSERT_TRUE(window.drag("SMs", 0.5, 0.3));
  EXPECT_TRUE(look.brush) << "the tasks of the new plan are brushed";
  window.control_key('\x1b');
  EXPECT_FALSE(look.brush);
  ASSERT_TRUE(window.drag("roofline picture", Offscreen::Share{0.2, 0.1}, Offscreen::Share{0.95, 0.85}));
  EXPECT_TRUE(look.brush);
  ASSERT_TRUE(window.click("roofline picture", 0.98, 0.98));
  EXPECT_FALSE(look.brush) << "a click on nothing";
}

TEST(Explorer, WantsNothingOfASessionThatIsAnswered) {
  Offscreen window(small_session(), small_window());
  window.settle();
  Explorer& explorer = window.explorer();
  Session next = explorer.session();
  next.look.theme = Theme::light;
  explorer.restart(next);
  EXPECT_FALSE(explorer.wanted()) << "nothing is planned for another look";
  EXPECT_EQ(explorer.session().look.theme, Theme::light);
  next.given.forests = {explorer.outcome().forest};
  explorer.restart(next);
  EXPECT_TRUE(explorer.wanted()) << "other inputs under the same settings";
  EXPECT_FALSE(explorer.wanted()) << "under way";
}

TEST(Offscreen, EditsAreInThePalette) {
  Session session = small_session();
  session.selection = {ItemKind::task, 0};
  Offscreen window(std::move(session), small_window());
  window.settle();
  const std::size_t tasks = window.explorer().outcome().side(SideId::a).plan->tasks.size();
  window.type('/');
  window.settle();
  for (const char sign : std::string("edit split task")) window.type(sign);
  window.control_key('\r');
  EXPECT_EQ(window.explorer().outcome().side(SideId::a).plan->tasks.size(), tasks + 1);
  EXPECT_FALSE(matching_commands(window.explorer().session(), "take back all of a").empty());
}

}  // namespace
}  // namespace espalier::viz

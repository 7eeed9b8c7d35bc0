// Edits by hand within a session: those that can't be, those of a plan that is no more, and whose copy they move; and
// the figures above.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/text.h"
#include "small_session.h"
#include "viz/explore/views.h"
#include "viz/scene/scene.h"
#include "viz/scene/svg.h"

namespace espalier::viz {
namespace {

std::size_t line_with(const std::vector<std::string>& lines, std::string_view beginning) {
  return static_cast<std::size_t>(
      std::find_if(lines.begin(), lines.end(), [&](const std::string& line) { return line.starts_with(beginning); }) -
      lines.begin());
}

TEST(HandEdits, GoOnAfterOneThatCantBe) {
  Settings settings = small_session().settings;
  const Outcome plain = compute(settings, {});
  ASSERT_TRUE(plain.side(SideId::a).plan->queues.empty());
  settings.a.edits = {{EditKind::to_queue, 0, 0, 1}, {EditKind::split_tokens, 0}};
  const Outcome outcome = compute(settings, {});
  const SideOutcome& side = outcome.side(SideId::a);
  ASSERT_TRUE(side.shown()) << side.refusal;
  EXPECT_EQ(side.plan->tasks.size(), plain.side(SideId::a).plan->tasks.size() + 1);
  EXPECT_EQ(side.title, "espalier, 1 edit");
  EXPECT_EQ(side.edits_made, 1);
  EXPECT_EQ(side.edits_left_out, 1);
  EXPECT_NE(side.edit_problem.find("the plan has no queues"), std::string::npos);
  const std::vector<std::string> lines = verdict_of(outcome);
  ASSERT_LT(line_with(lines, "Can't be"), lines.size());
  EXPECT_LT(line_with(lines, "By hand"), line_with(lines, "Can't be")) << "of few lines the last isn't seen";
}

TEST(HandEdits, ThatAllCantBeLeaveThePlanItsName) {
  Settings settings = small_session().settings;
  settings.a.edits = {{EditKind::to_queue, 0, 0, 1}, {EditKind::split_tokens, 5000}};
  const Outcome outcome = compute(settings, {});
  const SideOutcome& side = outcome.side(SideId::a);
  EXPECT_EQ(side.title, "espalier");
  EXPECT_EQ(side.unedited, nullptr);
  EXPECT_EQ(side.edits_left_out, 2);
  const std::vector<std::string> lines = verdict_of(outcome);
  EXPECT_EQ(line_with(lines, "By hand"), lines.size());
  EXPECT_EQ(line_with(lines, "Can't be: split task 5000"), 1U);
}

TEST(HandEdits, GoWhenAFileIsReadAgain) {
  Session session = small_session();
  const Outcome none;
  const auto split = [&](SideId side) { perform(session, Choose{{Knob::edit, side, "split", 0}, false}, none); };
  split(SideId::a);
  perform(session, Choose{{Knob::device, SideId::b, "l40s", 0}, false}, none);
  split(SideId::b);
  perform(session, Select{{ItemKind::task, 2}, SideId::a}, none);
  perform(session, KeepView{}, none);
  split(SideId::a);
  split(SideId::b);
  perform(session, Undo{}, none);
  session.selection = {ItemKind::merge, 1};
  Session next = continued(small_session(), session);
  EXPECT_TRUE(next.settings.a.edits.empty() && next.settings.b.edits.empty());
  EXPECT_EQ(next.selection.kind, ItemKind::none);
  EXPECT_TRUE(next.kept.at(0).settings.a.edits.empty() && next.kept.at(0).settings.b.edits.empty());
  EXPECT_EQ(next.kept.at(0).selection.kind, ItemKind::none);
  EXPECT_FALSE(next.history.can_redo()) << "only edits were";
  perform(next, Undo{}, none);
  EXPECT_EQ(next.settings, small_session().settings) << "in one step: those of edits are none";
  EXPECT_FALSE(next.history.can_undo());
}

TEST(HandEdits, MoveACopyThatTheTaskHas) {
  Session session = small_session();
  session.settings.a.strategy = "flashinfer_persistent";
  const Outcome outcome = compute(session.settings, {});
  perform(session, Select{{ItemKind::task, 1}, SideId::a}, outcome);
  const std::int32_t copies = outcome.side(SideId::a).plan->tasks[scheduler::TaskId(1)].copies;
  ASSERT_GT(copies, 2);
  for (std::int32_t i = 1; i < copies; ++i) {
    perform(session, ChooseCopy{session.look.copy + 1}, outcome);
    EXPECT_EQ(session.look.copy, i);
  }
  perform(session, ChooseCopy{session.look.copy + 1}, outcome);
  EXPECT_EQ(session.look.copy, 0) << "after the last the first";
  session.look.copy = 99;
  clamp_copy(session, outcome);
  EXPECT_EQ(session.look.copy, copies - 1);
}

TEST(SummaryView, FitsItsColumnsAndCountsOnePoint) {
  Outcome outcome = compute(small_session().settings, {});
  outcome.sides[0].bound.us = 0.50 * outcome.sides[0].us();
  outcome.sides[1].bound.us = 0.49 * outcome.sides[1].us();
  const std::string wide = dump(summary_view(outcome, {1500, 70}));
  EXPECT_NE(wide.find("1 point"), std::string::npos);
  EXPECT_EQ(wide.find("1 points"), std::string::npos);
  EXPECT_NE(wide.find("Copies of "), std::string::npos);
  const std::string narrow = dump(summary_view(outcome, {450, 70}));
  EXPECT_EQ(narrow.find("Copies of "), std::string::npos) << "over its divider";
  EXPECT_NE(narrow.find("Task copies"), std::string::npos);
  outcome.sides[1].measurement = std::make_shared<scheduler::Measurement>();
  EXPECT_NE(dump(summary_view(outcome, {1500, 70})).find("not measured"), std::string::npos);
  EXPECT_EQ(dump(summary_view(outcome, {450, 70})).find("not measured"), std::string::npos) << "over its divider, too";
}

}  // namespace
}  // namespace espalier::viz

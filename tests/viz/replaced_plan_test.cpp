// Between a change and the plan it leads to: what is on show is older than the session. Its ids mean nothing in what
// comes next.
#include <gtest/gtest.h>

#include "core/error.h"
#include "small_session.h"
#include "viz/explore/look_text.h"
#include "viz/explore/opening.h"

namespace espalier::viz {
namespace {

Choose choose(Knob knob, SideId side, std::string name, double value = 0) {
  return {{knob, side, std::move(name), value}, false};
}
Choose split(std::int32_t task) { return choose(Knob::edit, SideId::a, "split", task); }

/// A session, and what it shows until it is told that its answer is there.
struct Shown {
  Session session = small_session();
  Outcome outcome = compute(session.settings, session.given);
  void act(const Action& action) { perform(session, action, outcome); }
  void answer(const Settings& settings) {
    Outcome next = compute(settings, session.given);
    follow_selection(session, outcome, next);
    outcome = std::move(next);
  }
  void answer() { answer(session.settings); }
};

TEST(ReplacedPlan, ItsTasksAreNotSelectedInTheNext) {
  for (const ItemKind kind : {ItemKind::task, ItemKind::merge}) {
    Shown s;
    s.act(choose(Knob::strategy, SideId::a, "pat"));
    s.act(Select{{kind, 1}, SideId::a});  // of the plan that is still on show
    EXPECT_EQ(s.session.selection.kind, kind);
    s.answer();
    EXPECT_EQ(s.session.selection.kind, ItemKind::none);
    s.act(Select{{kind, 1}, SideId::a});
    s.act(choose(Knob::compare, SideId::a, "", 0));
    s.act(Select{{kind, 1}, SideId::a});
    s.answer();
    EXPECT_EQ(s.session.selection.kind, kind) << "the same plan";
  }
}

TEST(ReplacedPlan, NodesOfItsBatchAreNotSelectedInAnother) {
  Shown s;
  s.act(choose(Knob::family, SideId::a, "tot"));
  s.act(Select{{ItemKind::node, 3}, SideId::a});
  s.answer();
  EXPECT_EQ(s.session.selection.kind, ItemKind::none);
  s.act(choose(Knob::decode_step, SideId::a, "", 8));
  s.act(Select{{ItemKind::node, 3}, SideId::a});
  s.answer();
  EXPECT_EQ(s.session.selection, (Item{ItemKind::node, 3})) << "the same node, grown";
}

TEST(ReplacedPlan, IsNotEditedAndTheNextOnlyWhenItIsThere) {
  Shown s;
  s.act(split(0));
  EXPECT_THROW(s.act(split(1)), core::Error);
  EXPECT_EQ(s.session.settings.a.edits.size(), 1U);
  EXPECT_TRUE(edits_plan(split(1)));
  EXPECT_FALSE(edits_plan(Undo{}));
  s.answer();
  s.act(split(1));
  EXPECT_EQ(s.session.settings.a.edits.size(), 2U);
  s.answer();
  s.session.given.plan = s.outcome.side(SideId::a).plan;  // the same settings, read anew
  EXPECT_FALSE(answers(s.outcome, s.session));
  EXPECT_THROW(s.act(split(2)), core::Error);
  s.act(choose(Knob::edit_reset, SideId::a, ""));
  EXPECT_TRUE(s.session.settings.a.edits.empty()) << "taking edits back names no task";
}

TEST(KeptViews, SelectTheirTaskInTheirOwnPlan) {
  Shown s;
  s.act(Select{{ItemKind::task, 2}, SideId::a});
  s.act(KeepView{});
  s.act(choose(Knob::edit, SideId::a, "run first", 5));
  s.answer();
  EXPECT_EQ(s.session.selection.index, 3) << "followed behind what runs first";
  s.act(ShowKept{0});
  EXPECT_EQ(s.session.selection.kind, ItemKind::none) << "its plan isn't there yet";
  EXPECT_NE(look_text(s.session).find("select=task:2"), std::string::npos);
  const Session shown = s.session;
  s.answer();
  EXPECT_EQ(s.session.selection, (Item{ItemKind::task, 2})) << "not followed through the edit taken back";
  for (const Action& action :
       {Action(Select{{ItemKind::node, 1}, SideId::a}), Action(choose(Knob::device, SideId::a, "l40s"))}) {
    Session other = shown;
    perform(other, action, s.outcome);
    EXPECT_FALSE(other.awaited) << "no longer wanted";
  }
}

TEST(KeptViews, AreKeptWithoutTasksOfAPlanThatIsReplaced) {
  Shown s;
  s.act(choose(Knob::strategy, SideId::a, "pat"));
  s.act(Select{{ItemKind::task, 1}, SideId::a});
  s.act(KeepView{});
  EXPECT_EQ(s.session.kept.at(0).selection.kind, ItemKind::none);
  s.answer();
  s.act(Select{{ItemKind::task, 1}, SideId::a});
  s.act(KeepView{});
  s.act(choose(Knob::strategy, SideId::a, "lean"));
  s.answer();
  s.act(ShowKept{1});
  s.act(KeepView{});
  EXPECT_EQ(s.session.kept.at(2).selection, (Item{ItemKind::task, 1})) << "the one that is awaited";
}

TEST(Decoding, GoesOnBeforeItsStepIsOnShow) {
  Shown s;
  for (int i = 0; i < 3; ++i) s.act(Decode{16});
  s.act(Decode{-16});
  EXPECT_EQ(s.session.settings.decode_step, 32);
  Session back = small_session();
  read_look(back, look_text(s.session), "--look");
  EXPECT_EQ(back.settings.decode_step, 32);
  EXPECT_EQ(back.settings, s.session.settings);
  s.answer();
  EXPECT_EQ(s.outcome.forest->context_tokens(traces::RequestId(0)),
            compute(small_session().settings, {}).forest->context_tokens(traces::RequestId(0)) + 32);
}

/// Opens "a measurement": something joined to the session there is; or fails.
Opening joining(const Session&, const std::string& path) {
  if (path == "wrong") throw core::usage_error("wrong is wrong");
  if (path == "too late") {
    return [calls = std::make_shared<int>(0)](const Session& now) {
      if ((*calls)++ > 0) throw core::usage_error("its plan is gone");
      return now;
    };
  }
  return [path](const Session& now) {
    Session next = now;
    next.given.files.push_back(path);
    return next;
  };
}

TEST(Opening, JoinsWhatTheSessionHasBecome) {
  Session session = small_session();
  const ReadFiles files = read_files(joining, session, {"one", "wrong", "two"});
  perform(session, choose(Knob::strategy, SideId::b, "lean"), {});
  perform(session, KeepView{}, {});
  const Joined joined = join_files(files, session);
  ASSERT_TRUE(joined.session);
  EXPECT_EQ(joined.session->settings.b.strategy, "lean");
  EXPECT_EQ(joined.session->kept.size(), 1U);
  EXPECT_TRUE(joined.session->history.can_undo());
  EXPECT_EQ(joined.session->given.files, (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(joined.problem, "wrong is wrong");
  const Joined none = join_files(read_files(joining, session, {"too late"}), session);
  EXPECT_FALSE(none.session);
  EXPECT_EQ(none.problem, "its plan is gone");
}

}  // namespace
}  // namespace espalier::viz

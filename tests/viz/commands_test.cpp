// Commands by key and name, views to come back to, strategies as a table, plans that aren't right.
#include "viz/explore/commands.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "core/rng.h"
#include "core/text.h"
#include "small_session.h"
#include "viz/explore/copied_command.h"
#include "viz/explore/look_text.h"
#include "viz/explore/sorted_table.h"
#include "viz/explore/views.h"
#include "viz_samples.h"

namespace espalier::viz {
namespace {

TEST(Commands, KeysAndNamesAreUnique) {
  std::set<char> keys;
  std::set<std::string> names;
  for (const Command& command : commands_of(small_session())) {
    if (command.key != 0) {
      EXPECT_TRUE(keys.insert(command.key).second) << command.key;
    }
    EXPECT_TRUE(names.insert(command.name).second) << command.name;
  }
}

TEST(Commands, EachCanBePerformed) {
  Session session = small_session();
  const Outcome outcome = compute(session.settings, {});
  for (const Command& command : commands_of(session)) {
    EXPECT_NO_THROW(perform(session, command.action, outcome)) << command.name;
  }
}

TEST(Commands, AreFoundByTheirWords) {
  const Session session = small_session();
  EXPECT_EQ(matching_commands(session, "colour depth").front().name, "Colour by depth");
  EXPECT_EQ(matching_commands(session, "STRATEGY fasttree").size(), 1U);
  EXPECT_TRUE(matching_commands(session, "nonsense").empty());
  EXPECT_EQ(matching_commands(session, "").size(), commands_of(session).size());
  EXPECT_EQ(matching_commands(session, "roof").front().name, "Roofline");
}

TEST(KeptViews, ComeBackWhole) {
  Session session = small_session();
  const Outcome outcome = compute(session.settings, {});
  perform(session, Select{{ItemKind::task, 2}, SideId::b}, outcome);
  perform(session, SetColourBy{ColourBy::node}, outcome);
  perform(session, KeepView{}, outcome);
  const Session kept = session;
  EXPECT_EQ(session.kept.front().name, "espalier beside flash_decoding, task 2");
  perform(session, Choose{{Knob::strategy, SideId::a, "pat", 0}, false}, outcome);
  perform(session, ShowPanel{Panel::nodes}, outcome);
  perform(session, ShowKept{0}, outcome);
  EXPECT_EQ(session.settings, kept.settings);
  EXPECT_EQ(session.look, kept.look);
  EXPECT_EQ(session.selection, kept.selection);
  perform(session, Undo{}, outcome);
  EXPECT_EQ(session.settings.a.strategy, "pat");
  perform(session, ShowKept{7}, outcome);
  EXPECT_EQ(session.settings.a.strategy, "pat");
}

TEST(LookText, ReadsBackWhatItSays) {
  core::Rng rng(5);
  for (int i = 0; i < 200; ++i) {
    Session session = small_session();
    Look& look = session.look;
    show_panel(look, static_cast<Panel>(rng.integer(0, 4)));
    if (look.panel != Panel::timeline && rng.chance(0.5)) look.sort_column = 2;
    if (look.panel != Panel::timeline && rng.chance(0.5)) look.filter = "kv>4096, 100 %25=, kind=attend";
    if (rng.chance(0.3)) look.isolated = Paint::merge;
    look.insight = static_cast<Insight>(rng.integer(0, 3));
    look.theme = static_cast<Theme>(rng.integer(0, 1));
    look.colour_by = static_cast<ColourBy>(rng.integer(0, kColourings - 1));
    look.edited = static_cast<SideId>(rng.integer(0, 1));
    if (rng.chance(0.5)) look.time = {rng.uniform() * 0.5, 0.5 + rng.uniform() * 0.5};
    if (rng.chance(0.5)) look.range = Span1{0.25, 0.75};
    if (rng.chance(0.3)) {
      look.brush =
          Brush{static_cast<SideId>(rng.integer(0, 1)), {0.1 + rng.uniform(), 1e5 * (2 + rng.uniform())}, {1, 7.25}};
    }
    if (rng.chance(0.5)) look.forest_requests = {0.5, 0.625};
    if (rng.chance(0.5)) look.forest_tokens = {0, 0.0625};
    if (rng.chance(0.5)) {
      session.selection = {static_cast<ItemKind>(rng.integer(1, 4)), static_cast<std::int32_t>(rng.integer(0, 99))};
    }
    if (session.selection.kind != ItemKind::none) session.selected_side = static_cast<SideId>(rng.integer(0, 1));
    session.settings.compare = rng.chance(0.7);
    if (!session.settings.compare) {
      look.edited = SideId::a;
      if (look.brush) look.brush->side = SideId::a;
      session.selected_side = SideId::a;
    }
    session.settings.decode_step = static_cast<std::int32_t>(rng.integer(0, 40));
    if (rng.chance(0.5)) session.settings.b.query_tile = 16;
    if (rng.chance(0.5)) session.settings.a.kernels = scheduler::KernelSet::published;
    if (rng.chance(0.5)) session.settings.b.cost_model = "linear";
    if (rng.chance(0.3)) session.settings.running = 7;
    if (rng.chance(0.3)) {
      session.settings.a.edits = {
          {EditKind::split_tokens, 3}, {EditKind::to_queue, 2, 5, kEmptiestQueue}, {EditKind::earlier, 0}};
    }
    Session back = small_session();
    const std::string text = look_text(session);
    if (!text.empty()) read_look(back, text, "--look");
    EXPECT_EQ(back.look, session.look) << text;
    EXPECT_EQ(back.selection, session.selection) << text;
    EXPECT_EQ(back.selected_side, session.selected_side) << text;
    EXPECT_EQ(back.settings, session.settings) << text;
  }
}

TEST(LookText, OfOneSideIsReadBackWhicheverWasClicked) {
  Session session = small_session();
  perform(session, Select{{ItemKind::node, 3}, SideId::b}, {});
  EXPECT_EQ(look_text(session), "select=node:3,of=b");
  perform(session, Choose{{Knob::compare, SideId::a, {}, 0}, false}, {});
  EXPECT_EQ(look_text(session), "sides=1,select=node:3");
  Session back = small_session();
  read_look(back, look_text(session), "--look");
  EXPECT_EQ(back.selection, session.selection);
}

TEST(LookText, RefusesWhatMeansNothing) {
  std::vector<std::string> texts = core::split(
      "panel=map time=1:0 time=0:2 time=a:b select=leaf:1 select=task:-1 colour zoom=2 brush=a:1:2 "
      "brush=c:1:2:3:4 brush=a:2:1:3:4 brush=a:1:2:x:4 a.tile=x a.tile=999 c.tile=16 a.cost=magic "
      "sides=two a.edits=fold:3 a.edits=split:3:1 a.edits=to-queue:3 a.edits=split sort=2 sort=x:up "
      "only=99 b.strategy=magic sides=1,edited=b edited=b,sides=1 sides=1,brush=b:1:2:3:4 "
      "brush=b:1:2:3:4,sides=1 sides=1,select=task:3,of=b select=task:3,of=b,sides=1 sides=1,of=b",
      ' ');
  texts.emplace_back();
  for (const std::string& text : texts) {
    Session session = small_session();
    EXPECT_THROW(read_look(session, text, "--look"), core::Error) << text;
  }
}

TEST(LookText, NumbersAreWholeAndInRange) {
  const auto wrong = [](const std::string& text) -> std::string {
    Session session = small_session();
    try {
      read_look(session, text, "--look");
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::usage);
      return e.what();
    }
    return "";
  };
  for (const std::string key : {"sides", "running", "decoded", "snapshot", "only", "copy", "a.tile", "b.tile"}) {
    for (const std::string value : {"-3", "1.5", "1e300", "1e30", "nan", "inf", "99999999999", "x", ""}) {
      EXPECT_THAT(wrong(key + "=" + value), testing::HasSubstr(fmt::format("--look {}: expected", key))) << value;
    }
  }
  EXPECT_EQ(wrong("sides=7"), "--look sides: expected a whole number from 1 to 2, got '7'");
  EXPECT_EQ(wrong("sides=0"), "--look sides: expected a whole number from 1 to 2, got '0'");
  EXPECT_EQ(wrong("decoded=4097"), "--look decoded: expected a whole number from 0 to 4096, got '4097'");
  EXPECT_EQ(wrong("snapshot=1"), "--look snapshot: expected a whole number from 0 to 0, got '1'") << "there is one";
  for (const char* text : {"sides=1", "sides=2", "decoded=4096", "running=1048576", "snapshot=0", "only=0", "copy=0",
                           "a.tile=0", "a.tile=16", "sides=1,b.tile=16", "sides=1,brush=a:1:2:3:4"}) {
    EXPECT_EQ(wrong(text), "") << text;
  }
  Session session = small_session();
  read_look(session, "sides=1,decoded=4096,running=5,only=3,copy=2", "--look");
  EXPECT_FALSE(session.settings.compare);
  EXPECT_EQ(session.settings.decode_step, 4096);
  EXPECT_EQ(session.settings.running, 5);
  EXPECT_EQ(session.look.isolated, static_cast<Paint>(3));
  EXPECT_EQ(session.look.copy, 2);
}

TEST(LookText, CommandNamesBothSides) {
  Session session = small_session();
  const Outcome none;
  perform(session, Choose{{Knob::device, SideId::b, "l40s", 0}, false}, none);
  perform(session, Select{{ItemKind::node, 3}, SideId::a}, none);
  EXPECT_EQ(view_command_of(session).text,
            "espalier view --family few_shot:blocks=3,questions=4,root=400 --seed 1 --model llama3-8b --strategy "
            "espalier,flash_decoding --device h100-sxm --device l40s "
            "--look select=node:3");
}

TEST(LookText, PanelOfStrategiesIsSortedAsItsKeySortsIt) {
  Session by_text = small_session(), by_key = small_session();
  read_look(by_text, "panel=strategies", "--look");
  perform(by_key, ShowPanel{Panel::strategies}, {});
  EXPECT_EQ(by_text.look.sort_column, by_key.look.sort_column);
  EXPECT_EQ(by_text.look.sort_column, 1);
}

TEST(Ranking, HoldsEveryStrategyAsSideAWouldHaveIt) {
  Session session = small_session();
  const Outcome first = compute(session.settings, {});
  perform(session, ShowPanel{Panel::strategies}, first);
  Outcome outcome = compute(session.settings, {});
  add_ranking(outcome, {});
  EXPECT_EQ(outcome.ranking.size(), scheduler::strategies().size());
  for (const RankedStrategy& row : outcome.ranking) {
    if (row.name == "espalier") {
      EXPECT_EQ(row.us, outcome.side(SideId::a).us());
    }
    if (row.name == "flash_decoding") {
      EXPECT_EQ(row.us, outcome.side(SideId::b).us());
    }
    EXPECT_NE(row.us > 0, !row.refusal.empty()) << row.name;
  }
  TableCache tables;
  Look look = session.look;
  EXPECT_EQ(look.sort_column, 1);
  EXPECT_FALSE(look.sort_down);
  look.filter = "time>0";
  const SortedTable& table = tables.get(std::make_shared<const Outcome>(outcome), SideId::a, look);
  ASSERT_FALSE(table.order.empty());
  for (std::size_t i = 1; i < table.order.size(); ++i) {
    EXPECT_LE(outcome.ranking[static_cast<std::size_t>(table.order[i - 1])].us,
              outcome.ranking[static_cast<std::size_t>(table.order[i])].us + 0.01);
  }
  Outcome stopped = compute(session.settings, {});
  add_ranking(stopped, {}, [] { return true; });
  EXPECT_TRUE(stopped.ranking.empty());
}

/// A plan whose task 1 leaves out its last tokens.
Session faulty_session() {
  Session session;
  auto plan = std::make_shared<scheduler::Plan>(plan_of("fasttree", "1,3,4|600,900,200"));
  scheduler::Segment& segment =
      plan->segments[static_cast<std::size_t>(plan->tasks[scheduler::TaskId(1)].segments.begin)];
  segment.token_end = segment.token_begin + 1;
  seal(*plan);
  session.settings.family.clear();
  session.settings.heads = plan->heads;
  session.settings.given_plan = true;
  session.given.forests = {std::make_shared<const traces::PrefixForest>(plan->forest)};
  session.given.plan = std::move(plan);
  return session;
}

TEST(Violations, AreShownInRedWhereTheyAre) {
  Session session = faulty_session();
  const Outcome outcome = compute(session.settings, session.given);
  const SideOutcome& side = outcome.side(SideId::a);
  ASSERT_NE(side.faulty, nullptr) << side.refusal;
  EXPECT_FALSE(side.shown());
  ASSERT_FALSE(side.violations.empty());
  const Item item = item_of_violation(*side.faulty, side.violations.front());
  EXPECT_NE(item.kind, ItemKind::none) << side.violations.front().sentence;
  const Scene scene = cover_view(session, outcome, SideId::a, {500, 300});
  EXPECT_TRUE(std::any_of(scene.shapes.begin(), scene.shapes.end(), [](const Shape& shape) {
    const auto* rect = std::get_if<Rect>(&shape);
    return rect != nullptr && rect->fill == Paint::tail;
  })) << side.violations.front().sentence;
  EXPECT_EQ(facts_of(outcome, SideId::a, {ItemKind::task, 1}).title, "")
      << "nothing is known of tasks that aren't simulated";
}

TEST(Facts, AreOneJsonObject) {
  Session session = small_session();
  const Outcome outcome = compute(session.settings, {});
  for (const Item item :
       {Item{ItemKind::node, 1}, Item{ItemKind::request, 2}, Item{ItemKind::task, 3}, Item{ItemKind::merge, 0}}) {
    const core::JsonDocument document = core::JsonDocument::parse(facts_json(outcome, SideId::a, item), "facts");
    EXPECT_EQ(document.root().at("id").integer(), item.index);
    EXPECT_EQ(document.root().at("kind").string(), item_kind_name(item.kind));
    EXPECT_GT(document.root().keys().size(), 7U);
  }
}

}  // namespace
}  // namespace espalier::viz

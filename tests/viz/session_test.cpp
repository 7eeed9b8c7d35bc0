// The explorer without a window: settings, actions, undo, outcomes.
#include "viz/explore/session.h"

#include <gtest/gtest.h>

#include <set>

#include "core/error.h"
#include "core/rng.h"
#include "viz/explore/copied_command.h"
#include "viz/model/time_split.h"

namespace espalier::viz {
namespace {

Settings small_settings() {
  Settings settings = bundled_settings();
  settings.family_options = {{"blocks", 3}, {"questions", 4}, {"root", 400}};
  return settings;
}

Session small_session() {
  Session session;
  session.settings = small_settings();
  return session;
}

Choose choose(Knob knob, SideId side, std::string name, double value = 0, bool held = false) {
  return {{knob, side, std::move(name), value}, held};
}

TEST(Settings, KeepsOnlyWhatDiffersFromTheDefaults) {
  Settings settings;
  const Settings before = settings;
  apply(settings, {Knob::device_field, SideId::a, "hbm_gbps", 5000}, {});
  EXPECT_EQ(settings.a.device_fields.at("hbm_gbps"), 5000);
  EXPECT_EQ(device_of(settings.a, {}).hbm_gbps, 5000);
  EXPECT_EQ(device_of(settings.a, {}).name, "h100-sxm:hbm_gbps=5000");
  apply(settings, {Knob::device_field, SideId::a, "hbm_gbps", costmodel::find_device("h100-sxm").hbm_gbps}, {});
  EXPECT_EQ(settings, before);
}

TEST(Settings, ClampsNumbersAndRefusesUnknownNames) {
  Settings settings;
  apply(settings, {Knob::device_field, SideId::b, "sms", 1e9}, {});
  const auto& fields = costmodel::device_fields();
  EXPECT_EQ(settings.b.device_fields.at("sms"),
            std::find_if(fields.begin(), fields.end(), [](const auto& f) { return f.name == "sms"; })->high);
  EXPECT_THROW(apply(settings, {Knob::device_field, SideId::a, "hbm", 1}, {}), core::Error);
  EXPECT_THROW(apply(settings, {Knob::strategy, SideId::a, "codex", 0}, {}), core::Error);
  EXPECT_THROW(apply(settings, {Knob::family, SideId::a, "ragged", 0}, {}), core::Error);
  EXPECT_THROW(apply(settings, {Knob::device, SideId::a, "h101", 0}, {}), core::Error);
  EXPECT_EQ(settings.a.device, "h100-sxm");
}

TEST(Settings, HeadsAlwaysDivide) {
  core::Rng rng(7);
  Settings settings = bundled_settings();
  for (int i = 0; i < 300; ++i) {
    apply(settings,
          {rng.chance(0.5) ? Knob::q_heads : Knob::kv_heads, SideId::a, {}, static_cast<double>(rng.integer(-3, 130))},
          {});
    ASSERT_NO_THROW(traces::check_heads(settings.heads, "test")) << traces::heads_text(settings.heads);
  }
}

TEST(Settings, CommandMakesTheSamePlan) {
  Settings settings = small_settings();
  apply(settings, {Knob::device_field, SideId::a, "hbm_gbps", 5000}, {});
  apply(settings, {Knob::kv_dtype, SideId::a, "fp8_e4m3", 0}, {});
  EXPECT_EQ(plan_command_of(settings, SideId::a, {}).text,
            "espalier plan --family few_shot:blocks=3,questions=4,root=400 --seed 1 --model llama3-8b --dtype fp8_e4m3 "
            "--device h100-sxm:hbm_gbps=5000 "
            "--strategy espalier -o plan.json");
}

TEST(Settings, EditsGoWhenThePlanBeneathThemDoes) {
  Settings settings = small_settings();
  const Change split{Knob::edit, SideId::a, "split", 0};
  for (const Change& other :
       {Change{Knob::strategy, SideId::a, "codec", 0}, Change{Knob::decode_step, SideId::a, {}, 3},
        Change{Knob::device_field, SideId::a, "sms", 70}}) {
    apply(settings, split, {});
    ASSERT_EQ(settings.a.edits.size(), 1U);
    apply(settings, {Knob::device, SideId::b, "l40s", 0}, {});
    EXPECT_EQ(settings.a.edits.size(), 1U) << "the other side is another plan";
    apply(settings, other, {});
    EXPECT_TRUE(settings.a.edits.empty());
  }
  EXPECT_THROW(apply(settings, {Knob::edit, SideId::a, "spilt", 0}, {}), core::Error);
}

TEST(Outcome, TellsWhatEditsChangedAndWhichCantBe) {
  Settings settings = small_settings();
  apply(settings, {Knob::edit, SideId::a, "split", 0}, {});
  apply(settings, {Knob::edit, SideId::a, "split", 5000}, {});
  const Outcome outcome = compute(settings, {});
  const SideOutcome& side = outcome.side(SideId::a);
  ASSERT_TRUE(side.shown()) << side.refusal;
  EXPECT_EQ(side.unedited_us, compute(small_settings(), {}).side(SideId::a).us());
  EXPECT_EQ(side.edit_problem, "split task 5000: the plan has no such task");
}

TEST(History, JoinsTheStepsOfADrag) {
  Session session = small_session();
  const Outcome none;
  const Settings first = session.settings;
  perform(session, choose(Knob::device_field, SideId::a, "sms", 100), none);
  perform(session, choose(Knob::device_field, SideId::a, "sms", 90, true), none);
  perform(session, choose(Knob::device_field, SideId::a, "sms", 80, true), none);
  const Settings dragged = session.settings;
  perform(session, choose(Knob::device_field, SideId::a, "sms", 70), none);
  perform(session, Undo{}, none);
  EXPECT_EQ(session.settings, dragged);
  perform(session, Undo{}, none);
  EXPECT_EQ(session.settings, first);
  EXPECT_FALSE(session.history.can_undo());
  perform(session, Redo{}, none);
  EXPECT_EQ(session.settings, dragged);
  perform(session, choose(Knob::strategy, SideId::b, "codec"), none);
  EXPECT_FALSE(session.history.can_redo());
}

TEST(History, RandomStepsComeBackOneByOne) {
  core::Rng rng(11);
  Session session = small_session();
  const Outcome none;
  std::vector<Settings> states = {session.settings};
  const char* strategies[] = {"espalier", "codec", "fasttree", "pat"};
  for (int i = 0; i < 60; ++i) {
    const SideId side = rng.chance(0.5) ? SideId::a : SideId::b;
    perform(session,
            rng.chance(0.5) ? choose(Knob::strategy, side, strategies[rng.integer(0, 3)])
                            : choose(Knob::device_field, side, "sms", static_cast<double>(rng.integer(10, 14))),
            none);
    if (!(session.settings == states.back())) states.push_back(session.settings);
  }
  for (std::size_t i = states.size(); i-- > 0;) {
    ASSERT_EQ(session.settings, states[i]) << i;
    perform(session, Undo{}, none);
  }
  for (std::size_t i = 1; i < states.size(); ++i) {
    perform(session, Redo{}, none);
    ASSERT_EQ(session.settings, states[i]) << i;
  }
}

TEST(Outcome, EqualSettingsGiveEqualNumbers) {
  const Outcome one = compute(small_settings(), {}), two = compute(small_settings(), {});
  ASSERT_TRUE(one.side(SideId::a).shown() && one.side(SideId::b).shown());
  EXPECT_EQ(one.side(SideId::a).us(), two.side(SideId::a).us());
  EXPECT_EQ(one.side(SideId::a).plan->hash, two.side(SideId::a).plan->hash);
  EXPECT_GT(one.side(SideId::b).us(), one.side(SideId::a).us());
}

TEST(Outcome, TellsRefusalsAndProblemsInASentence) {
  Settings settings = small_settings();
  settings.family = "tot";
  settings.family_options.clear();
  settings.b.strategy = "bifurcated";
  const Outcome refused = compute(settings, {});
  EXPECT_FALSE(refused.side(SideId::b).shown());
  EXPECT_NE(refused.side(SideId::b).refusal.find("one root"), std::string::npos);
  EXPECT_TRUE(refused.side(SideId::a).shown());
  EXPECT_EQ(verdict_of(refused).at(1), refused.side(SideId::b).refusal + ".");
  settings.family.clear();
  const Outcome empty = compute(settings, {});
  EXPECT_EQ(empty.forest, nullptr);
  EXPECT_FALSE(empty.problem.empty());
  EXPECT_EQ(verdict_of(empty).front(), empty.problem);
}

TEST(Outcome, DecodedTokensGrowEveryRequestOnce) {
  Settings settings = small_settings();
  const Outcome before = compute(settings, {});
  settings.decode_step = 17;
  const Outcome after = compute(settings, {});
  traces::check_forest(*after.forest);
  ASSERT_EQ(after.forest->request_count(), before.forest->request_count());
  std::multiset<std::pair<std::string, std::int64_t>> expected, got;
  for (std::size_t r = 0; r < before.forest->request_count(); ++r) {
    const traces::RequestId id(r);
    expected.emplace(before.forest->request_label[id], before.forest->context_tokens(id) + 17);
    got.emplace(after.forest->request_label[id], after.forest->context_tokens(id));
  }
  EXPECT_EQ(got, expected);
}

TEST(Outcome, DecodesForestsWhoseRequestsEndAnywhere) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    Settings settings;
    settings.family = "random";
    settings.family_options = {{"nodes", 20}, {"requests", 15}};
    settings.seed = seed;
    settings.compare = false;
    const Outcome before = compute(settings, {});
    settings.decode_step = 5;
    const Outcome outcome = compute(settings, {});
    ASSERT_NE(outcome.forest, nullptr) << outcome.problem;
    ASSERT_NO_THROW(traces::check_forest(*outcome.forest)) << seed;
    ASSERT_TRUE(outcome.side(SideId::a).shown()) << outcome.side(SideId::a).refusal;
    const auto contexts = [](const traces::PrefixForest& forest) {
      std::int64_t sum = 0;
      for (std::size_t r = 0; r < forest.request_count(); ++r) sum += forest.context_tokens(traces::RequestId(r));
      return sum;
    };
    EXPECT_EQ(contexts(*outcome.forest),
              contexts(*before.forest) + 5 * static_cast<std::int64_t>(before.forest->request_count()))
        << seed;
  }
}

TEST(Outcome, SplitSumsToAllSmTime) {
  const char* families[] = {"rag", "tot", "chat", "doc_qa"};
  for (const char* family : families) {
    Settings settings;
    settings.family = family;
    const Outcome outcome = compute(settings, {});
    for (const SideOutcome& side : outcome.sides) {
      ASSERT_TRUE(side.shown());
      EXPECT_NEAR(side.explanation.sm_time.total(), side.us() * side.device.sms, 1e-6 * side.us() * side.device.sms)
          << family;
      double shares = 0;
      for (const SplitPart& part : time_split(side.explanation.sm_time)) shares += part.share;
      EXPECT_NEAR(shares, 1, 1e-9);
    }
  }
}

TEST(Verdict, SaysThatNothingRuns) {
  Outcome outcome;
  outcome.sides[0].title = "espalier";
  outcome.sides[0].plan = std::make_shared<const scheduler::Plan>();
  EXPECT_EQ(verdict_of(outcome),
            std::vector<std::string>{"espalier has no tasks: there are no requests, and nothing runs."});
}

TEST(Session, PlayingDecodesInOneUndoStepAndEnds) {
  Session session = small_session();
  const Outcome none;
  perform(session, Play{true}, none);
  for (int i = 0; i < 5; ++i) perform(session, Decode{4}, none);
  EXPECT_EQ(session.settings.decode_step, 20);
  perform(session, Undo{}, none);
  EXPECT_EQ(session.settings.decode_step, 0);
  perform(session, Decode{-16}, none);
  EXPECT_EQ(session.settings.decode_step, 0);
  EXPECT_TRUE(session.look.playing);
  perform(session, Decode{1'000'000}, none);
  EXPECT_FALSE(session.look.playing) << "there is an end";
}

}  // namespace
}  // namespace espalier::viz

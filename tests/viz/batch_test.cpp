// Which batch settings speak of: fewer requests, steps of a trace; and which of it a command can say.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <set>

#include "scheduler/validate.h"
#include "small_session.h"
#include "viz/explore/copied_command.h"
#include "viz/explore/look_text.h"
#include "viz/explore/outcome.h"

namespace espalier::viz {
namespace {

TEST(Batch, OfFewerRequestsSharesAsTheWholeDoes) {
  Settings settings = small_session().settings;
  const Outcome whole = compute(settings, {});
  EXPECT_EQ(whole.most_running, 12);
  apply(settings, {Knob::running, SideId::a, {}, 6}, {});
  const Outcome half = compute(settings, {});
  EXPECT_EQ(half.forest->request_count(), 6U);
  EXPECT_EQ(half.most_running, 12) << "back again";
  EXPECT_EQ(half.forest->request_label.raw(), (std::vector<std::string>{"0", "2", "4", "6", "8", "10"}));
  EXPECT_EQ(half.forest->node_count(), 1U + 3U + 6U) << "two of each block";
  EXPECT_LT(half.side(SideId::a).us(), whole.side(SideId::a).us());
  EXPECT_TRUE(scheduler::validate(*half.side(SideId::a).plan, half.side(SideId::a).device).empty());
  for (const double more : {12.0, 500.0}) {
    apply(settings, {Knob::running, SideId::a, {}, more}, {});
    EXPECT_EQ(compute(settings, {}).forest->request_count(), 12U);
  }
  apply(settings, {Knob::running, SideId::a, {}, 5}, {});
  apply(settings, {Knob::decode_step, SideId::a, {}, 7}, {});
  const Outcome both = compute(settings, {});
  EXPECT_EQ(both.forest->request_count(), 5U);
  std::set<std::int32_t> positions(both.forest->batch_position.begin(), both.forest->batch_position.end());
  EXPECT_EQ(positions, (std::set<std::int32_t>{0, 1, 2, 3, 4}));
}

/// Ten conversations of two turns, arriving one after the other.
Given trace_given() {
  std::string text;
  for (int i = 0; i < 40; ++i) {
    text +=
        fmt::format("{{\"timestamp\": {}, \"input_length\": 1024, \"output_length\": {}, \"hash_ids\": [{}, {}]}}\n",
                    i * 10, 5 + i % 7, i % 4, 100 + i);
  }
  Given given;
  given.trace = std::make_shared<const traces::Trace>(traces::read_mooncake(text, "made.jsonl"));
  given.replay.running = 8;
  return given;
}

TEST(Batch, OfATraceIsAStepOfItsReplay) {
  const Given given = trace_given();
  Settings settings = small_session().settings;
  settings.family.clear();
  const Outcome first = compute(settings, given);
  ASSERT_EQ(first.problem, "");
  EXPECT_EQ(first.forest->request_count(), 8U);
  ASSERT_GT(first.steps, 4);
  const traces::ReplaySchedule schedule = traces::schedule_replay(*given.trace, given.replay);
  std::set<std::vector<std::string>> batches;
  for (std::int64_t step = 0; step < first.steps; ++step) {
    apply(settings, {Knob::decode_step, SideId::a, {}, static_cast<double>(step)}, given);
    const Outcome outcome = compute(settings, given);
    ASSERT_EQ(*outcome.forest, traces::batch_at_step(*given.trace, schedule, given.replay, step));
    batches.insert(outcome.forest->request_label.raw());
  }
  EXPECT_GT(batches.size(), 2U) << "requests come and go";
  apply(settings, {Knob::decode_step, SideId::a, {}, 1e9}, given);
  EXPECT_EQ(*compute(settings, given).forest,
            traces::batch_at_step(*given.trace, schedule, given.replay, first.steps - 1))
      << "the last step";
  apply(settings, {Knob::running, SideId::a, {}, 3}, given);
  apply(settings, {Knob::decode_step, SideId::a, {}, 0}, given);
  EXPECT_EQ(compute(settings, given).forest->request_count(), 3U) << "replayed with three slots";
  apply(settings, {Knob::running, SideId::a, {}, 39}, given);
  const Outcome most = compute(settings, given);
  EXPECT_EQ(most.problem, "");
  ASSERT_NE(most.forest, nullptr);
  EXPECT_EQ(most.forest->request_count(), 39U);
}

TEST(Batch, ScrubbingATraceForgetsWhoWasSelectedAndIsUndone) {
  Session session = small_session();
  session.given = trace_given();
  session.settings.family.clear();
  const Outcome outcome = compute(session.settings, session.given);
  perform(session, Zoom{Plane::time, 0.5, 0.5, 0.5}, outcome);
  perform(session, Select{{ItemKind::request, 3}, SideId::a}, outcome);
  perform(session, Decode{16}, outcome);
  EXPECT_EQ(session.settings.decode_step, 16);
  EXPECT_EQ(session.selection.kind, ItemKind::none);
  EXPECT_LT(session.look.time.size(), 1) << "the view stays";
  perform(session, Choose{{Knob::running, SideId::a, {}, 4}, false}, outcome);
  perform(session, Undo{}, outcome);
  perform(session, Undo{}, outcome);
  EXPECT_EQ(session.settings.decode_step, 0);
  EXPECT_EQ(session.settings.running, 0);
}

TEST(Batch, PlayingATraceEndsAtItsLastStep) {
  Session session = small_session();
  session.given = trace_given();
  session.settings.family.clear();
  const Outcome outcome = compute(session.settings, session.given);
  const auto last = static_cast<std::int32_t>(outcome.steps) - 1;
  perform(session, Play{true}, outcome);
  for (std::int32_t i = 0; i <= last && session.look.playing; ++i) perform(session, Decode{4}, outcome);
  EXPECT_FALSE(session.look.playing);
  EXPECT_EQ(session.settings.decode_step, last);
  perform(session, Decode{16}, outcome);
  EXPECT_EQ(session.settings.decode_step, last);
  session.settings.decode_step = 1'000'000;  // of a longer trace
  perform(session, Decode{-1}, outcome);
  EXPECT_EQ(session.settings.decode_step, last - 1);
}

TEST(Batch, AFamilyInATracesPlaceDecodesNoMoreThanACommandTakes) {
  Session session = small_session();
  const Settings family = session.settings;
  session.given = trace_given();
  const Outcome none;
  perform(session, Choose{{Knob::family, SideId::a, "", 0}, false}, none);
  perform(session, Choose{{Knob::decode_step, SideId::a, {}, 100'000}, false}, none);
  EXPECT_EQ(session.settings.decode_step, 100'000);
  perform(session, Choose{{Knob::family, SideId::a, family.family, 0}, false}, none);
  EXPECT_EQ(session.settings.decode_step, most_of(family, Knob::decode_step, {}));
  Session back = small_session();
  EXPECT_NO_THROW(read_look(back, look_text(session), "--look")) << view_command_of(session).text;
  EXPECT_EQ(back.settings.decode_step, session.settings.decode_step);
  perform(session, Undo{}, none);
  EXPECT_EQ(session.settings.decode_step, 100'000) << "the step of the trace again";
}

TEST(Batch, AFamilyInASnapshotsPlaceLeavesNoSnapshotInACommand) {
  Session session = small_session();
  const std::string family = session.settings.family;
  for (int i = 0; i < 2; ++i) session.given.forests.push_back(compute(session.settings, {}).forest);
  const Outcome none;
  perform(session, Choose{{Knob::family, SideId::a, "", 0}, false}, none);
  perform(session, Choose{{Knob::snapshot, SideId::a, {}, 1}, false}, none);
  EXPECT_EQ(session.settings.snapshot, 1);
  EXPECT_NE(look_text(session).find("snapshot=1"), std::string::npos);
  perform(session, Choose{{Knob::family, SideId::a, family, 0}, false}, none);
  EXPECT_EQ(look_text(session).find("snapshot"), std::string::npos);
  perform(session, Choose{{Knob::family, SideId::a, "", 0}, false}, none);
  EXPECT_NE(look_text(session).find("snapshot=1"), std::string::npos) << "the same one again";
}

TEST(Settings, PlanCommandTakesASnapshotOfOneFileAlone) {
  Given given;
  for (int i = 0; i < 2; ++i) {
    traces::PrefixForest forest = *compute(small_session().settings, {}).forest;
    forest.name = fmt::format("made#{}", i + 3);
    given.forests.push_back(std::make_shared<const traces::PrefixForest>(std::move(forest)));
  }
  Settings settings = small_session().settings;
  settings.family.clear();
  settings.snapshot = 1;
  given.plan_source = "--forest made.jsonl --page-size 16";
  EXPECT_NE(plan_command_of(settings, SideId::a, given).text.find(" --snapshot 4"), std::string::npos);
  for (const char* several : {"--forest a.jsonl --forest b.jsonl", "--forest a.jsonl --tree '1|9'", "--suite small",
                              "--family tot --family rag"}) {
    given.plan_source = several;
    EXPECT_EQ(plan_command_of(settings, SideId::a, given).text, "") << several;
    EXPECT_NE(plan_command_of(settings, SideId::a, given).why_not.find("several"), std::string::npos) << several;
  }
}

TEST(Settings, PlanCommandSaysWhatItCannotSay) {
  const Settings settings = small_session().settings;
  const auto why = [&](const Change& change, const Given& given = {}) {
    Settings changed = settings;
    apply(changed, change, given);
    const CopiedCommand command = plan_command_of(changed, SideId::a, given);
    EXPECT_TRUE(command.text.empty()) << command.text;
    return command.why_not;
  };
  EXPECT_NE(why({Knob::edit, SideId::a, "split", 0}).find("changed by hand"), std::string::npos);
  EXPECT_NE(why({Knob::query_tile, SideId::a, {}, 16}).find("one tile"), std::string::npos);
  EXPECT_NE(why({Knob::decode_step, SideId::a, {}, 4}).find("decoded"), std::string::npos);
  EXPECT_NE(why({Knob::running, SideId::a, {}, 4}).find("part"), std::string::npos);
  Given given = trace_given();
  EXPECT_NE(why({Knob::family, SideId::a, "", 0}, given).find("step of a trace"), std::string::npos);
  given.trace = nullptr;
  EXPECT_NE(why({Knob::family, SideId::a, "", 0}, given).find("can't read this batch"), std::string::npos);
}

}  // namespace
}  // namespace espalier::viz

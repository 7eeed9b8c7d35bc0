// Commands that the explorer copies, read back: the same session, or a sentence.
#include "apps/view_session.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>

#include "apps/view_files.h"
#include "apps/view_watch.h"
#include "core/error.h"
#include "core/rng.h"
#include "tests/apps/command.h"
#include "viz/explore/copied_command.h"

namespace espalier::apps {
namespace {

/// Words as a shell parts them: by spaces, but for those in single quotes.
std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words(1);
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\'') {
      quoted = !quoted;
    } else if (line[i] == '\\' && !quoted) {
      words.back() += line[++i];
    } else if (line[i] == ' ' && !quoted) {
      words.emplace_back();
    } else {
      words.back() += line[i];
    }
  }
  return words;
}

ViewCommand parsed(const std::string& line) {
  ViewCommand command;
  InputOptions& in = command.inputs;
  const std::vector<std::string> words = words_of(line);
  EXPECT_EQ(words.at(0) + words.at(1), "espalierview");
  const std::map<std::string, std::string*> texts = {{"--measured", &command.measured},
                                                     {"--strategy", &command.strategy},
                                                     {"--look", &command.look},
                                                     {"--heads", &command.heads.heads},
                                                     {"--model", &command.heads.model},
                                                     {"--dtype", &command.heads.dtype},
                                                     {"--order", &in.order},
                                                     {"--routing", &in.routing}};
  const std::map<std::string, std::vector<std::string>*> lists = {
      {"--forest", &in.forests},           {"--tree", &in.trees},
      {"--family", &in.families},          {"--suite", &in.suites},
      {"--block-table", &in.block_tables}, {"--trace", &in.traces},
      {"--device", &command.devices}};
  for (std::size_t i = 2; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (!word.starts_with("--")) {
      command.file = word;
    } else if (texts.contains(word)) {
      *texts.at(word) = words.at(++i);
    } else if (lists.contains(word)) {
      lists.at(word)->push_back(words.at(++i));
    } else if (word == "--seed") {
      in.seed = std::stoull(words.at(++i));
    } else if (word == "--running") {
      in.replay.running = std::stoi(words.at(++i));
    } else if (word == "--instances") {
      in.replay.instances = std::stoi(words.at(++i));
    } else if (word == "--page-size") {
      in.page_size = std::stoi(words.at(++i));
    } else if (word == "--snapshot") {
      in.snapshot = std::stoll(words.at(++i));
    } else {
      ADD_FAILURE() << "unknown option " << word;
    }
  }
  return command;
}

void expect_same(const viz::Session& session) {
  const viz::CopiedCommand command = view_command_of(session);
  ASSERT_EQ(command.why_not, "");
  const viz::Session back = session_of(parsed(command.text));
  EXPECT_EQ(back.settings, session.settings) << command.text;
  EXPECT_EQ(back.look, session.look) << command.text;
  EXPECT_EQ(back.selection, session.selection) << command.text;
  EXPECT_EQ(back.selected_side, session.selected_side) << command.text;
  EXPECT_EQ(back.given.forests.size(), session.given.forests.size()) << command.text;
}

class ViewSession : public CommandTest {
 protected:
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
};

viz::Choose choose(viz::Knob knob, viz::SideId side, std::string name, double value = 0) {
  return {{knob, side, std::move(name), value}, false};
}

/// One of many things to do; those that mean nothing here do nothing.
void do_something(viz::Session& session, core::Rng& rng) {
  using namespace viz;
  const auto side = static_cast<SideId>(rng.integer(0, 1));
  const auto number = static_cast<double>(rng.integer(1, 9));
  const std::vector<Action> actions = {
      choose(Knob::strategy, side,
             std::vector<std::string>{"codec", "fasttree", "lean"}.at(static_cast<std::size_t>(rng.integer(0, 2)))),
      choose(Knob::device, side, "l40s"),
      choose(Knob::device_field, side, "hbm_gbps", 1000 + 333.25 * number),
      choose(Knob::query_tile, side, "", 16),
      choose(Knob::kernels, side, "", 1),
      choose(Knob::cost_model, side, "linear"),
      choose(Knob::decode_step, side, "", number),
      choose(Knob::running, side, "", number),
      choose(Knob::seed, side, "", number),
      choose(Knob::model, side, "qwen2.5-7b"),
      choose(Knob::kv_heads, side, "", number),
      choose(Knob::kv_dtype, side, "fp8_e4m3"),
      choose(Knob::compare, side, "", 0),
      choose(Knob::edit, side, "split", 0),
      Action(Choose{{Knob::edit, side, "to queue", 1, 2, 5}, false}),
      choose(Knob::swap, side, ""),
      choose(Knob::snapshot, side, "", 1),
      ShowPanel{static_cast<Panel>(rng.integer(0, 4))},
      Filter{"kv>4096, 'x y'"},
      SortBy{2},
      Isolate{Paint::merge},
      SetColourBy{ColourBy::edits},
      Select{{ItemKind::node, 0}, side},
      Zoom{Plane::forest, 0.7, rng.uniform(), rng.uniform()},
      Measure{Span1{rng.uniform(), rng.uniform()}},
      EditSide{side},
      SetTheme{Theme::light},
      ShowInsight{Insight::helps},
  };
  try {
    perform(session,
            actions.at(static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(actions.size()) - 1))), {});
  } catch (const core::Error&) {  // it isn't there
  }
}

TEST_F(ViewSession, CopiedCommandOpensTheViewAgain) {
  std::string forests, trace;
  for (int i = 0; i < 2; ++i) {
    forests += fmt::format(
        "{{\"name\": \"made#{}\", \"snapshot\": {}, \"parent\": [-1, 0, 0], \"tokens\": [{}, 40, 50], \"leaf\": [1, 2, "
        "2]}}\n",
        i, i, 100 + i);
  }
  for (int i = 0; i < 40; ++i) {
    trace +=
        fmt::format("{{\"timestamp\": {}, \"input_length\": 1024, \"output_length\": {}, \"hash_ids\": [{}, {}]}}\n",
                    i * 10, 5 + i % 7, i % 4, 100 + i);
  }
  write("my forests.jsonl", forests);
  write("trace.jsonl", trace);
  write("mine.json",
        "{\"schema\": \"device/1\", \"name\": \"mine\", \"base\": \"h100-sxm\", \"hbm_gbps\": {\"value\": 4000, "
        "\"origin\": \"datasheet\", \"source\": \"a sheet\"}}");
  std::vector<ViewCommand> starts(6);
  starts[1].inputs.families = {"few_shot:blocks=3,questions=4"};
  starts[2].inputs.trees = {"1,4|300,50"};
  starts[2].devices = {path("mine.json"), path("mine.json") + ":sms=100"};
  starts[3].inputs.traces = {path("trace.jsonl")};
  starts[3].inputs.replay.running = 6;
  starts[4].file = path("my forests.jsonl");
  starts[5].inputs.families = {"few_shot:blocks=2", "tot"};
  core::Rng rng(11);
  for (const ViewCommand& start : starts) {
    for (int run = 0; run < 12; ++run) {
      viz::Session session = session_of(start);
      for (int i = 0; i < run; ++i) do_something(session, rng);
      SCOPED_TRACE(fmt::format("start {}, run {}", &start - starts.data(), run));
      expect_same(session);
    }
  }
}

TEST_F(ViewSession, CopiedCommandOpensAPlanWithItsEdits) {
  ASSERT_EQ(run("plan --family few_shot:blocks=3 --strategy flashinfer_persistent -o plan.json").code, 0);
  ViewCommand start;
  start.file = path("plan.json");
  viz::Session session = session_of(start);
  ASSERT_TRUE(session.settings.given_plan);
  expect_same(session);
  perform(session, choose(viz::Knob::edit, viz::SideId::a, "run last", 1), {});
  viz::Session other = session;
  perform(other, choose(viz::Knob::device, viz::SideId::b, "l40s"), {});
  expect_same(other);
  perform(session, choose(viz::Knob::strategy, viz::SideId::b, "codec"), {});
  perform(session, choose(viz::Knob::option, viz::SideId::b, "rounds", 1), {});
  perform(session, choose(viz::Knob::device, viz::SideId::b, "l40s"), {});
  perform(session, viz::Select{{viz::ItemKind::task, 2}, viz::SideId::a}, {});
  expect_same(session);
  EXPECT_TRUE(session.settings.given_plan);
  EXPECT_NE(plan_command_of(session.settings, viz::SideId::a, session.given).why_not.find("read from a file"),
            std::string::npos);
  perform(session, choose(viz::Knob::strategy, viz::SideId::a, "pat"), {});
  perform(session, choose(viz::Knob::model, viz::SideId::a, "qwen2.5-7b"), {});
  ASSERT_FALSE(session.settings.given_plan);
  expect_same(session);
}

TEST_F(ViewSession, SaysWhyNoCommandOpensAView) {
  viz::Session session;
  costmodel::DeviceSpec host = costmodel::find_device("h100-sxm");
  host.name = "this machine";
  session.given.devices = {host};
  session.given.device_specs = {{"this machine", "host"}};
  session.settings.a.device = "this machine";
  EXPECT_NE(view_command_of(session).why_not.find("calibrate"), std::string::npos);
  EXPECT_TRUE(view_command_of(session).text.empty());
  viz::Session piped;
  piped.settings.family.clear();
  give_forest(piped.given, *viz::compute(viz::bundled_settings(), {}).forest);
  EXPECT_NE(view_command_of(piped).why_not.find("standard input"), std::string::npos);
}

TEST_F(ViewSession, DevicesThatWereMeasuredAreNotMeasuredAgain) {
  viz::Given known;
  known.devices = {costmodel::find_device("l40s")};
  known.devices.front().name = "measured before";
  known.device_specs = {{"measured before", "host"}};
  ViewCommand command;
  command.devices = {"host"};
  EXPECT_EQ(session_of(command, &known).settings.a.device, "measured before");
}

TEST_F(ViewSession, WatchesWhatIsOpenNow) {
  ASSERT_EQ(run("plan --family few_shot:blocks=3 --strategy lean -o first.json").code, 0);
  ASSERT_EQ(run("plan --family few_shot:blocks=4 --strategy pat -o second.json").code, 0);
  ViewCommand start;
  start.file = path("first.json");
  viz::Session session = session_of(start);
  FileWatch watch;
  const auto touch = [&](const char* name) {
    std::filesystem::last_write_time(path(name),
                                     std::filesystem::last_write_time(path(name)) + std::chrono::seconds(2));
  };
  EXPECT_FALSE(watch(session.given)) << "seen for the first time";
  EXPECT_FALSE(watch(session.given));
  touch("first.json");
  EXPECT_TRUE(watch(session.given));
  EXPECT_FALSE(watch(session.given)) << "told once";
  session = dropped(session, path("second.json"))(session);
  EXPECT_FALSE(watch(session.given));
  touch("first.json");
  EXPECT_FALSE(watch(session.given)) << "no longer open";
  touch("second.json");
  EXPECT_TRUE(watch(session.given));
}

TEST_F(ViewSession, DroppedRunJoinsItsPlan) {
  ASSERT_EQ(run("plan --tree '1,4|256,64' --heads 4/1/64 --strategy fasttree -o plan.json").code, 0);
  ASSERT_EQ(run("run plan.json --backend host --repeats 2 --json run.json").code, 0);
  ViewCommand start;
  start.file = path("plan.json");
  start.devices = {"host"};
  const viz::Session plan = session_of(start), joined = dropped(plan, path("run.json"))(plan);
  ASSERT_NE(joined.given.measurement, nullptr);
  EXPECT_TRUE(shows_measurement(joined.settings, joined.given));
  EXPECT_EQ(joined.given.files, (std::vector<std::string>{path("plan.json"), path("run.json")}));
  const viz::Session again = continued(reopened(joined, start), joined);
  EXPECT_TRUE(shows_measurement(again.settings, again.given));
  EXPECT_EQ(again.settings.a.device, joined.settings.a.device) << "not measured anew";
}

TEST_F(ViewSession, RunJoinsAPlanThatWasMadeForTheHost) {
  ASSERT_EQ(run("calibrate --device host --repeats 2 -o host.json").code, 0);
  ASSERT_EQ(run("plan --tree '1,4|256,64' --heads 4/1/64 --strategy fasttree --device host.json -o plan.json").code, 0);
  ASSERT_EQ(run("run plan.json --device host.json --backend host --repeats 2 --json run.json").code, 0);
  ViewCommand start;
  start.file = path("plan.json");
  start.devices = {path("host.json")};
  const viz::Session plan = session_of(start), joined = dropped(plan, path("run.json"))(plan);
  EXPECT_TRUE(shows_measurement(joined.settings, joined.given));
  start.devices = {"l40s"};
  const viz::Session gpu = session_of(start);
  EXPECT_THROW(dropped(gpu, path("run.json"))(gpu), core::Error) << "simulated as a GPU";
}

TEST_F(ViewSession, RunJoinsWhatTheSessionHasBecomeWhileItWasRead) {
  ASSERT_EQ(run("plan --tree '1,4|256,64' --heads 4/1/64 --strategy fasttree -o plan.json").code, 0);
  for (const char* name : {"run.json", "second.json"}) {
    ASSERT_EQ(run(fmt::format("run plan.json --backend host --repeats 2 --json {}", name)).code, 0);
  }
  ViewCommand start;
  start.file = path("plan.json");
  start.devices = {"host"};
  const viz::Session before = session_of(start);
  const viz::Opening opening = dropped(before, path("run.json"));
  viz::Session now = before;
  perform(now, choose(viz::Knob::device_field, viz::SideId::a, "hbm_gbps", 77), {});
  perform(now, viz::SetTheme{viz::Theme::light}, {});
  perform(now, viz::KeepView{}, {});
  const viz::Session joined = opening(now);
  EXPECT_TRUE(shows_measurement(joined.settings, joined.given));
  EXPECT_EQ(joined.settings.a, now.settings.a);
  EXPECT_EQ(joined.look, now.look);
  EXPECT_EQ(joined.kept.size(), 1U);
  EXPECT_TRUE(joined.history.can_undo());
  const viz::Session again =
      dropped(joined, path("second.json"))(joined);  // of the plan as it was measured, not as the cores run it
  EXPECT_NE(again.given.measurement, joined.given.measurement);
  EXPECT_EQ(dropped(again, path("second.json"))(again).given.files,
            (std::vector<std::string>{path("plan.json"), path("run.json"), path("second.json")}))
      << "once each";
  viz::Session other = now;
  perform(other, choose(viz::Knob::strategy, viz::SideId::a, "pat"), {});
  EXPECT_EQ(opening(other).settings.a.strategy, "fasttree") << "what side A shows again";
  const viz::Session elsewhere = session_of(start, &before.given);
  EXPECT_THROW(opening(elsewhere), core::Error) << "the plan was read again meanwhile";
}

TEST_F(ViewSession, TraceIsKnownByItsLines) {
  std::string trace;
  for (int i = 0; i < 9; ++i) {
    trace += fmt::format("{{\"timestamp\": {}, \"input_length\": 600, \"output_length\": 5, \"hash_ids\": [0, {}]}}\n",
                         i, 1 + i);
  }
  write("trace.jsonl", trace);
  ViewCommand start;
  start.file = path("trace.jsonl");
  const viz::Session session = session_of(start);
  ASSERT_NE(session.given.trace, nullptr);
  EXPECT_EQ(session.given.replay.running, 9) << "no more slots than requests";
  const viz::Outcome outcome = compute(session.settings, session.given);
  EXPECT_EQ(outcome.problem, "");
  EXPECT_GT(outcome.steps, 0);
  expect_same(session);
  EXPECT_NE(dropped(session, path("trace.jsonl"))(session).given.trace, nullptr);
}

TEST_F(ViewSession, WatchesFilesThatOptionsName) {
  const auto forest = [](int tokens) {
    return fmt::format("{{\"parent\": [-1, 0, 0], \"tokens\": [{}, 40, 50], \"leaf\": [1, 2, 2]}}\n", tokens);
  };
  const auto table = [](int tokens) {
    return fmt::format(
        "{{\"schema\": \"block_table/1\", \"page_size\": 16}}\n{{\"id\": \"a\", \"tokens\": {}, \"pages\": [1, 2]}}\n",
        tokens);
  };
  const auto trace = [](int length) {
    return fmt::format("{{\"timestamp\": 0, \"input_length\": {}, \"output_length\": 9, \"hash_ids\": [1]}}\n", length);
  };
  struct Case {
    const char* file;
    std::vector<std::string> InputOptions::*option;
    std::string first, second;
  };
  for (const Case& one : {Case{"f.jsonl", &InputOptions::forests, forest(100), forest(300)},
                          Case{"t.jsonl", &InputOptions::block_tables, table(20), table(30)},
                          Case{"m.jsonl", &InputOptions::traces, trace(100), trace(200)}}) {
    SCOPED_TRACE(one.file);
    write(one.file, one.first);
    ViewCommand start;
    (start.inputs.*one.option).push_back(path(one.file));
    start.inputs.replay.running = 1;
    const viz::Session session = session_of(start);
    FileWatch watch;
    EXPECT_FALSE(watch(session.given));
    write(one.file, one.second);
    std::filesystem::last_write_time(path(one.file),
                                     std::filesystem::last_write_time(path(one.file)) + std::chrono::seconds(2));
    EXPECT_TRUE(watch(session.given));
    const viz::Session again = continued(reopened(session, start), session);
    EXPECT_FALSE(same_inputs(again.given, session.given));
    EXPECT_EQ(again.settings, session.settings);
    EXPECT_EQ(again.given.source, session.given.source);
    const viz::Outcome before = compute(session.settings, session.given), after = compute(again.settings, again.given);
    ASSERT_EQ(after.problem, "");
    EXPECT_NE(*after.forest, *before.forest) << "what the file has now";
  }
  ViewCommand piped;
  piped.inputs.trees = {"1,4|300,50"};
  EXPECT_TRUE(session_of(piped).given.named_files.empty());
}

TEST_F(ViewSession, ReadsAgainAndGoesOnAsBefore) {
  ASSERT_EQ(run("plan --family few_shot:blocks=3 --strategy lean -o plan.json").code, 0);
  ViewCommand start;
  start.file = path("plan.json");
  viz::Session session = session_of(start);
  perform(session, choose(viz::Knob::device_field, viz::SideId::a, "hbm_gbps", 2000), {});
  perform(session, choose(viz::Knob::strategy, viz::SideId::b, "codec"), {});
  perform(session, viz::SetTheme{viz::Theme::light}, {});
  ASSERT_EQ(run("plan --family few_shot:blocks=4 --strategy lean -o plan.json").code, 0);
  const viz::Session again = continued(reopened(session, start), session);
  EXPECT_NE(again.given.plan->hash, session.given.plan->hash);
  EXPECT_EQ(again.given.files, session.given.files);
  EXPECT_EQ(again.settings, session.settings) << "what was changed stays";
  EXPECT_EQ(again.look, session.look);
  EXPECT_TRUE(again.history.can_undo());
  viz::Session back = again;
  perform(back, viz::Undo{}, {});
  EXPECT_EQ(back.settings.b.strategy, "flash_decoding");
  EXPECT_EQ(back.given.plan->hash, again.given.plan->hash) << "undo doesn't take the file back";
  const viz::Session other = dropped(session, path("plan.json"))(session);
  EXPECT_FALSE(other.history.can_undo()) << "another file begins anew";
}

}  // namespace
}  // namespace espalier::apps

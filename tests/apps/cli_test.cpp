// The command as people use it: the README's lines, step by step and end to end.

#include <fmt/core.h>
#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "command.h"
#include "core/json.h"
#include "core/text.h"
#include "scheduler/strategy.h"

namespace espalier::apps {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Cli : public CommandTest {};

TEST_F(Cli, ListsWhatItKnows) {
  EXPECT_THAT(run("list strategies").out, HasSubstr("flash_decoding"));
  EXPECT_THAT(run("list strategies pat").out,
              AllOf(::testing::StartsWith("pat\n"), HasSubstr("option planner"), Not(HasSubstr("fasttree\n"))));
  EXPECT_THAT(run("list strategies codek").err, HasSubstr("codec"));
  EXPECT_EQ(run("list kernels codec").code, 2);
  EXPECT_THAT(run("list devices").out, HasSubstr("h100-sxm"));
  EXPECT_THAT(run("list devices a100-80").out, HasSubstr("hbm_read_fraction"));
  EXPECT_THAT(run("list kernels").out, HasSubstr("espalier_"));
  EXPECT_THAT(run("list families").out, HasSubstr("doc_qa"));
  EXPECT_THAT(run("list suites").out,
              AllOf(HasSubstr("pat20/03"), HasSubstr("1,1024|2048,32"), HasSubstr("61.18"), HasSubstr("s4")));
  EXPECT_THAT(run("list suites ft15").out, AllOf(HasSubstr("ft15/15"), Not(HasSubstr("pat20"))));
  EXPECT_THAT(run("list heads").out, HasSubstr("llama3-8b"));
}

TEST_F(Cli, PlanCheckSimRunStepByStep) {
  const Result plan = run("plan --tree '1,64|8192,256' --strategy codec --device h100-sxm --heads 32/8/128 -o p.json");
  EXPECT_EQ(plan.code, 0) << plan.err;
  const Result check = run("check p.json");
  EXPECT_EQ(check.code, 0) << check.err;
  EXPECT_THAT(check.out, HasSubstr("valid on h100-sxm"));
  const Result sim = run("sim p.json --device h200");
  EXPECT_EQ(sim.code, 0) << sim.err;
  EXPECT_THAT(sim.out, HasSubstr("simulated on h200"));
  ASSERT_EQ(run("plan --tree '1,8|96,17' --strategy codec --device h100-sxm --heads 8/2/64 -o q.json").code, 0);
  const Result exact = run("run q.json --backend interpret");
  EXPECT_EQ(exact.code, 0) << exact.err;
  EXPECT_THAT(exact.out, HasSubstr("against the oracle"));
  const Result emulated = run("run q.json --backend emulate");
  EXPECT_EQ(emulated.code, 0) << emulated.err;
  EXPECT_THAT(emulated.out,
              AllOf(HasSubstr("worst error of a row"), HasSubstr("KV read"), HasSubstr("0 of them bank conflicts")));
}

TEST_F(Cli, EmulatorTakesAPathAndWritesATimeline) {
  ASSERT_EQ(run("plan --tree '1,2|40,9' --strategy espalier --device h100-sxm --heads 4/2/128 -o p.json").code, 0);
  const Result r = run("run p.json --backend emulate --kernel-path bulk --timeline t.json");
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_THAT(read("t.json"), AllOf(HasSubstr("traceEvents"), HasSubstr("SM 0 slot 0")));
  const Result groups = run("run p.json --backend emulate --kernel-path wgmma");
  EXPECT_EQ(groups.code, 0) << groups.err;
  const Result unknown = run("run p.json --backend emulate --kernel-path blk");
  EXPECT_EQ(unknown.code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("bulk"));
}

TEST_F(Cli, DecodesStepsThroughOneSetOfLaunches) {
  ASSERT_EQ(run("plan --tree '1,3|40,9' --strategy lean --device h100-sxm:sms=4 --heads 4/2/64 -o p.json").code, 0);
  const Result r = run("run p.json --backend emulate --steps 4");
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_THAT(r.out, AllOf(HasSubstr("step 4: 3 requests, "), HasSubstr("; request 0 left; newcomer 4 joined"),
                           HasSubstr("4 steps through one set of launches, all rows right")));
  EXPECT_THAT(run("run p.json --backend host --steps 2").err, HasSubstr("--steps means nothing to --backend host"));
  EXPECT_THAT(run("run p.json --backend emulate --steps 2 --timeline t.json").err,
              HasSubstr("--timeline means nothing to --steps"));
  ASSERT_EQ(run("plan --tree '1|1' --strategy flash_decoding --heads 4/2/64 -o tiny.json").code, 0);
  EXPECT_EQ(run("run tiny.json --backend emulate --steps 40").code, 0);
  ASSERT_EQ(run("plan --tree '1,64|8192,64' --strategy espalier --heads 32/8/128 -o large.json").code, 0);
  const Result many = run("run large.json --backend emulate --steps 1000");
  EXPECT_EQ(many.code, 2);
  EXPECT_THAT(many.err, HasSubstr("1000 steps would need"));
}

TEST_F(Cli, EmulatorRefusesHeadsWithoutAKernel) {
  ASSERT_EQ(run("plan --tree '1,2|64,8' --strategy codec --heads 4/2/96 -o p.json").code, 0);
  const Result r = run("run p.json --backend emulate");
  EXPECT_EQ(r.code, 1);
  EXPECT_THAT(r.err, HasSubstr("no kernel for heads 4/2/96"));
}

TEST_F(Cli, SimExplainsItselfOnOneScreen) {
  for (const char* strategy : {"espalier", "cascade", "hydragen", "flashinfer_persistent", "bifurcated"}) {
    ASSERT_EQ(run(fmt::format("plan --tree '1,4,32,256|2048,512,256,128' --strategy {} -o p.json", strategy)).code, 0);
    const Result r = run("sim p.json --explain --json s.json");
    EXPECT_EQ(r.code, 0) << r.err;
    EXPECT_THAT(r.out, AllOf(HasSubstr("SM time"), HasSubstr("Critical path"), HasSubstr("HBM bandwidth +10 %")));
    std::istringstream lines(r.out);
    int count = 0;
    for (std::string line; std::getline(lines, line); ++count) EXPECT_LE(line.size(), 100U) << line;
    EXPECT_LE(count, 40) << r.out;
    EXPECT_TRUE(core::JsonDocument::parse(read("s.json"), "s.json").root().find("explanation").has_value());
  }
}

TEST_F(Cli, OptionBeforeThePlanFileDoesNotSwallowIt) {
  ASSERT_EQ(run("plan --tree '1,2|64,8' --strategy codec -o p.json").code, 0);
  EXPECT_EQ(run("sim --device h200 p.json").code, 0);
}

TEST_F(Cli, PlanGoesThroughPipes) {
  const Result r = run("plan --tree '1,2|64,8' --strategy codec | '" ESPALIER_BINARY_DIR "/espalier' check -");
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_THAT(r.out, HasSubstr("valid"));
}

TEST_F(Cli, CompareWritesAReportOfTheDocumentedShape) {
  const Result r =
      run("compare --tree '1,64|8192,256' --device h100-sxm --device a100-80 --model llama3-8b --json r.json "
          "--perfetto t.json");
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_THAT(r.out, HasSubstr("verdict"));
  const auto document = core::JsonDocument::parse(read("r.json"), "r.json");
  document.root().require_schema("report/1");
  const auto rows = document.root().at("rows");
  EXPECT_EQ(rows.size() % 2, 0U);
  const std::vector<std::string> keys = core::split(
      "input snapshot device heads strategy kernels status time_us speedup_vs_flash_decoding lower_bound_us "
      "share_of_bound hbm_bytes l2_bytes tasks partial_rows plan_us workspace_bytes graph_safe bound_by why",
      ' ');
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (const std::string& key : keys) {
      EXPECT_TRUE(rows.at(i).find(key).has_value()) << key;
    }
    if (rows.at(i).at("status").string() == "ok") {
      EXPECT_LE(rows.at(i).at("share_of_bound").number(), 1.0);
    } else {
      EXPECT_TRUE(rows.at(i).at("time_us").is_null());
      EXPECT_FALSE(rows.at(i).at("why").string().empty());
    }
  }
  EXPECT_TRUE(core::JsonDocument::parse(read("t.json"), "t.json").root().find("traceEvents").has_value());
}

TEST_F(Cli, WithoutTimingEqualCommandsGiveEqualBytes) {
  const Result one = run("compare --family rag --seed 3 --no-timing --json - --jobs 1");
  const Result again = run("compare --family rag --seed 3 --no-timing --json - --jobs 1");
  EXPECT_EQ(one.code, 0) << one.err;
  EXPECT_EQ(one.out, again.out);
  EXPECT_THAT(one.out, HasSubstr("\"plan_us\": null"));
}

TEST_F(Cli, NumberOfThreadsLeavesNoTrace) {
  ASSERT_EQ(run("compare --family rag chat --no-timing --jobs 1 --json a.json").code, 0);
  ASSERT_EQ(run("compare --family rag chat --no-timing --jobs 2 --json b.json").code, 0);
  EXPECT_EQ(read("a.json"), read("b.json"));
}

TEST_F(Cli, InputsAndDevicesOfOneNameStayApart) {
  std::filesystem::create_directories(folder_ / "a");
  std::filesystem::create_directories(folder_ / "b");
  write("a/f.jsonl", R"({"name":"f","snapshot":0,"note":"","parent":[-1],"tokens":[500],"leaf":[0]})");
  write("b/f.jsonl", R"({"name":"f","snapshot":0,"note":"","parent":[-1,0,0],"tokens":[500,9,9],"leaf":[1,2]})");
  write("d.json", R"({"schema":"device/1","base":"h100-sxm","name":"h100-sxm","hbm_gbps":1000})");
  const Result r = run("compare --forest a/f.jsonl b/f.jsonl --device h100-sxm --device d.json --strategy codec");
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_THAT(r.out, HasSubstr("f (2) on h100-sxm (2)"));
  EXPECT_THAT(r.out, Not(HasSubstr("snapshots (mean")));
}

TEST_F(Cli, SuiteIsAListOfNamedInputs) {
  const Result all = run("compare --suite s1 s4 --strategy codec");
  EXPECT_EQ(all.code, 0) << all.err;
  EXPECT_THAT(all.out, AllOf(HasSubstr("s1 on h100-sxm"), HasSubstr("s4 on h100-sxm")));
  const Result one = run("trace info --suite pat20/07");
  EXPECT_EQ(one.code, 0) << one.err;
  EXPECT_THAT(one.out, AllOf(HasSubstr("pat20/07"), HasSubstr("147488 (1196032 logical)"), Not(HasSubstr("pat20/08"))));
  EXPECT_EQ(run("trace gen --suite s2 -o f.json").code, 0);
  EXPECT_THAT(run("trace info --forest f.json").out, HasSubstr("45056 (753664 logical)"));
}

TEST_F(Cli, BaselineListsWhatChanged) {
  ASSERT_EQ(run("compare --tree '1,16|2048,64' --json old.json --no-timing").code, 0);
  EXPECT_THAT(run("compare --tree '1,16|2048,64' --baseline old.json --no-timing").out,
              HasSubstr(std::to_string(scheduler::strategies().size()) + " rows unchanged"));
  std::string text = read("old.json");
  const auto at = text.find("\"time_us\": ");
  ASSERT_NE(at, std::string::npos);
  text.insert(at + 11, 1, '1');
  write("old.json", text);
  EXPECT_THAT(run("compare --tree '1,16|2048,64' --baseline old.json --no-timing").out, HasSubstr("  time     "));
}

TEST_F(Cli, RefusalsAreRowsNotErrors) {
  const Result r = run("compare --tree '4,16|1024,64' --strategy bifurcated,codec --json r.json");
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_THAT(r.out, HasSubstr("refused"));
  EXPECT_THAT(read("r.json"), HasSubstr("\"status\": \"refused\""));
}

TEST_F(Cli, SaysPlainlyWhenSharingIsNotWorthIt) {
  EXPECT_THAT(run("compare --family no_share").out, HasSubstr("sharing is not worth it here"));
  EXPECT_THAT(run("compare --tree '1,64|8192,256'").out, Not(HasSubstr("sharing is not worth it")));
}

TEST_F(Cli, SharingGainsExceedTenfoldOnALongPrefixOfManyReaders) {
  ASSERT_EQ(run("compare --tree '1,1024|2048,32' --heads 32/32/128 --json r.json").code, 0);
  const auto document = core::JsonDocument::parse(read("r.json"), "r.json");
  double best = 0;
  for (std::size_t i = 0; i < document.root().at("rows").size(); ++i) {
    const auto speedup = document.root().at("rows").at(i).at("speedup_vs_flash_decoding");
    if (speedup.is_number()) best = std::max(best, speedup.number());
  }
  EXPECT_GT(best, 10.0);
}

TEST_F(Cli, CountsOneWithoutAnS) {
  const Result info = run("trace info --tree '1,4|100,20'");
  EXPECT_THAT(info.out, HasSubstr("5 (1 root, deepest level 1)"));
  const Result plan = run("plan --tree '1|100' --heads 8/1/128 --strategy flash_decoding -o p.json");
  EXPECT_EQ(plan.code, 0) << plan.err;
  const std::string out = run("check p.json").out;
  EXPECT_THAT(out, AllOf(HasSubstr("1 request, 1 node"), HasSubstr("1 launch"),
                         HasSubstr("1 CTA without splits, less than 80 % of the 264")));
  EXPECT_THAT(run("compare --tree '256|1024' --strategy flash_decoding").out,
              HasSubstr("2048 CTAs without splits, which is at least 80 % of the 264"));
}

TEST_F(Cli, TraceInfoDescribesBothDedupes) {
  const Result r = run("trace info --tree '1,4|100,20' --page-size 16 --model llama3-8b");
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_THAT(r.out, HasSubstr("token-exact"));
  EXPECT_THAT(r.out, HasSubstr("at page 16"));
  EXPECT_THAT(r.out, HasSubstr("fits"));
}

TEST_F(Cli, TraceGenAndImportRoundTrip) {
  ASSERT_EQ(run("trace gen --family chat --seed 5 -o f.json").code, 0);
  ASSERT_EQ(run("trace import --forest f.json -o g.json").code, 0);
  EXPECT_EQ(read("f.json"), read("g.json"));
  ASSERT_EQ(run("trace import --tree '1,4|64,20' --page-size 16 --format block-table -o t.jsonl").code, 0);
  EXPECT_EQ(run("trace info --block-table t.jsonl").code, 0);
}

TEST_F(Cli, ExportsGraphAndTimeline) {
  ASSERT_EQ(run("plan --tree '1,8|1024,64' --strategy codec -o p.json").code, 0);
  EXPECT_THAT(run("export dot p.json").out, HasSubstr("digraph"));
  EXPECT_THAT(run("export perfetto p.json").out, HasSubstr("traceEvents"));
}

TEST_F(Cli, DeviceFilesAndOverridesChangeTheAnswer) {
  write("mine.json", R"({"schema":"device/1","base":"h100-sxm","name":"mine","hbm_gbps":6700})");
  ASSERT_EQ(run("plan --tree '64|16384' --strategy flash_decoding -o p.json").code, 0);
  const auto time = [&](const std::string& device) {
    EXPECT_EQ(run(fmt::format("sim p.json --device {} --json s.json", device)).code, 0);
    const auto document = core::JsonDocument::parse(read("s.json"), "s.json");
    return document.root().at("makespan_us").number();
  };
  const double base = time("h100-sxm");
  EXPECT_LT(time("mine.json"), 0.7 * base);
  EXPECT_GT(time("h100-sxm:hbm_gbps=1000"), 2.0 * base);
}

}  // namespace
}  // namespace espalier::apps

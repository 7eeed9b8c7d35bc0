// espalier tune: reproducible, resumable, its plans exact, its policy used by `plan`, and bad files refused in one
// sentence.

#include "apps/tune.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "command.h"
#include "core/json.h"

namespace espalier::apps {
namespace {

using ::testing::HasSubstr;

constexpr const char* kTree = "--tree '1,3,9|300,90,40' --heads 8/2/64 --device h100-sxm:sms=8";

class Tune : public CommandTest {
 protected:
  Result tune(const std::string& more) const { return run("tune " + std::string(kTree) + " " + more); }
  /// Exit 3, one sentence with these parts.
  void expect_bad(const std::string& arguments, const std::vector<std::string>& parts) const {
    const Result r = run(arguments);
    EXPECT_EQ(r.code, 3) << r.err;
    EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 1) << r.err;
    for (const std::string& part : parts) EXPECT_THAT(r.err, HasSubstr(part));
  }
};

TEST_F(Tune, BestPlanIsValidExactAndBeatsEveryStrategy) {
  ASSERT_EQ(tune("--iterations 800 -o best.json --json tune.json").code, 0);
  EXPECT_EQ(run("check best.json").code, 0);
  EXPECT_EQ(run("run best.json").code, 0);
  const core::JsonDocument report = core::JsonDocument::parse(read("tune.json"), "tune.json");
  const core::JsonView input = report.root().at("inputs").at(0);
  EXPECT_EQ(input.at("iterations").integer(), 800);
  const core::JsonView rows = input.at("strategies");
  EXPECT_GE(rows.size(), 5U);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows.at(i).at("status").string() != "ok") continue;
    EXPECT_GE(rows.at(i).at("regret").number(), 0);
    EXPECT_GE(rows.at(i).at("time_us").number(), input.at("best_us").number());
  }
}

TEST_F(Tune, ResumedRunWritesTheBytesOfAnUninterruptedOne) {
  ASSERT_EQ(tune("--iterations 700 --state parts.json").code, 0);
  ASSERT_EQ(tune("--iterations 1300 --state parts.json -o parts_best.json").code, 0);
  ASSERT_EQ(tune("--iterations 1300 --state whole.json -o whole_best.json").code, 0);
  EXPECT_EQ(read("parts.json"), read("whole.json"));
  EXPECT_EQ(read("parts_best.json"), read("whole_best.json"));
  EXPECT_EQ(files(), 4U) << "temporary files are left";
}

TEST_F(Tune, SeveralInputsShareOneState) {
  const std::string inputs =
      "tune --tree '1,4|200,30' --family random:nodes=8,requests=6 --device h100-sxm:sms=8 --state s.json ";
  ASSERT_EQ(run(inputs + "--iterations 300").code, 0);
  const Result r = run(inputs + "--iterations 400");
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_THAT(r.out, HasSubstr("mean regret"));
  expect_bad("tune --tree '1,4|200,30' --device h100-sxm:sms=8 --iterations 400 --state s.json",
             {"s.json", "1 entries", "another run"});
}

TEST_F(Tune, TimeBudgetEndsTheSearch) {
  const Result r = tune("--time-budget 0.3");
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_THAT(r.out, HasSubstr("(best known)"));
  EXPECT_THAT(r.err, HasSubstr("iterations"));
}

TEST_F(Tune, BrokenOrForeignStateIsRefused) {
  ASSERT_EQ(tune("--iterations 400 --state s.json").code, 0);
  const std::string text = read("s.json");
  write("cut.json", text.substr(0, text.size() / 2));
  expect_bad("tune " + std::string(kTree) + " --iterations 500 --state cut.json", {"cut.json"});
  EXPECT_EQ(read("cut.json"), text.substr(0, text.size() / 2)) << "a file that can't be read is not overwritten";
  const std::size_t at = text.find("\"iteration\": 400");
  ASSERT_NE(at, std::string::npos);
  write("endless.json", text.substr(0, at) + "\"iteration\": 1000000000000000000" + text.substr(at + 16));
  expect_bad("tune " + std::string(kTree) + " --iterations 500 --state endless.json", {"endless.json", "iteration"});
  expect_bad("tune --tree '1,3,9|300,90,41' --heads 8/2/64 --device h100-sxm:sms=8 --state s.json",
             {"s.json", "another run"});
  expect_bad("tune --tree '1,3,9|300,90,40' --heads 8/4/64 --device h100-sxm:sms=8 --state s.json",
             {"heads", "8/4/64"});
  expect_bad("tune --tree '1,3,9|300,90,40' --heads 8/2/64 --device h100-sxm:sms=9 --state s.json",
             {"device", "sms=9"});
  expect_bad("tune " + std::string(kTree) + " --seed 2 --state s.json", {"seed"});
}

TEST_F(Tune, PolicyIsUsedByPlan) {
  ASSERT_EQ(tune("--iterations 300 --policy p.json").code, 0);
  EXPECT_THAT(read("p.json"), HasSubstr("{\n  \"schema\": \"policy/1\""));
  const Result r = run("plan " + std::string(kTree) + " --policy p.json -o plan.json");
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_THAT(r.out, HasSubstr("nearest of 1 row"));
  EXPECT_EQ(run("check plan.json").code, 0);
}

TEST_F(Tune, PolicyFallsBackWhereItsStrategyRefusesOrNoRowIsNear) {
  ASSERT_EQ(tune("--iterations 1 --policy p.json").code, 0);
  std::string text = read("p.json");
  const std::size_t at = text.find("\"strategy\": \"") + 13;
  ASSERT_NE(at, std::string::npos + 13);
  text.replace(at, text.find('"', at) - at, "relay");
  const std::size_t kernels = text.find("\"kernels\": [") + 12;
  text.replace(kernels, text.find(']', kernels) - kernels, "");
  write("relay.json", text);
  // Two roots: nothing that Relay can plan.
  const Result refused =
      run("plan --family no_share:requests=9 --heads 8/2/64 --device h100-sxm:sms=8 --policy relay.json -o plan.json");
  ASSERT_EQ(refused.code, 0) << refused.err;
  EXPECT_THAT(refused.out, HasSubstr("planned anew by espalier"));
  const Result near =
      run("plan --tree '2,10|40,300' --heads 8/2/64 --device h100-sxm:sms=8 --policy relay.json -o plan.json");
  ASSERT_EQ(near.code, 0) << near.err;
  EXPECT_THAT(near.out, HasSubstr("plan "));
  EXPECT_EQ(run("check plan.json").code, 0);
}

TEST_F(Tune, PolicyOfOtherHeadsOrDeviceIsRefused) {
  ASSERT_EQ(tune("--iterations 1 --policy p.json").code, 0);
  expect_bad("plan --tree '1,4|64,8' --heads 8/2/128 --device h100-sxm:sms=8 --policy p.json",
             {"p.json", "8/2/128", "8/2/64"});
  expect_bad("plan --tree '1,4|64,8' --heads 8/2/64 --dtype fp8_e4m3 --device h100-sxm:sms=8 --policy p.json",
             {"fp8_e4m3", "bf16"});
  expect_bad("plan --tree '1,4|64,8' --heads 8/2/64 --device a100-80 --policy p.json", {"a100-80", "h100-sxm:sms=8"});
  const auto expect_heads = [&](const std::string& value, const std::string& sentence) {
    std::string text = read("p.json");
    const std::string heads = "\"heads\": \"8/2/64\"";
    ASSERT_NE(text.find(heads), std::string::npos);
    write("heads.json", text.replace(text.find(heads), heads.size(), "\"heads\": " + value));
    expect_bad("plan " + std::string(kTree) + " --policy heads.json", {"espalier: heads.json: " + sentence});
  };
  expect_heads("7", "heads: expected");
  expect_heads("\"8/2\"", "heads: expected query heads");
  expect_heads("\"8/3/64\"", "heads '8/3/64': expected");
  write("cut.json", read("p.json").substr(0, 200));
  expect_bad("plan " + std::string(kTree) + " --policy cut.json", {"cut.json"});
}

TEST_F(Tune, ExactSearchProvesOrRefuses) {
  const Result r =
      run("tune --tree '1,3|260,70' --heads 8/2/64 --device h100-sxm:sms=2 --iterations 300 --exact -o best.json");
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(run("check best.json").code, 0);
  const Result shown = run("tune --tree '1,3|260,70' --heads 8/2/64 --device h100-sxm:sms=2 --iterations 300 --exact");
  EXPECT_THAT(shown.out, HasSubstr("of its space"));
  EXPECT_EQ(run("tune --tree '1,8|260,70' --device h100-sxm:sms=2 --exact").code, 2);
  EXPECT_EQ(run("tune --tree '1,3|260,70' --exact").code, 2);
}

TEST_F(Tune, UsageErrors) {
  EXPECT_EQ(run("plan " + std::string(kTree)).code, 2);
  EXPECT_EQ(run("plan " + std::string(kTree) + " --policy p.json --strategy codec").code, 2);
  EXPECT_EQ(tune("--iterations 0").code, 2);
  EXPECT_EQ(tune("--time-budget -1").code, 2);
  EXPECT_EQ(tune("--device a100-80").code, 2);
  EXPECT_EQ(tune("--study regret").code, 2);
  EXPECT_EQ(run("tune --study regrets").code, 2);
  EXPECT_EQ(run("tune --tree '1,2|8,8' --tree '1,3|8,8' -o best.json").code, 2);
}

TEST(RegretInstances, AreFortyAndTheSameForASeed) {
  const std::vector<Input> a = regret_instances(1), b = regret_instances(1), c = regret_instances(2);
  ASSERT_EQ(a.size(), 40U);
  std::size_t shared = 0, other = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].forest, b[i].forest);
    other += !(a[i].forest == c[i].forest);
    shared += traces::logical_tokens(a[i].forest) > 2 * traces::unique_tokens(a[i].forest);
  }
  EXPECT_EQ(other, a.size());
  EXPECT_GT(shared, 5U);
  EXPECT_LT(shared, 40U);
}

}  // namespace
}  // namespace espalier::apps

// --cost-model, cost-table and --study as a user meets them.
#include <fmt/core.h>
#include <gmock/gmock.h>

#include "apps/compare.h"
#include "command.h"
#include "core/json.h"

namespace espalier::apps {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kTrees = " --tree '1,4,16|2048,512,128' --tree '1,40|900,77' ";

class CostModelCommand : public CommandTest {};

TEST_F(CostModelCommand, ListShowsEveryModel) {
  const Result r = run("list cost-models");
  EXPECT_EQ(r.code, 0);
  for (const std::string& name : costmodel::cost_model_names()) EXPECT_THAT(r.out, HasSubstr(name));
}

TEST_F(CostModelCommand, CompareRunsConsumersOncePerModel) {
  const Result r = run("compare --strategy codec,cascade --cost-model linear,analytic --no-timing --json r.json" +
                       std::string(kTrees));
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_THAT(r.out, HasSubstr("codec[linear]"));
  EXPECT_THAT(r.out, HasSubstr("codec[analytic]"));
  EXPECT_THAT(r.out, Not(HasSubstr("cascade[")));
  const auto document = core::JsonDocument::parse(read("r.json"), "r.json");
  const auto rows = document.root().at("rows");
  ASSERT_EQ(rows.size(), 2U * 3U);
  EXPECT_EQ(rows.at(0).at("strategy").string(), "codec[linear]");
  EXPECT_EQ(rows.at(0).at("cost_model").string(), "linear");
  EXPECT_EQ(rows.at(2).at("cost_model").string(), "");
}

TEST_F(CostModelCommand, TheDefaultModelStaysUnnamed) {
  const Result r = run("compare --strategy codec --no-timing" + std::string(kTrees));
  EXPECT_THAT(r.out, HasSubstr("codec"));
  EXPECT_THAT(r.out, Not(HasSubstr("[")));
  EXPECT_THAT(run("compare --strategy codec --cost-model wave --no-timing" + std::string(kTrees)).out,
              HasSubstr("codec[wave]"));
}

TEST_F(CostModelCommand, StrategiesPlanByTheirOwnModelUnlessTold) {
  const std::string plan = "plan --tree '1,8,64|40,2048,256' --heads 32/8/128 --strategy fasttree ";
  ASSERT_EQ(run(plan + "-o own.json").code, 0);
  EXPECT_THAT(read("own.json"), HasSubstr("\"cost_model\": \"padding\""));
  ASSERT_EQ(run(plan + "--cost-model padding -o padding.json").code, 0);
  EXPECT_EQ(read("own.json"), read("padding.json"));
  for (const std::string& name : costmodel::cost_model_names()) {
    ASSERT_EQ(run(plan + "--cost-model " + name + " -o p.json").code, 0) << name;
    EXPECT_EQ(run("check p.json").code, 0) << name;
  }
}

TEST_F(CostModelCommand, TraceOfARowNamedWithItsModel) {
  const Result r =
      run("compare --strategy codec --cost-model linear,payload --perfetto t.json --perfetto-row 'codec[payload]'" +
          std::string(kTrees));
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_THAT(r.err, HasSubstr("trace of codec[payload]"));
}

TEST_F(CostModelCommand, PlanRemembersItsModelAndTakesOne) {
  ASSERT_EQ(run("plan --tree '1,4|512,64' --strategy codec --cost-model payload -o p.json").code, 0);
  EXPECT_THAT(read("p.json"), HasSubstr("\"cost_model\": \"payload\""));
  EXPECT_EQ(run("check p.json").code, 0);
  const Result two = run("plan --tree '1,4|512,64' --strategy codec --cost-model payload,wave");
  EXPECT_EQ(two.code, 2);
  EXPECT_THAT(two.err, HasSubstr("one cost model, got 2"));
}

TEST_F(CostModelCommand, ModelThatNobodyTakesIsAUsageError) {
  for (const char* command : {"plan", "compare"}) {
    const Result r = run(std::string(command) + " --tree '1,4|512,64' --strategy pat --cost-model linear");
    EXPECT_EQ(r.code, 2) << command;
    EXPECT_THAT(r.err, HasSubstr("pat plans by no cost model")) << command;
    EXPECT_THAT(r.err, HasSubstr("codec, fasttree, espalier")) << command;
  }
}

TEST_F(CostModelCommand, StreamKPlansByAModelOnlyWhenTold) {
  const std::string plan = "plan --tree '1,9|4096,700' --heads 32/8/128 --strategy lean ";
  ASSERT_EQ(run(plan + "-o tiles.json").code, 0);
  ASSERT_EQ(run(plan + "--cost-model linear -o times.json").code, 0);
  EXPECT_THAT(read("tiles.json"), HasSubstr("\"cost_model\": \"\""));
  EXPECT_THAT(read("times.json"), HasSubstr("\"cost_model\": \"linear\""));
  EXPECT_EQ(run("check times.json").code, 0);
}

TEST_F(CostModelCommand, TableFileGivesThePlanOfTheTableMadeNow) {
  const Result made = run("cost-table --device a100-80 --heads 16/4/64 -o t.json");
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_THAT(made.out, HasSubstr("simulated on a100-80"));
  const std::string plan =
      "plan --tree '1,4,16|2048,512,128' --device a100-80 --heads 16/4/64 --strategy codec --cost-model ";
  ASSERT_EQ(run(plan + "table:t.json -o file.json").code, 0);
  ASSERT_EQ(run(plan + "table -o now.json").code, 0);
  const auto tasks = [&](const std::string& file) {
    const std::string text = read(file);
    return text.substr(text.find("\"tasks\""));
  };
  EXPECT_EQ(tasks("file.json").substr(0, 2000), tasks("now.json").substr(0, 2000));
}

TEST_F(CostModelCommand, ExtrapolationIsTold) {
  // A table that ends at 128 tokens.
  std::string kernels;
  for (const char* name : {"_m16", "_m16_s2", "_m16_n32", "_m32", "_m32_s2", "_m32_n32", "_m64", "_m64_s2", "_m64_n32",
                           "_m128", "_m128_n32"}) {
    if (!kernels.empty()) kernels.push_back(',');
    kernels.append(R"({"kernel":"espalier_mma)").append(name);
    kernels.append(R"(","query_rows":[4,128],"kv_tokens":[16,128],"us":[2,4,3,6]})");
  }
  std::string table =
      R"({"schema":"cost_table/1","device":"h100-sxm","heads":"32/8/128","q_dtype":"bf16","kv_dtype":"bf16",)"
      R"("source":"measured","tasks":[)";
  table.append(kernels).append(
      R"(],"reductions":[{"kernel":"espalier_reduce","rows":[1,4096],"inputs":[1,256],"us":[1,9,1,9]}]})");
  write("t.json", table);
  const Result far =
      run("plan --tree '1,8|4096,64' --heads 32/8/128 --strategy codec --cost-model table:t.json -o p.json");
  ASSERT_EQ(far.code, 0) << far.err;
  EXPECT_THAT(far.out, HasSubstr("extrapolated"));
  EXPECT_EQ(run("check p.json").code, 0);
  const Result near =
      run("plan --tree '1,8|128,64' --heads 32/8/128 --strategy codec --cost-model table:t.json -o p.json");
  ASSERT_EQ(near.code, 0) << near.err;
  EXPECT_THAT(near.out, Not(HasSubstr("extrapolated")));
}

TEST_F(CostModelCommand, BadTablesAreRefusedInOneSentence) {
  const std::string plan = "plan --tree '1,4|512,64' --heads 32/8/128 --strategy codec --cost-model ";
  EXPECT_EQ(run("cost-table --device h100-sxm --heads 32/8/128 -o t.json").code, 0);
  const Result device = run(plan + "table:t.json --device a100-80");
  EXPECT_EQ(device.code, 3);
  EXPECT_THAT(device.err, HasSubstr("t.json: expected a cost table of a100-80, got one of h100-sxm"));
  const Result heads = run("compare --tree '1,4|512,64' --heads 32/32/128 --cost-model table:t.json");
  EXPECT_EQ(heads.code, 3);
  EXPECT_THAT(heads.err, HasSubstr("for 32/32/128"));
  // Only our kernels were profiled.
  const Result kernels = run(plan + "table:t.json --kernels published");
  EXPECT_EQ(kernels.code, 3);
  EXPECT_THAT(kernels.err, HasSubstr("kernel codec_pac (query tile 64)"));
  write("bad.json", read("t.json").substr(0, 500));
  EXPECT_EQ(run(plan + "table:bad.json").code, 3);
  EXPECT_EQ(run(plan + "table:missing.json").code, 3);
  EXPECT_EQ(run("cost-table --device h100-sxm,a100-80").code, 2);
  for (const char* spec : {"liner", "linear,linear", "linear,,wave", "linear:t.json", "table:"}) {
    const Result r = run("compare --tree '1,4|512,64' --cost-model '" + std::string(spec) + "'");
    EXPECT_EQ(r.code, 2) << spec;
    EXPECT_THAT(r.err, HasSubstr("cost")) << spec;
  }
}

TEST_F(CostModelCommand, StudyReportsErrorRankAndRegret) {
  const Result r =
      run("compare --study cost-models --json s.json --strategy flash_decoding,codec" + std::string(kTrees));
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_THAT(r.out, HasSubstr("rank tau"));
  EXPECT_THAT(r.out, HasSubstr("regret codec"));
  EXPECT_THAT(r.out, HasSubstr("least regret: "));
  const auto document = core::JsonDocument::parse(read("s.json"), "s.json");
  const core::JsonView root = document.root();
  root.require_schema("cost_study/1");
  const std::size_t models = costmodel::cost_models().size();
  ASSERT_EQ(root.at("fits").size(), 2 * models);
  ASSERT_EQ(root.at("plans").size(), 2 * models);
  double least = 1;
  for (std::size_t i = 0; i < models; ++i) {
    const core::JsonView fit = root.at("fits").at(i), plan = root.at("plans").at(i);
    EXPECT_EQ(fit.at("cost_model").string(), costmodel::cost_model_names()[i]);
    EXPECT_EQ(fit.at("error").is_null(), fit.at("relative").boolean());
    EXPECT_GT(fit.at("samples").integer(), 2);
    EXPECT_LT(fit.at("scaled_error").number(), 1);
    EXPECT_LE(fit.at("kendall_tau").is_null() ? 0 : std::abs(fit.at("kendall_tau").number()), 1);
    EXPECT_GE(plan.at("regret").number(), 0);
    EXPECT_NEAR(plan.at("time_us").number() / plan.at("best_us").number() - 1, plan.at("regret").number(), 1e-9);
    least = std::min(least, plan.at("regret").number());
  }
  EXPECT_TRUE(root.at("fits").at(0).at("kendall_tau").is_null());  // unit: all ties
  EXPECT_EQ(least, 0);
  // The same bytes again, whatever the threads.
  const std::string first = read("s.json");
  ASSERT_EQ(
      run("compare --study cost-models --json s.json --jobs 1 --strategy flash_decoding,codec" + std::string(kTrees))
          .code,
      0);
  EXPECT_EQ(read("s.json"), first);
}

TEST_F(CostModelCommand, StudyTellsWhatL2HitsDoToTheErrors) {
  const Result r =
      run("compare --study cost-models --cost-model linear,analytic --strategy fasttree,codec --device a100-80 "
          "--tree '1,4,256|32,256,32' --tree '256|1024' --json s.json");
  ASSERT_EQ(r.code, 0) << r.err;
  const auto document = core::JsonDocument::parse(read("s.json"), "s.json");
  const core::JsonView fits = document.root().at("fits");
  ASSERT_EQ(fits.size(), 4U);
  const core::JsonView shared = fits.at(1), own = fits.at(3);
  ASSERT_EQ(own.at("cost_model").string(), "analytic");
  EXPECT_GT(shared.at("l2_share").number(), 0.1);
  EXPECT_LT(shared.at("l2_share").number(), 0.9);
  EXPECT_LT(shared.at("no_hits").at("error").number(), 0.7 * shared.at("error").number());
  EXPECT_TRUE(fits.at(0).at("no_hits").at("error").is_null());
  // Nothing shared: nothing found, and the same times.
  EXPECT_EQ(own.at("l2_share").number(), 0);
  EXPECT_EQ(own.at("no_hits").at("error").number(), own.at("error").number());
  EXPECT_LT(own.at("error").number(), 0.1);
  // The table and the sentence have means over inputs.
  const double error = (shared.at("no_hits").at("error").number() + own.at("no_hits").at("error").number()) / 2;
  EXPECT_THAT(r.out, HasSubstr(fmt::format("{:.1f} %", 100 * error)));
  const double share = (shared.at("l2_share").number() + own.at("l2_share").number()) / 2;
  EXPECT_THAT(r.out, HasSubstr(fmt::format("in place {:.1f} % of the KV", 100 * share)));
  EXPECT_THAT(run("compare --study cost-models --cost-model analytic --strategy codec --tree '256|1024'").out,
              HasSubstr("in place nothing is found in L2"));
}

TEST_F(CostModelCommand, StudyNamesWhatItCannotDo) {
  const Result name = run("compare --study cost-model --tree '1,4|512,64'");
  EXPECT_EQ(name.code, 2);
  EXPECT_THAT(name.err, HasSubstr("cost-models"));
  const Result none = run("compare --study cost-models --strategy cascade --tree '1,4|512,64'");
  EXPECT_EQ(none.code, 2);
  EXPECT_THAT(none.err, HasSubstr("none of the strategies consumes a cost model"));
  EXPECT_EQ(run("compare --study cost-models --tree '1,4|512,64' --perfetto t.json").code, 2);
}

}  // namespace
}  // namespace espalier::apps

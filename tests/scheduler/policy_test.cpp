// policy/1: what is written is read, the nearest row decides, and a policy for something else is an error.
#include "scheduler/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/rng.h"
#include "traces/import.h"

namespace espalier::scheduler {
namespace {

using ::testing::HasSubstr;

Policy sample() {
  Policy policy{
      "h100-sxm", costmodel::device_hash(costmodel::find_device("h100-sxm")), traces::parse_heads("32/8/128"), {}};
  policy.rows.push_back({"alone", {1.0, 64, 0, 100000}, "flash_decoding:splits=4", {}, 50, 45});
  policy.rows.push_back({"shared", {8.0, 64, 2, 20000}, "codec", {"espalier_mma_m16", "espalier_mma_m32"}, 20, 19.5});
  return policy;
}

std::string error_of(const std::string& text) {
  try {
    (void)read_policy(text, "p.json");
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::bad_input) << error.what();
    return error.what();
  }
  return "no error";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Policy, ReadsWhatItWrote) {
  Policy policy = sample();
  policy.rows[0].input = "odd, {\"input\": [";
  const std::string text = write_policy(policy);
  EXPECT_EQ(text.find("{\n  \"schema\": \"policy/1\""), 0U) << text;
  EXPECT_NE(text.find("\n    {\"input\": \"shared\""), std::string::npos) << "a row a line:\n" << text;
  const Policy back = read_policy(text, "p.json");
  EXPECT_EQ(write_policy(back), text);
  EXPECT_EQ(back.rows[0].input, policy.rows[0].input);
  EXPECT_EQ(back.rows[1].kernels, sample().rows[1].kernels);
}

TEST(Policy, NearestRowDecidesAndTiesGoToTheFirst) {
  const Policy policy = sample();
  EXPECT_EQ(choose(policy, {1.1, 32, 1, 50000}).strategy, "flash_decoding:splits=4");
  EXPECT_EQ(choose(policy, {5.0, 100, 3, 40000}).strategy, "codec");
  Policy twice = policy;
  twice.rows[1].features = twice.rows[0].features;
  EXPECT_EQ(choose(twice, {3.0, 64, 0, 1000}).input, "alone");
  const std::vector<PolicyRow> rows = by_distance(policy, {5.0, 100, 3, 40000});
  ASSERT_EQ(rows.size(), policy.rows.size());
  EXPECT_EQ(rows.front().strategy, "codec");
  for (std::size_t i = 1; i < rows.size(); ++i) {
    EXPECT_LE(distance(rows[i - 1].features, {5.0, 100, 3, 40000}), distance(rows[i].features, {5.0, 100, 3, 40000}));
  }
}

TEST(Policy, FeaturesAreThoseOfTheForest) {
  const WorkloadFeatures f = features_of(traces::parse_tree("1,4|100,10"));
  EXPECT_EQ(f.requests, 4);
  EXPECT_EQ(f.depth, 1);
  EXPECT_EQ(f.unique_tokens, 140);
  EXPECT_DOUBLE_EQ(f.dedupe, 440.0 / 140.0);
  EXPECT_EQ(distance(f, f), 0);
}

TEST(Policy, CondensedRowsDecideAsAllDid) {
  core::Rng rng(5);
  std::vector<PolicyRow> rows;
  for (int i = 0; i < 60; ++i) {
    const double dedupe = 1 + 9 * rng.uniform();
    rows.push_back({"r",
                    {dedupe, rng.integer(1, 100), rng.integer(0, 5), rng.integer(1000, 100000)},
                    dedupe < 3 ? "flash_decoding" : "codec",
                    {},
                    1,
                    1});
  }
  const std::vector<PolicyRow> few = condensed(rows);
  EXPECT_LT(few.size(), rows.size() / 2);
  Policy policy = sample();
  policy.rows = few;
  for (const PolicyRow& row : rows) EXPECT_EQ(choose(policy, row.features).strategy, row.strategy);
  EXPECT_TRUE(condensed({}).empty());
}

TEST(Policy, BrokenFileNamesWhatIsWrong) {
  const std::string text = write_policy(sample());
  EXPECT_THAT(error_of(text.substr(0, text.size() / 2)), HasSubstr("p.json"));
  EXPECT_THAT(error_of(replaced(text, "\"codec\"", "\"codex\"")), HasSubstr("codec"));
  EXPECT_THAT(error_of(replaced(text, "splits=4", "splits=4000")), HasSubstr("splits"));
  EXPECT_THAT(error_of(replaced(text, "espalier_mma_m32", "espalier_mma_m33")), HasSubstr("espalier_mma_m3"));
  EXPECT_THAT(error_of(replaced(text, "\"dedupe\"", "\"dedup\"")), HasSubstr("dedup"));
  EXPECT_THAT(error_of(replaced(text, "policy/1", "policy/2")), HasSubstr("policy/"));
  EXPECT_THAT(error_of(replaced(text, "\"kv_dtype\": \"bf16\"", "\"kv_dtype\": \"bf61\"")), HasSubstr("bf61"));
  Policy none = sample();
  none.rows.clear();
  EXPECT_THAT(error_of(write_policy(none)), HasSubstr("row"));
}

TEST(Policy, ForAnotherDeviceOrOtherHeadsIsRefused) {
  const Policy policy = sample();
  const auto fault = [&](const char* device, const char* heads) -> std::string {
    try {
      require_made_for(policy, costmodel::find_device(device), traces::parse_heads(heads), "p.json");
    } catch (const core::Error& error) {
      EXPECT_EQ(error.kind(), core::ErrorKind::bad_input);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(fault("h100-sxm", "32/8/128"), "");
  EXPECT_THAT(fault("a100-80", "32/8/128"), HasSubstr("a100-80"));
  EXPECT_THAT(fault("h100-sxm:sms=100", "32/8/128"), HasSubstr("sms=100"));
  EXPECT_THAT(fault("h100-sxm", "64/8/128"), HasSubstr("64/8/128"));
  EXPECT_THAT(fault("h100-sxm", "32/8/64"), HasSubstr("32/8/64"));
}

TEST(OnlyKernels, StrategiesUseNoOther) {
  const traces::PrefixForest forest = traces::parse_tree("1,8|2048,300");
  const traces::HeadConfig heads = traces::parse_heads("32/8/128");
  const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  for (const Strategy* strategy : strategies()) {
    PlanRequest request{.forest = forest, .heads = heads, .device = device};
    request.only_kernels = {"espalier_mma_m16_n32", "espalier_mma_m32_n32"};
    const PlanResult result = make_plan({strategy, {}}, request);
    const auto* plan = std::get_if<Plan>(&result);
    if (plan == nullptr) continue;
    for (const costmodel::KernelConfig& kernel : plan->kernels) {
      if (kernel.role != costmodel::KernelRole::attend) continue;
      EXPECT_TRUE(kernel.name.ends_with("_n32")) << strategy->info().name << ": " << kernel.name;
    }
  }
}

}  // namespace
}  // namespace espalier::scheduler

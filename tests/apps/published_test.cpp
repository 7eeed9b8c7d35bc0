// Reading published ratios, fitting one efficiency an implementation on half of the trees, scoring the other half.

#include "apps/published.h"

#include <fmt/core.h>
#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "scheduler/strategy.h"
#include "sim/simulator.h"
#include "traces/import.h"

namespace espalier::apps {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string document(const std::string& methods, const std::string& rows, const std::string& more = "") {
  return fmt::format(
      R"({{"schema": "published/1", "source": "a table", "device": "h100-sxm", "head_dim": 128, "dtype": "fp16",
    "page_size": 1, "reading_error": 0.01, {}"methods": {{{}}}, "rows": [{}]}})",
      more, methods, rows);
}

const std::string kMethods =
    R"("flat": {"strategy": "flash_decoding"}, "tree": {"strategy": "fasttree", "options": {"greedy": false}})";
const std::string kRow = R"({"heads": "32/8", "tree": "1,10|4000,400", "throughput": {"flat": 0.5, "tree": 1.0}})";

std::string error_of(const std::string& text) {
  try {
    read_published(text, "f.json");
  } catch (const core::Error& e) {
    return e.what();
  }
  return "";
}

TEST(PublishedFile, KeepsMethodsRowsAndTurnsFlagsIntoOptions) {
  const PublishedFile file = read_published(document(kMethods, kRow), "f.json");
  ASSERT_THAT(file.methods, SizeIs(2));
  EXPECT_EQ(file.methods[1].strategy, "fasttree:greedy=0");
  EXPECT_EQ(file.methods[1].unmapped, "");
  ASSERT_THAT(file.rows, SizeIs(1));
  EXPECT_EQ(file.rows[0].heads.kv_heads, 8);
  EXPECT_EQ(file.rows[0].forest.request_count(), 10U);
  EXPECT_THAT(file.rows[0].throughput, ElementsAre(std::optional(0.5), std::optional(1.0)));
  EXPECT_THAT(file.remarks, ElementsAre(HasSubstr("one tree only")));
}

TEST(PublishedFile, ReportsWhatItCannotMapInsteadOfGuessing) {
  const std::string methods = R"("a": {"strategy": "no_such"}, "b": {"strategy": null}, )"
                              R"("c": {"strategy": "lean", "options": {"no_such": 1}}, "d": "lean")";
  const std::string row = R"({"heads": "32/8", "tree": "1,10|4000,400", "throughput": {"a": 1, "z": 0.5, "d": null}})";
  const PublishedFile file = read_published(document(methods, row, R"("colour": 3, )"), "f.json");
  ASSERT_THAT(file.methods, SizeIs(5));
  EXPECT_THAT(file.methods[0].unmapped, HasSubstr("no_such"));
  EXPECT_THAT(file.methods[1].unmapped, HasSubstr("no strategy"));
  EXPECT_THAT(file.methods[2].unmapped, HasSubstr("no_such"));
  EXPECT_EQ(file.methods[3].unmapped, "");
  EXPECT_EQ(file.methods[4].name, "z");
  EXPECT_THAT(file.methods[4].unmapped, HasSubstr("don't name it"));
  EXPECT_FALSE(file.rows[0].throughput[3].has_value());
  EXPECT_THAT(file.remarks, ::testing::Contains(HasSubstr("colour")));
}

TEST(PublishedFile, SaysThatItLeavesOutReadingsOfZero) {
  const std::string row = R"({"heads": "32/8", "tree": "1,10|4000,400", "throughput": {"flat": 0, "tree": 1}})";
  const PublishedFile file = read_published(document(kMethods, row), "f.json");
  EXPECT_FALSE(file.rows[0].throughput[0].has_value());
  EXPECT_THAT(file.remarks, ::testing::Contains(HasSubstr("throughput.flat: 0 is no throughput")));
}

TEST(PublishedFile, RefusesWhatItCannotRead) {
  EXPECT_THAT(error_of("{"), HasSubstr("f.json"));
  EXPECT_THAT(error_of(R"({"schema": "forest/1"})"), HasSubstr("published/1"));
  EXPECT_THAT(error_of(document(kMethods, "")), HasSubstr("at least one row"));
  EXPECT_THAT(error_of(document(kMethods, R"({"heads": "32", "tree": "1|9", "throughput": {}})")),
              HasSubstr("query/KV heads"));
  EXPECT_THAT(error_of(document(kMethods, R"({"heads": "32/8", "tree": "1,2", "throughput": {}})")),
              HasSubstr("a tree"));
  EXPECT_THAT(error_of(document(kMethods, R"({"heads": "32/8", "tree": "1|9", "throughput": {"flat": -1}})")),
              HasSubstr("flat"));
  std::string other = document(kMethods, kRow);
  other.replace(other.find("h100-sxm"), 8, "h100-zzz");
  EXPECT_THAT(error_of(other), HasSubstr("h100-zzz"));
}

PublishedPoint point(double measured, double predicted) {
  PublishedPoint p;
  p.measured = measured;
  p.predicted = predicted;
  return p;
}

TEST(PublishedTau, CountsOnlyPairsFurtherApartThanTheReadingError) {
  std::size_t pairs = 0;
  // 0.50 and 0.51 can't be told apart at 0.02: their wrong order doesn't count.
  const std::vector<PublishedPoint> points = {point(1.0, 1.0), point(0.51, 0.4), point(0.50, 0.6), point(0.2, 0.1)};
  EXPECT_DOUBLE_EQ(*tau_of_distinct(points, 0.02, pairs), 1.0);
  EXPECT_EQ(pairs, 5U);
  EXPECT_DOUBLE_EQ(*tau_of_distinct(points, 0.005, pairs), 4.0 / 6);
  EXPECT_FALSE(tau_of_distinct(points, 2.0, pairs).has_value());
}

TEST(PublishedTau, CorrectsForPredictedTies) {
  std::size_t pairs = 0;
  // Three pairs: two agree, one is tied in the prediction; tau-b = 2 / sqrt(2 * 3).
  EXPECT_NEAR(*tau_of_distinct({point(1.0, 1.0), point(0.6, 0.5), point(0.3, 0.5)}, 0.01, pairs), 2 / std::sqrt(6.0),
              1e-12);
}

double time_us(const char* strategy, const std::string& tree, double efficiency) {
  const auto device = costmodel::find_device("h100-sxm");
  traces::HeadConfig heads = traces::parse_heads("32/8/128");
  heads.q_dtype = heads.kv_dtype = traces::Dtype::fp16;
  const traces::PrefixForest forest = traces::parse_tree(tree);
  auto result = scheduler::make_plan(
      scheduler::parse_strategy(strategy),
      {.forest = forest, .heads = heads, .device = device, .kernels = scheduler::KernelSet::published});
  auto& plan = std::get<scheduler::Plan>(result);
  for (auto& kernel : plan.kernels) kernel.efficiency *= efficiency;
  seal(plan);
  return sim::simulate(plan, device).makespan_us;
}

TEST(Published, FindsTheEfficiencyThatMadeTheRatios) {
  // Ratios of a device on which one implementation reaches 30 % of the modelled rates.
  std::string rows;
  for (const char* tree :
       {"1,64|2048,64", "1,16,64|1024,256,32", "1,256|256,32", "1,4,256|8,256,32", "1,10|4000,400", "1,32|512,512"}) {
    const double flat = 1 / time_us("flash_decoding", tree, 0.3), tree_wise = 1 / time_us("fasttree", tree, 1),
                 split = 1 / time_us("fasttree:greedy=0", tree, 1), most = std::max({flat, tree_wise, split});
    rows += fmt::format(
        "{}{{\"heads\": \"32/8\", \"tree\": \"{}\", \"throughput\": {{\"flat\": {}, \"tree\": {}, \"split\": {}}}}}",
        rows.empty() ? "" : ", ", tree, flat / most, tree_wise / most, split / most);
  }
  const std::string methods = R"("flat": {"strategy": "flash_decoding"}, "tree": {"strategy": "fasttree"},
                                 "split": {"strategy": "fasttree", "options": {"greedy": 0}})";
  const PublishedFile file = read_published(document(methods, rows), "f.json");
  const PublishedResult result = validate_published(file, 1);
  ASSERT_THAT(result.held_out, SizeIs(3));
  ASSERT_THAT(result.fitted, SizeIs(3));
  ASSERT_THAT(result.implementations, SizeIs(2));
  EXPECT_EQ(result.implementations[0].name, "fa2_split");
  EXPECT_NEAR(result.implementations[0].efficiency, 0.3, 0.03);
  EXPECT_NEAR(result.implementations[1].efficiency, 1, 0.1);
  EXPECT_LT(*result.summary.median_abs_log_error, 0.03);
  EXPECT_DOUBLE_EQ(*result.summary.tau_mean, 1);
  EXPECT_GT(*result.unfitted.median_abs_log_error, *result.summary.median_abs_log_error);
  EXPECT_EQ(result.implementations[1].points, 6U);
}

TEST(Published, MethodThatRefusesARowIsNamedAndLeftOut) {
  const std::string row = R"({"heads": "32/8", "tree": "1,10|4000,400", "throughput": {"a": 0.5, "b": 1.0, "c": 0.2}})";
  const std::string methods =
      R"("a": {"strategy": "flash_decoding"}, "b": {"strategy": "chunk_attention"}, "c": {"strategy": "fasttree"})";
  const PublishedFile file = read_published(document(methods, row), "f.json");
  const PublishedResult result = validate_published(file, 1);
  ASSERT_THAT(result.held_out, SizeIs(1));
  EXPECT_THAT(result.held_out[0].refused, ElementsAre(HasSubstr("b: ")));
  EXPECT_EQ(file.methods[result.held_out[0].reference].name, "a");
  EXPECT_EQ(result.held_out[0].points.size(), 2U);
  EXPECT_THAT(write_published(file, result), HasSubstr("\"unmapped_methods\": []"));
}

TEST(Published, HeldOutTreesOfTheFastTreeTableReachTheTargets) {
  const std::string path = ESPALIER_SHARED_DATA "/published/fasttree_h100.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " doesn't exist";
  const PublishedFile file = read_published(core::read_file(path), path);
  const PublishedResult result = validate_published(file, 0);
  EXPECT_THAT(result.held_out, SizeIs(14));
  EXPECT_GE(*result.summary.tau_mean, 0.85);
  EXPECT_LE(*result.summary.median_abs_log_error, std::log(1.2));
  // Without the fit neither holds: it is the efficiencies of the implementations that differ, not the plans alone.
  EXPECT_LT(*result.unfitted.tau_mean, *result.summary.tau_mean);
}

}  // namespace
}  // namespace espalier::apps

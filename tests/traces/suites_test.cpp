// Suites: the sizes and sharing that the benchmarks state, the same inputs every time, and clear refusals.
#include "traces/suites.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "tests/traces/family_checks.h"
#include "traces/statistics.h"

namespace espalier::traces {
namespace {

using ::testing::AllOf;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;

struct Row {
  std::size_t nodes, requests;
  std::int64_t unique, logical;
};

void expect_rows(std::string_view suite, const std::vector<Row>& rows) {
  const std::vector<PrefixForest> forests = make_suite(suite);
  ASSERT_EQ(forests.size(), rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    check_forest(forests[i]);
    EXPECT_EQ(forests[i].node_count(), rows[i].nodes) << forests[i].name;
    EXPECT_EQ(forests[i].request_count(), rows[i].requests) << forests[i].name;
    EXPECT_EQ(unique_tokens(forests[i]), rows[i].unique) << forests[i].name;
    EXPECT_EQ(logical_tokens(forests[i]), rows[i].logical) << forests[i].name;
  }
}

double dedupe_of(std::string_view name) { return dedupe(make_suite(name).front()); }

std::string refusal(std::string_view name) {
  return refusal_of([](std::string_view s) { make_suite(s); }, name);
}

TEST(Suite, Pat20HasThePublishedSizes) {
  expect_rows("pat20", {{11, 10, 8256, 45120},       {257, 256, 8448, 73728},      {1025, 1024, 34816, 2129920},
                        {67, 64, 17920, 98304},      {261, 256, 9248, 81920},      {521, 512, 135200, 409600},
                        {521, 512, 147488, 1196032}, {521, 512, 135680, 655360},   {269, 256, 11296, 147456},
                        {533, 512, 20480, 737280},   {1365, 1024, 278912, 917504}, {1265, 1024, 43264, 557056},
                        {1393, 1024, 47360, 557056}, {1273, 1024, 42240, 589824},  {1401, 1024, 46336, 589824},
                        {282, 256, 11264, 147456},   {788, 512, 51712, 360448},    {312, 256, 28672, 335872},
                        {256, 256, 262144, 262144},  {256, 256, 1048576, 1048576}});
}

TEST(Suite, Pat20SavesWhatOnePrefixCanAsPublished) {
  const std::vector<double> published = {5.47, 8.73, 61.18, 2.91, 1.11, 1.04, 1.01, 1.66, 1.06, 3.44,
                                         1.40, 1.89, 1.89,  1.80, 1.80, 1.79, 3.59, 1.61, 1.00, 1.00};
  const std::vector<PrefixForest> forests = make_suite("pat20");
  ASSERT_EQ(forests.size(), published.size());
  const HeadConfig heads = parse_heads("32/8/128");
  for (std::size_t i = 0; i < published.size(); ++i) {
    EXPECT_NEAR(describe(forests[i], heads, 32).one_level_dedupe, published[i], 0.0051) << forests[i].name;
  }
}

TEST(Suite, Pat20StandsInShuffledBatchOrder) {
  const PrefixForest forest = make_suite("pat20/04").front();
  EXPECT_TRUE(is_permutation_of_rows(forest.batch_position.raw(), 64));
  EXPECT_FALSE(std::is_sorted(forest.batch_position.begin(), forest.batch_position.end()));
  const PrefixForest ordered = make_suite("ft15/04").front();
  EXPECT_TRUE(std::is_sorted(ordered.batch_position.begin(), ordered.batch_position.end()));
}

TEST(Suite, Ft15HasThePublishedSizes) {
  expect_rows("ft15", {{11, 10, 8000, 44000},
                       {257, 256, 8448, 73728},
                       {1025, 1024, 34816, 2129920},
                       {67, 64, 2568, 18944},
                       {261, 256, 9224, 75776},
                       {81, 64, 7168, 83968},
                       {269, 256, 11272, 141312},
                       {533, 512, 20480, 737280},
                       {1365, 1024, 278816, 892928},
                       {1265, 1024, 23808, 507904},
                       {1393, 1024, 25856, 507904},
                       {1273, 1024, 22272, 524288},
                       {1401, 1024, 24320, 524288},
                       {1279, 1024, 20464, 147456},
                       {1279, 1024, 21120, 557056}});
}

TEST(Suite, PlanningTreesHaveThePublishedSizes) {
  expect_rows("s1", {{65, 64, 24576, 540672}});
  expect_rows("s2", {{293, 256, 45056, 753664}});
  expect_rows("s3", {{1057, 1024, 149504, 2752512}});
  expect_rows("s4", {{128, 64, 16384, 274432}});
}

TEST(Suite, CodecSharesAsPublished) {
  const std::vector<std::pair<std::string, double>> published = {{"seq-128", 6.60},
                                                                 {"seq-256", 5.67},
                                                                 {"seq-512", 4.50},
                                                                 {"seq-1024", 3.33},
                                                                 {"seq-2048", 2.40},
                                                                 {"batch-4-root-2048", 1.60},
                                                                 {"batch-8-root-2048", 1.78},
                                                                 {"batch-16-root-2048", 1.88},
                                                                 {"batch-32-root-2048", 1.94},
                                                                 {"batch-64-root-2048", 1.97},
                                                                 {"depth-2", 1.33},
                                                                 {"depth-3", 1.71},
                                                                 {"depth-4", 2.13},
                                                                 {"depth-5", 2.58},
                                                                 {"depth-6", 3.05},
                                                                 {"ratio-0.05", 1.75},
                                                                 {"ratio-0.1", 2.5},
                                                                 {"ratio-0.2", 4.0},
                                                                 {"ratio-0.5", 8.5},
                                                                 {"ratio-0.8", 13.0},
                                                                 {"arity-2", 1.71},
                                                                 {"arity-3", 2.08},
                                                                 {"arity-4", 2.29},
                                                                 {"arity-5", 2.42},
                                                                 {"chain", 1.0}};
  for (const auto& [label, ratio] : published) EXPECT_NEAR(dedupe_of("codec_suite/" + label), ratio, 0.0051) << label;
  // These are stated to one decimal only.
  const std::vector<std::pair<int, double>> long_roots = {{4, 3.8}, {8, 7.2}, {16, 12.8}, {32, 21.1}, {64, 31.1}};
  for (const auto& [batch, ratio] : long_roots) {
    EXPECT_NEAR(dedupe_of(fmt::format("codec_suite/batch-{}-root-120000", batch)), ratio, 0.051) << batch;
  }
  EXPECT_EQ(make_suite("codec_suite").size(), published.size() + long_roots.size());
}

TEST(Suite, DeftTreesHaveTheirPublishedShape) {
  EXPECT_EQ(make_suite("deft_suite/few-shot-30").front().request_count(), 30U);
  const std::vector<std::pair<std::string, std::size_t>> token_trees = {{"t5", 5},   {"t32", 31},   {"t64", 63},
                                                                        {"t96", 95}, {"t128", 127}, {"t256", 255}};
  for (const auto& [label, drafted] : token_trees) {
    const PrefixForest forest = make_suite("deft_suite/" + label).front();
    EXPECT_EQ(forest.node_count(), drafted + 1) << label;
    EXPECT_EQ(forest.request_count(), drafted + 1) << label;
    EXPECT_EQ(forest.tokens[NodeId(0)], 1000) << label;
  }
  for (const std::string task : {"docmerge", "keyword", "set", "sorting"}) {
    std::set<std::uint64_t> hashes;
    for (const char* moment : {"-a", "-b", "-c"}) {
      const PrefixForest forest = make_suite("deft_suite/" + task + moment).front();
      hashes.insert(forest_hash(forest));
      EXPECT_THAT(dedupe(forest), AllOf(Ge(1.4), Le(13.0))) << task << moment;
    }
    EXPECT_EQ(hashes.size(), 3U) << task;
  }
}

TEST(Suite, HasItemsOfDistinctNamesThatNeverChange) {
  std::set<std::string> names;
  std::size_t items = 0;
  for (const Suite& suite : suites()) {
    items += suite.items.size();
    for (const SuiteItem& item : suite.items) names.insert(item_name(suite, item));
    const std::vector<PrefixForest> first = make_suite(suite.name), again = make_suite(suite.name);
    EXPECT_EQ(first, again) << suite.name;
    for (std::size_t i = 0; i < first.size(); ++i) EXPECT_EQ(first[i].name, item_name(suite, suite.items[i]));
  }
  EXPECT_EQ(names.size(), items);
}

TEST(Suite, OneItemIsTheSameAsInTheWhole) {
  const std::vector<PrefixForest> all = make_suite("deft_suite");
  for (const PrefixForest& forest : all) EXPECT_EQ(make_suite(forest.name), std::vector<PrefixForest>{forest});
}

TEST(Suite, SuggestsTheNearestName) {
  EXPECT_EQ(refusal("pat21"), "unknown suite 'pat21'; did you mean 'pat20'?");
  EXPECT_EQ(refusal("codec_suit"), "unknown suite 'codec_suit'; did you mean 'codec_suite'?");
  EXPECT_EQ(refusal("pat20/21x"), "unknown input of suite pat20 'pat20/21x'; did you mean 'pat20/01'?");
  EXPECT_THAT(refusal(""), HasSubstr("unknown suite ''"));
  EXPECT_THAT(refusal("pat20/"), HasSubstr("pat20/"));
  EXPECT_THAT(refusal("s1/1"), HasSubstr("suite s1"));
}

}  // namespace
}  // namespace espalier::traces

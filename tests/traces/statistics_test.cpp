// The figures of describe() against hand counts and closed forms.
#include "traces/statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "forest_samples.h"
#include "traces/import.h"

namespace espalier::traces {
namespace {

TEST(Describe, CountsAStarByHand) {
  const ForestStatistics s = describe(parse_tree("1,10|4096,416"), parse_heads("32/8/128"), 64);
  EXPECT_EQ(s.requests, 10);
  EXPECT_EQ(s.nodes, 11);
  EXPECT_EQ(s.roots, 1);
  EXPECT_EQ(s.deepest_level, 1);
  EXPECT_EQ(s.unique_tokens, 4096 + 4160);
  EXPECT_EQ(s.logical_tokens, 45120);
  EXPECT_DOUBLE_EQ(s.dedupe, 45120.0 / 8256.0);
  EXPECT_DOUBLE_EQ(s.one_level_dedupe, s.dedupe);
  EXPECT_DOUBLE_EQ(s.dedupe_at_page, s.dedupe) << "4096 is whole pages";
  EXPECT_DOUBLE_EQ(s.mean_context, 4512.0);
  EXPECT_EQ(s.longest_context, 4512);
  EXPECT_EQ(s.kv_bytes_per_layer, 8256 * 4096);
  ASSERT_EQ(s.sharing.size(), 5U);
  EXPECT_EQ(s.sharing[0].low, 1);
  EXPECT_EQ(s.sharing[0].nodes, 10);
  EXPECT_EQ(s.sharing[0].logical_tokens, 4160);
  EXPECT_EQ(s.sharing[4].low, 9);
  EXPECT_EQ(s.sharing[4].high, 16);
  EXPECT_EQ(s.sharing[4].unique_tokens, 4096);
  EXPECT_EQ(s.sharing[4].logical_tokens, 40960);
}

TEST(Describe, SeparatesOneLevelFromDeepSharing) {
  // Root 10, two inner nodes of 100 with two readers each, tails of 1.
  const ForestStatistics s = describe(parse_tree("1,2,4|10,100,1"), HeadConfig{}, 16);
  EXPECT_EQ(s.unique_tokens, 214);
  EXPECT_EQ(s.logical_tokens, 444);
  EXPECT_DOUBLE_EQ(s.one_level_dedupe, 444.0 / (10.0 + 404.0));
  // At pages of 16: the root vanishes, the inner nodes keep 96 of 110, each request has 15 of its own.
  EXPECT_DOUBLE_EQ(s.dedupe_at_page, 444.0 / (2 * 96.0 + 4 * 15.0));
  EXPECT_DOUBLE_EQ(describe(parse_tree("1,2,4|10,100,1"), HeadConfig{}, 1).dedupe_at_page, s.dedupe);
}

TEST(Describe, BinsSumToTheTotalsOnRandomForests) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const PrefixForest forest = make_forest(random_source(seed));
    const ForestStatistics s = describe(forest, HeadConfig{}, 4);
    std::int64_t nodes = 0, unique = 0, logical = 0, low = 1;
    for (const SharingBin& bin : s.sharing) {
      EXPECT_EQ(bin.low, low);
      low = std::int64_t{bin.high} + 1;
      nodes += bin.nodes;
      unique += bin.unique_tokens;
      logical += bin.logical_tokens;
    }
    EXPECT_EQ(nodes, s.nodes);
    EXPECT_EQ(unique, s.unique_tokens);
    EXPECT_EQ(logical, s.logical_tokens);
    EXPECT_GE(s.dedupe, s.one_level_dedupe);
    EXPECT_GE(s.dedupe, s.dedupe_at_page);
    EXPECT_GE(s.one_level_dedupe, 1.0);
  }
}

TEST(Describe, TakesAnEmptyForest) {
  const ForestStatistics s = describe(PrefixForest{}, HeadConfig{}, 16);
  EXPECT_EQ(s.requests, 0);
  EXPECT_EQ(s.dedupe, 1.0);
  EXPECT_EQ(s.dedupe_at_page, 1.0);
  EXPECT_EQ(s.mean_context, 0.0);
  EXPECT_TRUE(s.sharing.empty());
}

TEST(Describe, CountsTheBytesOfABillionTokens) {
  const ForestStatistics s = describe(parse_tree("1,1000|1000000000,1000000000"), parse_heads("64/64/1024"), 1);
  EXPECT_EQ(s.kv_bytes_per_layer, 1001000000000 * 64 * 2048 * 2);
}

}  // namespace
}  // namespace espalier::traces

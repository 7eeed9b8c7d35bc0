// Generated families: the shape and dedupe each promises, the same bytes for the same seed, and clear refusals.
#include "traces/families.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "tests/traces/family_checks.h"
#include "traces/prefix_forest.h"

namespace espalier::traces {
namespace {

using ::testing::AllOf;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;

/// The dedupe of each seed must lie in [low, high].
void expect_dedupe(std::string_view spec, double low, double high) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const PrefixForest forest = generate_family(spec, seed);
    check_forest(forest);
    EXPECT_THAT(dedupe(forest), AllOf(Ge(low), Le(high))) << forest.name;
  }
}

double median_dedupe(std::string_view spec) {
  std::vector<double> values;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) values.push_back(dedupe(generate_family(spec, seed)));
  std::sort(values.begin(), values.end());
  return values[kSeeds / 2];
}

std::string refusal(std::string_view spec) {
  return refusal_of([](std::string_view s) { generate_family(s, 1); }, spec);
}

TEST(Family, IsListedOnceWithDefaultsInRange) {
  std::vector<std::string> names;
  for (const Family& family : families()) {
    names.emplace_back(family.name);
    for (const FamilyOption& option : family.options) {
      EXPECT_LE(option.low, option.fallback) << family.name << ':' << option.name;
      EXPECT_LE(option.fallback, option.high) << family.name << ':' << option.name;
      if (option.choices.empty()) continue;
      EXPECT_EQ(option.high - option.low + 1, static_cast<double>(option.choices.size())) << option.name;
    }
  }
  EXPECT_THAT(names, ::testing::ElementsAre("doc_qa", "few_shot", "chat", "chat_offline", "tool_agent", "coding_agent",
                                            "rag", "tot", "bfs_search", "beam", "best_of_n", "spec_tree", "kary",
                                            "chain", "random", "no_share", "one_hot"));
}

TEST(Family, GivesTheSameForestForTheSameSeed) {
  for (const Family& family : families()) {
    const PrefixForest first = generate_family(family.name, 7), second = generate_family(family.name, 7);
    EXPECT_EQ(first, second) << family.name;
    EXPECT_EQ(forest_hash(first), forest_hash(second)) << family.name;
  }
}

TEST(Family, GivesAnotherForestForAnotherSeed) {
  for (const Family& family : families()) {
    const std::string spec = family.name == "kary" ? "kary:noise=0.5" : std::string(family.name);
    EXPECT_NE(forest_hash(generate_family(spec, 7)), forest_hash(generate_family(spec, 8))) << spec;
  }
}

TEST(Family, NamesTheForestBySpecAndSeed) {
  EXPECT_EQ(generate_family("doc_qa:docs=2,questions=3", 5).name, "doc_qa:docs=2,questions=3@5");
}

TEST(Family, IsValidForAnyOptionsInRange) {
  core::Rng rng(11);
  for (const Family& family : families()) {
    int valid = 0;
    for (int draw = 0; draw < 50; ++draw) {
      std::string spec = std::string(family.name);
      char separator = ':';
      for (const FamilyOption& option : family.options) {
        if (rng.chance(0.3)) continue;
        // Log-uniform above the lower limit, so that small and edge values are as likely as huge ones.
        double value = option.low + std::expm1(rng.uniform() * std::log1p(option.high - option.low));
        if (rng.chance(0.1)) value = option.low;
        if (option.kind == OptionKind::whole) value = std::floor(value);
        spec += fmt::format("{}{}={}", separator, option.name, value);
        separator = ',';
      }
      try {
        check_forest(generate_family(spec, static_cast<std::uint64_t>(draw)));
        ++valid;
      } catch (const core::Error& error) {
        EXPECT_THAT(error.what(), HasSubstr("at most 1000000 nodes")) << spec;
      }
    }
    const bool multiplies = family.name == "kary" || family.name == "bfs_search";
    EXPECT_GE(valid, multiplies ? 15 : 50) << family.name;
  }
}

TEST(Family, AcceptsEachOptionAtItsLowestValue) {
  for (const Family& family : families()) {
    std::string all = std::string(family.name);
    char separator = ':';
    for (const FamilyOption& option : family.options) {
      const std::string one = fmt::format("{}={}", option.name, option.low);
      check_forest(generate_family(fmt::format("{}:{}", family.name, one), 3));
      all += separator + one;
      separator = ',';
    }
    const PrefixForest smallest = generate_family(all, 3);
    check_forest(smallest);
    EXPECT_EQ(smallest.request_count(), 1U) << all;
  }
}

TEST(FamilySpec, SuggestsTheNearestName) {
  EXPECT_EQ(refusal("doc_qs"), "unknown family 'doc_qs'; did you mean 'doc_qa'?");
  EXPECT_EQ(refusal("doc_qa:question_s=3"), "unknown option of family doc_qa 'question_s'; did you mean 'questions'?");
  EXPECT_THAT(refusal(""), HasSubstr("unknown family ''"));
}

TEST(FamilySpec, NamesTheOptionThatIsOutOfRange) {
  EXPECT_EQ(refusal("doc_qa:docs=0"), "family doc_qa, option docs: expected a whole number from 1 to 256, got '0'");
  EXPECT_EQ(refusal("doc_qa:docs=257"), "family doc_qa, option docs: expected a whole number from 1 to 256, got '257'");
  EXPECT_EQ(refusal("doc_qa:docs=2.5"), "family doc_qa, option docs: expected a whole number from 1 to 256, got '2.5'");
  EXPECT_EQ(refusal("doc_qa:docs=many"),
            "family doc_qa, option docs: expected a whole number from 1 to 256, got 'many'");
  EXPECT_EQ(refusal("chat:twin=1.5"), "family chat, option twin: expected a number from 0 to 1, got '1.5'");
  EXPECT_EQ(refusal("chat:twin=nan"), "family chat, option twin: expected a number from 0 to 1, got 'nan'");
  EXPECT_EQ(refusal("rag:layout=shuffled"),
            "family rag, option layout: expected one of recorded, hoisted, sorted, got 'shuffled'");
}

TEST(FamilySpec, RefusesWhatIsNotAnAssignment) {
  EXPECT_EQ(refusal("chat:"), "family chat: expected option=value, got ''");
  EXPECT_EQ(refusal("chat:requests"), "family chat: expected option=value, got 'requests'");
  EXPECT_EQ(refusal("chat:requests=2,"), "family chat: expected option=value, got ''");
  EXPECT_EQ(refusal("chat:requests=2,requests=3"), "family chat: option requests is given twice");
}

TEST(FamilySpec, RefusesAbsurdSizes) {
  EXPECT_EQ(refusal("kary:k=8,levels=9"), "family kary: expected options that make at most 1000000 nodes, got more");
  EXPECT_EQ(refusal("kary:k=1024,levels=256"),
            "family kary: expected options that make at most 1000000 nodes, got more");
  EXPECT_EQ(generate_family("kary:k=2,levels=10", 1).node_count(), 1023U);
}

TEST(FamilySpec, TakesAChoiceByNameOrNumber) {
  PrefixForest by_name = generate_family("rag:layout=hoisted", 4), by_number = generate_family("rag:layout=1", 4);
  EXPECT_EQ(forest_hash(by_name), forest_hash(by_number));
  EXPECT_NE(forest_hash(by_name), forest_hash(generate_family("rag", 4)));
}

TEST(Family, HasItsExpectedDedupe) {
  expect_dedupe("doc_qa", 9, 12);
  expect_dedupe("few_shot", 5, 40);
  expect_dedupe("few_shot:questions=64", 5, 40);
  expect_dedupe("chat", 1.02, 1.10);
  expect_dedupe("chat_offline", 1.3, 2.0);
  expect_dedupe("tool_agent", 1.05, 9);
  expect_dedupe("tool_agent:share=0.04", 1.03, 1.1);
  expect_dedupe("tool_agent:share=1,requests=32", 4, 9);
  expect_dedupe("rag", 1.35, 1.5);
  expect_dedupe("tot", 2, 10);
  expect_dedupe("coding_agent", 1.0, 1.15);
  expect_dedupe("coding_agent:tools=1,systems=1", 1.05, 1.2);
  expect_dedupe("coding_agent:sessions=16,agents=8", 1.0, 1.25);
  expect_dedupe("bfs_search", 5, 9);
  expect_dedupe("beam", 10, 16);
  expect_dedupe("beam:beams=64,prompt=32000", 45, 64);
  expect_dedupe("spec_tree", 50, 64);
  expect_dedupe("no_share", 1, 1);
  expect_dedupe("one_hot", 1, 1);
  expect_dedupe("chain", 13, 20);
}

TEST(DocQa, IsOneStarForEachDocument) {
  const PrefixForest forest = generate_family("doc_qa:docs=3,questions=5,document=20000", 2);
  ASSERT_EQ(forest.node_count(), 18U);
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    EXPECT_EQ(forest.readers(n), forest.is_root(n) ? 5 : 1);
    const auto range = forest.is_root(n) ? std::pair{10000, 120000} : std::pair{16, 650};
    EXPECT_THAT(forest.tokens[n], AllOf(Ge(range.first), Le(range.second)));
  }
}

TEST(DocQa, AllowsManyReadersWithOneTokenTails) {
  const PrefixForest forest = generate_family("doc_qa:docs=1,questions=512,document=1,spread=0,question=1,output=0", 2);
  EXPECT_EQ(forest.readers(NodeId(0)), 512);
  EXPECT_EQ(unique_tokens(forest), 513);
  EXPECT_EQ(logical_tokens(forest), 1024);
}

TEST(FewShot, SharesAtTwoLevels) {
  const PrefixForest forest = generate_family("few_shot:root=100,blocks=4,questions=8,shots=20", 2);
  ASSERT_EQ(forest.node_count(), 1U + 4U + 32U);
  EXPECT_EQ(forest.tokens[NodeId(0)], 100);
  EXPECT_EQ(forest.readers(NodeId(0)), 32);
  EXPECT_EQ(forest.readers(NodeId(1)), 8);
  EXPECT_THAT(forest.tokens[NodeId(1)], AllOf(Ge(1600), Le(3000)));
}

TEST(Chat, GivesRequestsTwinsWithTheProbabilityAsked) {
  std::int64_t twins = 0, requests = 0;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const PrefixForest forest = generate_family("chat:requests=1000,twin=0.3", seed);
    requests += static_cast<std::int64_t>(forest.request_count());
    for (const NodeId n : core::ids<NodeId>(forest.node_count())) twins += forest.readers(n) == 2 ? 2 : 0;
  }
  EXPECT_EQ(requests, 1000 * static_cast<std::int64_t>(kSeeds));
  EXPECT_NEAR(static_cast<double>(twins) / static_cast<double>(requests), 0.3, 0.02);
}

TEST(Chat, PairsAllWhenTwinIsCertain) {
  const PrefixForest forest = generate_family("chat:requests=7,twin=1", 2);
  EXPECT_EQ(forest.request_count(), 7U);
  EXPECT_EQ(forest.node_count(), 1U + 3U + 7U);
  EXPECT_EQ(generate_family("chat:root=0,requests=5,twin=0", 2).node_count(), 5U);
}

/// Nodes that a cache which splits only where prompts part would not have.
std::int64_t nodes_not_maximal(const PrefixForest& forest) {
  std::int64_t count = 0;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    if (!forest.is_root(n) && forest.readers(n) == forest.readers(forest.parent[n])) ++count;
  }
  return count;
}

TEST(Family, HasMaximalNodesWherePromptsComeFromACache) {
  for (const std::string_view spec :
       {"chat_offline", "rag", "rag:layout=recorded", "rag:pool=50", "tot", "tot:common=0.6"}) {
    for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
      const PrefixForest forest = generate_family(spec, seed);
      EXPECT_EQ(nodes_not_maximal(forest), 0) << forest.name;
    }
  }
}

TEST(ChatOffline, BranchesOffDeepChainsReadByFew) {
  std::int64_t shared = 0, few = 0;
  std::int32_t deepest = 0;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const PrefixForest forest = generate_family("chat_offline", seed);
    EXPECT_EQ(forest.request_count(), 256U);
    EXPECT_GE(deepest_level(forest), 3) << seed;
    deepest = std::max(deepest, deepest_level(forest));
    std::int64_t related = 0;
    for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
      if (forest.is_root(n) || forest.readers(n) < 2) continue;
      ++shared;
      few += forest.readers(n) <= 4 ? 1 : 0;
      if (forest.is_root(forest.parent[n])) related += forest.readers(n);
      EXPECT_LE(forest.readers(n), 16);
    }
    EXPECT_THAT(related, AllOf(Ge(127), Le(128))) << seed;
  }
  EXPECT_GE(deepest, 6);
  EXPECT_GT(2 * few, shared);
}

TEST(ToolAgent, CountsToolRequestsBySlot) {
  const PrefixForest forest = generate_family("tool_agent:requests=100,share=0.3,root=77,prefix=5000", 2);
  std::int64_t tools = 0, chats = 0;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    if (!forest.is_root(n)) continue;
    (forest.tokens[n] == 77 ? chats : tools) += forest.readers(n);
    EXPECT_THAT(forest.tokens[n], ::testing::AnyOf(77, AllOf(Ge(1000), Le(5000))));
  }
  EXPECT_EQ(tools, 30);
  EXPECT_EQ(chats, 70);
}

TEST(Rag, SharesMoreWhenSegmentsAreHoistedAndSorted) {
  const double recorded = median_dedupe("rag:requests=256,layout=recorded");
  const double hoisted = median_dedupe("rag:requests=256,layout=hoisted");
  const double sorted = median_dedupe("rag:requests=256,layout=sorted");
  EXPECT_GT(hoisted, recorded + 0.01);
  EXPECT_GT(sorted, hoisted + 0.05);
  EXPECT_LE(deepest_level(generate_family("rag:requests=256,layout=recorded", 1)), 2);
  EXPECT_GE(deepest_level(generate_family("rag:requests=256,layout=sorted", 1)), 4);
}

TEST(Rag, SharesNothingBelowTheSystemPromptWhenRecorded) {
  const PrefixForest forest = generate_family("rag:layout=recorded,pool=1,passages=1,middles=1,roots=1", 3);
  EXPECT_EQ(forest.node_count(), 1U + 64U);
  EXPECT_EQ(forest.tokens[NodeId(0)], 1024);
  EXPECT_GT(generate_family("rag:layout=hoisted,pool=1,passages=1,middles=1,roots=1", 3).tokens[NodeId(0)], 1024);
}

TEST(Rag, ListsAPassageOnceHoweverSteepItsPopularity) {
  // One root and five passages of equal use: in sorted order every request reads the same chain.
  const PrefixForest forest = generate_family("rag:pool=5,passages=64,exponent=4,middles=1,output=0", 3);
  EXPECT_EQ(forest.node_count(), 1U + 64U);
}

TEST(Tot, KeepsLiveThoughtsOnTheChainOfChosenOnes) {
  std::int64_t most = 0;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const PrefixForest forest = generate_family("tot:trees=1,levels=3,thought=500", seed);
    most = std::max(most, static_cast<std::int64_t>(forest.request_count()));
    EXPECT_LE(forest.request_count(), 21U);
    EXPECT_LE(deepest_level(forest), 3);
    for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
      EXPECT_EQ(forest.readers(forest.leaf[r]), 1);
      EXPECT_LE(forest.context_tokens(r), 1625 + 3 * 1500);
      // Children start when their parent ends, so each live path is as long as the prompt and the iterations so far.
      EXPECT_EQ(forest.context_tokens(r), forest.context_tokens(RequestId(0)));
    }
  }
  EXPECT_GE(most, 10);
}

TEST(Tot, PutsAllTreesUnderACommonPrefix) {
  const PrefixForest apart = generate_family("tot:trees=4", 2), together = generate_family("tot:trees=4,common=0.6", 2);
  const auto roots = [](const PrefixForest& f) { return std::count(f.parent.begin(), f.parent.end(), NodeId()); };
  EXPECT_EQ(roots(apart), 4);
  ASSERT_EQ(roots(together), 1);
  EXPECT_EQ(together.tokens[NodeId(0)], 780);
  EXPECT_EQ(logical_tokens(apart), logical_tokens(together));
}

TEST(BestOfN, FollowsTheClosedFormWhenSamplesEndTogether) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const PrefixForest forest = generate_family("best_of_n:groups=1,samples=12,spread=0", seed);
    ASSERT_EQ(forest.node_count(), 13U);
    const std::int64_t prompt = forest.tokens[NodeId(0)], generated = forest.tokens[NodeId(1)];
    EXPECT_EQ(logical_tokens(forest), 12 * (prompt + generated));
    EXPECT_EQ(unique_tokens(forest), prompt + 12 * generated);
  }
}

TEST(BestOfN, KeepsSamplesInStepAndDropsFinishedOnes) {
  std::size_t running = 0;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const PrefixForest forest = generate_family("best_of_n:groups=1,samples=40", seed);
    running += forest.request_count();
    for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
      if (forest.is_root(n)) continue;
      EXPECT_EQ(forest.tokens[n], forest.tokens[forest.leaf[RequestId(0)]]);
    }
  }
  EXPECT_GT(running, kSeeds * 4);
  EXPECT_LT(running, kSeeds * 36);
}

TEST(Kary, HasTheDedupeOfItsClosedForm) {
  for (std::int64_t k = 2; k <= 5; ++k) {
    for (std::int64_t levels = 1; levels <= 5; ++levels) {
      const PrefixForest forest = generate_family(fmt::format("kary:k={},levels={},tokens=64", k, levels), 1);
      const auto leaves = static_cast<std::int64_t>(std::llround(std::pow(k, levels - 1)));
      EXPECT_EQ(logical_tokens(forest), 64 * levels * leaves);
      EXPECT_EQ(unique_tokens(forest) * (k - 1), 64 * (leaves * k - 1));
    }
  }
}

TEST(Kary, VariesLengthsWithinTheNoise) {
  const PrefixForest forest = generate_family("kary:k=4,levels=5,tokens=1000,noise=0.5", 1);
  const auto [low, high] = std::minmax_element(forest.tokens.begin(), forest.tokens.end());
  EXPECT_THAT(*low, AllOf(Ge(500), Le(550)));
  EXPECT_THAT(*high, AllOf(Ge(1450), Le(1500)));
  EXPECT_EQ(generate_family("kary:k=1,levels=256", 1).request_count(), 1U);
}

TEST(Chain, ReachesTheDepthAskedFor) {
  const PrefixForest forest = generate_family("chain:levels=256", 1);
  EXPECT_EQ(forest.request_count(), 256U);
  EXPECT_EQ(deepest_level(forest), 256);
  EXPECT_NEAR(dedupe(forest), 128, 15);
}

TEST(Chain, EndsRequestsOnThePathWithoutTails) {
  const PrefixForest forest = generate_family("chain:levels=200,tail=0", 1);
  ASSERT_EQ(forest.node_count(), 200U);
  for (const RequestId r : core::ids<RequestId>(200)) EXPECT_EQ(forest.leaf[r], NodeId(r.value));
}

TEST(Random, EndsRequestsAtInnerNodesAndTogether) {
  std::int64_t inner = 0, together = 0;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const PrefixForest forest = generate_family("random:nodes=40,requests=60", seed);
    EXPECT_EQ(forest.request_count(), 60U);
    std::vector<int> ends(forest.node_count(), 0);
    for (const NodeId leaf : forest.leaf) ++ends[leaf.index()];
    for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
      inner += ends[n.index()] > 0 && ends[n.index()] < forest.readers(n) ? 1 : 0;
      together += ends[n.index()] > 1 ? 1 : 0;
    }
  }
  EXPECT_GT(inner, 100);
  EXPECT_GT(together, 100);
}

TEST(NoShare, MakesEqualRequestsWithoutSpread) {
  const PrefixForest forest = generate_family("no_share:requests=9,context=4096,spread=0", 1);
  EXPECT_EQ(forest.node_count(), 9U);
  EXPECT_THAT(forest.tokens.raw(), ::testing::Each(4096));
}

TEST(OneHot, HasOneGiantOrTwo) {
  const PrefixForest alone = generate_family("one_hot:requests=10,giant=300000", 1);
  EXPECT_EQ(std::count(alone.tokens.begin(), alone.tokens.end(), 300000), 1);
  EXPECT_EQ(alone.node_count(), 10U);
  const PrefixForest shared = generate_family("one_hot:requests=10,giant=300000,shape=shared", 1);
  EXPECT_EQ(std::count(shared.tokens.begin(), shared.tokens.end(), 300000), 2);
  EXPECT_EQ(shared.readers(NodeId(0)), 1);
  EXPECT_EQ(shared.readers(NodeId(1)), 9);
}

}  // namespace
}  // namespace espalier::traces

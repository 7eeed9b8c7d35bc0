// Families of searches and sessions: the structure each promises.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tests/traces/family_checks.h"
#include "traces/families.h"
#include "traces/prefix_forest.h"

namespace espalier::traces {
namespace {

using ::testing::AllOf;
using ::testing::Ge;
using ::testing::Le;

TEST(CodingAgent, PutsSessionsBehindToolAndSystemBlocks) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const PrefixForest forest = generate_family("coding_agent:tools=2,systems=2,sessions=64", seed);
    EXPECT_EQ(forest.request_count(), 64U);
    EXPECT_EQ(forest.node_count(), 2U + 4U + 64U);
    for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
      if (forest.readers(n) == 1) continue;
      const auto range = forest.is_root(n) ? std::pair{9000, 15000} : std::pair{2000, 6000};
      EXPECT_THAT(forest.tokens[n], AllOf(Ge(range.first), Le(range.second)));
    }
  }
}

TEST(CodingAgent, RunsSubAgentsOnTheBlocksOfTheirSession) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const PrefixForest forest = generate_family("coding_agent:sessions=1,agents=8,tools=40,systems=4", seed);
    ASSERT_EQ(forest.request_count(), 9U);
    // One session uses one tool and one system block, which nothing keeps apart.
    EXPECT_EQ(forest.node_count(), 1U + 9U);
    EXPECT_THAT(forest.tokens[NodeId(0)], AllOf(Ge(11000), Le(21000)));
    for (std::int32_t r = 1; r < 9; ++r) {
      EXPECT_THAT(forest.tokens[forest.leaf[RequestId(r)]], AllOf(Ge(12000), Le(100000)));
    }
  }
}

TEST(BfsSearch, JudgesCandidatesOfTheKeptThoughts) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const PrefixForest first = generate_family("bfs_search:problems=1,steps=1,samples=3", seed);
    EXPECT_THAT(first.request_count(), AllOf(Ge(3U), Le(3U * 8U))) << seed;
    EXPECT_EQ(first.request_count() % 3, 0U);
    const PrefixForest later = generate_family("bfs_search:problems=1,beam=5,children=8,steps=9", seed);
    EXPECT_LE(later.request_count(), 3U * 5U * 8U);
    EXPECT_LE(deepest_level(later), 9 + 1);
    for (const RequestId r : core::ids<RequestId>(later.request_count())) {
      EXPECT_LE(later.context_tokens(r), 200 + 9 * 20 + 40);
    }
  }
}

TEST(BfsSearch, KeepsNoMoreThanTheBeam) {
  // The beam's nodes are the parents of candidates, and candidates here are leaves.
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const PrefixForest forest =
        generate_family("bfs_search:problems=1,beam=3,children=20,steps=6,samples=1,output=0", seed);
    std::vector<NodeId> parents;
    for (const NodeId leaf : forest.leaf) parents.push_back(forest.parent[leaf]);
    std::sort(parents.begin(), parents.end(), [](NodeId a, NodeId b) { return a.value < b.value; });
    EXPECT_LE(std::unique(parents.begin(), parents.end()) - parents.begin(), 3) << seed;
  }
}

TEST(BfsSearch, RefusesAbsurdSizes) {
  const auto make = [](std::string_view spec) { generate_family(spec, 1); };
  EXPECT_EQ(refusal_of(make, "bfs_search:problems=1024,beam=64,children=64"),
            "family bfs_search: expected options that make at most 1000000 nodes, got more");
}

TEST(Beam, CoalescesWithinTheOldestAge) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const PrefixForest forest =
        generate_family("beam:prompts=1,beams=16,prompt=4000,spread=0,output=1000000,age=20", seed);
    ASSERT_EQ(forest.request_count(), 16U);
    // Beams generate in step, and all but the last few tokens is one node.
    const std::int64_t context = forest.context_tokens(RequestId(0));
    for (const RequestId r : core::ids<RequestId>(16)) EXPECT_EQ(forest.context_tokens(r), context);
    EXPECT_EQ(forest.readers(NodeId(0)), 16);
    EXPECT_GE(forest.tokens[NodeId(0)], context - 400);
    EXPECT_GE(deepest_level(forest), 2);
    EXPECT_LE(forest.node_count(), 2U * 16U - 1U);
  }
}

TEST(Beam, HasGeometricAgesOfTheMeanAsked) {
  // Each beam but the first adds the tokens of its age to the unique ones, beyond prompt and one beam.
  double sum = 0;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const PrefixForest forest = generate_family("beam:prompts=1,beams=64,output=1000000,age=30", seed);
    sum += static_cast<double>(unique_tokens(forest) - forest.context_tokens(RequestId(0))) / 63.0;
  }
  EXPECT_NEAR(sum / static_cast<double>(kSeeds), 30.0, 2.5);
}

TEST(SpecTree, AsksAtEveryTokenAndAtTheContext) {
  for (const char* tree : {"random", "t64"}) {
    const PrefixForest forest = generate_family(std::string("spec_tree:contexts=1,queries=64,tree=") + tree, 3);
    EXPECT_EQ(forest.node_count(), 64U);
    std::vector<int> ends(64, 0);
    for (const NodeId leaf : forest.leaf) ++ends[leaf.index()];
    EXPECT_THAT(ends, ::testing::Each(1));
    for (std::int32_t n = 1; n < 64; ++n) EXPECT_EQ(forest.tokens[NodeId(n)], 1);
  }
}

TEST(SpecTree, HasTheLevelsAndLeavesOfThePublishedTrees) {
  struct Shape {
    const char* tree;
    std::vector<std::int64_t> levels;
    std::int64_t leaves;
  };
  const std::vector<Shape> published = {{"t5", {4, 1}, 4},
                                        {"t32", {4, 8, 16, 3}, 17},
                                        {"t64", {10, 28, 23, 2}, 42},
                                        {"t96", {4, 12, 36, 43}, 64},
                                        {"t128", {5, 20, 80, 22}, 96},
                                        {"t256", {6, 30, 150, 69}, 201}};
  for (const Shape& shape : published) {
    const PrefixForest forest = generate_family(std::string("spec_tree:contexts=1,tree=") + shape.tree, 1);
    std::vector<std::int64_t> levels(shape.levels.size(), 0);
    std::int64_t leaves = 0;
    for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
      const std::int32_t depth = depths(forest)[n];
      if (depth > 0) ++levels.at(static_cast<std::size_t>(depth - 1));
      leaves += forest.readers(n) == 1 ? 1 : 0;
    }
    EXPECT_EQ(levels, shape.levels) << shape.tree;
    EXPECT_EQ(leaves, shape.leaves) << shape.tree;
  }
}

TEST(SpecTree, DrawsRandomTreesOfTheDepthAsked) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    EXPECT_EQ(deepest_level(generate_family("spec_tree:contexts=2,tree=random,queries=8,levels=6", seed)), 6);
  }
}

}  // namespace
}  // namespace espalier::traces

// What the published planners of trees decide, against the figures their own planners give: items, partial rows, cut
// sizes and traffic on four trees and on the shapes of their suites. PAT's are in pat_rules_test.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "scheduler/validate.h"
#include "tests/scheduler/tree_figures.h"

namespace espalier::scheduler {
namespace {

using traces::PrefixForest;

TEST(DeftNode, HasThePublishedItems) {
  expect_figures("deft_node", four_trees(),
                 {.heads = "32/32/128",
                  .items = {66, 304, 1088, 160},
                  .most_partials = {},
                  .longest = {8192, 2048, 2048, 128},
                  .traffic = {},
                  .rows = {}});
}

TEST(DeftNodeChunk, CutsNodesEvery128Tokens) {
  const Plan plan = plan_of("deft_node_chunk", traces::parse_tree("1,64|8192,300"), "32/8/128", KernelSet::published);
  EXPECT_EQ(items(plan), 2 * 64 + 64 * 3);
  EXPECT_EQ(statistics(plan).longest_task_tokens, 128);
  EXPECT_EQ(plan.tasks[TaskId(0)].head_count, 1);
  EXPECT_EQ(plan.tasks[TaskId(0)].copies, 32);
}

TEST(FastTree, HasThePublishedVnodes) {
  expect_figures("fasttree", four_trees(),
                 {.heads = "32/32/128",
                  .items = {72, 300, 1088, 126},
                  .most_partials = {},
                  .longest = {},
                  .traffic = {1.00, 1.14, 1.21, 1.01},
                  .rows = {9, 5, 4, 33.2}});
  expect_figures("fasttree", four_trees(),
                 {.heads = "32/8/128",
                  .items = {160, 336, 1216, 213},
                  .most_partials = {},
                  .longest = {1024, 1024, 1024, 256},
                  .traffic = {2.00, 1.82, 1.97, 1.76},
                  .rows = {}});
  expect_pat_traffic("fasttree");
}

TEST(FastTree, ChangesTilesInTheThirdRound) {
  // Sixteen heads a group: tiles of 4 and 1 request become 4 and 4; 160 vnodes then hold more than the one request they
  // were launched for.
  const Plan plan = plan_of("fasttree", traces::parse_tree("1,16,64|1024,256,32"), "16/1/128", KernelSet::published);
  EXPECT_EQ(items(plan), 224);
  EXPECT_EQ(
      std::count_if(plan.tasks.begin(), plan.tasks.end(), [](const Task& task) { return task.queries.size() > 1; }),
      160);
  ASSERT_EQ(plan.launches.size(), 2u);
  EXPECT_EQ(plan.kernels[plan.phases[0].kernel].name, "fasttree_m64");
  EXPECT_THAT(plan.provenance.why.back(), testing::HasSubstr("3 rounds"));
}

TEST(FastTree, AbsorbsTheRootWhereTilesFillExactly) {
  // At 32/8 every one of the 32 middle nodes reads the root of 2,048 tokens itself.
  const Plan plan = plan_of("fasttree", traces::parse_tree("1,32,1024|2048,512,128"), "32/8/128");
  EXPECT_THAT(plan.provenance.why.front(), testing::HasSubstr("32 of 1057 nodes"));
  for (const Task& task : plan.tasks) EXPECT_LE(task.queries.size(), 16);
}

TEST(Relay, ReadsOnlyTheCommonPrefixOnce) {
  const PrefixForest forest = traces::parse_tree("1,4,64|1024,256,128");
  for (const KernelSet kernels : {KernelSet::ours, KernelSet::published}) {
    const Plan plan = plan_of("relay", forest, "32/32/128", kernels);
    EXPECT_EQ(statistics(plan).requested_kv_tokens, 1024 + 64 * (256 + 128));
  }
  EXPECT_EQ(refusal_of("relay", traces::parse_tree("2,8|64,64"), "32/8/128").refusal, RefusalClass::structure);
}

TEST(Relay, FusesTwoRowsARequest) {
  const Plan plan = plan_of("relay", traces::parse_tree("1,64|4096,256"), "32/32/128", KernelSet::published);
  // Prefix split 8-fold, combined, rests whole, fused.
  ASSERT_EQ(plan.launches.size(), 4u);
  for (const ReductionStep& step : plan.steps) {
    if (!step.out.valid()) {
      EXPECT_EQ(step.inputs.size(), 2);
    }
  }
  EXPECT_EQ(violations_text(validate(plan, h100())), "valid");
}

TEST(Hydragen, LaunchesALevelAtATime) {
  const PrefixForest forest = traces::parse_tree("1,4,64|1024,256,128");
  const Plan plan = plan_of("hydragen", forest, "32/32/128");
  EXPECT_EQ(statistics(plan).requested_kv_tokens, traces::unique_tokens(forest));
  EXPECT_EQ(plan.launches.size(), 4u);  // two shared levels, the rest, one merge
  const Plan published = plan_of("hydragen", forest, "32/8/128", KernelSet::published);
  EXPECT_FALSE(published.provenance.graph_safe);
  for (const ReductionStep& step : published.steps) {
    if (!step.out.valid()) {
      EXPECT_EQ(step.inputs.size(), 3);
    }
  }
}

TEST(Hydragen, RefusesUnequalBranching) {
  traces::ForestSource source;
  source.name = "a pair and a triple";
  source.parent = {-1, 0, 0};
  source.tokens = {64, 32, 32};
  source.leaf = {1, 1, 2, 2, 2};
  const Refusal refusal = refusal_of("hydragen", traces::make_forest(source), "32/8/128");
  EXPECT_EQ(refusal.refusal, RefusalClass::structure);
  EXPECT_EQ(refusal.sentence, "hydragen needs equal branching: segments of level 1 serve 2 to 3 requests");
  source.leaf = {0, 1, 1, 2, 2};
  EXPECT_EQ(refusal_of("hydragen", traces::make_forest(source), "32/8/128").sentence,
            "hydragen needs every request on every shared level: level 1 serves 4 of 5 requests");
}

TEST(ChunkAttention, SharesFullChunksThatAreNotTheLast) {
  // 130 shared tokens: chunks 0 and 1 are full and shared by all; the third begins in the root and ends in each leaf.
  const Plan plan = plan_of("chunk_attention", traces::parse_tree("1,5|130,62"), "32/32/128", KernelSet::published);
  EXPECT_EQ(items(plan), 2 + 5);
  EXPECT_EQ(plan.phases.size(), 2u);
  EXPECT_EQ(plan.kernels[plan.phases[0].kernel].name, "chunk_attention_m16");
  for (std::int32_t t = 2; t < 7; ++t) {
    EXPECT_EQ(plan.tasks[TaskId(t)].folds.size(), 2);
    EXPECT_EQ(task_shape(plan, plan.tasks[TaskId(t)]).kv_tokens, 64);
  }
  // Ends with the second chunk: the first alone is shared.
  traces::ForestSource twins;
  twins.name = "twins";
  twins.parent = {-1};
  twins.tokens = {128};
  twins.leaf = {0, 0, 0};
  EXPECT_EQ(items(plan_of("chunk_attention", traces::make_forest(twins), "32/32/128")), 1 + 3);
}

TEST(ChunkAttention, RefusesWhatItsKernelsLack) {
  const PrefixForest small = traces::parse_tree("1,4|256,64"), large = traces::parse_tree("1,129|256,64");
  EXPECT_EQ(refusal_of("chunk_attention", small, "32/8/128", KernelSet::published).refusal, RefusalClass::heads);
  EXPECT_EQ(refusal_of("chunk_attention", small, "32/32/64", KernelSet::published).refusal, RefusalClass::heads);
  EXPECT_EQ(refusal_of("chunk_attention", large, "32/32/128", KernelSet::published).refusal, RefusalClass::size);
  EXPECT_EQ(items(plan_of("chunk_attention", large, "32/8/128")), 4 * 5 + 129);  // 32 requests a tile of 128 rows
}

TEST(CodecRelease, MakesAnItemAPageAnd16Queries) {
  const Plan plan = plan_of("codec_release", traces::parse_tree("1,40|2500,300"), "32/8/128", KernelSet::published);
  EXPECT_EQ(items(plan), 3 * 3 + 40);
  EXPECT_EQ(statistics(plan).longest_task_tokens, 1024);
  // The first request's pages, then its leaf and those of the next; the second tile of the root's queries after 16
  // leaves.
  EXPECT_EQ(plan.tasks[TaskId(3)].queries, (Interval{0, 1}));
  EXPECT_EQ(plan.tasks[TaskId(19)].queries, (Interval{16, 32}));
  // Attention, pages within a node, parents into children.
  EXPECT_EQ(plan.launches.size(), 3u);
  EXPECT_EQ(plan_of("codec_release", traces::parse_tree("1,40|2500,300"), "32/8/128").launches.size(), 1u);
}

TEST(CodecRelease, MergesOneLongRequest) {
  // The released code returns the first page alone here.
  const Plan plan =
      plan_of("codec_release", traces::parse_tree("1,1,1|1024,1024,1024"), "32/8/128", KernelSet::published);
  EXPECT_EQ(items(plan), 3);
  EXPECT_EQ(violations_text(validate(plan, h100())), "valid");
  EXPECT_EQ(refusal_of("codec_release:page=16", traces::parse_tree("1|4096"), "32/8/128", KernelSet::published).refusal,
            RefusalClass::size);
}

TEST(FastTree, WithoutTheGreedyStepEveryNodeKeepsItsQueries) {
  const PrefixForest forest = traces::parse_tree("1,2,4,8,16,32,64,128,1024|256,128,64,16,16,16,16,16,16");
  const Plan greedy = plan_of("fasttree", forest, "32/32/128", KernelSet::published);
  const Plan apart = plan_of("fasttree:greedy=0", forest, "32/32/128", KernelSet::published);
  EXPECT_THAT(greedy.provenance.why.front(), ::testing::Not(::testing::StartsWith("0 of 1279 nodes")));
  EXPECT_THAT(apart.provenance.why.front(), ::testing::StartsWith("0 of 1279 nodes"));
  EXPECT_TRUE(validate(apart, h100()).empty());
}

TEST(DeftRewrite, WalksTheTilesOfABlockInOneQueue) {
  // 100 requests over one node of two blocks: 7 tiles of 16 requests (64 rows) a block, 8 KV heads.
  const Plan plan =
      plan_of("deft_flatten:rewrite=1", traces::parse_tree("1,100|256,1"), "32/8/128", KernelSet::published);
  EXPECT_TRUE(validate(plan, h100()).empty());
  EXPECT_EQ(plan.kernels[plan.phases[0].kernel].name, "deft_rewrite");
  const Launch& launch = plan.launches[LaunchId(0)];
  EXPECT_EQ(launch.workers, 3 * 8);
  for (std::int32_t w = 0; w < launch.workers; ++w) {
    const Interval items = plan.queues[static_cast<std::size_t>(launch.queue_begin + w)];
    EXPECT_EQ(items.size(), 7) << w;
  }
}

}  // namespace
}  // namespace espalier::scheduler

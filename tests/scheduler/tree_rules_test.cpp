// What the published planners of trees decide, against the figures their own planners give: items, partial rows, cut
// sizes and traffic on four trees and on the shapes of their suites.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "scheduler/plan_statistics.h"
#include "scheduler/strategy.h"
#include "scheduler/validate.h"
#include "traces/families.h"
#include "traces/import.h"

namespace espalier::scheduler {
namespace {

using traces::PrefixForest;

const costmodel::DeviceSpec& h100() {
  static const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  return device;
}

PlanResult result_of(std::string_view strategy, const PrefixForest& forest, const char* heads,
                     KernelSet kernels = KernelSet::ours) {
  return make_plan(parse_strategy(strategy), PlanRequest{forest, traces::parse_heads(heads), h100(), kernels});
}

Plan plan_of(std::string_view strategy, const PrefixForest& forest, const char* heads,
             KernelSet kernels = KernelSet::ours) {
  PlanResult result = result_of(strategy, forest, heads, kernels);
  if (const Refusal* refusal = std::get_if<Refusal>(&result)) {
    throw std::runtime_error(std::string(strategy) + ": " + refusal->sentence);
  }
  return std::get<Plan>(std::move(result));
}

Refusal refusal_of(std::string_view strategy, const PrefixForest& forest, const char* heads,
                   KernelSet kernels = KernelSet::ours) {
  const PlanResult result = result_of(strategy, forest, heads, kernels);
  const Refusal* refusal = std::get_if<Refusal>(&result);
  return refusal == nullptr ? Refusal{RefusalClass::heads, "a plan"} : *refusal;
}

enum class SpineFirst : bool { no, yes };

/// 64 spine segments of 128 tokens with a leaf of 128 on each; requests in the order of the spine or against it.
PrefixForest caterpillar(SpineFirst spine_first) {
  traces::ForestSource source;
  source.name = "S4";
  for (std::int64_t i = 0; i < 64; ++i) source.parent.push_back(i - 1);
  if (spine_first == SpineFirst::no) {
    source.parent.clear();
    for (std::int64_t i = 0; i < 64; ++i) {
      source.parent.insert(source.parent.end(), {i == 0 ? -1 : 2 * (i - 1), 2 * i});
      source.leaf.push_back(2 * i + 1);
    }
  } else {
    for (std::int64_t i = 0; i < 64; ++i) {
      source.parent.push_back(i);
      source.leaf.push_back(64 + i);
    }
  }
  source.tokens.assign(128, 128);
  return traces::make_forest(source);
}

std::vector<PrefixForest> four_trees() {
  std::vector<PrefixForest> trees;
  for (const char* tree : {"1,64|8192,256", "1,4,32,256|2048,512,256,128", "1,32,1024|2048,512,128"}) {
    trees.push_back(traces::parse_tree(tree));
  }
  trees.push_back(caterpillar(SpineFirst::no));
  return trees;
}

std::vector<PrefixForest> three_trees() {
  std::vector<PrefixForest> trees = four_trees();
  trees.pop_back();
  return trees;
}

std::int64_t items(const Plan& plan) {
  return std::count_if(plan.tasks.begin(), plan.tasks.end(),
                       [](const Task& task) { return task.kind == TaskKind::attend; });
}

double rows_per_request(const Plan& plan) {
  double rows = 0;
  for (const Task& task : plan.tasks) rows += task.queries.size();
  return rows / static_cast<double>(plan.forest.request_count());
}

/// Half a unit of the last digit of a published ratio.
constexpr double kDigit = 0.005 + 1e-9;

struct TreeFigures {
  const char* heads;
  std::vector<std::int64_t> items, most_partials, longest;
  std::vector<double> traffic, rows;
};

void expect_figures(const std::string& strategy, const std::vector<PrefixForest>& trees, const TreeFigures& want) {
  for (const KernelSet kernels : {KernelSet::ours, KernelSet::published}) {
    for (std::size_t i = 0; i < trees.size(); ++i) {
      SCOPED_TRACE(testing::Message() << strategy << " on " << trees[i].name << " at " << want.heads
                                      << (kernels == KernelSet::ours ? " ours" : " published"));
      const Plan plan = plan_of(strategy, trees[i], want.heads, kernels);
      const PlanStatistics figures = statistics(plan);
      if (!want.items.empty()) {
        EXPECT_EQ(items(plan), want.items[i]);
      }
      if (!want.most_partials.empty()) {
        EXPECT_EQ(figures.max_partials_per_request, want.most_partials[i]);
      }
      if (!want.longest.empty()) {
        EXPECT_EQ(figures.longest_task_tokens, want.longest[i]);
      }
      if (!want.traffic.empty()) {
        EXPECT_NEAR(figures.requested_over_unique, want.traffic[i], kDigit);
      }
      if (!want.rows.empty()) {
        EXPECT_NEAR(rows_per_request(plan), want.rows[i], 0.05);
      }
    }
  }
}

struct Traffic {
  const char* tree;
  double gqa, mha;  ///< KV tokens requested / unique at 32/8 and at 32/32
};
/// Shapes 1, 3, 6, 7, 10, 11 and 14 of PAT's kernel benchmark; FastTree's planner and PAT's give the same figures.
const Traffic kPatShapes[] = {{"1,10|4096,416", 1.00, 1.00},
                              {"1,1024|2048,32", 4.71, 1.88},
                              {"1,8,512|32,512,256", 1.10, 1.00},
                              {"1,8,512|32,2048,256", 1.34, 1.00},
                              {"1,4,16,512|1024,256,128,32", 3.00, 1.40},
                              {"1,4,16,64,256,1024|256,32,256,64,32,256", 1.11, 1.02},
                              {"1,8,16,32,64,128,1024|256,128,64,32,32,32,32", 1.65, 1.14}};

void expect_pat_traffic(std::string_view strategy) {
  for (const Traffic& shape : kPatShapes) {
    const PrefixForest forest = traces::parse_tree(shape.tree);
    for (const KernelSet kernels : {KernelSet::ours, KernelSet::published}) {
      EXPECT_NEAR(statistics(plan_of(strategy, forest, "32/8/128", kernels)).requested_over_unique, shape.gqa, kDigit)
          << shape.tree;
      EXPECT_NEAR(statistics(plan_of(strategy, forest, "32/32/128", kernels)).requested_over_unique, shape.mha, kDigit)
          << shape.tree;
    }
  }
}

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

TEST(Pat, HasThePublishedBoxesOfBothPlanners) {
  expect_figures("pat", three_trees(),
                 {.heads = "32/32/128",
                  .items = {87, 352, 1264},
                  .most_partials = {24, 18, 15},
                  .longest = {},
                  .traffic = {1.00, 1.14, 1.21},
                  .rows = {}});
  expect_figures("pat", three_trees(),
                 {.heads = "32/8/128",
                  .items = {112, 448, 1664},
                  .most_partials = {13, 12, 11},
                  .longest = {},
                  .traffic = {2.00, 1.82, 1.97},
                  .rows = {}});
  expect_figures("pat:planner=1", three_trees(),
                 {.heads = "32/32/128",
                  .items = {65, 292, 1072},
                  .most_partials = {2, 3, 3},
                  .longest = {},
                  .traffic = {1.00, 1.14, 1.21},
                  .rows = {2, 3, 3}});
  expect_figures("pat:planner=1", three_trees(),
                 {.heads = "32/8/128",
                  .items = {68, 304, 1088},
                  .most_partials = {2, 3, 2},
                  .longest = {8192, 2560, 2560},
                  .traffic = {2.00, 1.82, 1.97},
                  .rows = {}});
}

TEST(Pat, RefusesMoreThan32PartialRows) {
  const Refusal refusal = refusal_of("pat", caterpillar(SpineFirst::no), "32/32/128");
  EXPECT_EQ(refusal.refusal, RefusalClass::size);
  EXPECT_EQ(refusal.sentence, "a request would have 48 partial rows, PAT's merge takes 32");
  EXPECT_EQ(refusal_of("pat", caterpillar(SpineFirst::no), "32/8/128", KernelSet::published).sentence,
            "a request would have 46 partial rows, PAT's merge takes 32");
}

TEST(Pat, HasThePublishedBoxesOfACaterpillarWhenItMay) {
  // The package's Python planner visits a node's leaf before the rest of the spine, the one in C++ after it.
  const struct {
    SpineFirst order;
    const char* heads;
    std::int64_t items, most, longest;
    double traffic, rows;
  } rows[] = {{SpineFirst::no, "32/32/128", 127, 48, 256, 1.12, 21.5},
              {SpineFirst::no, "32/8/128", 176, 46, 384, 1.87, 20.56},
              {SpineFirst::yes, "32/32/128", 111, 48, 256, 1.12, 21.2},
              {SpineFirst::yes, "32/8/128", 161, 46, 384, 1.87, 20.33}};
  for (const auto& row : rows) {
    const Plan plan = plan_of("pat:splits=4096", caterpillar(row.order), row.heads);
    const PlanStatistics figures = statistics(plan);
    EXPECT_EQ(items(plan), row.items);
    EXPECT_EQ(figures.max_partials_per_request, row.most);
    EXPECT_EQ(figures.longest_task_tokens, row.longest);
    EXPECT_NEAR(figures.requested_over_unique, row.traffic, kDigit);
    EXPECT_NEAR(rows_per_request(plan), row.rows, 0.05);
  }
}

TEST(Pat, RequestsThePublishedTraffic) {
  expect_pat_traffic("pat");
  expect_pat_traffic("pat:planner=1");
}

TEST(Pat, ChoosesTilesByRowsAndTokens) {
  // Root boxes: 16 requests of 4 heads x 96 tokens; leaves: one request x 20, 40 or 100 tokens.
  traces::ForestSource source;
  source.name = "mixed lengths";
  source.parent = {-1};
  source.tokens = {96};
  for (std::int64_t i = 0; i < 48; ++i) {
    source.parent.push_back(0);
    source.tokens.push_back(i % 3 == 0 ? 20 : i % 3 == 1 ? 40 : 100);
    source.leaf.push_back(i + 1);
  }
  const Plan plan = plan_of("pat", traces::make_forest(source), "32/8/128", KernelSet::published);
  std::vector<std::string> names;
  std::set<std::int32_t> streams;
  for (const Phase& phase : plan.phases) names.push_back(plan.kernels[phase.kernel].name);
  for (const Launch& launch : plan.launches) streams.insert(launch.stream);
  EXPECT_THAT(names, testing::ElementsAre("pat_m64_n64", "pat_m16_n16", "pat_m16_n32", "pat_m16_n64", "pat_gather"));
  EXPECT_EQ(streams.size(), 4u);
  EXPECT_EQ(plan.launches[LaunchId(4)].dependencies.size(), 4);
}

TEST(Pat, AbsorbsWhereNoTileIsAdded) {
  // 17 requests at 32/8: the last child of one request saves the second root tile. 18 children of the root, one
  // absorbed.
  const Plan plan = plan_of("pat", traces::parse_tree("1,17|4096,64"), "32/8/128", KernelSet::published);
  EXPECT_THAT(plan.provenance.why.front(), testing::HasSubstr("1 of 18 nodes"));
}

TEST(Pat, HalvesUntilThereAreEnoughBoxes) {
  // One request of 4,096 tokens and 4 KV heads: 54 boxes are wanted, a request may have 32 partial rows.
  const Plan plan = plan_of("pat", traces::parse_tree("1|4096"), "16/4/128", KernelSet::published);
  EXPECT_EQ(items(plan), 32);
  EXPECT_EQ(statistics(plan).longest_task_tokens, 128);
  EXPECT_EQ(items(plan_of("pat", traces::parse_tree("1|4096"), "32/16/128", KernelSet::published)), 13);
}

TEST(Pat, KeepsItsPromisesOnRaggedForests) {
  // Where the published slots collide: every plan must be valid, with both planners, both rules of edges and its own
  // kernels.
  int plans = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    const PrefixForest forest = traces::generate_family("random:nodes=40,requests=60,tokens=600", seed);
    for (const char* strategy : {"pat", "pat:planner=1", "pat:model=1"}) {
      const PlanResult result =
          result_of(strategy, forest, seed % 2 == 0 ? "32/8/128" : "16/8/64", KernelSet::published);
      if (const Plan* plan = std::get_if<Plan>(&result)) {
        EXPECT_EQ(violations_text(validate(*plan, h100())), "valid") << strategy << " " << forest.name;
        ++plans;
      }
    }
  }
  EXPECT_GT(plans, 100);
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

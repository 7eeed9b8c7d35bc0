// What PAT's two planners decide, against the figures they give themselves: boxes, partial rows, tiles and traffic.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "scheduler/validate.h"
#include "tests/scheduler/tree_figures.h"
#include "traces/families.h"

namespace espalier::scheduler {
namespace {

using traces::PrefixForest;

std::vector<PrefixForest> three_trees() {
  std::vector<PrefixForest> trees = four_trees();
  trees.pop_back();
  return trees;
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

}  // namespace
}  // namespace espalier::scheduler

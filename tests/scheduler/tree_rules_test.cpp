// What the published planners of trees decide, against the figures their own planners give: items, partial rows, cut sizes and
// traffic on four trees and on the shapes of their suites.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
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

PlanResult result_of(std::string_view strategy, const PrefixForest& forest, const char* heads, KernelSet kernels = KernelSet::ours) {
  return make_plan(parse_strategy(strategy), PlanRequest{forest, traces::parse_heads(heads), h100(), kernels});
}

Plan plan_of(std::string_view strategy, const PrefixForest& forest, const char* heads, KernelSet kernels = KernelSet::ours) {
  PlanResult result = result_of(strategy, forest, heads, kernels);
  if (const Refusal* refusal = std::get_if<Refusal>(&result)) throw std::runtime_error(std::string(strategy) + ": " + refusal->sentence);
  return std::get<Plan>(std::move(result));
}

Refusal refusal_of(std::string_view strategy, const PrefixForest& forest, const char* heads, KernelSet kernels = KernelSet::ours) {
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

std::vector<PrefixForest> four_trees(SpineFirst spine_first = SpineFirst::no) {
  std::vector<PrefixForest> trees;
  for (const char* tree : {"1,64|8192,256", "1,4,32,256|2048,512,256,128", "1,32,1024|2048,512,128"}) trees.push_back(traces::parse_tree(tree));
  trees.push_back(caterpillar(spine_first));
  return trees;
}

std::int64_t items(const Plan& plan) {
  return std::count_if(plan.tasks.begin(), plan.tasks.end(), [](const Task& task) { return task.kind == TaskKind::attend; });
}

double rows_per_request(const Plan& plan) {
  double rows = 0;
  for (const Task& task : plan.tasks) rows += task.queries.size();
  return rows / static_cast<double>(plan.forest.request_count());
}

double hundredths(double value) { return std::round(100 * value) / 100; }

struct TreeFigures {
  const char* heads;
  std::vector<std::int64_t> items, most_partials, longest;
  std::vector<double> traffic, rows;
};

void expect_figures(const std::string& strategy, const std::vector<PrefixForest>& trees, const TreeFigures& want) {
  for (const KernelSet kernels : {KernelSet::ours, KernelSet::published}) {
    for (std::size_t i = 0; i < trees.size(); ++i) {
      SCOPED_TRACE(testing::Message() << strategy << " on " << trees[i].name << " at " << want.heads << (kernels == KernelSet::ours ? " ours" : " published"));
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
        EXPECT_DOUBLE_EQ(hundredths(figures.requested_over_unique), want.traffic[i]);
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
      EXPECT_DOUBLE_EQ(hundredths(statistics(plan_of(strategy, forest, "32/8/128", kernels)).requested_over_unique), shape.gqa) << shape.tree;
      EXPECT_DOUBLE_EQ(hundredths(statistics(plan_of(strategy, forest, "32/32/128", kernels)).requested_over_unique), shape.mha) << shape.tree;
    }
  }
}

TEST(DeftNode, HasThePublishedItems) {
  expect_figures("deft_node", {traces::parse_tree("1,64|8192,256"), traces::parse_tree("1,4,32,256|2048,512,256,128"), traces::parse_tree("1,32,1024|2048,512,128"),
                               caterpillar(SpineFirst::no)},
                 {.heads = "32/32/128", .items = {66, 304, 1088, 160}, .most_partials = {}, .longest = {8192, 2048, 2048, 128}, .traffic = {}, .rows = {}});
}

TEST(DeftNodeChunk, CutsNodesEvery128Tokens) {
  const Plan plan = plan_of("deft_node_chunk", traces::parse_tree("1,64|8192,300"), "32/8/128", KernelSet::published);
  EXPECT_EQ(items(plan), 2 * 64 + 64 * 3);
  EXPECT_EQ(statistics(plan).longest_task_tokens, 128);
  EXPECT_EQ(plan.tasks[TaskId(0)].head_count, 1);
  EXPECT_EQ(plan.tasks[TaskId(0)].copies, 32);
}

TEST(FastTree, HasThePublishedVnodes) {
  expect_figures("fasttree", four_trees(), {.heads = "32/32/128", .items = {72, 300, 1088, 126}, .most_partials = {}, .longest = {},
                                            .traffic = {1.00, 1.14, 1.21, 1.01}, .rows = {9, 5, 4, 33.2}});
  expect_figures("fasttree", four_trees(), {.heads = "32/8/128", .items = {160, 336, 1216, 213}, .most_partials = {},
                                            .longest = {1024, 1024, 1024, 256}, .traffic = {2.00, 1.82, 1.97, 1.76}, .rows = {}});
  expect_pat_traffic("fasttree");
}

TEST(FastTree, ChangesTilesInTheThirdRound) {
  // Sixteen heads a group: tiles of 4 and 1 request become 4 and 4; 160 vnodes then hold more than the one request they were launched for.
  const Plan plan = plan_of("fasttree", traces::parse_tree("1,16,64|1024,256,32"), "16/1/128", KernelSet::published);
  EXPECT_EQ(items(plan), 224);
  EXPECT_EQ(std::count_if(plan.tasks.begin(), plan.tasks.end(), [](const Task& task) { return task.queries.size() > 1; }), 160);
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

}  // namespace
}  // namespace espalier::scheduler

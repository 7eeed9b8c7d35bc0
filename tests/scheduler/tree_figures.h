// Trees that planners were published with, and the figures that their own planners give on them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "scheduler/plan_statistics.h"
#include "scheduler/strategy.h"
#include "traces/import.h"

namespace espalier::scheduler {

inline const costmodel::DeviceSpec& h100() {
  static const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  return device;
}

inline PlanResult result_of(std::string_view strategy, const traces::PrefixForest& forest, const char* heads,
                            KernelSet kernels = KernelSet::ours) {
  return make_plan(parse_strategy(strategy), PlanRequest{forest, traces::parse_heads(heads), h100(), kernels});
}

inline Plan plan_of(std::string_view strategy, const traces::PrefixForest& forest, const char* heads,
                    KernelSet kernels = KernelSet::ours) {
  PlanResult result = result_of(strategy, forest, heads, kernels);
  if (const Refusal* refusal = std::get_if<Refusal>(&result)) {
    throw std::runtime_error(std::string(strategy) + ": " + refusal->sentence);
  }
  return std::get<Plan>(std::move(result));
}

inline Refusal refusal_of(std::string_view strategy, const traces::PrefixForest& forest, const char* heads,
                          KernelSet kernels = KernelSet::ours) {
  const PlanResult result = result_of(strategy, forest, heads, kernels);
  const Refusal* refusal = std::get_if<Refusal>(&result);
  return refusal == nullptr ? Refusal{RefusalClass::heads, "a plan"} : *refusal;
}

enum class SpineFirst : bool { no, yes };

/// 64 spine segments of 128 tokens with a leaf of 128 on each; requests in the order of the spine or against it.
inline traces::PrefixForest caterpillar(SpineFirst spine_first) {
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

inline std::vector<traces::PrefixForest> four_trees() {
  std::vector<traces::PrefixForest> trees;
  for (const char* tree : {"1,64|8192,256", "1,4,32,256|2048,512,256,128", "1,32,1024|2048,512,128"}) {
    trees.push_back(traces::parse_tree(tree));
  }
  trees.push_back(caterpillar(SpineFirst::no));
  return trees;
}

inline std::int64_t items(const Plan& plan) {
  return std::count_if(plan.tasks.begin(), plan.tasks.end(),
                       [](const Task& task) { return task.kind == TaskKind::attend; });
}

inline double rows_per_request(const Plan& plan) {
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

inline void expect_figures(const std::string& strategy, const std::vector<traces::PrefixForest>& trees,
                           const TreeFigures& want) {
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
inline const Traffic kPatShapes[] = {{"1,10|4096,416", 1.00, 1.00},
                                     {"1,1024|2048,32", 4.71, 1.88},
                                     {"1,8,512|32,512,256", 1.10, 1.00},
                                     {"1,8,512|32,2048,256", 1.34, 1.00},
                                     {"1,4,16,512|1024,256,128,32", 3.00, 1.40},
                                     {"1,4,16,64,256,1024|256,32,256,64,32,256", 1.11, 1.02},
                                     {"1,8,16,32,64,128,1024|256,128,64,32,32,32,32", 1.65, 1.14}};

inline void expect_pat_traffic(std::string_view strategy) {
  for (const Traffic& shape : kPatShapes) {
    const traces::PrefixForest forest = traces::parse_tree(shape.tree);
    for (const KernelSet kernels : {KernelSet::ours, KernelSet::published}) {
      EXPECT_NEAR(statistics(plan_of(strategy, forest, "32/8/128", kernels)).requested_over_unique, shape.gqa, kDigit)
          << shape.tree;
      EXPECT_NEAR(statistics(plan_of(strategy, forest, "32/32/128", kernels)).requested_over_unique, shape.mha, kDigit)
          << shape.tree;
    }
  }
}

}  // namespace espalier::scheduler

// Plans whose tasks shall load in clusters.
#include "scheduler/multicast.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <variant>
#include <vector>

#include "scheduler/strategy.h"
#include "scheduler/validate.h"
#include "tests/property/forests.h"
#include "traces/import.h"

namespace espalier::scheduler {
namespace {

const costmodel::DeviceSpec& h100() {
  static const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  return device;
}

PlanResult planned(const std::string& strategy, const traces::PrefixForest& forest) {
  return make_plan(parse_strategy(strategy),
                   {.forest = forest, .heads = traces::parse_heads("32/8/128"), .device = h100()});
}

/// Writers of slots, and the readers' final rows: names a task whatever its place.
std::vector<std::pair<std::int32_t, std::int32_t>> names_of(const Plan& plan) {
  std::vector<std::pair<std::int32_t, std::int32_t>> names;
  for (const Task& task : plan.tasks) names.emplace_back(task.slot.value, task.queries.begin);
  return names;
}

TEST(Clusters, AreOfSixteenBlocksAtMost) {
  Plan plan = std::get<Plan>(planned("deft_node:queries=1,cluster=16", traces::parse_tree("1,64|1024,64")));
  EXPECT_TRUE(validate(plan, h100()).empty());
  for (costmodel::KernelConfig& kernel : plan.kernels) kernel.cluster = 17;
  seal(plan);
  const auto found = validate(plan, h100());
  ASSERT_FALSE(found.empty());
  EXPECT_THAT(found.front().sentence, testing::HasSubstr("resources are out of range"));
}

TEST(FormClusters, BringsTogetherWhatReadsAlikeAndChangesNothingElse) {
  // Hydragen puts one tile's pieces of the prefix before the other's.
  const traces::PrefixForest forest = traces::parse_tree("1,64|8192,128");
  const Plan apart = std::get<Plan>(planned("hydragen", forest)),
             together = std::get<Plan>(planned("hydragen:cluster=2", forest));
  EXPECT_TRUE(multicasts(apart).empty());
  const std::vector<Multicast> found = multicasts(together);
  ASSERT_GT(found.size(), 10U);
  for (const Multicast& m : found) EXPECT_EQ(m.count, 2);
  auto before = names_of(apart), after = names_of(together);
  EXPECT_NE(before, after);
  std::sort(before.begin(), before.end());
  std::sort(after.begin(), after.end());
  EXPECT_EQ(before, after);
  EXPECT_EQ(violations_text(validate(together, h100())), "valid");
  EXPECT_EQ(together.hash, plan_hash(together));
  EXPECT_NE(together.hash, apart.hash);
  EXPECT_EQ(together.provenance.options.at("cluster"), "2");
  EXPECT_THAT(together.provenance.why.back(), ::testing::HasSubstr("load their KV together"));
}

TEST(FormClusters, PullsNoMoreTasksForwardThanAClusterHolds) {
  const traces::PrefixForest forest = traces::parse_tree("1,64|4096,128");
  const Plan plan = std::get<Plan>(planned("deft_node_chunk:queries=8,cluster=3", forest));
  std::size_t threes = 0, twos = 0;
  for (const Multicast& m : multicasts(plan)) (m.count == 3 ? threes : twos)++;
  // Eight tiles of eight queries over each of 32 pieces.
  EXPECT_EQ(threes, 2U * 32);
  EXPECT_EQ(twos, 32U);
  // Four tiles, and the second pair comes when it would have come: behind the first pair's last piece.
  const Plan pairs = std::get<Plan>(planned("hydragen:cluster=2", traces::parse_tree("1,128|8192,128")));
  const auto begin_of = [&](const Multicast& m) {
    return pairs.segments[static_cast<std::size_t>(pairs.tasks[m.first].segments.begin)].token_begin;
  };
  const std::vector<Multicast> found = multicasts(pairs);
  ASSERT_GT(found.size(), 10U);
  EXPECT_LT(begin_of(found[0]), begin_of(found[1]));
}

TEST(FormClusters, LeavesPlansWithQueuesAndUnsharedTokensAlone) {
  const traces::PrefixForest forest = traces::parse_tree("1,64|8192,128"),
                             unshared = traces::make_forest(property::chain(1, 5000, true));
  for (const auto& [strategy, input] :
       {std::pair("lean:cluster=4", &forest), std::pair("flash_decoding:cluster=4", &unshared)}) {
    const Plan plan = std::get<Plan>(planned(strategy, *input));
    EXPECT_TRUE(multicasts(plan).empty()) << strategy;
    EXPECT_THAT(plan.provenance.why.back(), ::testing::HasSubstr("clusters of 4 share nothing")) << strategy;
  }
  const Plan queues = std::get<Plan>(planned("lean:cluster=4", forest));
  EXPECT_TRUE(std::all_of(queues.kernels.begin(), queues.kernels.end(),
                          [](const costmodel::KernelConfig& k) { return k.cluster == 1; }));
}

TEST(FormClusters, KeepsEveryStrategysPlanValid) {
  const traces::PrefixForest forest = traces::make_forest(property::random_source(11, 3000));
  std::size_t sharing = 0;
  for (const Strategy* strategy : strategies()) {
    const PlanResult result = planned(std::string(strategy->info().name) + ":cluster=3", forest);
    if (!std::holds_alternative<Plan>(result)) continue;
    const Plan& plan = std::get<Plan>(result);
    EXPECT_EQ(violations_text(validate(plan, h100())), "valid") << strategy->info().name;
    sharing += multicasts(plan).empty() ? 0 : 1;
  }
  EXPECT_GE(sharing, 5U);
}

}  // namespace
}  // namespace espalier::scheduler

#include "viz/model/selection.h"

#include <gtest/gtest.h>

#include "../property/forests.h"
#include "viz_samples.h"

namespace espalier::viz {
namespace {

bool has(const std::vector<std::int32_t>& ids, std::int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

TEST(Selection, NodeLightsItsRequestsTasksAndMerges) {
  const scheduler::Plan plan = plan_of("cascade", "1,4,16|4096,512,128");
  ASSERT_GT(plan.steps.size(), 0U);
  const PlanLinks links = link(plan);
  const Linked root = linked(plan, links, {ItemKind::node, 0});
  EXPECT_EQ(root.requests.size(), 16U);
  EXPECT_FALSE(root.tasks.empty());
  EXPECT_FALSE(root.merges.empty());
  const Linked child = linked(plan, links, {ItemKind::node, 1});
  EXPECT_EQ(child.requests, (std::vector<std::int32_t>{0, 1, 2, 3}));
  EXPECT_TRUE(child.has({ItemKind::request, 3}));
  EXPECT_FALSE(child.has({ItemKind::request, 4}));
}

TEST(Selection, LinksHoldInBothDirections) {
  for (const char* strategy :
       {"espalier", "flash_decoding", "cascade", "codec", "hydragen", "chunk_attention", "bifurcated", "lean"}) {
    const scheduler::Plan plan = plan_of(strategy, "1,3,12|5000,700,90");
    const PlanLinks links = link(plan);
    for (std::int32_t t = 0; t < static_cast<std::int32_t>(plan.tasks.size()); ++t) {
      const Linked task = linked(plan, links, {ItemKind::task, t});
      EXPECT_TRUE(task.has({ItemKind::task, t}));
      for (const std::int32_t n : task.nodes) {
        EXPECT_TRUE(linked(plan, links, {ItemKind::node, n}).has({ItemKind::task, t})) << strategy;
      }
      for (const std::int32_t r : task.requests) {
        EXPECT_TRUE(linked(plan, links, {ItemKind::request, r}).has({ItemKind::task, t})) << strategy;
      }
      for (const std::int32_t m : task.merges) {
        EXPECT_TRUE(linked(plan, links, {ItemKind::merge, m}).has({ItemKind::task, t})) << strategy;
      }
    }
    for (std::int32_t m = 0; m < static_cast<std::int32_t>(plan.steps.size()); ++m) {
      const Linked merge = linked(plan, links, {ItemKind::merge, m});
      EXPECT_FALSE(merge.tasks.empty()) << strategy;
      for (const std::int32_t r : merge.requests) {
        EXPECT_TRUE(linked(plan, links, {ItemKind::request, r}).has({ItemKind::merge, m})) << strategy;
      }
    }
  }
}

TEST(Selection, RequestLightsItsPathAndNoOther) {
  const scheduler::Plan plan = plan_of("codec", "1,3,12|5000,700,90");
  const Linked request = linked(plan, link(plan), {ItemKind::request, 5});
  EXPECT_EQ(request.requests, (std::vector<std::int32_t>{5}));
  std::vector<std::int32_t> path;
  for (const traces::NodeId n : traces::path_of(plan.forest, plan.forest.leaf[traces::RequestId(5)])) {
    path.push_back(n.value);
  }
  EXPECT_EQ(request.nodes, path);
  for (const std::int32_t t : request.tasks) {
    const scheduler::Interval q = plan.tasks[scheduler::TaskId(t)].queries;
    bool serves = false;
    for (std::int32_t i = q.begin; i < q.end; ++i) serves |= plan.query_rows[static_cast<std::size_t>(i)].value == 5;
    EXPECT_TRUE(serves);
  }
  EXPECT_TRUE(has(request.nodes, 0));
}

TEST(Selection, OutsideThePlanNothingIsLinked) {
  const scheduler::Plan plan = plan_of("flash_decoding", "1,2|64,8");
  const PlanLinks links = link(plan);
  for (const ItemKind kind : {ItemKind::none, ItemKind::node, ItemKind::request, ItemKind::task, ItemKind::merge}) {
    for (const std::int32_t index : {-1, 1'000'000}) {
      const Linked none = linked(plan, links, {kind, index});
      EXPECT_TRUE(none.nodes.empty() && none.requests.empty() && none.tasks.empty() && none.merges.empty());
    }
  }
}

}  // namespace
}  // namespace espalier::viz

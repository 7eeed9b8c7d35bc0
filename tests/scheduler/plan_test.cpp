// What a plan means: segments, shapes, hash, growth.
#include "scheduler/plan.h"

#include <gmock/gmock.h>

#include <functional>

#include "core/error.h"
#include "costmodel/device_spec.h"
#include "scheduler/validate.h"
#include "tests/scheduler/node_plans.h"

namespace espalier::scheduler {
namespace {

using node_plans::node_plan;
using node_plans::small_forest;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Segment, ReachesTheNodesEndWhenOpen) {
  const Plan plan = node_plan(small_forest(), node_plans::heads(), 16, 64);
  EXPECT_EQ(segment_tokens(plan, plan.segments[0]), 64);
  EXPECT_EQ(plan.segments[1].token_end, kToNodeEnd);
  EXPECT_EQ(segment_end(plan, plan.segments[1]), 100);
  EXPECT_EQ(segment_tokens(plan, plan.segments[1]), 36);
}

TEST(TaskKernels, AreThoseOfTheirPhase) {
  const Plan plan = node_plan(small_forest(), node_plans::heads());
  EXPECT_EQ(task_kernels(plan)[TaskId(2)], KernelId(0));
  EXPECT_EQ(step_kernels(plan)[StepId(1)], KernelId(1));
  Plan bare = plan;
  bare.phases.clear();
  EXPECT_FALSE(task_kernels(bare)[TaskId(0)].valid());
  EXPECT_FALSE(step_kernels(bare)[StepId(0)].valid());
}

TEST(TaskShape, CountsTokensAndVisiblePairs) {
  Plan plan = node_plan(small_forest(), node_plans::heads());
  Task task = plan.tasks[TaskId(0)];
  auto shape = task_shape(plan, task);
  EXPECT_EQ(shape.queries, 4);
  EXPECT_EQ(shape.heads, 2);
  EXPECT_EQ(shape.kv_tokens, 100);
  EXPECT_EQ(shape.visible_pairs, 400);
  EXPECT_TRUE(shape.writes_partial);
  // Root for all four, node a for the twins: rows 1 and 2 of the group.
  plan.segments.push_back({NodeId(0), 10, 90, 0, 4});
  plan.segments.push_back({NodeId(1), 0, kToNodeEnd, 1, 3});
  task.segments = {3, 5};
  task.slot = SlotId();
  shape = task_shape(plan, task);
  EXPECT_EQ(shape.segments, 2);
  EXPECT_EQ(shape.kv_tokens, 100);
  EXPECT_EQ(shape.visible_pairs, 320 + 40);
  EXPECT_FALSE(shape.writes_partial);
}

TEST(TaskShape, CountsOnlyTheFoldedRowsOfItsOwnQueries) {
  Plan plan = node_plan(small_forest(), node_plans::heads());
  plan.fold_slots = {SlotId(0), SlotId(1), SlotId(2)};  // of requests 0-3, 1-2 and 3
  Task task = plan.tasks[TaskId(1)];                    // requests 1-2
  task.folds = {0, 3};
  EXPECT_EQ(task_shape(plan, task).folded_rows, 4);
  EXPECT_EQ(task_shape(plan, task).folded_columns, 0);
}

TEST(TaskShape, ReadsAllScoresOfAQueryInOneRow) {
  Plan plan = node_plan(small_forest(), node_plans::heads());
  for (Slot& slot : plan.slots) slot.kind = SlotKind::scores;
  plan.slots[SlotId(0)].columns = 100;
  plan.slots[SlotId(1)].columns = 20;
  plan.fold_slots = {SlotId(0), SlotId(1)};
  Task softmax;
  softmax.kind = TaskKind::softmax;
  softmax.queries = {1, 3};
  softmax.head_count = 2;
  softmax.folds = {0, 2};
  const auto shape = task_shape(plan, softmax);
  EXPECT_EQ(shape.role, costmodel::KernelRole::softmax);
  EXPECT_EQ(shape.folded_rows, 2);
  EXPECT_EQ(shape.folded_columns, 120);
  EXPECT_EQ(shape.kv_tokens, 0);
}

TEST(StepShape, SpeaksForAllRowsAndHeads) {
  const Plan plan = node_plan(small_forest(), node_plans::heads());
  const auto shape = step_shape(plan, plan.steps[StepId(1)]);
  EXPECT_EQ(shape, (costmodel::ReductionShape{2, 4, 2, false}));
}

TEST(PlanHash, DependsOnEveryColumn) {
  Plan plan = node_plan(small_forest(), node_plans::heads());
  plan.fold_slots = {SlotId(0)};
  plan.queues = {{0, 1}};
  plan.queue_items = {{TaskId(0), 0}};
  const std::vector<std::function<void(Plan&)>> changes{
      [](Plan& p) { ++p.forest.tokens[NodeId(0)]; },
      [](Plan& p) { p.forest.request_label[RequestId(0)] = "other"; },
      [](Plan& p) { ++p.heads.v_dim; },
      [](Plan& p) { p.heads.q_dtype = traces::Dtype::fp16; },
      [](Plan& p) { p.heads.v_in_k = true; },
      [](Plan& p) { p.heads.scale = 0.5; },
      [](Plan& p) { p.provenance.strategy += "x"; },
      [](Plan& p) { p.provenance.options["chunk"] = "65"; },
      [](Plan& p) { p.provenance.cost_model = "x"; },
      [](Plan& p) { p.provenance.device = "x"; },
      [](Plan& p) { p.provenance.kernels = "x"; },
      [](Plan& p) { ++p.provenance.seed; },
      [](Plan& p) { p.provenance.graph_safe = false; },
      [](Plan& p) { p.provenance.why.clear(); },
      [](Plan& p) { p.kernels[KernelId(0)].name += "x"; },
      [](Plan& p) { ++p.kernels[KernelId(0)].kv_tile; },
      [](Plan& p) { ++p.kernels[KernelId(0)].cluster; },
      [](Plan& p) { p.kernels[KernelId(0)].engine = costmodel::Engine::wgmma; },
      [](Plan& p) { p.kernels[KernelId(0)].role = costmodel::KernelRole::values; },
      [](Plan& p) { p.kernels[KernelId(0)].packs_heads = false; },
      [](Plan& p) { p.kernels[KernelId(0)].partial_dtype = traces::Dtype::bf16; },
      [](Plan& p) { p.kernels[KernelId(0)].overlap = 0.1; },
      [](Plan& p) { p.kernels[KernelId(0)].efficiency = 0.1; },
      [](Plan& p) { p.kernels[KernelId(0)].implemented = true; },
      [](Plan& p) { p.kernels[KernelId(0)].origin = "x"; },
      [](Plan& p) { p.launches[LaunchId(0)].follow = Follow::stream; },
      [](Plan& p) { p.dependencies[0] = LaunchId(1); },
      [](Plan& p) { p.phases[0].start = PhaseStart::barrier; },
      [](Plan& p) { p.tasks[TaskId(0)].kind = TaskKind::padding; },
      [](Plan& p) { ++p.tasks[TaskId(2)].folds.end; },
      [](Plan& p) { ++p.segments[0].token_begin; },
      [](Plan& p) { std::swap(p.query_rows[0], p.query_rows[1]); },
      [](Plan& p) { p.fold_slots[0] = SlotId(1); },
      [](Plan& p) { p.slots[SlotId(0)].kind = SlotKind::scores; },
      [](Plan& p) { ++p.slots[SlotId(0)].queries.begin; },
      [](Plan& p) { ++p.slots[SlotId(0)].queries.end; },
      [](Plan& p) { ++p.slots[SlotId(0)].head_begin; },
      [](Plan& p) { ++p.slots[SlotId(0)].head_count; },
      [](Plan& p) { p.slots[SlotId(0)].dtype = traces::Dtype::bf16; },
      [](Plan& p) { ++p.slots[SlotId(0)].columns; },
      [](Plan& p) { ++p.slots[SlotId(2)].offset; },
      [](Plan& p) { p.steps[StepId(0)].op = ReductionOp::sum; },
      [](Plan& p) { ++p.reduction_inputs[0].row; },
      [](Plan& p) { ++p.queues[0].begin; },
      [](Plan& p) { ++p.queue_items[0].copy; },
      [](Plan& p) { ++p.workspace_bytes; }};
  for (std::size_t i = 0; i < changes.size(); ++i) {
    Plan changed = plan;
    changes[i](changed);
    EXPECT_NE(plan_hash(changed), plan_hash(plan)) << "change " << i;
  }
  EXPECT_EQ(plan_hash(plan), plan_hash(Plan(plan)));
}

TEST(PlanHash, TellsManySlotsApart) {  // more than one block of the packed copy
  Plan plan;
  for (int i = 0; i < 200; ++i) plan.slots.push_back({});
  const std::uint64_t before = plan_hash(plan);
  for (const int i : {0, 63, 64, 127, 128, 199}) {
    Plan changed = plan;
    changed.slots[SlotId(i)].offset = 256;
    EXPECT_NE(plan_hash(changed), before) << i;
  }
}

class GrowOn : public testing::TestWithParam<int> {};

TEST_P(GrowOn, RandomForestsGivesThePlanOfTheGrownForest) {
  core::Rng rng(static_cast<std::uint64_t>(GetParam()));
  const auto forest = node_plans::random_forest(rng.bits());
  Plan plan = node_plan(forest, node_plans::heads());
  traces::ForestSource source;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    source.parent.push_back(forest.parent[n].value);
    source.tokens.push_back(forest.tokens[n] + rng.integer(0, 3));
  }
  for (const NodeId leaf : forest.leaf) source.leaf.push_back(leaf.value);
  source.request_label = forest.request_label.raw();
  source.batch_position = forest.batch_position.raw();
  auto grown = traces::make_forest(source);
  grown.node_label = forest.node_label;
  grow(plan, grown.tokens);
  traces::check_forest(plan.forest);
  EXPECT_EQ(plan.hash, node_plan(grown, node_plans::heads()).hash);
  EXPECT_EQ(plan.forest.tokens_before, grown.tokens_before);
  EXPECT_EQ(plan.forest.pages, grown.pages);
  EXPECT_EQ(violations_text(validate(plan, costmodel::find_device("h100-sxm"))), "valid");
}
INSTANTIATE_TEST_SUITE_P(Seeds, GrowOn, testing::Range(1, 21));

TEST(Grow, RefusesLengthsThatClosedSegmentsDontFit) {
  const Plan before = node_plan(small_forest(), node_plans::heads(), 16, 64);
  const auto grown = [&](std::vector<std::int64_t> tokens) {
    return [&before, tokens] {
      Plan plan = before;
      grow(plan, core::Column<NodeId, std::int64_t>(tokens));
    };
  };
  EXPECT_NO_THROW(grown({65, 1, 31})());
  EXPECT_THAT(grown({64, 20, 30}), ThrowsMessage<core::Error>(HasSubstr("length of node 0: expected 65 to")));
  EXPECT_THAT(grown({100, 0, 30}), ThrowsMessage<core::Error>(HasSubstr("length of node 1: expected 1 to")));
  EXPECT_THAT(grown({100, 20}), ThrowsMessage<core::Error>(HasSubstr("expected 3, one a node, got 2")));
}

TEST(Grow, RefusesLengthsThatNoSegmentFollows) {
  Plan plan = node_plan(small_forest(), node_plans::heads());
  plan.segments[2].token_end = 30;
  EXPECT_THAT([&] { grow(plan, {101, 20, 31}); }, ThrowsMessage<core::Error>(HasSubstr("node 2: expected 30")));
  EXPECT_NO_THROW(grow(plan, {101, 20, 30}));
}

TEST(Grow, RefusesMoreScoresThanTheirSlotHolds) {
  Plan plan = node_plan(small_forest(), node_plans::heads());
  plan.tasks[TaskId(0)].kind = TaskKind::scores;
  plan.slots[SlotId(0)].kind = SlotKind::scores;
  plan.slots[SlotId(0)].columns = 101;
  EXPECT_NO_THROW(grow(plan, {101, 20, 30}));
  EXPECT_THAT([&] { grow(plan, {102, 20, 30}); }, ThrowsMessage<core::Error>(HasSubstr("at most the 101 columns")));
}

TEST(Grow, GivesFreshPagesToNodesThatOutgrowTheirs) {
  traces::PrefixForest forest = small_forest();
  forest.pages.page_size = 16;
  forest.pages.first_page = {0, 7, 8};
  forest.pages.first_offset = {0, 12, 0};  // 12 + 20 tokens fill pages 7 and 8
  forest.pages.page_ids = {5, 6, 7, 8, 9, 10, 11, 20, 21, 22};
  forest.pages.first_page[NodeId(2)] = 8;
  Plan plan = node_plan(forest, node_plans::heads());
  grow(plan, {100, 21, 31});
  const traces::PageTable& pages = plan.forest.pages;
  traces::check_forest(plan.forest);
  EXPECT_EQ(traces::kv_slot(pages, NodeId(0), 99), traces::kv_slot(forest.pages, NodeId(0), 99));
  EXPECT_EQ(traces::kv_slot(pages, NodeId(1), 19), traces::kv_slot(forest.pages, NodeId(1), 19));
  EXPECT_EQ(traces::kv_slot(pages, NodeId(1), 20), 23 * 16);
  EXPECT_EQ(traces::kv_slot(pages, NodeId(2), 30), traces::kv_slot(forest.pages, NodeId(2), 29) + 1);
}

}  // namespace
TEST(Violations, AreCountedAsFarAsTheyWereLookedFor) {
  std::vector<Violation> found(2, {ViolationClass::uncovered_token, "a"});
  EXPECT_EQ(violations_text(found).rfind("2 violations: ", 0), 0U);
  found.resize(8, found.front());
  EXPECT_EQ(violations_text(found).rfind("at least 8 violations: ", 0), 0U);
}

}  // namespace espalier::scheduler

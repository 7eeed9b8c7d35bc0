// The builder: outputs and merges of any cut, launch order, workspace.
#include "scheduler/plan_builder.h"

#include <gmock/gmock.h>

#include "core/error.h"
#include "tests/scheduler/node_plans.h"

namespace espalier::scheduler {
namespace {

using node_plans::attend_kernel;
using node_plans::small_forest;
using testing::ElementsAre;

TEST(HeadsPerCopy, TakesTheLargestDivisorOfTheGroupThatFitsTheTile) {
  costmodel::KernelConfig kernel = attend_kernel(16);
  EXPECT_EQ(heads_per_copy(kernel, node_plans::heads(32, 8)), 4);
  EXPECT_EQ(queries_per_tile(kernel, node_plans::heads(32, 8)), 4);
  EXPECT_EQ(heads_per_copy(kernel, node_plans::heads(128, 1)), 16);
  EXPECT_EQ(queries_per_tile(kernel, node_plans::heads(128, 1)), 1);
  EXPECT_EQ(heads_per_copy(kernel, node_plans::heads(24, 1)), 12);
  EXPECT_EQ(heads_per_copy(kernel, node_plans::heads(17, 1)), 1);
  kernel.packs_heads = false;
  EXPECT_EQ(heads_per_copy(kernel, node_plans::heads(32, 8)), 1);
  EXPECT_EQ(queries_per_tile(kernel, node_plans::heads(32, 8)), 16);
}

struct Sketch {
  PlanBuilder builder{small_forest(), node_plans::heads()};
  KernelId kernel = builder.kernel(attend_kernel());

  TaskId attend(std::int32_t node, std::int32_t begin, std::int32_t end) {
    const std::int64_t tokens = builder.plan().forest.tokens[NodeId(node)];
    const Segment all = builder.segment(NodeId(node), 0, tokens, end - begin);
    return builder.attend(kernel, std::span(&all, 1), builder.queries(RequestId(begin), RequestId(end)));
  }
  TaskId on_heads(std::int32_t head_begin, std::int32_t head_count) {
    Task task = builder.plan().tasks[attend(0, 0, 4)];
    task.head_begin = head_begin;
    task.head_count = head_count;
    task.copies = 1;
    builder.plan().tasks.raw().pop_back();
    return builder.task(task);
  }
  std::vector<RowRef> inputs(std::int32_t step) {
    const Interval i = builder.plan().steps[StepId(step)].inputs;
    const auto& all = builder.plan().reduction_inputs;
    return {all.begin() + i.begin, all.begin() + i.end};
  }
};

MATCHER_P2(IsRow, slot, row, "") { return arg.slot.value == slot && arg.row == row; }

TEST(PlanBuilder, StoresNothingForConsecutiveQueries) {
  Sketch s;
  const std::vector<RequestId> run{RequestId(1), RequestId(2), RequestId(3)}, gap{RequestId(0), RequestId(2)};
  EXPECT_EQ(s.builder.queries(RequestId(1), RequestId(4)), (Interval{1, 4}));
  EXPECT_EQ(s.builder.queries(run), (Interval{1, 4}));
  EXPECT_EQ(s.builder.plan().query_rows.size(), 4u);
  EXPECT_EQ(s.builder.queries(gap), (Interval{4, 6}));
  EXPECT_EQ(s.builder.plan().query_rows[5], RequestId(2));
  const std::vector<RequestId> shuffled{RequestId(0), RequestId(2), RequestId(1), RequestId(3)};
  EXPECT_EQ(s.builder.queries(shuffled), (Interval{6, 10})) << "kept as given, for the validator to refuse";
}

TEST(PlanBuilder, CoversAllHeadsWithCopies) {
  Sketch s;
  const Task& task = s.builder.plan().tasks[s.attend(0, 0, 4)];
  EXPECT_EQ(task.head_count, 2);
  EXPECT_EQ(task.copies, 2);
  EXPECT_EQ(s.builder.plan().segments[0].token_end, kToNodeEnd);
  EXPECT_EQ(s.builder.segment(NodeId(0), 10, 99, 1).token_end, 99);
}

TEST(PlanBuilder, RegistersAKernelOnce) {
  Sketch s;
  EXPECT_EQ(s.builder.kernel(attend_kernel()), s.kernel);
  EXPECT_NE(s.builder.kernel(node_plans::reduce_kernel()), s.kernel);
  costmodel::KernelConfig other = attend_kernel();
  other.stages = 9;
  EXPECT_THROW(s.builder.kernel(other), core::InvariantError);
}

TEST(FinishRows, WritesFinalRowsWhereATaskIsAlone) {
  Sketch s;
  s.attend(0, 0, 1);
  s.attend(0, 1, 4);
  EXPECT_EQ(s.builder.finish_rows(traces::Dtype::fp32), s.builder.next_step());
  EXPECT_TRUE(s.builder.plan().slots.empty());
  EXPECT_TRUE(s.builder.plan().steps.empty());
}

TEST(FinishRows, MergesEachRequestFromItsOwnRows) {
  Sketch s;
  s.attend(0, 0, 4);  // slot 0
  s.attend(1, 1, 3);  // slot 1
  s.attend(2, 3, 4);  // slot 2
  s.builder.finish_rows(traces::Dtype::bf16);
  const Plan& plan = s.builder.plan();
  ASSERT_EQ(plan.slots.size(), 3u);
  EXPECT_EQ(plan.slots[SlotId(1)].head_count, 4);
  EXPECT_EQ(plan.slots[SlotId(1)].dtype, traces::Dtype::bf16);
  EXPECT_EQ(plan.slots[SlotId(1)].columns, 64);
  EXPECT_EQ(plan.tasks[TaskId(2)].slot, SlotId(2));
  // Request 0 only has a row because its neighbours forced the slot: a copy. The twins 1 and 2 share a step.
  ASSERT_EQ(plan.steps.size(), 3u);
  EXPECT_THAT(s.inputs(0), ElementsAre(IsRow(0, 0)));
  EXPECT_THAT(s.inputs(1), ElementsAre(IsRow(0, 1), IsRow(1, 0)));
  EXPECT_EQ(plan.steps[StepId(1)].rows, 2);
  EXPECT_EQ(plan.query_rows[static_cast<std::size_t>(plan.steps[StepId(1)].out_row)], RequestId(1));
  EXPECT_THAT(s.inputs(2), ElementsAre(IsRow(0, 3), IsRow(2, 0)));
  EXPECT_EQ(plan.steps[StepId(2)].rows, 1);
}

TEST(FinishRows, DoesNotShareAStepWhereRowsAreNotConsecutive) {
  Sketch s;
  s.attend(0, 0, 4);
  const std::vector<RequestId> gap{RequestId(0), RequestId(2)};
  const Segment all = s.builder.segment(NodeId(0), 0, 50, 2);
  s.builder.attend(s.kernel, std::span(&all, 1), s.builder.queries(gap));
  s.builder.finish_rows(traces::Dtype::fp32);
  ASSERT_EQ(s.builder.plan().steps.size(), 4u);
  EXPECT_THAT(s.inputs(0), ElementsAre(IsRow(0, 0), IsRow(1, 0)));
  EXPECT_THAT(s.inputs(1), ElementsAre(IsRow(0, 1)));
  EXPECT_THAT(s.inputs(2), ElementsAre(IsRow(0, 2), IsRow(1, 1)));
  EXPECT_THAT(s.inputs(3), ElementsAre(IsRow(0, 3)));
}

TEST(FinishRows, MergesPerRunOfHeadsThatTheSameTasksCover) {
  Sketch s;
  s.attend(0, 0, 4);
  s.on_heads(0, 1);
  s.on_heads(1, 1);
  s.builder.finish_rows(traces::Dtype::fp32);
  const Plan& plan = s.builder.plan();
  ASSERT_EQ(plan.steps.size(), 3u);
  EXPECT_THAT(s.inputs(0), ElementsAre(IsRow(0, 0), IsRow(1, 0)));
  EXPECT_THAT(s.inputs(1), ElementsAre(IsRow(0, 0), IsRow(2, 0)));
  EXPECT_THAT(s.inputs(2), ElementsAre(IsRow(0, 0)));
  EXPECT_EQ(plan.steps[StepId(2)].head_begin, 2);
  EXPECT_EQ(plan.steps[StepId(2)].head_count, 2);
  for (const ReductionStep& step : plan.steps) EXPECT_EQ(step.rows, 4);
}

TEST(FinishRows, WritesFinalRowsWhereTasksShareARequestButNoHead) {
  Sketch s;
  s.on_heads(0, 2);
  s.on_heads(2, 2);
  s.builder.finish_rows(traces::Dtype::fp32);
  EXPECT_TRUE(s.builder.plan().slots.empty());
  EXPECT_TRUE(s.builder.plan().steps.empty());
}

TEST(FinishRows, LeavesTasksWithSlotsOrFoldsAndEarlierTasksAlone) {
  Sketch s;
  const TaskId first = s.attend(0, 0, 4);
  s.builder.finish_rows(traces::Dtype::fp32);
  Slot slot;
  slot.queries = {0, 4};
  slot.head_count = 4;
  slot.columns = 64;
  const SlotId own = s.builder.slot(slot);
  const TaskId with_slot = s.attend(0, 0, 4);
  s.builder.plan().tasks[with_slot].slot = own;
  const TaskId with_folds = s.attend(1, 0, 4);
  s.builder.plan().tasks[with_folds].folds = s.builder.folds(std::span(&own, 1));
  const TaskId plain = s.attend(2, 0, 4);
  EXPECT_EQ(s.builder.finish_rows(traces::Dtype::fp32), s.builder.next_step());
  EXPECT_FALSE(s.builder.plan().tasks[first].slot.valid());
  EXPECT_FALSE(s.builder.plan().tasks[with_folds].slot.valid());
  EXPECT_FALSE(s.builder.plan().tasks[plain].slot.valid());
  EXPECT_EQ(s.builder.plan().slots.size(), 1u);
}

class FinishRowsOn : public testing::TestWithParam<int> {};

TEST_P(FinishRowsOn, RandomForestsBringsEachPartialRowHomeOnce) {
  const auto seed = static_cast<std::uint64_t>(GetParam());
  const auto forest = node_plans::random_forest(seed);
  for (const std::int32_t tile : {2, 8, 64}) {
    for (const std::int64_t chunk : {0, 37}) {
      const Plan plan = node_plans::node_plan(forest, node_plans::heads(), tile, chunk);
      auto sources = node_plans::final_sources(plan);
      for (auto& row : sources) std::sort(row.begin(), row.end());
      ASSERT_EQ(sources, node_plans::expected_sources(plan)) << "tile " << tile << " chunk " << chunk;
    }
  }
}

TEST_P(FinishRowsOn, RandomHeadCutsBringsEachPartialRowHomeOnce) {
  core::Rng rng(static_cast<std::uint64_t>(GetParam()));
  const auto forest = node_plans::random_forest(rng.bits());
  PlanBuilder builder(forest, node_plans::heads(12, 3));
  const KernelId kernel = builder.kernel(attend_kernel());
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    for (std::int32_t head = 0; head < 12;) {
      const auto count = static_cast<std::int32_t>(rng.integer(1, 12 - head));
      const std::int32_t cut =
          static_cast<std::int32_t>(rng.integer(forest.request_begin[n].value, forest.request_end[n].value));
      for (const Interval group :
           {Interval{forest.request_begin[n].value, cut}, Interval{cut, forest.request_end[n].value}}) {
        if (group.size() == 0) continue;
        const Segment all = builder.segment(n, 0, forest.tokens[n], group.size());
        Task task;
        task.segments = builder.segments(std::span(&all, 1));
        task.queries = group;
        task.head_begin = head;
        task.head_count = count;
        builder.task(task);
      }
      head += count;
    }
  }
  const StepId steps = builder.finish_rows(traces::Dtype::fp32);
  builder.launch();
  builder.task_phase(kernel, TaskId(0));
  builder.step_phase(kernel, steps, PhaseStart::on_arrival);
  const Plan plan = std::move(builder).finish({});
  auto sources = node_plans::final_sources(plan);
  for (auto& row : sources) std::sort(row.begin(), row.end());
  EXPECT_EQ(sources, node_plans::expected_sources(plan));
}
INSTANTIATE_TEST_SUITE_P(Seeds, FinishRowsOn, testing::Range(1, 41));

std::vector<std::int32_t> dependencies_of(const Plan& plan, std::int32_t launch) {
  const Interval on = plan.launches[LaunchId(launch)].dependencies;
  std::vector<std::int32_t> values;
  for (std::int32_t i = on.begin; i < on.end; ++i) {
    values.push_back(plan.dependencies[static_cast<std::size_t>(i)].value);
  }
  return values;
}

TEST(PlanBuilder, MakesLaunchesWaitForTheirStreamAndForTheNamedOnes) {
  Sketch s;
  std::vector<LaunchId> launches;
  const auto launch = [&](std::int32_t stream, std::vector<LaunchId> after) {
    launches.push_back(s.builder.launch(Follow::graph, stream, after));
    const TaskId begin = s.attend(0, 0, 4);
    s.builder.task_phase(s.kernel, begin);
  };
  launch(0, {});
  launch(1, {});
  launch(0, {});
  launch(1, {launches[2], launches[1], launches[0]});
  const Plan plan = std::move(s.builder).finish({});
  EXPECT_THAT(dependencies_of(plan, 0), ElementsAre());
  EXPECT_THAT(dependencies_of(plan, 1), ElementsAre());
  EXPECT_THAT(dependencies_of(plan, 2), ElementsAre(0));
  EXPECT_THAT(dependencies_of(plan, 3), ElementsAre(0, 1, 2));
}

TEST(PlanBuilder, DropsLaunchesWithoutPhasesAndKeepsWhatTheyOrdered) {
  Sketch s;
  s.builder.launch(Follow::graph, 0);
  s.builder.task_phase(s.kernel, s.attend(0, 0, 4));
  const LaunchId empty = s.builder.launch(Follow::graph, 0);
  s.builder.task_phase(s.kernel, s.builder.next_task());
  s.builder.launch(Follow::graph, 1, std::span(&empty, 1));
  s.builder.task_phase(s.kernel, s.attend(0, 0, 4));
  const Plan plan = std::move(s.builder).finish({});
  ASSERT_EQ(plan.launches.size(), 2u);
  EXPECT_THAT(dependencies_of(plan, 1), ElementsAre(0));
}

TEST(PlanBuilder, PutsPhasesAndQueuesOnTheOpenLaunch) {
  Sketch s;
  EXPECT_THROW(s.builder.task_phase(s.kernel, TaskId(0)), core::InvariantError);
  const TaskId a = s.attend(0, 0, 4), b = s.attend(1, 1, 3);
  const StepId steps = s.builder.finish_rows(traces::Dtype::fp32);
  s.builder.launch();
  s.builder.task_phase(s.kernel, a);
  s.builder.step_phase(s.kernel, steps, PhaseStart::barrier);
  s.builder.queues(std::vector<std::vector<QueueItem>>{{{a, 1}, {b, 0}}, {}, {{a, 0}, {b, 1}}});
  const Plan plan = std::move(s.builder).finish({});
  EXPECT_EQ(plan.launches[LaunchId(0)].phases, (Interval{0, 2}));
  EXPECT_EQ(plan.phases[1].start, PhaseStart::barrier);
  EXPECT_EQ(plan.launches[LaunchId(0)].workers, 3);
  EXPECT_EQ(plan.queues[1].size(), 0);
  EXPECT_EQ(plan.queues[2], (Interval{2, 4}));
  EXPECT_EQ(plan.queue_items[1].task, b);
}

TEST(PlanBuilder, LaysSlotsOutAlignedAndApart) {
  Sketch s;
  s.attend(0, 0, 4);
  s.attend(1, 1, 3);
  s.attend(2, 3, 4);
  s.builder.finish_rows(traces::Dtype::bf16);
  Slot scores;
  scores.kind = SlotKind::scores;
  scores.queries = {0, 1};
  scores.head_count = 2;
  scores.columns = 5;
  EXPECT_EQ(slot_bytes(scores), 2 * 5 * 4);
  s.builder.slot(scores);
  s.builder.launch();
  s.builder.task_phase(s.kernel, TaskId(0));
  const Plan plan = std::move(s.builder).finish({});
  EXPECT_EQ(slot_bytes(plan.slots[SlotId(0)]), 4 * 4 * (64 * 2 + 4));
  EXPECT_EQ(plan.slots[SlotId(0)].offset, 0);
  EXPECT_EQ(plan.slots[SlotId(1)].offset, 2304);  // 2112 rounded up to 256
  EXPECT_EQ(plan.slots[SlotId(2)].offset, 2304 + 1280);
  EXPECT_EQ(plan.slots[SlotId(3)].offset, 2304 + 1280 + 768);
  EXPECT_EQ(plan.workspace_bytes, 2304 + 1280 + 768 + 256);
}

TEST(PlanBuilder, LetsALaterSlotLiveInAnEarlierOne) {
  Sketch s;
  Slot slot;
  slot.queries = {0, 4};
  slot.head_count = 4;
  slot.columns = 64;
  slot.columns = 32;
  const SlotId smaller = s.builder.slot(slot);
  slot.columns = 64;
  const SlotId a = s.builder.slot(slot), b = s.builder.slot(slot), c = s.builder.slot(slot);
  EXPECT_THROW(s.builder.reuse_storage(smaller, a), core::InvariantError);
  s.builder.reuse_storage(c, b);
  s.builder.reuse_storage(a, c);
  EXPECT_THROW(s.builder.reuse_storage(b, a), core::InvariantError) << "a circle";
  const Plan plan = std::move(s.builder).finish({});
  EXPECT_EQ(plan.slots[b].offset, 2304);
  EXPECT_EQ(plan.slots[a].offset, plan.slots[b].offset);
  EXPECT_EQ(plan.slots[c].offset, plan.slots[b].offset);
  EXPECT_NE(plan.slots[smaller].offset, plan.slots[b].offset);
  EXPECT_EQ(plan.workspace_bytes, 4352 + 2304);
}

TEST(PlanBuilder, RefusesAWorkspaceBeyondCounting) {
  Sketch s;
  Slot slot;
  slot.queries = {0, 4};
  slot.head_count = 4;
  slot.columns = std::int64_t{1} << 60;
  s.builder.slot(slot);
  EXPECT_THROW(std::move(s.builder).finish({}), core::Error);
}

TEST(PlanBuilder, MakesAnEmptyPlanOfAnEmptyForest) {
  PlanBuilder builder(traces::PrefixForest{}, node_plans::heads());
  EXPECT_EQ(builder.finish_rows(traces::Dtype::fp32), StepId(0));
  builder.launch();
  const Plan plan = std::move(builder).finish(node_plans::provenance());
  EXPECT_TRUE(plan.launches.empty());
  EXPECT_EQ(plan.workspace_bytes, 0);
  EXPECT_EQ(plan.hash, plan_hash(plan));
}

}  // namespace
}  // namespace espalier::scheduler

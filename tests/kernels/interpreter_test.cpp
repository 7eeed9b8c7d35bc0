// The interpreter against the oracle on plans written by hand.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "hand_plans.h"
#include "kernels/oracle.h"

namespace espalier::kernels {
namespace {

using namespace testing;

constexpr double kTolerance = 1e-12;

void expect_exact(const Plan& plan, const InterpretOptions& options, const std::string& what) {
  const TensorSource source{17};
  const AttentionOutput want = naive_attention(plan.forest, plan.heads, source);
  const Difference difference = compare(interpret(plan, source, options), want);
  EXPECT_TRUE(difference.within(kTolerance)) << what << ": " << difference.worst << " at request " << difference.request
                                             << ", head " << difference.head << ", column " << difference.column;
}

void expect_exact(const Plan& plan, const std::string& what) {
  expect_exact(plan, {}, what);
  expect_exact(plan, {.shared_storage = true}, what + ", shared storage");
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    expect_exact(plan, {.shuffle_seed = seed}, what + ", shuffled");
    expect_exact(plan, {.shuffle_seed = seed, .shared_storage = true}, what + ", shuffled, shared storage");
  }
}

const std::vector<const char*> kHeads = {"4/4/8", "8/2/7", "7/1/16", "6/2/5+3", "4/1/24:16"};

TEST(Interpreter, EqualsTheOracleOnSplitNodes) {
  for (const char* text : kHeads) {
    const HeadConfig heads = traces::parse_heads(text);
    expect_exact(node_halves(small_forest(), heads), text);
    expect_exact(node_halves(small_forest(), heads, attend_kernel(false)), std::string(text) + ", a CTA a query head");
    expect_exact(node_halves(small_forest(), heads, attend_kernel(true, 2)), std::string(text) + ", two heads a CTA");
  }
}

TEST(Interpreter, EqualsTheOracleOnSegmentsWithRowIntervals) {
  for (const char* text : kHeads) expect_exact(one_mixed_task(small_forest(), traces::parse_heads(text)), text);
}

TEST(Interpreter, EqualsTheOracleOnFoldedPartials) {
  for (const char* text : kHeads) expect_exact(folded(small_forest(), traces::parse_heads(text)), text);
}

TEST(Interpreter, EqualsTheOracleOnTreesOfSteps) {
  for (const char* text : kHeads) expect_exact(tree_merge(small_forest(), traces::parse_heads(text)), text);
}

TEST(Interpreter, EqualsTheOracleOnMaterialisedScores) {
  for (const char* text : kHeads) expect_exact(two_gemms(small_forest(), traces::parse_heads(text)), text);
}

TEST(Interpreter, RunsStepsOnArrivalOnlyInTheirOrder) {
  // The same steps free of each other run in index order, the last merge first: it reads what nobody has written.
  const Plan plan = tree_merge(small_forest(), traces::parse_heads("4/2/8"), PhaseStart::together);
  const AttentionOutput out = interpret(plan, {});
  EXPECT_TRUE(std::isnan(out.at(3, 0, 0)));
}

TEST(Interpreter, LeavesPoisonWhereNothingWrites) {
  Plan plan = node_halves(small_forest(), traces::parse_heads("4/2/8"));
  plan.phases[1].range.end -= 1;  // the last request's merge
  const AttentionOutput out = interpret(plan, {});
  EXPECT_FALSE(std::isnan(out.at(2, 0, 0)));
  EXPECT_TRUE(std::isnan(out.at(3, 0, 0)));
  EXPECT_TRUE(std::isnan(out.lse.back()));
}

TEST(Interpreter, SharedStorageShowsSlotsThatOverlap) {
  Plan plan = node_halves(small_forest(), traces::parse_heads("4/2/8"));
  const TensorSource source{3};
  const AttentionOutput want = interpret(plan, source);
  plan.slots[SlotId(1)].offset = plan.slots[SlotId(0)].offset + 16;
  EXPECT_TRUE(compare(interpret(plan, source), want).within(0.0));
  EXPECT_FALSE(compare(interpret(plan, source, {.shared_storage = true}), want).within(1e-6));
}

TEST(Interpreter, SharedStorageMixesDtypes) {
  Plan plan = node_halves(small_forest(), traces::parse_heads("4/2/8"));
  for (std::size_t i = 0; i < plan.slots.size(); i += 2) plan.slots[SlotId(i)].dtype = traces::Dtype::bf16;
  expect_exact(plan, "bf16 and fp32 slots");
  plan.slots[SlotId(1)].offset = plan.slots[SlotId(0)].offset + 16;
  const TensorSource source{3};
  EXPECT_FALSE(compare(interpret(plan, source, {.shared_storage = true}), interpret(plan, source)).within(1e-6));
}

/// The slots' merge in place: the step's output lives in its first input.
TEST(Interpreter, MergesInPlace) {
  const PrefixForest forest = small_forest();
  const HeadConfig heads = traces::parse_heads("4/2/8");
  PlanBuilder b(forest, heads);
  const KernelId attend = b.kernel(attend_kernel()), reduce = b.kernel(reduce_kernel());
  const Interval all = b.queries(RequestId(0), RequestId(4));
  const SlotId levels[2] = {b.slot(slot_for(heads, all)), b.slot(slot_for(heads, all))},
               merged = b.slot(slot_for(heads, all));
  b.reuse_storage(merged, levels[0]);
  b.launch();
  std::vector<Segment> tails;
  for (int n = 1; n < 5; ++n) {
    tails.push_back({NodeId(n), 0, scheduler::kToNodeEnd, forest.request_begin[NodeId(n)].value,
                     forest.request_end[NodeId(n)].value});
  }
  for (int level = 0; level < 2; ++level) {
    Task task = task_for(heads, TaskKind::attend,
                         b.segments(level == 0 ? std::vector{b.segment(NodeId(0), 0, 9, 4)} : tails), all);
    task.slot = levels[level];
    b.task(task);
  }
  b.task_phase(attend, TaskId(0));
  b.launch();
  const std::vector<RowRef> both = {{levels[0], 0}, {levels[1], 0}}, one = {{merged, 0}};
  ReductionStep step;
  step.rows = 4;
  step.head_count = heads.q_heads;
  step.out = merged;
  b.step(step, both);
  b.step_phase(reduce, StepId(0));
  b.launch();
  step.out = SlotId();
  b.step(step, one);
  b.step_phase(reduce, StepId(1));
  expect_exact(std::move(b).finish({}), "in place");
}

Plan queued(std::size_t missing) {
  Plan plan = node_halves(small_forest(), traces::parse_heads("4/2/8"));
  plan.launches[scheduler::LaunchId(0)].workers = 3;
  std::vector<scheduler::QueueItem> items;
  for (const TaskId t : core::ids<TaskId>(plan.tasks.size())) {
    for (std::int32_t copy = 0; copy < plan.tasks[t].copies; ++copy) items.push_back({t, copy});
  }
  items.resize(items.size() - missing);
  const auto n = static_cast<std::int32_t>(items.size());
  plan.queue_items = items;
  plan.queues = {{0, n / 2}, {n / 2, n / 2}, {n / 2, n}};
  return plan;
}

TEST(Interpreter, TakesTasksFromQueues) {
  expect_exact(queued(0), "queues");
  const AttentionOutput out = interpret(queued(1), {});
  EXPECT_TRUE(std::isnan(out.at(3, 3, 0)));  // the last copy, heads 2 and 3, was the last node's
  EXPECT_FALSE(std::isnan(out.at(3, 0, 0)));
}

TEST(Interpreter, PaddingDoesNothing) {
  Plan plan = node_halves(small_forest(), traces::parse_heads("4/2/8"));
  const TensorSource source{3};
  const AttentionOutput want = interpret(plan, source);
  Task padding;
  padding.kind = TaskKind::padding;
  padding.copies = 1 << 30;
  const TaskId added = plan.tasks.push_back(padding);
  plan.phases[0].range.end = added.value + 1;
  EXPECT_TRUE(compare(interpret(plan, source), want).within(0.0));
}

TEST(Interpreter, GivesAnUnseenRowNoWeight) {
  // Request 0 sees nothing of the second task: its partial row there must not count.
  Plan plan = node_halves(small_forest(), traces::parse_heads("4/2/8"));
  const Task first = plan.tasks[TaskId(0)];
  plan.segments[static_cast<std::size_t>(first.segments.begin)].row_begin = 1;
  const AttentionOutput out = interpret(plan, {});
  plan.segments[static_cast<std::size_t>(first.segments.begin)].row_begin = 0;
  const AttentionOutput whole = interpret(plan, {});
  EXPECT_LT(out.lse[0], whole.lse[0] - 0.1);
  EXPECT_EQ(out.lse[4], whole.lse[4]);
}

TEST(InterpretCost, CountsPairsTokensAndMerges) {
  // Forest of 27 tokens; visible pairs 9*4 + 4 + 6 + 5*2 + 3 = 59; 2 KV heads of 2 query heads, 8 + 8 elements.
  const Plan plan = node_halves(small_forest(), traces::parse_heads("4/2/8"));
  double merges = 0;
  for (const ReductionStep& step : plan.steps) merges += step.rows * step.inputs.size();
  EXPECT_EQ(merges, 4 + 4 + 4 + 6);  // requests 0 to 2 have two nodes, request 3 three, of two tasks each
  EXPECT_DOUBLE_EQ(interpret_cost(plan), 2 * 16 * (59 * 2 + 27) + 4 * 8 * merges);
}

}  // namespace
}  // namespace espalier::kernels

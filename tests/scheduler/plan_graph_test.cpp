// The dependency graph: cycles, longest paths of plans worked out by hand, Graphviz text.
#include "scheduler/plan_graph.h"

#include <gmock/gmock.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "core/error.h"
#include "tests/scheduler/node_plans.h"

namespace espalier::scheduler {
namespace {

using node_plans::node_plan;
using node_plans::small_forest;
using Kind = PlanVertex::Kind;

double unit(PlanVertex v) { return v.kind == Kind::task || v.kind == Kind::step ? 1 : 0; }

std::vector<std::string> names(const CriticalPath& path) {
  std::vector<std::string> text;
  for (const PlanVertex& v : path.vertices) {
    const char* kind[] = {"begin ", "end ", "task ", "step "};
    text.push_back(kind[static_cast<int>(v.kind)] + std::to_string(v.index));
  }
  return text;
}

TEST(CriticalPath, RunsThroughTheLongestTaskAndStepOfEachLaunch) {
  const Plan plan = node_plan(small_forest(), node_plans::heads());
  const auto weight = [](PlanVertex v) {
    if (v.kind == Kind::task) return v.index == 1 ? 7.0 : 2.0;
    if (v.kind == Kind::step) return v.index == 2 ? 3.0 : 1.0;
    return v.kind == Kind::launch_begin ? 0.5 : 0.0;
  };
  const CriticalPath path = critical_path(plan, weight);
  EXPECT_DOUBLE_EQ(path.length, 0.5 + 7 + 0.5 + 3);
  EXPECT_THAT(names(path), testing::ElementsAre("begin 0", "task 1", "end 0", "begin 1", "step 2"));
}

/// The small forest's tasks and steps in one launch; steps start as said.
Plan one_launch(PhaseStart start) {
  const auto forest = small_forest();
  PlanBuilder builder(forest, node_plans::heads());
  const KernelId kernel = builder.kernel(node_plans::attend_kernel());
  for (const NodeId n : core::ids<NodeId>(3)) {
    const Segment all = builder.segment(n, 0, forest.tokens[n], forest.readers(n));
    builder.attend(kernel, std::span(&all, 1), builder.queries(forest.request_begin[n], forest.request_end[n]));
  }
  const StepId steps = builder.finish_rows(traces::Dtype::fp32);
  builder.launch();
  builder.task_phase(kernel, TaskId(0));
  builder.step_phase(builder.kernel(node_plans::reduce_kernel()), steps, start);
  return std::move(builder).finish({});
}

TEST(CriticalPath, WaitsForAllAtABarrierAndOnlyForInputsOnArrival) {
  // Task 2 takes longest and feeds step 2 alone; step 1 (tasks 0 and 1) takes longest among the steps.
  const auto weight = [](PlanVertex v) {
    if (v.kind == Kind::task) return v.index == 2 ? 10.0 : 1.0;
    if (v.kind == Kind::step) return v.index == 1 ? 5.0 : 1.0;
    return 0.0;
  };
  EXPECT_DOUBLE_EQ(critical_path(one_launch(PhaseStart::barrier), weight).length, 15);
  EXPECT_DOUBLE_EQ(critical_path(one_launch(PhaseStart::on_arrival), weight).length, 11);
}

TEST(CriticalPath, FollowsFoldedSlotsFromTaskToTask) {
  const auto forest = small_forest();
  PlanBuilder builder(forest, node_plans::heads());
  const KernelId kernel = builder.kernel(node_plans::attend_kernel());
  std::vector<SlotId> slots;
  for (int i = 0; i < 5; ++i) {
    const Segment all = builder.segment(NodeId(0), 0, 100, 4);
    const TaskId t = builder.attend(kernel, std::span(&all, 1), builder.queries(RequestId(0), RequestId(4)));
    Slot slot;
    slot.queries = {0, 4};
    slot.head_count = 4;
    slot.columns = 64;
    if (i > 0) builder.plan().tasks[t].folds = builder.folds(std::span(&slots.back(), 1));
    slots.push_back(builder.slot(slot));
    builder.plan().tasks[t].slot = slots.back();
  }
  builder.launch();
  builder.task_phase(kernel, TaskId(0));
  const Plan chain = std::move(builder).finish({});
  EXPECT_TRUE(is_acyclic(chain));
  EXPECT_DOUBLE_EQ(critical_path(chain, unit).length, 5);
}

TEST(CriticalPath, OfAnEmptyPlanIsEmpty) {
  const CriticalPath path = critical_path(node_plan({}, node_plans::heads()), unit);
  EXPECT_EQ(path.length, 0);
  EXPECT_TRUE(path.vertices.empty());
}

TEST(CriticalPath, OfRandomPlansIsOneTaskAndOneStep) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    const Plan plan = node_plan(node_plans::random_forest(seed), node_plans::heads(), 8, 40);
    ASSERT_TRUE(is_acyclic(plan)) << seed;
    EXPECT_DOUBLE_EQ(critical_path(plan, unit).length, plan.steps.empty() ? 1 : 2) << seed;
  }
}

TEST(IsAcyclic, SeesLaunchesThatWaitForEachOther) {
  Plan plan = node_plan(small_forest(), node_plans::heads());
  EXPECT_TRUE(is_acyclic(plan));
  plan.dependencies.push_back(LaunchId(1));
  plan.launches[LaunchId(0)].dependencies = {1, 2};
  EXPECT_FALSE(is_acyclic(plan));
  EXPECT_THROW(critical_path(plan, unit), core::InvariantError);
}

TEST(IsAcyclic, SeesDataThatFlowsBackToAnEarlierLaunch) {
  Plan plan = node_plan(small_forest(), node_plans::heads());
  std::swap(plan.phases[0], plan.phases[1]);  // steps first, tasks after them
  EXPECT_FALSE(is_acyclic(plan));
}

TEST(IsAcyclic, SeesStepsAndTasksThatFeedThemselves) {
  Plan plan = node_plan(small_forest(), node_plans::heads());
  plan.steps[StepId(1)].out = plan.reduction_inputs[static_cast<std::size_t>(plan.steps[StepId(1)].inputs.begin)].slot;
  EXPECT_FALSE(is_acyclic(plan));
  Plan folding = node_plan(small_forest(), node_plans::heads());
  folding.fold_slots = {SlotId(0)};
  folding.tasks[TaskId(0)].folds = {0, 1};
  EXPECT_FALSE(is_acyclic(folding));
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(Graphviz, DrawsLaunchesTasksAndSteps) {
  const std::string text = graphviz(node_plan(small_forest(), node_plans::heads()));
  EXPECT_THAT(text, testing::StartsWith("digraph"));
  EXPECT_EQ(count(text, "label=\"launch "), 4u);
  EXPECT_EQ(count(text, "label=\"task "), 3u);
  EXPECT_EQ(count(text, "label=\"step "), 3u);
  EXPECT_EQ(count(text, "more tasks"), 0u);
  EXPECT_EQ(count(text, "label=\"slot "), 0u) << "a slot with one writer is the edge from it";
}

TEST(Graphviz, DrawsASlotWithSeveralWriters) {
  Plan plan = node_plan(small_forest(), node_plans::heads());
  plan.tasks[TaskId(1)].slot = SlotId(2);
  EXPECT_EQ(count(graphviz(plan), "label=\"slot 2\""), 1u);
}

TEST(Graphviz, FoldsWhatIsBeyondTheLimitIntoOneVertexALaunch) {
  const Plan plan = node_plan(node_plans::random_forest(5), node_plans::heads(), 8, 10);
  ASSERT_GT(plan.tasks.size(), 20u);
  ASSERT_GT(plan.steps.size(), 2u);
  const std::string text = graphviz(plan, 2);
  EXPECT_EQ(count(text, "label=\"task "), 2u);
  EXPECT_EQ(count(text, "more tasks and steps"), 2u);
  EXPECT_THAT(text, testing::HasSubstr("label=\"" + std::to_string(plan.tasks.size() - 2) + " more tasks and steps\""));
}

TEST(Graphviz, IsAcceptedByDot) {
  if (std::system("command -v dot >/dev/null 2>&1") != 0) GTEST_SKIP() << "dot isn't installed";
  const std::string path = testing::TempDir() + "espalier_plan_graph.dot";
  for (const PhaseStart start : {PhaseStart::barrier, PhaseStart::on_arrival}) {
    std::ofstream(path) << graphviz(one_launch(start));
    EXPECT_EQ(std::system(("dot -Tsvg " + path + " >/dev/null").c_str()), 0);
  }
  std::remove(path.c_str());
}

}  // namespace
}  // namespace espalier::scheduler

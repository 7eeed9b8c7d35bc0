// Plans that point outside themselves: the interpreter says so, and touches nothing beyond its columns (the sanitizer
// run sees to it).
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "core/error.h"
#include "hand_plans.h"
#include "kernels/oracle.h"

namespace espalier::kernels {
namespace {

using namespace testing;
using scheduler::LaunchId;

struct Breakage {
  std::string what;
  std::function<void(Plan&)> apply;
};

void expect_bad_input(const Plan& sound, const std::vector<Breakage>& breakages) {
  EXPECT_NO_THROW(interpret(sound, {}));
  for (const Breakage& breakage : breakages) {
    Plan plan = sound;
    breakage.apply(plan);
    for (const InterpretOptions options :
         {InterpretOptions{}, InterpretOptions{.shuffle_seed = 1, .shared_storage = true}}) {
      try {
        interpret(plan, {}, options);
        ADD_FAILURE() << breakage.what << " went unnoticed";
      } catch (const core::Error& error) {
        EXPECT_EQ(error.kind(), core::ErrorKind::bad_input) << breakage.what;
        EXPECT_NE(std::string(error.what()).find("expected"), std::string::npos) << error.what();
      }
    }
  }
}

TEST(InterpreterInput, IntervalsOutsideTheirColumnsAreErrors) {
  const TaskId first(0);
  expect_bad_input(node_halves(small_forest(), traces::parse_heads("4/2/8")),
                   {{"phases of a launch", [](Plan& p) { p.launches[LaunchId(1)].phases.end = 9; }},
                    {"dependencies of a launch", [](Plan& p) { p.launches[LaunchId(1)].dependencies.begin = -1; }},
                    {"dependency", [](Plan& p) { p.dependencies[0] = LaunchId(7); }},
                    {"range of a phase", [](Plan& p) { p.phases[0].range.end += 1; }},
                    {"range of a step phase", [](Plan& p) { p.phases[1].range.begin = -3; }},
                    {"segments", [=](Plan& p) { p.tasks[first].segments.end = 1 << 20; }},
                    {"queries",
                     [=](Plan& p) {
                       p.tasks[first].queries = {3, 99};
                     }},
                    {"reversed queries",
                     [=](Plan& p) {
                       p.tasks[first].queries = {3, 1};
                     }},
                    {"folds",
                     [=](Plan& p) {
                       p.tasks[first].folds = {0, 1};
                     }},
                    {"inputs of a step", [](Plan& p) { p.steps[StepId(0)].inputs.end = 1 << 30; }},
                    {"slot queries", [](Plan& p) { p.slots[SlotId(0)].queries.end = 1000; }},
                    {"queues", [](Plan& p) { p.launches[LaunchId(0)].workers = 2147483647; }}});
}

TEST(InterpreterInput, IdsAndRowsOutsideTheirColumnsAreErrors) {
  const TaskId first(0);
  const StepId step(0);
  expect_bad_input(node_halves(small_forest(), traces::parse_heads("4/2/8")),
                   {{"node", [](Plan& p) { p.segments[0].node = NodeId(50); }},
                    {"token begin", [](Plan& p) { p.segments[0].token_begin = -1; }},
                    {"token end", [](Plan& p) { p.segments[0].token_end = 10; }},
                    {"rows of a segment", [](Plan& p) { p.segments[0].row_end = 5; }},
                    {"request", [](Plan& p) { p.query_rows[0] = RequestId(4); }},
                    {"slot of a task", [=](Plan& p) { p.tasks[first].slot = SlotId(500); }},
                    {"slot of another group",
                     [=](Plan& p) {
                       p.slots[p.tasks[first].slot].queries = {0, 1};
                     }},
                    {"slot of a step", [](Plan& p) { p.reduction_inputs[0].slot = SlotId(500); }},
                    {"row of a slot", [](Plan& p) { p.reduction_inputs[0].row = 4; }},
                    {"no slot", [](Plan& p) { p.reduction_inputs[0].slot = SlotId(); }},
                    {"final row", [=](Plan& p) { p.steps[step].out_row = -1; }},
                    {"final rows", [=](Plan& p) { p.steps[step].rows = 1 << 20; }},
                    {"kind of a task", [=](Plan& p) { p.tasks[first].kind = static_cast<TaskKind>(17); }}});
}

TEST(InterpreterInput, HeadsAndShapesThatDoNotFitAreErrors) {
  const TaskId first(0);
  const SlotId slot(0);
  expect_bad_input(node_halves(small_forest(), traces::parse_heads("4/2/8")),
                   {{"heads of a task", [=](Plan& p) { p.tasks[first].head_begin = 2; }},
                    {"copies", [=](Plan& p) { p.tasks[first].copies = 2147483647; }},
                    {"heads of two KV heads",
                     [=](Plan& p) {
                       p.tasks[first].head_count = 3;
                       p.tasks[first].copies = 1;
                     }},
                    {"no heads", [=](Plan& p) { p.tasks[first].head_count = 0; }},
                    {"heads of a step", [](Plan& p) { p.steps[StepId(0)].head_count = 5; }},
                    {"heads of a slot", [=](Plan& p) { p.slots[slot].head_count = 5; }},
                    {"fewer heads in a slot", [=](Plan& p) { p.slots[slot].head_count = 2; }},
                    {"narrow slot", [=](Plan& p) { p.slots[slot].columns = 7; }},
                    {"absurd slot", [=](Plan& p) { p.slots[slot].columns = std::int64_t{1} << 62; }},
                    {"slot kind", [=](Plan& p) { p.slots[slot].kind = SlotKind::scores; }},
                    {"heads", [](Plan& p) { p.heads.kv_heads = 3; }}});
}

TEST(InterpreterInput, StorageOutsideTheWorkspaceIsAnErrorWhenShared) {
  Plan plan = node_halves(small_forest(), traces::parse_heads("4/2/8"));
  for (const std::int64_t offset :
       {plan.workspace_bytes - 8, std::int64_t{-256}, std::int64_t{2}, std::int64_t{1} << 62}) {
    plan.slots[SlotId(2)].offset = offset;
    EXPECT_NO_THROW(interpret(plan, {}));
    EXPECT_THROW(interpret(plan, {}, {.shared_storage = true}), core::Error) << offset;
  }
}

TEST(InterpreterInput, CirclesAreErrors) {
  expect_bad_input(node_halves(small_forest(), traces::parse_heads("4/2/8")),
                   {{"launches", [](Plan& p) {
                       p.launches[LaunchId(0)].dependencies = p.launches[LaunchId(1)].dependencies;
                       p.dependencies[0] = LaunchId(1);
                     }}});
  expect_bad_input(tree_merge(small_forest(), traces::parse_heads("4/2/8")),
                   {{"steps", [](Plan& p) {
                       p.reduction_inputs[static_cast<std::size_t>(p.steps[StepId(3)].inputs.begin)].slot =
                           p.steps[StepId(3)].out;
                     }}});
}

TEST(InterpreterInput, ScoresThatDoNotFitAreErrors) {
  const TaskId root_values(7);  // after six scores tasks and the softmax
  const Plan sound = two_gemms(small_forest(), traces::parse_heads("4/2/8"));
  ASSERT_EQ(sound.tasks[root_values].kind, TaskKind::values);
  expect_bad_input(
      sound,
      {{"missing scores", [=](Plan& p) { p.tasks[root_values].folds.end -= 1; }},
       {"scores too narrow", [](Plan& p) { p.slots[SlotId(0)].columns -= 1; }},
       {"scores nobody wrote", [](Plan& p) { p.phases[0].range.begin = 1; }},
       {"folds that hold partial rows",
        [=](Plan& p) {
          p.fold_slots[static_cast<std::size_t>(p.tasks[root_values].folds.begin)] = p.tasks[root_values].slot;
        }},
       {"scores written to partial rows", [=](Plan& p) { p.tasks[TaskId(0)].slot = p.tasks[root_values].slot; }}});
}

}  // namespace
}  // namespace espalier::kernels

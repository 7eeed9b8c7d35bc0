// plan/1 files: equal bytes after a round trip, and a sentence that names the place for whatever is wrong.
#include <gmock/gmock.h>

#include "core/error.h"
#include "core/hash.h"
#include "tests/scheduler/node_plans.h"

namespace espalier::scheduler {
namespace {

using node_plans::node_plan;
using node_plans::small_forest;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

/// A plan in which every column has a row and every kind occurs; no valid plan.
Plan full_plan() {
  Plan plan = node_plan(small_forest(), node_plans::heads());
  for (const TaskKind kind : {TaskKind::padding, TaskKind::scores, TaskKind::softmax, TaskKind::values}) {
    Task task = plan.tasks[TaskId(0)];
    task.kind = kind;
    task.folds = {0, 1};
    plan.tasks.push_back(task);
  }
  plan.fold_slots = {SlotId(1)};
  plan.slots[SlotId(1)].kind = SlotKind::scores;
  plan.slots[SlotId(1)].dtype = traces::Dtype::fp8_e4m3;
  plan.steps[StepId(1)].out = SlotId(2);
  plan.steps[StepId(1)].out_row = 0;
  plan.steps[StepId(1)].rows = 1;
  plan.steps[StepId(2)].op = ReductionOp::sum;
  plan.phases[1].start = PhaseStart::on_arrival;
  plan.queues = {{0, 2}, {2, 2}};
  plan.queue_items = {{TaskId(1), 1}, {TaskId(0), 0}};
  plan.launches[LaunchId(0)].workers = 2;
  plan.launches[LaunchId(0)].follow = Follow::programmatic;
  plan.provenance.seed = ~std::uint64_t{0};
  plan.provenance.why = {"quotes \" and \\", "second"};
  plan.heads.scale = 0.1;
  seal(plan);
  return plan;
}

TEST(PlanFile, ComesBackWithTheSameContentAndBytes) {
  const Plan plan = full_plan();
  const std::string text = write_plan(plan);
  const Plan read = read_plan(text, "p.json");
  EXPECT_EQ(read.hash, plan.hash);
  EXPECT_EQ(read.forest, plan.forest);
  EXPECT_EQ(read.heads, plan.heads);
  EXPECT_EQ(read.kernels, plan.kernels);
  EXPECT_EQ(read.provenance.options, plan.provenance.options);
  EXPECT_EQ(read.provenance.seed, plan.provenance.seed);
  EXPECT_EQ(write_plan(read), text);
  EXPECT_THAT(text, testing::StartsWith("{\n  \"schema\": \"plan/1\""));
}

TEST(PlanFile, ComesBackForRandomForestsAndForNone) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Plan plan = node_plan(node_plans::random_forest(seed), node_plans::heads(), 8, 50);
    const std::string text = write_plan(plan);
    ASSERT_EQ(write_plan(read_plan(text, "p.json")), text) << seed;
  }
  const Plan empty = node_plan({}, node_plans::heads());
  EXPECT_EQ(write_plan(read_plan(write_plan(empty), "p.json")), write_plan(empty));
}

struct Damage {
  const char* name;
  const char* from;  ///< first occurrence is replaced
  const char* to;
  const char* message;
};
class DamagedPlanFile : public testing::TestWithParam<Damage> {};

TEST_P(DamagedPlanFile, IsRefusedWithThePlaceNamed) {
  const Damage& damage = GetParam();
  std::string text = write_plan(full_plan());
  const std::size_t at = text.find(damage.from);
  ASSERT_NE(at, std::string::npos) << text;
  text.replace(at, std::string_view(damage.from).size(), damage.to);
  EXPECT_THAT([&] { read_plan(text, "p.json"); }, ThrowsMessage<core::Error>(HasSubstr(damage.message)));
}

INSTANTIATE_TEST_SUITE_P(
    All, DamagedPlanFile,
    testing::Values(
        Damage{"schema", "plan/1", "plan/2", "p.json: schema: expected \"plan/1\""},
        Damage{"key", "\"fold_slots\"", "\"fold_slot\"", "\"fold_slot\""},
        Damage{"column_key", "\"copies\"", "\"copy\"", "p.json: tasks: expected key \"copies\""},
        Damage{"extra_column", "\"copies\": [", "\"copies2\": [], \"copies\": [",
               "p.json: tasks: expected only the keys kind, "},
        Damage{"length", "\"copies\": [2,", "\"copies\": [", "p.json: tasks.copies: expected 7 elements, as in kind"},
        Damage{"kind", "\"attend\",\"attend\",\"attend\",\"padding\"", "\"attend\",\"attent\",\"attend\",\"padding\"",
               "p.json: tasks.kind[1]: expected one of padding, attend, scores"},
        Damage{"task_slot", "\"slot\": [0,1,2", "\"slot\": [0,3,2",
               "p.json: tasks.slot[1]: expected an integer from -1 to 2"},
        Damage{"interval_end", "\"segments_end\": [1,2,3", "\"segments_end\": [1,9,3", "p.json: tasks.segments_end[1]"},
        Damage{"interval_order", "\"segments_begin\": [0,1,2", "\"segments_begin\": [0,3,2",
               "p.json: tasks.segments_begin[1]: expected at most 2, got 3"},
        Damage{"copies", "\"copies\": [2,", "\"copies\": [4097,", "p.json: tasks.copies[0]: expected at most 4096"},
        Damage{"node", "\"node\": [0,", "\"node\": [3,", "p.json: segments.node[0]"},
        Damage{"query", "\"query_rows\": [0,", "\"query_rows\": [4,", "p.json: query_rows[0]"},
        Damage{"fold", "\"fold_slots\": [1", "\"fold_slots\": [7", "p.json: fold_slots[0]"},
        Damage{"dependency", "\"dependencies\": [0]", "\"dependencies\": [2]", "p.json: dependencies[0]"},
        Damage{"phase_kernel", "\"kernel\": [0,1]", "\"kernel\": [0,2]", "p.json: phases.kernel[1]"},
        Damage{"phase_range", "\"range_end\": [3,3]", "\"range_end\": [3,5]",
               "p.json: phases.range_end[1]: expected at most 3"},
        Damage{"workers", "\"workers\": [2,0]", "\"workers\": [3,0]",
               "p.json: launches.workers[0]: expected an integer from 0 to 2"},
        Damage{"queue_begin", "\"queue_begin\": [0,0]", "\"queue_begin\": [1,0]",
               "p.json: launches.queue_begin[0]: expected at most 0"},
        Damage{"queue_task", "\"task\": [1,0]", "\"task\": [1,7]", "p.json: queue_items.task[1]"},
        Damage{"input_row", "\"row\": [0,1,", "\"row\": [4,1,", "p.json: reduction_inputs.row[0]: expected at most 3"},
        Damage{"step_rows", "\"rows\": [1,", "\"rows\": [5,", "p.json: steps."},
        Damage{"out_row", "\"out_row\": [0,0,3]", "\"out_row\": [0,0,4]",
               "p.json: steps.out_row[2]: expected at most 3"},
        Damage{"heads", "\"q_heads\": 4", "\"q_heads\": 5", "p.json: heads"},
        Damage{"forest_order", "\"leaf\": [0,1,1,2]", "\"leaf\": [1,0,1,2]",
               "p.json: forest: expected nodes and requests in depth-first order"},
        Damage{"forest_tokens", "\"tokens\": [100,", "\"tokens\": [0,", "p.json: forest"},
        Damage{"workspace", "\"workspace_bytes\": ", "\"workspace_bytes\": -", "p.json: workspace_bytes"},
        Damage{"kernel", "\"registers\": [128,", "\"registers\": [300,",
               "p.json: kernels[0]: registers: expected 1 to 255, got 300"},
        Damage{"kernel_rate", "\"efficiency\": [1,1", "\"efficiency\": [1,-1",
               "p.json: kernels[1]: efficiency: expected "},
        Damage{"number", "\"overlap\": [0.9", "\"overlap\": [\"x\"", "p.json: kernels.overlap[0]"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(PlanFile, NamesBothHashesWhenTheContentChanged) {
  const Plan plan = full_plan();
  std::string text = write_plan(plan);
  text.replace(text.find("\"token_begin\": [0"), 17, "\"token_begin\": [1");
  Plan changed = plan;
  changed.segments[0].token_begin = 1;
  EXPECT_THAT(
      [&] { read_plan(text, "p.json"); },
      ThrowsMessage<core::Error>(AllOf(HasSubstr("p.json: hash: expected hash " + core::hash_text(plan_hash(changed))),
                                       HasSubstr("got " + core::hash_text(plan.hash)))));
}

TEST(PlanFile, HoldsAHundredThousandTasks) {
  traces::ForestSource source;
  source.name = "wide";
  source.parent = {-1};
  source.tokens = {1000};
  for (int r = 0; r < 1000; ++r) {
    source.parent.push_back(0);
    source.tokens.push_back(1600);
    source.leaf.push_back(r + 1);
  }
  const Plan plan = node_plan(traces::make_forest(source), node_plans::heads(), 16, 16);
  ASSERT_GE(plan.tasks.size(), 100'000u);
  const std::string text = write_plan(plan);
  EXPECT_EQ(read_plan(text, "p.json").hash, plan.hash);
}

}  // namespace
}  // namespace espalier::scheduler

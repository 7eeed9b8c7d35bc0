// Which merges can start when tasks and merges are done.
#include "sim/arrivals.h"

#include <gmock/gmock.h>

#include <vector>

namespace espalier::sim {
namespace {

using namespace scheduler;

TEST(Arrivals, WaitForEveryWriterOfASlot) {
  // Steps 0 and 1 write a row each of slot 1, step 2 reads both; a task writes slot 0.
  Plan plan;
  Task writer;
  writer.slot = SlotId(0);
  plan.tasks.push_back(writer);
  plan.slots = core::Column<SlotId, Slot>(2);
  plan.reduction_inputs = {{SlotId(0), 0}, {SlotId(0), 1}, {SlotId(1), 0}};
  plan.steps = {{.inputs = {0, 1}, .out = SlotId(1)},
                {.inputs = {1, 2}, .out = SlotId(1), .out_row = 1},
                {.inputs = {2, 3}, .rows = 2, .out = SlotId()}};
  plan.phases = {{PhaseKind::steps, {0, 3}, KernelId(0), PhaseStart::on_arrival}};
  Arrivals arrivals(plan);
  std::vector<StepId> ready;
  arrivals.task_done(TaskId(0), ready);
  EXPECT_THAT(ready, ::testing::ElementsAre(StepId(0), StepId(1)));
  ready.clear();
  arrivals.step_done(StepId(1), ready);
  EXPECT_THAT(ready, ::testing::IsEmpty());
  EXPECT_FALSE(arrivals.is_ready(StepId(2)));
  arrivals.step_done(StepId(0), ready);
  EXPECT_THAT(ready, ::testing::ElementsAre(StepId(2)));
}

}  // namespace
}  // namespace espalier::sim

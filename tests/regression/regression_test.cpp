// One test a mended bug, named after what went wrong.

#include <gmock/gmock.h>

#include <algorithm>

#include "core/text.h"
#include "scheduler/plan_builder.h"
#include "scheduler/strategy.h"
#include "scheduler/validate.h"
#include "sim/simulator.h"
#include "traces/import.h"

namespace espalier {
namespace {

scheduler::Plan plan_of(const std::string& tree, const char* strategy, scheduler::KernelSet kernels) {
  const auto forest = traces::parse_tree(tree);
  const auto heads = traces::parse_heads("32/8/128");
  const auto device = costmodel::find_device("h100-sxm");
  return std::get<scheduler::Plan>(
      scheduler::make_plan(scheduler::parse_strategy(strategy), {forest, heads, device, kernels}));
}

// The validator took the log-sum-exp of a half-precision partial row for two bytes; it has four.
TEST(Regression, OverlapWithALogSumExpOfHalfPrecisionRowsIsSeen) {
  auto plan = plan_of("1,4|8192,64", "codec", scheduler::KernelSet::published);
  ASSERT_GE(plan.slots.size(), 2U);
  auto& first = plan.slots[scheduler::SlotId(0)];
  auto& second = plan.slots[scheduler::SlotId(1)];
  ASSERT_EQ(first.dtype, traces::Dtype::fp16);
  second.offset = first.offset + scheduler::slot_bytes(first) - 2;
  scheduler::seal(plan);
  const auto violations = scheduler::validate(plan, costmodel::find_device("h100-sxm"));
  EXPECT_TRUE(std::any_of(violations.begin(), violations.end(), [](const scheduler::Violation& v) {
    return v.violation == scheduler::ViolationClass::storage_overlap;
  })) << scheduler::violations_text(violations);
}

// When a flow class emptied, the classes after it kept their old positions, counts went negative and plans beat their
// bound.
TEST(Regression, ClassesKeepTheirCountsWhenAnotherEmpties) {
  const auto plan = plan_of("3,7,31|700,90,33", "codec", scheduler::KernelSet::ours);
  const auto result = sim::simulate(plan, costmodel::find_device("h100-sxm"));
  for (const double busy : result.split.busy) EXPECT_GE(busy, 0.0);
  EXPECT_NEAR(result.split.total(), result.makespan_us * 132, 1e-6 * result.split.total());
}

// Two neighbouring letters swapped counted as two edits, so that a shorter name won.
TEST(Regression, SwappedLettersAreOneEdit) {
  EXPECT_EQ(core::nearest_name("hbm_gpbs", {"hbm_gib", "hbm_gbps"}), "hbm_gbps");
}

}  // namespace
}  // namespace espalier

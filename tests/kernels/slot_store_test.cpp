// Slots that share bytes: what is written through one is lost to the other.
#include "kernels/slot_store.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "hand_plans.h"

namespace espalier::kernels {
namespace {

using namespace testing;

/// Two score slots of one row and head in the same 8 bytes: four bf16 columns, two fp32 columns.
Plan overlapping_slots() {
  Plan plan;
  plan.heads = traces::parse_heads("1/1/8");
  plan.query_rows = {RequestId(0)};
  Slot slot = slot_for(plan.heads, {0, 1}, SlotKind::scores, 4);
  slot.dtype = traces::Dtype::bf16;
  plan.slots.push_back(slot);
  slot.dtype = traces::Dtype::fp32;
  slot.columns = 2;
  plan.slots.push_back(slot);
  plan.workspace_bytes = 8;
  return plan;
}

TEST(SlotStore, SpoilsEveryElementWhoseBytesAreWritten) {
  const Plan plan = overlapping_slots();
  SlotStore store(plan, true);
  const SlotRow narrow = store.scores(SlotId(0), 0, 0), wide = store.scores(SlotId(1), 0, 0);
  EXPECT_TRUE(std::isnan(narrow[0]));
  for (std::int64_t column = 0; column < 4; ++column) narrow.set(column, 1.0);
  wide.set(1, 2.0);
  EXPECT_EQ(wide[1], 2.0);
  EXPECT_EQ(narrow[1], 1.0);
  EXPECT_NE(narrow[2], 1.0);
  EXPECT_NE(narrow[3], 1.0);
}

TEST(SlotStore, PutsLogSumExpsBehindAllRows) {
  Plan plan = overlapping_slots();
  plan.query_rows = {RequestId(0), RequestId(1)};
  plan.slots[SlotId(0)] = slot_for(plan.heads, {0, 2}, SlotKind::partial, 8);
  plan.slots[SlotId(1)].offset = 2 * 8 * 4;
  plan.workspace_bytes = 2 * (8 * 4 + 4);
  SlotStore store(plan, true);
  const SlotRow tail = store.scores(SlotId(1), 0, 0);
  for (std::int64_t row = 0; row < 2; ++row) {
    const SlotRow partial = store.partial(SlotId(0), row, 0);
    partial.set_lse(5.0 + static_cast<double>(row));
    for (std::int64_t column = 0; column < 8; ++column) partial.set(column, 1.0);
  }
  EXPECT_EQ(tail[0], 5.0);
  EXPECT_EQ(tail[1], 6.0);
  plan.slots[SlotId(1)].offset = 8;
  EXPECT_THROW(SlotStore(plan, true), core::Error);
}

TEST(SlotStore, KeepsSlotsApartUnlessShared) {
  const Plan plan = overlapping_slots();
  SlotStore store(plan, false);
  store.scores(SlotId(0), 0, 0).set(0, 1.0);
  store.scores(SlotId(1), 0, 0).set(0, 2.0);
  EXPECT_EQ(store.scores(SlotId(0), 0, 0)[0], 1.0);
  EXPECT_TRUE(std::isnan(store.scores(SlotId(1), 0, 0)[1]));
}

TEST(SlotStore, FindsTheRowOfARequest) {
  Plan plan = overlapping_slots();
  plan.query_rows = {RequestId(2), RequestId(5), RequestId(9)};
  plan.slots[SlotId(0)].queries = {0, 3};
  const SlotStore store(plan, false);
  EXPECT_EQ(store.find_row(SlotId(0), RequestId(5)), 1);
  EXPECT_EQ(store.find_row(SlotId(0), RequestId(9), 2), 2);
  EXPECT_EQ(store.find_row(SlotId(0), RequestId(2), 77), 0);
  EXPECT_EQ(store.find_row(SlotId(0), RequestId(3)), -1);
}

}  // namespace
}  // namespace espalier::kernels

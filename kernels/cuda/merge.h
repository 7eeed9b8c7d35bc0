// Merging of partial rows: a warp a row, lanes over columns.
#pragma once

#include "kernels/cuda/events.h"
#include "kernels/cuda/rows.h"

namespace espalier::kernels::ESPALIER_TARGET {

/// The running merge of one row, this lane's columns of it: pairs of columns 2 (32 i + lane).
template <int kVDim>
struct MergedRow {
  static constexpr int kPairs = (kVDim / 2 + 31) / 32;
  float top, sum;  ///< base-2 maximum and weights over it
  float values[kPairs][2];
};

/// One input of a merge, as the lane that looked it up knows it.
struct MergeInput {
  RowPlace row;
  float weight;
};

/// What lane `lane` looked up, in all lanes.
ESPALIER_DEVICE MergeInput input_of_lane(const MergeInput& own, int lane) {
  const auto address = reinterpret_cast<std::uintptr_t>(own.row.values);
  const std::uint64_t low = shuffle(static_cast<std::uint32_t>(address), lane),
                      high = shuffle(static_cast<std::uint32_t>(address >> 32), lane);
  const auto dtype = static_cast<Dtype>(shuffle(static_cast<std::int32_t>(own.row.dtype), lane));
  return {{reinterpret_cast<char*>(static_cast<std::uintptr_t>(low | high << 32)), nullptr, dtype},
          shuffle(own.weight, lane)};
}

/// Adds inputs first, first + 1, … of those that the lanes looked up. All their numbers are asked for before any is
/// used: one after the other, each would take as long as memory does.
template <int kVDim, int kCount>
ESPALIER_DEVICE void add_inputs(MergedRow<kVDim>& merged, const MergeInput& own, int first) {
  constexpr int kPairs = MergedRow<kVDim>::kPairs;
  const int lane = static_cast<int>(thread_index()) % 32;
  StoredPair stored[kCount][kPairs];
  Dtype dtypes[kCount];
  float weights[kCount];
  ESPALIER_UNROLL
  for (int u = 0; u < kCount; ++u) {
    const MergeInput input = input_of_lane(own, first + u);
    dtypes[u] = input.row.dtype;
    weights[u] = input.weight;
    ESPALIER_UNROLL
    for (int i = 0; i < kPairs; ++i) {
      stored[u][i] = {};
      if (input.weight > 0.0F && i * 32 + lane < kVDim / 2) stored[u][i] = load_stored(input.row, 2 * (i * 32 + lane));
    }
  }
  ESPALIER_UNROLL
  for (int u = 0; u < kCount; ++u) {
    ESPALIER_UNROLL
    for (int i = 0; i < kPairs; ++i) {
      const Pair two = pair_of(dtypes[u], stored[u][i]);
      merged.values[i][0] += two.low * weights[u];
      merged.values[i][1] += two.high * weights[u];
    }
  }
}

/// Inputs are taken 32 at a time, a lane an input: each is looked up, and its log-sum-exp read and exponentiated, once.
template <int kVDim>
ESPALIER_DEVICE void merge_batch(MergedRow<kVDim>& merged, const PlanColumns& plan, const Tensors& tensors,
                                 const scheduler::ReductionStep& step, std::int32_t first, std::int32_t row,
                                 std::int32_t head) {
  const int lane = static_cast<int>(thread_index()) % 32;
  const int count = step.inputs.end - first < 32 ? step.inputs.end - first : 32;
  const bool sums = step.op == scheduler::ReductionOp::sum;
  MergeInput own = {};
  float score = minus_infinity();
  if (lane < count) {
    const scheduler::RowRef ref = load_global(plan.reduction_inputs + first + lane);
    own.row = partial_row(tensors, load_global(plan.slots + ref.slot.value), ref.row + row, head);
    if (!sums) score = load_fresh(own.row.lse) * kLog2E;
  }
  float most = score;
  ESPALIER_UNROLL
  for (int mask = 16; mask > 0; mask /= 2) most = fmaxf(most, shuffle_xor(most, mask));
  const float top = fmaxf(merged.top, most);
  const float shrink = merged.top == minus_infinity() ? 0.0F : exp2_fast(merged.top - top);
  if (sums) {
    own.weight = lane < count ? 1.0F : 0.0F;
  } else {
    own.weight = score == minus_infinity() ? 0.0F : exp2_fast(score - top);
  }
  float total = own.weight;
  ESPALIER_UNROLL
  for (int mask = 16; mask > 0; mask /= 2) total += shuffle_xor(total, mask);
  if (!sums) {
    merged.top = top;
    merged.sum = merged.sum * shrink + total;
    ESPALIER_UNROLL
    for (int i = 0; i < MergedRow<kVDim>::kPairs; ++i) {
      merged.values[i][0] *= shrink;
      merged.values[i][1] *= shrink;
    }
  }
  constexpr int kAtOnce = MergedRow<kVDim>::kPairs < 8 ? 8 / MergedRow<kVDim>::kPairs : 1;
  ESPALIER_KEEP_LOOP
  for (int i = 0; i < count; i += kAtOnce) add_inputs<kVDim, kAtOnce>(merged, own, i);
}

/// Row `row` of a step, for one head.
template <int kVDim>
ESPALIER_DEVICE void merge_row(const PlanColumns& plan, const Tensors& tensors, const scheduler::ReductionStep& step,
                               std::int32_t row, std::int32_t head) {
  const int lane = static_cast<int>(thread_index()) % 32;
  const bool sums = step.op == scheduler::ReductionOp::sum;
  MergedRow<kVDim> merged;
  merged.top = minus_infinity();
  merged.sum = 0.0F;
  ESPALIER_UNROLL
  for (int i = 0; i < MergedRow<kVDim>::kPairs; ++i) merged.values[i][0] = merged.values[i][1] = 0.0F;
  for (std::int32_t first = step.inputs.begin; first < step.inputs.end; first += 32) {
    merge_batch(merged, plan, tensors, step, first, row, head);
  }

  RowPlace to;
  if (step.out.value < 0) {
    to = final_row<kVDim>(tensors, load_global(plan.query_rows + step.out_row + row), head);
  } else {
    to = partial_row(tensors, load_global(plan.slots + step.out.value), step.out_row + row, head);
  }
  const float inverse = sums ? 1.0F : merged.sum > 0.0F ? 1.0F / merged.sum : 0.0F;
  ESPALIER_UNROLL
  for (int i = 0; i < MergedRow<kVDim>::kPairs; ++i) {
    if (i * 32 + lane >= kVDim / 2) continue;
    store_pair(to, 2 * (i * 32 + lane), {merged.values[i][0] * inverse, merged.values[i][1] * inverse});
  }
  // Sums carry no log-sum-exp: that of the final row is the softmax task's.
  if (lane == 0 && !sums) {
    store_global(to.lse, merged.sum > 0.0F ? (merged.top + log2_fast(merged.sum)) * kLn2 : minus_infinity());
  }
}

/// Rows are numbered through the steps of a phase; `rows` has one entry a step. Launches that are captured once for
/// many plans have room for more: entries without a step stand behind the others, and begin at the first row that isn't
/// there.
template <int kVDim>
ESPALIER_DEVICE void merge_numbered_row(const PlanColumns& plan, const Tensors& tensors, const StepRows* rows,
                                        std::int32_t steps, std::int32_t number) {
  std::int32_t low = 0, high = steps;
  while (high - low > 1) {
    const std::int32_t middle = (low + high) / 2;
    if (load_global(rows + middle).first_row <= number) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const StepRows at = load_global(rows + low);
  if (at.step < 0) return;
  const scheduler::ReductionStep step = load_global(plan.steps + at.step);
  const std::int32_t within = number - at.first_row;
  merge_row<kVDim>(plan, tensors, step, within / step.head_count, step.head_begin + within % step.head_count);
}

}  // namespace espalier::kernels::ESPALIER_TARGET

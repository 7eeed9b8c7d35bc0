// One softmax over a row's scores in all slots that hold some, in place; the final row's log-sum-exp comes from here.
#pragma once

#include "kernels/cuda/events.h"
#include "kernels/cuda/rows.h"

namespace espalier::kernels::ESPALIER_TARGET {

inline constexpr int kSoftmaxThreads = 128;
inline constexpr std::uint32_t kSoftmaxSharedBytes = kSoftmaxThreads / 32 * 8;

/// Largest score, and the sum of exponentials over it, in base 2.
struct alignas(8) Mass {
  float most, sum;
};

ESPALIER_DEVICE Mass joined(Mass a, Mass b) {
  const float most = fmaxf(a.most, b.most);
  if (most == minus_infinity()) return {most, 0.0F};
  return {most, a.sum * exp2_fast(a.most - most) + b.sum * exp2_fast(b.most - most)};
}

/// The block's masses together, in every thread.
ESPALIER_DEVICE Mass joined_in_block(Mass mine) {
  const auto thread = static_cast<int>(thread_index());
  ESPALIER_UNROLL
  for (int mask = 16; mask > 0; mask /= 2) {
    mine = joined(mine, {shuffle_xor(mine.most, mask), shuffle_xor(mine.sum, mask)});
  }
  block_sync<kSoftmaxThreads>();  // the row before has been read
  if (thread % 32 == 0) store_shared(static_cast<SharedAddress>(thread / 32 * 8), mine);
  block_sync<kSoftmaxThreads>();
  Mass all = load_shared<Mass>(0);
  ESPALIER_UNROLL
  for (int w = 1; w < kSoftmaxThreads / 32; ++w) {
    all = joined(all, load_shared<Mass>(static_cast<SharedAddress>(w * 8)));
  }
  return all;
}

/// visit(row, columns) for each folded slot that has the task's row.
template <class Visit>
ESPALIER_DEVICE void for_each_slot(const AttendParams& params, const Work& work, std::int32_t row, const Visit& visit) {
  for (std::int32_t f = work.folds.begin; f < work.folds.end; ++f) {
    const scheduler::Slot slot = load_global(params.plan.slots + load_global(params.plan.fold_slots + f));
    const RowPlace place = slot_row(params, work, slot, row);
    if (place.values != nullptr) visit(place, static_cast<std::int32_t>(slot.columns));
  }
}

ESPALIER_KERNEL(kSoftmaxThreads, 1) softmax_kernel(ESPALIER_PARAMETER AttendParams params) {
  stamp_begin(params.events.items, static_cast<std::int32_t>(block_index()));
  const auto thread = static_cast<std::int32_t>(thread_index());
  const Work work = read_work(params.plan, params.tensors, load_global(params.items + block_index()));
  for (std::int32_t row = 0; row < work.rows; ++row) {
    Mass mine = {minus_infinity(), 0.0F};
    for_each_slot(params, work, row, [&](const RowPlace& place, std::int32_t columns) {
      for (std::int32_t c = thread; c < columns; c += kSoftmaxThreads) {
        const float score = load_number(place, c) * kLog2E;
        if (score != minus_infinity()) mine = joined(mine, {score, 1.0F});
      }
    });
    const Mass all = joined_in_block(mine);
    const float inverse = all.sum > 0.0F ? 1.0F / all.sum : 0.0F, base = all.most == minus_infinity() ? 0.0F : all.most;
    for_each_slot(params, work, row, [&](const RowPlace& place, std::int32_t columns) {
      for (std::int32_t c = thread; c < columns; c += kSoftmaxThreads) {
        store_number(place, c, exp2_fast(load_number(place, c) * kLog2E - base) * inverse);
      }
    });
    if (thread == 0) {
      const std::int32_t request = load_global(params.plan.query_rows + work.queries.begin + row / work.head_count);
      store_global(
          params.tensors.lse + std::int64_t{request} * params.tensors.q_heads + work.head_begin + row % work.head_count,
          all.sum > 0.0F ? (all.most + log2_fast(all.sum)) * kLn2 : minus_infinity());
    }
  }
  stamp_block_end<kSoftmaxThreads>(params.events.items, static_cast<std::int32_t>(block_index()));
}

}  // namespace espalier::kernels::ESPALIER_TARGET

// Addresses in shared tiles, and the work item a block is at.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/events.h"
#include "kernels/cuda/params.h"

namespace espalier::kernels::ESPALIER_TARGET {

/// What a row's number does to its chunks' places.
template <int kRowBytes>
ESPALIER_DEVICE int spread_of(int row) {
  static_assert(kRowBytes % 128 == 0 || kRowBytes == 64);
  return kRowBytes % 128 == 0 ? row & 7 : row >> 1 & 3;
}

/// Place of 16-byte chunk `chunk` of row `row`: chunks of 8 neighbouring rows are spread over all banks, so that
/// ldmatrix and row-wise copies are free of conflicts.
template <int kRowBytes>
ESPALIER_DEVICE SharedAddress swizzled(int row, int chunk) {
  return static_cast<SharedAddress>(row * kRowBytes + ((chunk ^ spread_of<kRowBytes>(row)) << 4));
}

/// The address `chunks` further along the row of `at`, a place from swizzled() whose own chunk has no bit in common
/// with them; cheaper than another swizzled(), and nothing that a compiler would keep in a register for each step of a
/// loop.
template <int kRowBytes>
ESPALIER_DEVICE SharedAddress along(SharedAddress at, int chunks) {
  constexpr int kSpread = kRowBytes % 128 == 0 ? 7 : 3;
  return (at ^ static_cast<SharedAddress>((chunks & kSpread) << 4)) +
         static_cast<SharedAddress>((chunks & ~kSpread) << 4);
}

/// As swizzled() and along() in tiles whose rows are padded, where there is padding: an odd number of chunks a row
/// spreads them as well.
template <int kRowBytes, int kPad>
ESPALIER_DEVICE SharedAddress tile_place(int row, int chunk) {
  if constexpr (kPad == 0) {
    return swizzled<kRowBytes>(row, chunk);
  } else {
    return static_cast<SharedAddress>(row * (kRowBytes + kPad) + chunk * 16);
  }
}
template <int kRowBytes, int kPad>
ESPALIER_DEVICE SharedAddress tile_along(SharedAddress at, int chunks) {
  if constexpr (kPad == 0) {
    return along<kRowBytes>(at, chunks);
  } else {
    return at + static_cast<SharedAddress>(chunks * 16);
  }
}

/// The warps that compute meet: all of the block's, but for those that only load.
template <class C>
ESPALIER_DEVICE void team_sync() {
  if constexpr (C::kProducer) {
    team_barrier<1, C::kThreads>();
  } else {
    block_sync<C::kThreads>();
  }
}

/// Once all of them are through with what the record is of.
template <class C>
ESPALIER_DEVICE void stamp_team_end(EventRecord* records, std::int32_t index) {
  if (records == nullptr) return;
  team_sync<C>();
  stamp_end(records, index);
}

/// One copy of a task with its numbers at hand.
struct Work {
  scheduler::Interval segments, queries, folds;
  std::int32_t slot;
  std::int32_t head_begin, head_count;
  std::int32_t kv_head;
  std::int32_t rows;  ///< queries x heads
  std::int32_t tokens;
  bool unmasked;
  TokenRun first;  ///< its first segment
};

ESPALIER_DEVICE Work read_work(const PlanColumns& plan, const Tensors& tensors, const scheduler::QueueItem& item) {
  const scheduler::Task task = load_global(plan.tasks + item.task.value);
  const TaskFacts facts = load_global(plan.facts + item.task.value);
  Work w;
  w.segments = task.segments;
  w.queries = task.queries;
  w.folds = task.folds;
  w.slot = task.slot.value;
  w.head_begin = task.head_begin + item.copy * task.head_count;
  w.head_count = task.head_count;
  w.kv_head = w.head_begin / tensors.group;
  w.rows = (task.queries.end - task.queries.begin) * task.head_count;
  w.tokens = facts.tokens;
  w.unmasked = facts.unmasked != 0;
  w.first = facts.first;
  return w;
}

}  // namespace espalier::kernels::ESPALIER_TARGET

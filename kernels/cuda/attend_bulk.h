// The attend kernel for devices with bulk copies (sm_90 and up): four warps load, the others compute as everywhere.
//
// Predicted over attend.h: no barrier of the block a tile, no addresses in the computing warps' registers, copies of a
// row rather than of 16 bytes. A fifth warp alone would cost the second block of an SM: warps lie in four partitions,
// and three of 184 registers don't fit one. So the loading warps hand what they don't need to those that compute. Not
// yet measured. Known weak spots: a copy a row of K or V (256 bytes for 128 columns), where tensor maps would take many
// rows at once; products are still of one warp each.
#pragma once

#include "kernels/cuda/attend.h"
#include "kernels/cuda/bulk_loader.h"

namespace espalier::kernels::ESPALIER_TARGET {

#if defined(ESPALIER_BULK_COPIES)

/// By all lanes of a warp: its part of a stage may be filled anew.
template <class C>
ESPALIER_DEVICE void free_stage(int stage, Mates mates) {
  const auto lane = static_cast<int>(thread_index()) % 32;
  if constexpr (C::kClusters) {
    if (lane < mates.count) arrive_in_block(Ring<C>::freed(stage), static_cast<std::uint32_t>(mates.first + lane));
  } else {
    if (lane == 0) arrive(Ring<C>::freed(stage));
  }
}

/// What the computing warps do. Others of the cluster wait for the stages, too, where blocks load together.
template <class C>
ESPALIER_DEVICE void compute_tasks(const AttendParams& params, scheduler::Interval items, Mates mates = {}) {
  Attention<C> attention(params);
  Arrivals<C> arrivals(params);
  Ring<C> ring;
  const bool speaks = thread_index() % 32 == 0;  // for its warp
  for (std::int32_t item = items.begin; item < items.end; ++item) {
    const scheduler::QueueItem at = load_global(params.items + item);
    const TaskFacts facts = load_global(params.plan.facts + at.task.value);
    stamp_begin(params.events.items, item);
    attention.begin_task();
    int used = 0;
    for (int tile = 0; tile * C::kTokens < facts.tokens; ++tile) {
      const bool last = (tile + 1) * C::kTokens >= facts.tokens;
      wait_barrier(Ring<C>::landed(ring.stage), ring.parity);
      warp_sync();  // lanes leave the wait one by one; matrices are loaded by the warp as one
      if (tile == 0) attention.take_queries();
      attention.add_tile(facts, tile, ring.stage);
      warp_sync();
      if (speaks && (C::kQueriesInRegisters ? tile == 0 : last)) arrive(Ring<C>::queries_freed());
      // The last stage serves as scratch space first.
      if (!last) free_stage<C>(ring.stage, mates);
      used = ring.stage;
      ring.advance();
    }
    const Work work = read_work(params.plan, params.tensors, load_global(params.items + item));
    attention.finish_task(work, static_cast<SharedAddress>(C::kRingAt + used * C::kStageBytes));
    if (work.tokens > 0) {
      if constexpr (C::kWarpgroups == 0) fence_engine();  // bulk copies come where rows were brought together
      warp_sync();
      free_stage<C>(used, mates);
    }
    stamp_team_end<C>(params.events.items, item);
    arrivals.task_written(at.task.value, work.head_begin);
  }
  if constexpr (!C::kClusters) merge_behind_barrier<C>(params);
}

/// Warps that load, warps that compute: barriers have been made, and the block has met.
template <class C, class TileLoader>
ESPALIER_DEVICE void run_tasks(const AttendParams& params, scheduler::Interval items, Mates mates = {}) {
  if (thread_index() >= C::kThreads) {
    if constexpr (C::kHandsRegisters) shrink_registers<C::kLoadingRegisters>();
    if (thread_index() < C::kThreads + C::kLoadWarps * 32) TileLoader(params, mates).load(items);
  } else {
    if constexpr (C::kHandsRegisters) grow_registers<C::kComputingRegisters>();
    compute_tasks<C>(params, items, mates);
  }
}

/// Its queue, or its item where there are no queues.
ESPALIER_DEVICE scheduler::Interval items_of_block(const AttendParams& params) {
  const auto block = static_cast<std::int32_t>(block_index());
  if (params.queues != nullptr) return load_global(params.queues + block);
  return {block, block + 1};
}

#endif

/// Where registers can't be handed over, two blocks would leave too few.
template <class C>
constexpr int blocks_per_sm() {
#if defined(ESPALIER_REGISTER_SHARES)
  return C::kBlocks;
#else
  return 1;
#endif
}

/// Most threads of a block of kernels that are empty in code for some devices: those can't be launched, and are told by
/// that (cuda_choice.h).
template <class C>
constexpr int bulk_threads() {
#if defined(ESPALIER_BULK_COPIES)
  return C::kBlockThreads;
#else
  return 32;
#endif
}

/// Empty where there are no bulk copies.
template <class C>
ESPALIER_KERNEL(bulk_threads<C>(), blocks_per_sm<C>())
attend_bulk_kernel(ESPALIER_PARAMETER AttendParams params) {
#if defined(ESPALIER_BULK_COPIES)
  if (thread_index() == 0) Ring<C>::init();
  block_sync<C::kBlockThreads>();
  run_tasks<C, BulkLoader<C>>(params, items_of_block(params));
#endif
}

/// A task a block; blocks of a cluster that have tasks over the same tokens load together. Without queues, and without
/// steps behind a barrier.
template <class C>
ESPALIER_KERNEL(bulk_threads<C>(), blocks_per_sm<C>())
attend_cluster_kernel(ESPALIER_PARAMETER AttendParams params) {
#if defined(ESPALIER_BULK_COPIES)
  const auto block = static_cast<std::int32_t>(block_index());
  const Mates mates = load_global(params.mates + block);
  if (thread_index() == 0 && mates.count > 0) {
    Ring<C>::init(mates.count);
    publish_barriers();
  }
  cluster_sync();  // before anybody reaches into another's shared memory
  if (mates.count > 0) run_tasks<C, BulkLoader<C>>(params, {block, block + 1}, mates);
#endif
}

}  // namespace espalier::kernels::ESPALIER_TARGET

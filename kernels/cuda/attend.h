// Partial attention: a block walks its task copies, loads their KV tiles through a ring of asynchronous copies and
// writes a row, partial or final, for each query and head.
//
// Version 1. One barrier a tile; copies of tile j + stages - 1 are issued while tile j is computed, across the borders
// of tasks, so a persistent block's loads don't run dry while it writes results. Page ids are looked up a tile ahead in
// registers and spread over the warp by shuffles. Predicted gain of the crossing over stopping at each border: a
// latency a task (about 1 us). Not yet measured. Known weak spots: tasks of one tile in a queue wait for each other's
// queries; results leave in 8-byte pieces.
#pragma once

#include "kernels/cuda/arrivals.h"
#include "kernels/cuda/attend_config.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/loader.h"

namespace espalier::kernels::ESPALIER_TARGET {

/// The steps that wait for all of the grid's tasks, a warp a row.
template <class C>
ESPALIER_DEVICE void merge_behind_barrier(const AttendParams& params) {
  if (params.barrier_steps == nullptr) return;
  grid_barrier<C>(params.counters + params.arrival_counters);
  stamp_begin(params.events.merges, static_cast<std::int32_t>(block_index()));
  const auto warp = static_cast<std::int32_t>(thread_index()) / 32;
  for (auto row = static_cast<std::int32_t>(block_index()) * C::kWarps + warp; row < params.barrier_rows;
       row += static_cast<std::int32_t>(grid_blocks()) * C::kWarps) {
    merge_numbered_row<C::kVDim>(params.plan, params.tensors, params.barrier_steps, params.barrier_step_count, row);
  }
  stamp_team_end<C>(params.events.merges, static_cast<std::int32_t>(block_index()));
}

template <class C>
ESPALIER_KERNEL(C::kThreads, 1)
attend_kernel(ESPALIER_PARAMETER AttendParams params) {
  scheduler::Interval items = {static_cast<std::int32_t>(block_index()), static_cast<std::int32_t>(block_index()) + 1};
  if (params.queues != nullptr) items = load_global(params.queues + block_index());
  Loader<C> loader(params, items);
  Attention<C> attention(params);
  Arrivals<C> arrivals(params);
  int stage = 0;
  for (std::int32_t item = items.begin; item < items.end; ++item) {
    const scheduler::QueueItem at = load_global(params.items + item);
    const TaskFacts facts = load_global(params.plan.facts + at.task.value);
    stamp_begin(params.events.items, item);
    const int done = item - items.begin;  // tasks whose queries are no longer in the way
    attention.begin_task();
    int used = stage;
    for (int tile = 0; tile * C::kTokens < facts.tokens; ++tile) {
      // Nothing under way: fill the ring, and come again. One place that fills it, as it is much code.
      for (bool taken = false; !taken;) {
        taken = loader.ahead() > 0;
        if (taken) wait_for_tile<C>(loader.ahead());
        block_sync<C::kThreads>();
        if (taken) {
          if (tile == 0) attention.take_queries();
          loader.took();
        }
        loader.top_up(C::kQueriesInRegisters && tile > 0 ? done + 1 : done);
      }
      attention.add_tile(facts, tile, stage);
      used = stage;
      stage = stage + 1 == C::kStages ? 0 : stage + 1;
    }
    // Read again rather than kept: the loop above needs every register.
    const Work work = read_work(params.plan, params.tensors, load_global(params.items + item));
    attention.finish_task(work, static_cast<SharedAddress>(C::kRingAt + used * C::kStageBytes));
    stamp_team_end<C>(params.events.items, item);
    arrivals.task_written(at.task.value, work.head_begin);
  }
  merge_behind_barrier<C>(params);
}

}  // namespace espalier::kernels::ESPALIER_TARGET

// Steps that run as soon as their inputs are written, by the block that writes the last of them; and the barrier of a
// grid.
//
// A counter a step and unit of heads; the last arrival finds the others' count, resets it for the next launch, and
// merges. Nobody waits, so blocks may run in any order.
#pragma once

#include "kernels/cuda/merge.h"

namespace espalier::kernels::ESPALIER_TARGET {

/// A step whose turn has come, for some heads. In shared memory while it waits for the block.
struct alignas(16) Chore {
  std::int32_t step;
  std::int32_t first_head, heads;
  std::int32_t counter;
};

template <class C>
class Arrivals {
 public:
  ESPALIER_DEVICE explicit Arrivals(const AttendParams& params) : params_(params) {}

  /// All threads of the block call this when their rows of a task copy are written.
  ESPALIER_DEVICE void task_written(std::int32_t task, std::int32_t head_begin) {
    if (params_.plan.task_arrivals == nullptr) return;
    const scheduler::Interval to = load_global(params_.plan.task_arrivals + task);
    if (to.begin == to.end) return;
    for (std::int32_t first = to.begin; first < to.end; first += C::kChores) {
      arrive({first, first + C::kChores < to.end ? first + C::kChores : to.end}, head_begin, 0);
      run_chores();
    }
  }

 private:
  // A chore leaves the list before it adds the one step that reads its result (lower_plan sees to that), so the list
  // never grows.
  static constexpr SharedAddress kCountAt = C::kChoresAt, kListAt = C::kChoresAt + 16;

  /// One thread counts for the block, once all have written their rows: its fence hands on what they handed it at the
  /// barrier.
  ESPALIER_DEVICE void arrive(scheduler::Interval to, std::int32_t head, std::int32_t waiting) {
    team_sync<C>();
    if (thread_index() == 0) {
      fence();
      for (std::int32_t a = to.begin; a < to.end; ++a) {
        const Arrival arrival = load_global(params_.plan.arrivals + a);
        const scheduler::ReductionStep step = load_global(params_.plan.steps + arrival.step);
        if (head < step.head_begin || head >= step.head_begin + step.head_count) continue;
        const std::int32_t unit = (head - step.head_begin) / arrival.unit_heads;
        std::uint32_t* counter = params_.counters + arrival.first_counter + unit;
        if (atomic_add(counter, 1U) + 1U < static_cast<std::uint32_t>(arrival.expected)) continue;
        atomic_add(counter, 0U - static_cast<std::uint32_t>(arrival.expected));
        const Chore chore = {arrival.step, step.head_begin + unit * arrival.unit_heads, arrival.unit_heads,
                             arrival.first_counter + unit};
        store_shared(kListAt + static_cast<SharedAddress>(waiting++) * 16, chore);
      }
      if (waiting > 0) fence();  // the merge reads what others handed over
      store_shared(kCountAt, waiting);
    }
    team_sync<C>();
  }

  ESPALIER_DEVICE void run_chores() {
    for (std::int32_t waiting = load_shared<std::int32_t>(kCountAt); waiting > 0;
         waiting = load_shared<std::int32_t>(kCountAt)) {
      const Chore chore = load_shared<Chore>(kListAt + static_cast<SharedAddress>(waiting - 1) * 16);
      stamp_begin(params_.events.arrivals, chore.counter);
      const scheduler::ReductionStep step = load_global(params_.plan.steps + chore.step);
      for (std::int32_t r = static_cast<std::int32_t>(thread_index()) / 32; r < step.rows * chore.heads;
           r += C::kWarps) {
        merge_row<C::kVDim>(params_.plan, params_.tensors, step, r / chore.heads, chore.first_head + r % chore.heads);
      }
      stamp_team_end<C>(params_.events.arrivals, chore.counter);
      arrive(load_global(params_.plan.step_arrivals + chore.step), chore.first_head, waiting - 1);
    }
  }

  const AttendParams& params_;
};

/// Every block of the grid arrives before any goes on. The second word counts the launches' barriers, so the first can
/// go back to zero.
template <class C>
ESPALIER_DEVICE void grid_barrier(std::uint32_t* words) {
  team_sync<C>();
  if (thread_index() == 0) {
    fence();
    const std::uint32_t generation = poll(words + 1);
    if (atomic_add(words, 1U) + 1U == grid_blocks()) {
      atomic_add(words, 0U - grid_blocks());
      fence();
      atomic_add(words + 1, 1U);
    } else {
      while (poll(words + 1) == generation) {
      }
    }
    fence();
  }
  team_sync<C>();
}

}  // namespace espalier::kernels::ESPALIER_TARGET

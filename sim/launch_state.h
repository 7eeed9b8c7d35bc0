// Launches as the dispatcher sees them: what they wait for, which phases are open, which CTAs are next.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "scheduler/plan.h"
#include "sim/arrivals.h"
#include "sim/work_list.h"

namespace espalier::sim {

/// Equal CTAs of one phase to start now: `count` CTAs in work order from copy `copy` of work `work`.
struct Batch {
  std::int32_t phase = -1;
  std::int32_t work = -1, copy = 0;
  std::int32_t count = 0;
  bool dispatched =
      true;  ///< fresh CTAs; else a resident CTA of the launch goes on with it (after a barrier, merges on arrival)
};

/// A launch waits for its dependencies and for the launch before it on its stream. Phases open together up to the next
/// barrier.
class LaunchStates {
 public:
  LaunchStates(const scheduler::Plan& plan, const WorkList& list);

  std::int32_t waits(scheduler::LaunchId l) const { return states_[l].waits; }
  bool is_first(scheduler::LaunchId l) const { return states_[l].first; }  ///< follows no launch
  std::int32_t next_phase(scheduler::LaunchId l) const { return states_[l].next_phase; }
  bool has_closed_phase(scheduler::LaunchId l) const { return next_phase(l) < plan_.launches[l].phases.end; }
  /// Launches with open phases, in launch order.
  const std::vector<scheduler::LaunchId>& open() const { return open_; }

  void open_phases(scheduler::LaunchId l, const Arrivals& arrivals);
  void step_ready(scheduler::StepId step);
  /// True when no CTA of the open phases is left.
  bool ctas_done(scheduler::LaunchId l, std::int64_t count) { return (states_[l].outstanding -= count) == 0; }
  /// Ends a launch; returns those that now wait for nothing more.
  std::vector<scheduler::LaunchId> finish(scheduler::LaunchId l);
  scheduler::LaunchId first_unfinished() const;

  /// SM share of the next CTA to dispatch; 0 when nothing waits.
  std::int64_t next_need(scheduler::LaunchId l) const {
    const State& state = states_[l];
    return has_worker(l) || !state.pending.empty() || !state.arrived.empty() ? state.need : 0;
  }
  /// At most `room` > 0 equal CTAs; something waits.
  Batch take(scheduler::LaunchId l, std::int32_t room) {
    State& state = states_[l];
    const bool arrived = !state.arrived.empty();
    Batch batch = take_from(arrived ? state.arrived : state.pending, room);
    batch.dispatched = !arrived && !state.after_barrier && state.workers == 0;
    return batch;
  }
  bool has_worker(scheduler::LaunchId l) const { return states_[l].next_worker < states_[l].workers; }
  /// Next persistent worker (index into Plan::queues) to bring onto the device, if it has one.
  std::int32_t take_worker(scheduler::LaunchId l);
  std::int64_t need(scheduler::LaunchId l) const { return states_[l].need; }
  /// Work for a resident worker: one CTA, or count 0.
  Batch worker_batch(scheduler::LaunchId l, std::int32_t worker);
  /// True when a worker that got nothing has items behind a barrier; it is then remembered.
  bool worker_waits(scheduler::LaunchId l, std::int32_t worker);
  /// Workers that waited, each to be fed once.
  std::vector<std::int32_t> resume_workers(scheduler::LaunchId l);

 private:
  struct Cursor {
    std::int32_t phase = -1, work = -1, copy = 0;
    std::int32_t end = -1;  ///< of the works that follow one another
  };
  struct State {
    std::int32_t waits = 0;
    bool first = true, finished = false, after_barrier = false;
    std::int32_t next_phase = 0;
    std::int64_t outstanding = 0;  ///< CTAs of open phases that aren't done
    std::deque<Cursor> arrived;    ///< merges that became ready
    std::deque<Cursor> pending;    ///< open phases, at their next CTA
    std::int32_t workers = 0, next_worker = 0;
    std::int64_t need = 1;  ///< of every CTA: a grid has the resources of its most demanding phase
    std::vector<std::int32_t> waiting_workers;
    std::vector<scheduler::LaunchId> followers;
  };

  void follow(scheduler::LaunchId before, scheduler::LaunchId after);
  Batch take_from(std::deque<Cursor>& queue, std::int32_t room);

  const scheduler::Plan& plan_;
  const WorkList& list_;
  core::Column<scheduler::LaunchId, State> states_;
  std::vector<scheduler::LaunchId> open_;
  std::vector<std::int32_t> phase_launch_;            ///< by phase
  std::vector<std::int32_t> step_phase_;              ///< by step
  std::vector<std::int32_t> task_work_, task_phase_;  ///< by task, for queues
  std::vector<std::int32_t> queue_next_;              ///< by worker: next of Plan::queue_items
};

}  // namespace espalier::sim

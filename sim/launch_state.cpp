// Dependencies, phase opening and the order in which CTAs of a launch go out.
#include "sim/launch_state.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/error.h"

namespace espalier::sim {

using scheduler::Launch;
using scheduler::LaunchId;
using scheduler::PhaseKind;
using scheduler::PhaseStart;
using scheduler::Plan;

namespace {

bool merges_on_arrival(const scheduler::Phase& phase) {
  return phase.kind == PhaseKind::steps && phase.start == PhaseStart::on_arrival;
}

}  // namespace

LaunchStates::LaunchStates(const Plan& plan, const WorkList& list)
    : plan_(plan), list_(list), states_(plan.launches.size()), phase_launch_(plan.phases.size(), -1),
      step_phase_(plan.steps.size(), -1), task_work_(plan.tasks.size(), -1), task_phase_(plan.tasks.size(), -1),
      queue_next_(plan.queues.size()) {
  std::map<std::int32_t, LaunchId> last_on_stream;
  for (const LaunchId l : core::ids<LaunchId>(plan.launches.size())) {
    const Launch& launch = plan.launches[l];
    State& state = states_[l];
    state.next_phase = launch.phases.begin;
    state.workers = launch.workers;
    for (std::int32_t d = launch.dependencies.begin; d < launch.dependencies.end; ++d) {
      follow(plan.dependencies[static_cast<std::size_t>(d)], l);
    }
    const auto [at, fresh] = last_on_stream.try_emplace(launch.stream, l);
    if (!fresh) follow(std::exchange(at->second, l), l);
    for (std::int32_t p = launch.phases.begin; p < launch.phases.end; ++p) {
      const auto index = static_cast<std::size_t>(p);
      phase_launch_[index] = l.value;
      const scheduler::Phase& phase = plan.phases[index];
      state.need = std::max(state.need, list.phases[index].need);
      for (std::int32_t w = list.phases[index].works.begin; w < list.phases[index].works.end; ++w) {
        const auto item = static_cast<std::size_t>(list.works[static_cast<std::size_t>(w)].item);
        if (phase.kind == PhaseKind::steps) {
          step_phase_[item] = p;
        } else {
          task_work_[item] = w;
          task_phase_[item] = p;
        }
      }
    }
  }
  for (std::size_t q = 0; q < plan.queues.size(); ++q) queue_next_[q] = plan.queues[q].begin;
}

void LaunchStates::follow(LaunchId before, LaunchId after) {
  auto& followers = states_[before].followers;
  if (std::find(followers.begin(), followers.end(), after) != followers.end()) return;
  followers.push_back(after);
  ++states_[after].waits;
  states_[after].first = false;
}

void LaunchStates::open_phases(LaunchId l, const Arrivals& arrivals) {
  State& state = states_[l];
  state.after_barrier = state.next_phase > plan_.launches[l].phases.begin;
  if (!state.after_barrier) {
    open_.insert(std::upper_bound(open_.begin(), open_.end(), l), l);
  }
  const std::int32_t begin = state.next_phase;
  do {
    if (state.next_phase == plan_.launches[l].phases.end) break;
    const std::int32_t p = state.next_phase++;
    const scheduler::Phase& phase = plan_.phases[static_cast<std::size_t>(p)];
    const PhaseWork& work = list_.phases[static_cast<std::size_t>(p)];
    state.outstanding += work.ctas;
    if (work.ctas == 0) continue;
    if (merges_on_arrival(phase)) {
      for (std::int32_t w = work.works.begin; w < work.works.end; ++w) {
        if (arrivals.is_ready(scheduler::StepId(list_.works[static_cast<std::size_t>(w)].item))) {
          state.arrived.push_back({p, w, 0, w + 1});
        }
      }
    } else if (phase.kind == PhaseKind::steps || plan_.launches[l].workers == 0) {
      state.pending.push_back({p, work.works.begin, 0, work.works.end});
    }
  } while (state.next_phase < plan_.launches[l].phases.end &&
           plan_.phases[static_cast<std::size_t>(state.next_phase)].start != PhaseStart::barrier);
  ESPALIER_CHECK(state.next_phase > begin || begin == plan_.launches[l].phases.end);
}

void LaunchStates::step_ready(scheduler::StepId step) {
  const std::int32_t p = step_phase_[step.index()];
  const LaunchId l(phase_launch_[static_cast<std::size_t>(p)]);
  State& state = states_[l];
  // A phase that isn't open yet looks for its ready steps when it opens.
  const bool open = std::binary_search(open_.begin(), open_.end(), l) && p < state.next_phase;
  if (!open) return;
  const std::int32_t first_step = plan_.phases[static_cast<std::size_t>(p)].range.begin;
  const std::int32_t work = list_.phases[static_cast<std::size_t>(p)].works.begin + step.value - first_step;
  state.arrived.push_back({p, work, 0, work + 1});
}

std::vector<LaunchId> LaunchStates::finish(LaunchId l) {
  State& state = states_[l];
  state.finished = true;
  open_.erase(std::find(open_.begin(), open_.end(), l));
  std::vector<LaunchId> next;
  for (const LaunchId follower : state.followers) {
    if (--states_[follower].waits == 0) next.push_back(follower);
  }
  return next;
}

LaunchId LaunchStates::first_unfinished() const {
  for (const LaunchId l : core::ids<LaunchId>(states_.size())) {
    if (!states_[l].finished) return l;
  }
  return LaunchId();
}

Batch LaunchStates::take_from(std::deque<Cursor>& queue, std::int32_t room) {
  Cursor& cursor = queue.front();
  const Work* work = list_.works.data() + cursor.work;
  const std::int32_t end = std::min(cursor.end, work->run_end);
  Batch batch{cursor.phase, cursor.work, cursor.copy, 0, true};
  do {
    const std::int32_t taken = std::min(room - batch.count, work->copies - cursor.copy);
    batch.count += taken;
    cursor.copy += taken;
    if (cursor.copy < work->copies) break;
    ++work;
    ++cursor.work;
    cursor.copy = 0;
  } while (cursor.work < end && batch.count < room);
  if (cursor.work == cursor.end) queue.pop_front();
  return batch;
}

std::int32_t LaunchStates::take_worker(LaunchId l) { return plan_.launches[l].queue_begin + states_[l].next_worker++; }

Batch LaunchStates::worker_batch(LaunchId l, std::int32_t worker) {
  State& state = states_[l];
  const auto q = static_cast<std::size_t>(worker);
  if (!state.arrived.empty()) return take_from(state.arrived, 1);
  if (queue_next_[q] < plan_.queues[q].end) {
    const scheduler::QueueItem& item = plan_.queue_items[static_cast<std::size_t>(queue_next_[q])];
    const std::int32_t phase = task_phase_[item.task.index()];
    if (phase < 0 || phase_launch_[static_cast<std::size_t>(phase)] != l.value) {
      throw core::bad_input(fmt::format("queue of worker {}", worker), "tasks of its own launch",
                            fmt::format("task {}", item.task.value));
    }
    if (phase < state.next_phase) {
      ++queue_next_[q];
      return {phase, task_work_[item.task.index()], item.copy, 1, false};
    }
  }
  return state.pending.empty() ? Batch{} : take_from(state.pending, 1);
}

bool LaunchStates::worker_waits(LaunchId l, std::int32_t worker) {
  const auto q = static_cast<std::size_t>(worker);
  if (queue_next_[q] == plan_.queues[q].end) return false;
  states_[l].waiting_workers.push_back(worker);
  return true;
}

std::vector<std::int32_t> LaunchStates::resume_workers(LaunchId l) {
  return std::exchange(states_[l].waiting_workers, {});
}

}  // namespace espalier::sim

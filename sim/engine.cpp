// The event loop. See docs/model.md for the equations and what is left out.
//
// A cohort is a number of equal CTAs that start together and therefore end together: copies of a task, or of a run of
// tasks of one kind. An event costs as much for a cohort of a thousand CTAs as for one.
#include "sim/engine.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include "core/error.h"
#include "sim/arrivals.h"
#include "sim/event_queue.h"
#include "sim/flow_state.h"
#include "sim/launch_state.h"
#include "sim/occupancy.h"
#include "sim/recorder.h"

namespace espalier::sim {
namespace {

using scheduler::LaunchId;
using scheduler::Plan;

/// Events within a picosecond are one: ties by mathematics that rounding has parted. Far below a CTA's shortest stage.
constexpr double kTieUs = 1e-6;

/// CTAs are followed in groups of at most this share of the SMs. Memory serves requests in turn: the first tiles of a CTA come after
/// those that were asked for before, so a group waits for this share of the time that the opening requests still in the queue
/// take. Half keeps memory busy from the first group on, so the wait moves no bytes to later; without it equal CTAs would
/// fall into lockstep, all waiting, then all loading, where on hardware they drift apart within a wave.
constexpr double kGroupShare = 0.25;
constexpr double kTurnShare = 0.5;

enum class Stage : std::uint8_t { starting, main, io, ending };

/// Two cache lines.
struct alignas(64) Cohort {
  std::int32_t launch = -1, phase = -1;
  std::int32_t work = -1, copy = 0;  ///< first CTA: copy `copy` of work `work`; work -1: a worker without work
  std::int32_t count = 0;
  std::int32_t worker = -1;          ///< persistent worker, or -1
  Stage at = Stage::starting;
  bool merging = false;              ///< belongs to a reduction phase
  const CtaKind* kind = nullptr;
  BoundTimes mark;                   ///< of the opening stage: its shares; of a flow: the class's times at entry
  BoundTimes spent;                  ///< time by bound so far
};

/// What only logs and timelines tell of a cohort.
struct Observed {
  double begin_us = 0;
  std::vector<std::int32_t> lanes;
};

/// What a cohort waits for before its own latency: its way onto the SMs, and its turn at memory.
struct Opening {
  double dispatch_us = 0, turn_us = 0;
};

/// Timers are events whose order is a kind of these and an index: due at one time, cohorts come first.
enum class TimerKind : std::uint32_t { cohort, launch_ready, barrier_passed };
constexpr int kIndexBits = 30;

class Engine {
 public:
  Engine(const Plan& plan, const costmodel::DeviceSpec& device, const WorkList& list, const SimOptions& options, RunLog* log)
      : plan_(plan), device_(device), list_(list), flows_(list.classes, device), sm_time_(device.sms), arrivals_(plan),
        launches_(plan, list), free_units_(static_cast<std::int64_t>(device.sms) * list.sm_units),
        group_(std::max<std::int64_t>(1, static_cast<std::int64_t>(device.sms * kGroupShare))), work_left_(list.works.size()), task_bound_(plan.tasks.size(), Bound::fixed), phases_(plan.phases.size()), log_(log) {
    if (options.timeline) recorder_ = std::make_unique<Recorder>(device.sms, options.max_spans);
    for (std::size_t w = 0; w < list.works.size(); ++w) work_left_[w] = list.works[w].copies;
    for (const LaunchId l : core::ids<LaunchId>(plan.launches.size())) {
      for (std::int32_t p = plan.launches[l].phases.begin; p < plan.launches[l].phases.end; ++p) {
        phases_[static_cast<std::size_t>(p)] = {l, p, -1, 0};
      }
    }
  }

  EngineResult run() && {
    for (const LaunchId l : core::ids<LaunchId>(plan_.launches.size())) {
      if (launches_.waits(l) == 0) launch_after_gap(l);
    }
    for (;;) {
      if (may_dispatch_) dispatch();
      const double flow_us = flows_.next_us();
      const double timer_us = timers_.empty() ? kNever : std::max(0.0, timers_.front().at - now_us_);
      const double us = std::min(flow_us, timer_us);
      if (us == kNever) break;
      if (recorder_) recorder_->sample(now_us_, sm_time_.resident(), flows_);
      if (log_ != nullptr) log_->moments.push_back({now_us_, us, sm_time_.resident(), sm_time_.merging()});
      sm_time_.pass(us, flows_);
      now_us_ += us;
      handle_events(flow_us - us);
    }
    return result();
  }

 private:
  static constexpr double kNever = std::numeric_limits<double>::infinity();

  void handle_events(double flow_left_us) {
    due_.clear();
    // Well before the next cohort is through there is no need to look.
    if (flow_left_us <= 4 * kTieUs) flows_.pop(kTieUs, due_);
    due_timers_.clear();
    while (!timers_.empty() && timers_.front().at <= now_us_ + kTieUs) {
      due_timers_.push_back(timers_.front().order);
      timers_.pop();
    }
    for (const std::int32_t cohort : due_) flow_done(cohort);
    for (const std::uint32_t timer : due_timers_) {
      const auto index = static_cast<std::int32_t>(timer & ((std::uint32_t{1} << kIndexBits) - 1));
      if (timer >> kIndexBits == static_cast<std::uint32_t>(TimerKind::cohort)) {
        stage_done(index);
      } else {
        open_phases(LaunchId(index));
      }
    }
  }

  void set_timer(double at_us, TimerKind kind, std::int32_t index) {
    timers_.push({at_us, static_cast<std::uint32_t>(kind) << kIndexBits | static_cast<std::uint32_t>(index), 0});
  }

  // Cohorts

  /// Opening requests that memory hasn't served yet, as time.
  double queue_us() const { return std::max(0.0, queue_us_ - (now_us_ - queued_at_us_)); }

  bool observes() const { return recorder_ || log_ != nullptr; }

  std::int32_t take_place() {
    if (free_cohorts_.empty()) {
      cohorts_.emplace_back();
      if (observes()) observed_.emplace_back();
      return static_cast<std::int32_t>(cohorts_.size()) - 1;
    }
    const std::int32_t index = free_cohorts_.back();
    free_cohorts_.pop_back();
    return index;
  }

  /// `dispatch_us`: what it costs to bring the CTAs onto their SMs, and `turn_us` to have their first requests served; nothing when a
  /// resident CTA takes the work, whose ring goes on.
  void start_cohort(LaunchId launch, const Batch& batch, std::int32_t worker, const Opening& opening) {
    const std::int32_t index = take_place();
    Cohort& cohort = cohorts_[static_cast<std::size_t>(index)];
    cohort.launch = launch.value;
    cohort.phase = batch.phase;
    cohort.work = batch.work;
    cohort.copy = batch.copy;
    cohort.count = batch.count;
    cohort.worker = worker;
    cohort.kind = &kind_of(batch.work);
    cohort.at = Stage::starting;
    cohort.merging = false;
    if (cohort.phase >= 0) {
      cohort.merging = !has_tasks(cohort.phase);
      double& begin = phases_[static_cast<std::size_t>(cohort.phase)].begin_us;
      if (begin < 0) begin = now_us_;
    }
    if (observes()) observed_[static_cast<std::size_t>(index)].begin_us = now_us_;
    if (recorder_) {
      auto& lanes = observed_[static_cast<std::size_t>(index)].lanes;
      worker >= 0 ? recorder_->take_worker(worker_lane(cohort), lanes) : recorder_->take(cohort.count, lanes);
    }
    queue_us_ = queue_us() + cohort.count * cohort.kind->burst_us;
    queued_at_us_ = now_us_;
    sm_time_.resident(cohort.count, cohort.merging);
    open_stage(index, opening);
  }

  /// The stage before a CTA's flows: its dispatch, its turn at memory, and latency that it can't hide.
  void open_stage(std::int32_t index, const Opening& opening) {
    Cohort& cohort = cohorts_[static_cast<std::size_t>(index)];
    const CtaKind& kind = *cohort.kind;
    BoundTimes& parts = cohort.spent;
    parts = {};
    parts.us[static_cast<int>(Bound::fixed)] = opening.dispatch_us;
    parts.us[static_cast<int>(Bound::latency)] = kind.exposed_us;
    if (kind.main_class >= 0) {
      const bool hits = list_.classes[static_cast<std::size_t>(kind.main_class)].hbm_fraction == 0;
      parts.us[static_cast<int>(hits ? Bound::l2 : Bound::hbm)] = opening.turn_us;
    }
    double us = 0;
    for (const double part : parts.us) us += part;
    for (int b = 0; b < kBounds; ++b) cohort.mark.us[b] = us > 0 ? parts.us[b] / us : 0;
    sm_time_.enter_fixed(cohort.count, cohort.mark);
    set_timer(now_us_ + us, TimerKind::cohort, index);
  }

  void flow_stage(std::int32_t index, std::int32_t flow, double bytes) {
    Cohort& cohort = cohorts_[static_cast<std::size_t>(index)];
    cohort.mark = flows_.bound_times(flow);
    flows_.enter(flow, index, cohort.count, bytes);
  }

  void flow_done(std::int32_t index) {
    Cohort& cohort = cohorts_[static_cast<std::size_t>(index)];
    const CtaKind& kind = *cohort.kind;
    const BoundTimes& now = flows_.bound_times(cohort.at == Stage::main ? kind.main_class : kind.io_class);
    for (int b = 0; b < kBounds; ++b) cohort.spent.us[b] += now.us[b] - cohort.mark.us[b];
    next_stage(index);
  }

  void stage_done(std::int32_t index) {
    const Cohort& cohort = cohorts_[static_cast<std::size_t>(index)];
    if (cohort.at == Stage::ending) {
      sm_time_.leave_fixed(cohort.count);
      return retire(index);
    }
    sm_time_.leave_fixed(cohort.count, cohort.mark);
    next_stage(index);
  }

  /// Moves on to the next stage that isn't empty.
  void next_stage(std::int32_t index) {
    Cohort& cohort = cohorts_[static_cast<std::size_t>(index)];
    const CtaKind& kind = *cohort.kind;
    if (cohort.at == Stage::starting) {
      cohort.at = Stage::main;
      if (kind.main_class >= 0) return flow_stage(index, kind.main_class, kind.main_bytes);
    }
    if (cohort.at == Stage::main) {
      cohort.at = Stage::io;
      if (kind.io_class >= 0) return flow_stage(index, kind.io_class, kind.io_bytes);
    }
    cohort.at = Stage::ending;
    if (kind.end_us <= 0) return retire(index);
    cohort.spent.us[static_cast<int>(Bound::fixed)] += kind.end_us;
    sm_time_.enter_fixed(cohort.count);
    set_timer(now_us_ + kind.end_us, TimerKind::cohort, index);
  }

  void retire(std::int32_t index) {
    Cohort& cohort = cohorts_[static_cast<std::size_t>(index)];
    sm_time_.resident(-std::int64_t{cohort.count}, cohort.merging);
    if (recorder_) recorder_->release(observed_[static_cast<std::size_t>(index)].lanes);
    if (log_ != nullptr) log_->cohorts.push_back(record_of(index));
    if (cohort.work >= 0) finish_works(index);
    if (recorder_) observed_[static_cast<std::size_t>(index)].lanes.clear();
    // Its place may be taken by the worker's next cohort.
    const LaunchId launch(cohort.launch);
    const std::int32_t phase = cohort.phase, count = cohort.count, worker = cohort.worker;
    free_cohorts_.push_back(index);
    if (worker >= 0) {
      feed_worker(launch, worker, {});
    } else {
      free_units_ += count * launches_.need(launch);
      may_dispatch_ = true;
    }
    if (phase < 0) return;
    phases_[static_cast<std::size_t>(phase)].end_us = now_us_;
    if (launches_.ctas_done(launch, count)) phases_done(launch);
  }

  /// Every CTA of the open phases is through: a barrier opens the next ones, or the launch is over.
  void phases_done(LaunchId launch) {
    if (launches_.has_closed_phase(launch)) {
      const double us = device_.grid_sync_us;
      if (recorder_) recorder_->gap(scheduler::SpanKind::barrier, launch, now_us_, now_us_ + us);
      if (log_ != nullptr) log_->gaps.push_back({launch, true, now_us_, now_us_ + us});
      set_timer(now_us_ + us, TimerKind::barrier_passed, launch.value);
      return;
    }
    makespan_us_ = std::max(makespan_us_, now_us_);
    for (const LaunchId next : launches_.finish(launch)) launch_after_gap(next);
  }

  /// Books the cohort's CTAs with their tasks and steps; completed ones may make merges ready.
  void finish_works(std::int32_t index) {
    const Cohort& cohort = cohorts_[static_cast<std::size_t>(index)];
    const bool tasks = !cohort.merging;
    ready_steps_.clear();
    std::int32_t left = cohort.count, copy = cohort.copy;
    std::size_t lane = 0;
    for (auto w = static_cast<std::size_t>(cohort.work); left > 0; ++w, copy = 0) {
      const Work& work = list_.works[w];
      const std::int32_t done = std::min(left, work.copies - copy);
      left -= done;
      if (tasks) book_task(work, done, cohort);
      for (std::int32_t c = 0; recorder_ && c < done; ++c, ++lane) {
        recorder_->cta({0, tasks ? scheduler::SpanKind::task : scheduler::SpanKind::step, LaunchId(cohort.launch), work.item,
                        copy + c, observed_[static_cast<std::size_t>(index)].begin_us, now_us_}, observed_[static_cast<std::size_t>(index)].lanes[lane]);
      }
      work_left_[w] -= done;
      if (work_left_[w] > 0) continue;
      tasks ? arrivals_.task_done(scheduler::TaskId(work.item), ready_steps_)
            : arrivals_.step_done(scheduler::StepId(work.item), ready_steps_);
    }
    for (const scheduler::StepId step : ready_steps_) launches_.step_ready(step);
    may_dispatch_ |= !ready_steps_.empty();
  }

  /// `done` more CTAs of a task are through.
  void book_task(const Work& work, std::int32_t done, const Cohort& cohort) {
    BoundTimes alone;
    BoundTimes* times = &alone;
    if (done < work.copies) {
      if (task_time_.empty()) task_time_.resize(task_bound_.size());
      times = &task_time_[static_cast<std::size_t>(work.item)];
    }
    for (int b = 0; b < kBounds; ++b) times->us[b] += cohort.spent.us[b] * done;
    int most = 0;
    for (int b = 1; b < kBounds; ++b) most = times->us[b] > times->us[most] ? b : most;
    const bool empty = cohort.kind->main_class < 0 && cohort.kind->io_class < 0;  // padding
    task_bound_[static_cast<std::size_t>(work.item)] = empty ? Bound::fixed : static_cast<Bound>(most);
  }

  // Launches

  void launch_after_gap(LaunchId launch) {
    const scheduler::Follow follow = plan_.launches[launch].follow;
    double us = follow == scheduler::Follow::stream  ? device_.launch_stream_us
                : follow == scheduler::Follow::graph ? device_.launch_graph_us
                                                     : device_.launch_pdl_us;
    // Nothing to overlap the start of the first kernel with.
    if (launches_.is_first(launch)) us = std::max(us, device_.least_launch_gap_us());
    if (recorder_) recorder_->gap(scheduler::SpanKind::launch_gap, launch, now_us_, now_us_ + us);
    if (log_ != nullptr) log_->gaps.push_back({launch, false, now_us_, now_us_ + us});
    set_timer(now_us_ + us, TimerKind::launch_ready, launch.value);
  }

  void open_phases(LaunchId launch) {
    const std::int32_t begin = launches_.next_phase(launch);
    launches_.open_phases(launch, arrivals_);
    may_dispatch_ = true;
    for (std::int32_t p = begin; p < launches_.next_phase(launch); ++p) {
      phases_[static_cast<std::size_t>(p)].end_us = now_us_;
      if (list_.phases[static_cast<std::size_t>(p)].ctas == 0) phases_[static_cast<std::size_t>(p)].begin_us = now_us_;
    }
    if (launches_.ctas_done(launch, 0)) return phases_done(launch);
    for (const std::int32_t worker : launches_.resume_workers(launch)) feed_worker(launch, worker, {});
  }

  // Dispatch

  /// Launches get free slots in order; a later one only when nothing of the earlier waits (the hardware's leftover policy).
  void dispatch() {
    may_dispatch_ = false;
    for (std::size_t i = 0; i < launches_.open().size(); ++i) {
      if (!dispatch_launch(launches_.open()[i])) break;
    }
  }

  bool dispatch_launch(LaunchId launch) {
    for (;;) {
      const std::int64_t need = launches_.next_need(launch);
      if (need == 0) return true;
      if (free_units_ < need) return false;
      const auto room = static_cast<std::int32_t>(free_units_ < 2 * need ? 1 : std::min(free_units_ / need, group_));
      const double turn_us = kTurnShare * queue_us();
      if (const std::int32_t worker = launches_.take_worker(launch); worker >= 0) {
        free_units_ -= need;
        feed_worker(launch, worker, {device_.cta_start_ns * 1e-3, turn_us});
        continue;
      }
      const Batch batch = launches_.take(launch, room);
      free_units_ -= need * batch.count;
      start_cohort(launch, batch, -1, {batch.dispatched ? device_.cta_start_ns * 1e-3 : 0, turn_us});
    }
  }

  /// A resident worker takes a ready merge, else its next item, else any open work; it waits for a barrier or leaves.
  void feed_worker(LaunchId launch, std::int32_t worker, const Opening& opening) {
    const Batch batch = launches_.worker_batch(launch, worker);
    if (batch.count > 0) return start_cohort(launch, batch, worker, opening);
    if (launches_.worker_waits(launch, worker)) return;
    if (opening.dispatch_us > 0) {
      Batch idle;
      idle.count = 1;
      return start_cohort(launch, idle, worker, {opening.dispatch_us, 0});
    }
    free_units_ += launches_.need(launch);
    may_dispatch_ = true;
  }

  const CtaKind& kind_of(std::int32_t work) const {
    static const CtaKind kNothing;
    if (work < 0) return kNothing;
    return list_.kinds[static_cast<std::size_t>(list_.works[static_cast<std::size_t>(work)].kind)];
  }

  bool has_tasks(std::int32_t phase) const { return plan_.phases[static_cast<std::size_t>(phase)].kind == scheduler::PhaseKind::tasks; }

  CohortRecord record_of(std::int32_t index) const {
    const Cohort& cohort = cohorts_[static_cast<std::size_t>(index)];
    const std::int32_t item = cohort.work < 0 ? -1 : list_.works[static_cast<std::size_t>(cohort.work)].item;
    return {LaunchId(cohort.launch), cohort.phase, item, cohort.count, cohort.worker, cohort.merging, observed_[static_cast<std::size_t>(index)].begin_us, now_us_, cohort.spent};
  }

  std::int32_t worker_lane(const Cohort& cohort) const {
    return cohort.worker - plan_.launches[LaunchId(cohort.launch)].queue_begin;
  }

  EngineResult result() {
    if (const LaunchId stuck = launches_.first_unfinished(); stuck.valid()) {
      throw core::bad_input(fmt::format("launch {}", stuck.value), "a launch that can come to its end",
                            "one that waits for work, slots or launches that never finish");
    }
    EngineResult result;
    result.makespan_us = makespan_us_;
    result.split = sm_time_.split();
    result.phases = std::move(phases_);
    result.task_bound = std::move(task_bound_);
    if (recorder_) result.timeline = std::move(*recorder_).finish(makespan_us_);
    return result;
  }

  const Plan& plan_;
  const costmodel::DeviceSpec& device_;
  const WorkList& list_;
  FlowState flows_;
  SmTime sm_time_;
  Arrivals arrivals_;
  LaunchStates launches_;
  std::int64_t free_units_;
  std::int64_t group_;           ///< CTAs that are followed as one at most
  bool may_dispatch_ = true;     ///< since the last dispatch an SM share, a phase or a merge has become free
  double queue_us_ = 0, queued_at_us_ = 0;  ///< service time of opening requests queued at memory, and when that was
  double now_us_ = 0, makespan_us_ = 0;
  std::vector<Cohort> cohorts_;
  std::vector<std::int32_t> free_cohorts_, due_;
  std::vector<std::uint32_t> due_timers_;
  std::vector<scheduler::StepId> ready_steps_;
  EventQueue timers_;
  std::vector<Observed> observed_;  ///< by cohort, if anybody observes
  std::vector<std::int32_t> work_left_;  ///< CTAs not done, by work
  std::vector<BoundTimes> task_time_;    ///< of tasks that didn't run as one cohort
  std::vector<Bound> task_bound_;
  std::vector<PhaseTime> phases_;
  std::unique_ptr<Recorder> recorder_;
  RunLog* log_;
};

}  // namespace

EngineResult run_events(const Plan& plan, const costmodel::DeviceSpec& device, const WorkList& list,
                        const SimOptions& options, RunLog* log) {
  return Engine(plan, device, list, options, log).run();
}

}  // namespace espalier::sim

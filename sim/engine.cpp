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
#include "sim/run_observer.h"

namespace espalier::sim {
namespace {

using scheduler::LaunchId;
using scheduler::Plan;

/// Events within a picosecond are one: ties by mathematics that rounding has parted. Far below a CTA's shortest stage.
constexpr double kTieUs = 1e-6;

/// CTAs are followed in groups of at most this share of the SMs. Memory serves requests in turn: the first tiles of a
/// CTA come after those that were asked for before, so a group waits for this share of the time that the opening
/// requests still in the queue take. Half keeps memory busy from the first group on, so the wait moves no bytes to
/// later; without it equal CTAs would fall into lockstep, all waiting, then all loading, where on hardware they drift
/// apart within a wave.
constexpr double kGroupShare = 0.25;
constexpr double kTurnShare = 0.5;

enum class Stage : std::uint8_t { starting, main, io, ending };

/// Two cache lines: from a main flow, the longest stage, into the io flow only the second is looked at. Hence also the
/// copies of what a kind says, which lies elsewhere.
struct alignas(64) Cohort {
  std::int32_t launch = -1, phase = -1;
  std::int32_t work = -1, copy = 0;  ///< first CTA: copy `copy` of work `work`; work -1: a worker without work
  std::int32_t worker = -1;          ///< persistent worker, or -1
  std::int32_t main_class = -1;
  double main_bytes = 0, end_us = 0;
  double stage_us = 0;  ///< length of the opening stage
  double share_us = 0;  ///< SM time of every CTA when a stage of fixed length began
  alignas(64) double io_bytes = 0;
  std::int32_t io_class = -1;
  std::int32_t count = 0;
  Stage at = Stage::starting;
  bool merging = false;  ///< belongs to a reduction phase
  BoundTimes spent;      ///< time by bound so far; in a flow, less what its class had at entry
};
static_assert(sizeof(Cohort) == 128);

/// What a cohort waits for before its own latency: its way onto the SMs, and its turn at memory.
struct Opening {
  double dispatch_us = 0, turn_us = 0;
};

/// Timers are events whose order is a kind of these and an index: due at one time, cohorts come first.
enum class TimerKind : std::uint32_t { cohort, launch_ready, barrier_passed };
constexpr int kIndexBits = 30;

class Engine {
 public:
  Engine(const Plan& plan, const costmodel::DeviceSpec& device, const WorkList& list, const SimOptions& options,
         RunLog* log)
      : plan_(plan), device_(device), list_(list), sm_time_(device.sms), flows_(list.classes, device, sm_time_),
        arrivals_(plan), launches_(plan, list), free_units_(static_cast<std::int64_t>(device.sms) * list.sm_units),
        group_(std::max<std::int64_t>(1, static_cast<std::int64_t>(device.sms * kGroupShare))),
        work_left_(list.works.size()), task_bound_(plan.tasks.size(), Bound::fixed), phases_(plan.phases.size()) {
    if (options.timeline || log != nullptr) observer_ = std::make_unique<RunObserver>(list, device.sms, options, log);
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
    observer_ ? run_loop<true>() : run_loop<false>();
    return result();
  }

 private:
  static constexpr double kNever = std::numeric_limits<double>::infinity();

  /// Runs that nobody looks at have a loop of their own: a call in it would keep the times that decide who is next in
  /// memory, though it were never made.
  template <bool kObserved>
  void run_loop() {
    for (;;) {
      if (may_dispatch_) dispatch();
      const double timer_at = std::max(now_us_, timers_.next_at()), flow_at = flows_.next_at();
      const double next = std::max(now_us_, std::min(flow_at, timer_at));
      if (next == kNever) break;
      if constexpr (kObserved) observer_->moment(now_us_, next, sm_time_, flows_);
      now_us_ = next;
      gap_begins_ = false;
      // Well before the next cohort is through there is no need to look. `next` would do too, but is known later.
      if (flow_at <= timer_at + 4 * kTieUs) {
        flows_.advance(now_us_);
        flows_.for_due(kTieUs, [this](std::int32_t cohort, const BoundTimes& times) { flow_done(cohort, times); });
      }
      // A gap that begins now ends in a moment of its own, however short it is.
      while (timers_.next_at() <= now_us_ + kTieUs && !gap_begins_) handle_timer();
    }
  }

  void handle_timer() {
    const std::uint32_t timer = timers_.front().order;
    timers_.pop();
    const auto index = static_cast<std::int32_t>(timer & ((std::uint32_t{1} << kIndexBits) - 1));
    if (timer >> kIndexBits == static_cast<std::uint32_t>(TimerKind::cohort)) {
      stage_done(index);
    } else {
      open_phases(LaunchId(index));
    }
  }

  void begin_gap(LaunchId launch, bool barrier, double us) {
    if (observer_) observer_->gap({launch, barrier, now_us_, now_us_ + us});
    set_timer(now_us_ + us, barrier ? TimerKind::barrier_passed : TimerKind::launch_ready, launch.value);
    if (sm_time_.resident() > 0) return;
    sm_time_.rest();
    gap_begins_ = true;
  }

  void set_timer(double at_us, TimerKind kind, std::int32_t index) {
    timers_.push({at_us, static_cast<std::uint32_t>(kind) << kIndexBits | static_cast<std::uint32_t>(index), 0});
  }

  // Cohorts

  /// Opening requests that memory hasn't served yet, as time.
  double queue_us() const { return std::max(0.0, queue_us_ - (now_us_ - queued_at_us_)); }

  std::int32_t take_place() {
    if (free_cohorts_.empty()) {
      cohorts_.emplace_back();
      return static_cast<std::int32_t>(cohorts_.size()) - 1;
    }
    const std::int32_t index = free_cohorts_.back();
    free_cohorts_.pop_back();
    return index;
  }

  /// `dispatch_us`: what it costs to bring the CTAs onto their SMs, and `turn_us` to have their first requests served;
  /// nothing when a resident CTA takes the work, whose ring goes on.
  void start_cohort(LaunchId launch, const Batch& batch, std::int32_t worker, Opening opening) {
    const std::int32_t index = take_place();
    Cohort& cohort = cohorts_[static_cast<std::size_t>(index)];
    cohort.launch = launch.value;
    cohort.phase = batch.phase;
    cohort.work = batch.work;
    cohort.copy = batch.copy;
    cohort.count = batch.count;
    cohort.worker = worker;
    const CtaKind& kind = kind_of(batch.work);
    cohort.main_class = kind.main_class;
    cohort.main_bytes = kind.main_bytes;
    cohort.io_class = kind.io_class;
    cohort.io_bytes = kind.io_bytes;
    cohort.end_us = kind.end_us;
    cohort.at = Stage::starting;
    cohort.merging = false;
    if (cohort.phase >= 0) {
      cohort.merging = !has_tasks(cohort.phase);
      double& begin = phases_[static_cast<std::size_t>(cohort.phase)].begin_us;
      if (begin < 0) begin = now_us_;
    }
    if (observer_) observer_->begins(index, cohort.count, worker < 0 ? -1 : worker_lane(cohort), now_us_);
    queue_us_ = queue_us() + cohort.count * kind.burst_us;
    queued_at_us_ = now_us_;
    sm_time_.resident(now_us_, cohort.count, cohort.merging);
    open_stage(index, kind, opening);
  }

  /// The stage before a CTA's flows: its dispatch, its turn at memory, and latency that it can't hide.
  void open_stage(std::int32_t index, const CtaKind& kind, Opening opening) {
    Cohort& cohort = cohorts_[static_cast<std::size_t>(index)];
    BoundTimes& parts = cohort.spent;
    parts = {};
    parts.us[static_cast<int>(Bound::fixed)] = opening.dispatch_us;
    parts.us[static_cast<int>(Bound::latency)] = kind.exposed_us;
    double us = kind.exposed_us + opening.dispatch_us;
    if (kind.main_class >= 0) {
      const bool hits = list_.classes[static_cast<std::size_t>(kind.main_class)].hbm_fraction == 0;
      parts.us[static_cast<int>(hits ? Bound::l2 : Bound::hbm)] = opening.turn_us;
      us += opening.turn_us;
    }
    cohort.stage_us = us;
    cohort.share_us = sm_time_.share_us(now_us_);
    set_timer(now_us_ + us, TimerKind::cohort, index);
  }

  void flow_done(std::int32_t index, const BoundTimes& times) {
    Cohort& cohort = cohorts_[static_cast<std::size_t>(index)];
    for (int b = 0; b < kBounds; ++b) cohort.spent.us[b] += times.us[b];
    if (cohort.at == Stage::main) return after_main(index, cohort);
    end_stage(index, cohort);
  }

  /// A stage of fixed length is over.
  void stage_done(std::int32_t index) {
    Cohort& cohort = cohorts_[static_cast<std::size_t>(index)];
    const double sm_us = cohort.count * (sm_time_.share_us(now_us_) - cohort.share_us);
    if (cohort.at == Stage::ending) {
      sm_time_.busy(Bound::fixed, sm_us);
      return retire(index);
    }
    if (cohort.stage_us > 0) sm_time_.busy(cohort.spent, sm_us / cohort.stage_us);
    if (cohort.main_class < 0) return after_main(index, cohort);
    cohort.at = Stage::main;
    enter_flow(index, cohort, cohort.main_class, cohort.main_bytes);
  }

  void after_main(std::int32_t index, Cohort& cohort) {
    if (cohort.io_class < 0) return end_stage(index, cohort);
    cohort.at = Stage::io;
    enter_flow(index, cohort, cohort.io_class, cohort.io_bytes);
  }

  void enter_flow(std::int32_t index, Cohort& cohort, std::int32_t flow, double bytes) {
    flows_.advance(now_us_);
    const BoundTimes& entered = flows_.enter(flow, index, cohort.count, bytes);
    for (int b = 0; b < kBounds; ++b) cohort.spent.us[b] -= entered.us[b];
  }

  void end_stage(std::int32_t index, Cohort& cohort) {
    const double end_us = cohort.end_us;
    if (end_us <= 0) return retire(index);
    cohort.at = Stage::ending;
    cohort.spent.us[static_cast<int>(Bound::fixed)] += end_us;
    cohort.share_us = sm_time_.share_us(now_us_);
    set_timer(now_us_ + end_us, TimerKind::cohort, index);
  }

  void retire(std::int32_t index) {
    Cohort& cohort = cohorts_[static_cast<std::size_t>(index)];
    sm_time_.resident(now_us_, -std::int64_t{cohort.count}, cohort.merging);
    if (observer_) observer_->ends(index, record_of(cohort), cohort.work, cohort.copy);
    if (cohort.work >= 0) finish_works(cohort);
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
      begin_gap(launch, true, device_.grid_sync_us);
      return;
    }
    makespan_us_ = std::max(makespan_us_, now_us_);
    for (const LaunchId next : launches_.finish(launch)) launch_after_gap(next);
  }

  /// Books the cohort's CTAs with their tasks and steps; completed ones may make merges ready.
  void finish_works(const Cohort& cohort) {
    const Work* work = list_.works.data() + cohort.work;
    std::int32_t* unfinished = work_left_.data() + cohort.work;
    std::int32_t left = cohort.count, copy = cohort.copy;
    for (;; ++work, ++unfinished, copy = 0) {
      const std::int32_t done = std::min(left, work->copies - copy);
      if (!cohort.merging) book_task(*work, done, cohort.spent);
      *unfinished -= done;
      if (*unfinished == 0) finish_work(*work, cohort.merging);
      left -= done;
      if (left == 0) break;
    }
  }

  void finish_work(const Work& work, bool step) {
    if (!arrivals_.any()) return;
    ready_steps_.clear();
    step ? arrivals_.step_done(scheduler::StepId(work.item), ready_steps_)
         : arrivals_.task_done(scheduler::TaskId(work.item), ready_steps_);
    for (const scheduler::StepId ready : ready_steps_) launches_.step_ready(ready);
    may_dispatch_ |= !ready_steps_.empty();
  }

  /// `done` more CTAs of a task are through, each after `spent`.
  void book_task(const Work& work, std::int32_t done, const BoundTimes& spent) {
    const double* us = spent.us;
    if (done < work.copies) {
      if (task_time_.empty()) task_time_.resize(task_bound_.size());
      double* const sum = task_time_[static_cast<std::size_t>(work.item)].us;
      for (int b = 0; b < kBounds; ++b) sum[b] += us[b] * done;
      us = sum;
    }
    int most = static_cast<int>(Bound::fixed);  // padding spends no time
    for (int b = 0; b < kBounds; ++b) most = us[b] > us[most] ? b : most;
    task_bound_[static_cast<std::size_t>(work.item)] = static_cast<Bound>(most);
  }

  // Launches

  void launch_after_gap(LaunchId launch) {
    const scheduler::Follow follow = plan_.launches[launch].follow;
    double us = follow == scheduler::Follow::stream  ? device_.launch_stream_us
                : follow == scheduler::Follow::graph ? device_.launch_graph_us
                                                     : device_.launch_pdl_us;
    // Nothing to overlap the start of the first kernel with.
    if (launches_.is_first(launch)) us = std::max(us, device_.least_launch_gap_us());
    begin_gap(launch, false, us);
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

  /// Launches get free slots in order; a later one only when nothing of the earlier waits (the hardware's leftover
  /// policy).
  void dispatch() {
    may_dispatch_ = false;
    for (std::size_t i = 0; i < launches_.open().size(); ++i) {
      if (!dispatch_launch(launches_.open()[i])) break;
    }
  }

  bool dispatch_launch(LaunchId launch) {
    for (;;) {
      if (free_units_ == 0) return false;  // full, whoever waits
      const std::int64_t need = launches_.next_need(launch);
      if (need == 0) return true;
      if (free_units_ < need) return false;
      const auto room = static_cast<std::int32_t>(free_units_ < 2 * need ? 1 : std::min(free_units_ / need, group_));
      const double turn_us = kTurnShare * queue_us();
      if (launches_.has_worker(launch)) {
        const std::int32_t worker = launches_.take_worker(launch);
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
  void feed_worker(LaunchId launch, std::int32_t worker, Opening opening) {
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

  bool has_tasks(std::int32_t phase) const {
    return plan_.phases[static_cast<std::size_t>(phase)].kind == scheduler::PhaseKind::tasks;
  }

  /// But for its item and its begin, which the observer knows.
  CohortRecord record_of(const Cohort& cohort) const {
    return {LaunchId(cohort.launch), cohort.phase, -1,      cohort.count, cohort.worker,
            cohort.merging,          now_us_,      now_us_, cohort.spent};
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
    result.split = sm_time_.split(now_us_);
    result.phases = std::move(phases_);
    result.task_bound = std::move(task_bound_);
    if (observer_) result.timeline = std::move(*observer_).finish(makespan_us_);
    return result;
  }

  const Plan& plan_;
  const costmodel::DeviceSpec& device_;
  const WorkList& list_;
  SmTime sm_time_;
  FlowState flows_;
  Arrivals arrivals_;
  LaunchStates launches_;
  std::int64_t free_units_;
  std::int64_t group_;                      ///< CTAs that are followed as one at most
  bool gap_begins_ = false;                 ///< with nobody on the device
  bool may_dispatch_ = true;                ///< since the last dispatch an SM share, a phase or a merge has become free
  double queue_us_ = 0, queued_at_us_ = 0;  ///< service time of opening requests queued at memory, and when that was
  double now_us_ = 0, makespan_us_ = 0;
  std::vector<Cohort> cohorts_;
  std::vector<std::int32_t> free_cohorts_;
  std::vector<scheduler::StepId> ready_steps_;
  EventQueue timers_;
  std::vector<std::int32_t> work_left_;  ///< CTAs not done, by work
  std::vector<BoundTimes> task_time_;    ///< of tasks that didn't run as one cohort
  std::vector<Bound> task_bound_;
  std::vector<PhaseTime> phases_;
  std::unique_ptr<RunObserver> observer_;  ///< if somebody looks
};

}  // namespace

EngineResult run_events(const Plan& plan, const costmodel::DeviceSpec& device, const WorkList& list,
                        const SimOptions& options, RunLog* log) {
  return Engine(plan, device, list, options, log).run();
}

}  // namespace espalier::sim

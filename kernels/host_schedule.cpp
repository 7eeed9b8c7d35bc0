// The rules of plan/1 about order, kept under one lock: items take tens of microseconds, the lock a tenth of one.
#include "kernels/host_schedule.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "core/error.h"
#include "kernels/execution_order.h"
#include "kernels/plan_access.h"

namespace espalier::kernels {
namespace {

using scheduler::Launch;
using scheduler::LaunchId;
using scheduler::Phase;
using scheduler::PhaseKind;
using scheduler::PhaseStart;
using scheduler::Plan;
using scheduler::ReductionStep;
using scheduler::SlotId;
using scheduler::StepId;
using scheduler::Task;
using scheduler::TaskId;

bool overlap(std::int32_t begin, std::int32_t count, std::int32_t other, std::int32_t other_count) {
  return begin < other + other_count && other < begin + count;
}

/// Copy `copy` of the task writes heads that the step reads.
bool feeds(const Task& task, std::int32_t copy, const ReductionStep& step) {
  return overlap(task.head_begin + copy * task.head_count, task.head_count, step.head_begin, step.head_count);
}

bool waits_for_arrival(const Phase& phase) {
  return phase.start == PhaseStart::on_arrival && phase.kind == PhaseKind::steps;
}

}  // namespace

HostSchedule::HostSchedule(const Plan& plan)
    : plan_(plan), groups_(plan.launches.size()), on_arrival_(plan.steps.size(), 0), arrivals_(plan.steps.size(), 0),
      task_feeds_(plan.tasks.size()), step_feeds_(plan.steps.size()), arrival_items_(plan.steps.size()),
      progress_(plan.launches.size()) {
  LaunchWaits launches = launch_waits(plan);
  followers_ = std::move(launches.followers);
  waits_ = std::move(launches.waits);
  for (const LaunchId l : core::ids<LaunchId>(plan.launches.size())) add_launch(l);
  link_arrivals();
}

void HostSchedule::add_launch(LaunchId id) {
  const Launch& launch = plan_.launches[id];
  std::vector<Group>& groups = groups_[id.index()];
  for (const Phase& phase : slice("phases of a launch", plan_.phases, launch.phases)) {
    const bool tasks = phase.kind == PhaseKind::tasks;
    check_interval("range of a phase", phase.range.begin, phase.range.end,
                   static_cast<std::int64_t>(tasks ? plan_.tasks.size() : plan_.steps.size()));
    const bool joins = phase.start == PhaseStart::together || waits_for_arrival(phase);
    if (groups.empty() || !joins) groups.emplace_back();
    Group& group = groups.back();
    if (tasks && launch.workers > 0) {
      const auto queues =
          slice("queues of a launch", plan_.queues, {launch.queue_begin, launch.queue_begin + launch.workers});
      group.queues.resize(queues.size());
      for (std::size_t w = 0; w < queues.size(); ++w) {
        for (const scheduler::QueueItem& item : slice("queue items", plan_.queue_items, queues[w])) {
          if (!runs_in_phase(plan_, phase, item)) continue;
          group.queues[w].push_back({id, PhaseKind::tasks, item.task.value, item.copy});
          ++group.all;
        }
      }
      continue;
    }
    for (std::int32_t i = phase.range.begin; i < phase.range.end; ++i) {
      const std::int32_t copies = tasks ? copies_to_run(plan_, plan_.tasks[TaskId(i)]) : 1;
      for (std::int32_t copy = 0; copy < copies; ++copy) {
        const HostItem item{id, phase.kind, i, copy};
        if (waits_for_arrival(phase)) {
          on_arrival_[static_cast<std::size_t>(i)] = 1;
          arrival_items_[static_cast<std::size_t>(i)] = item;
        } else {
          group.items.push_back(item);
        }
        ++group.all;
      }
    }
  }
  for (const Group& group : groups) all_ += group.all;
}

void HostSchedule::link_arrivals() {
  if (std::find(on_arrival_.begin(), on_arrival_.end(), 1) == on_arrival_.end()) return;
  std::vector<std::vector<TaskId>> tasks_of(plan_.slots.size());
  std::vector<std::vector<StepId>> steps_of(plan_.slots.size());
  for (const TaskId t : core::ids<TaskId>(plan_.tasks.size())) {
    if (plan_.tasks[t].slot.valid()) tasks_of[plan_.tasks[t].slot.index()].push_back(t);
  }
  for (const StepId s : core::ids<StepId>(plan_.steps.size())) {
    if (plan_.steps[s].out.valid()) steps_of[plan_.steps[s].out.index()].push_back(s);
  }
  for (const StepId s : core::ids<StepId>(plan_.steps.size())) {
    if (on_arrival_[s.index()] == 0) continue;
    const ReductionStep& step = plan_.steps[s];
    for (const scheduler::RowRef& input : slice("inputs of a step", plan_.reduction_inputs, step.inputs)) {
      row_of("slot of a step", plan_.slots, input.slot);
      for (const TaskId t : tasks_of[input.slot.index()]) {
        task_feeds_[t.index()].push_back(s.value);
        for (std::int32_t c = 0; c < copies_to_run(plan_, plan_.tasks[t]); ++c) {
          arrivals_[s.index()] += feeds(plan_.tasks[t], c, step) ? 1 : 0;
        }
      }
      for (const StepId writer : steps_of[input.slot.index()]) {
        step_feeds_[writer.index()].push_back(s.value);
        ++arrivals_[s.index()];
      }
    }
  }
}

void HostSchedule::reset() {
  const std::lock_guard lock(lock_);
  open_.clear();
  ready_.clear();
  held_.clear();
  missing_ = arrivals_;
  left_.store(all_, std::memory_order_release);
  for (std::size_t l = 0; l < progress_.size(); ++l) progress_[l] = {0, 0, 0, 0, waits_[l], false};
  for (std::size_t l = 0; l < progress_.size(); ++l) {
    if (progress_[l].waits == 0 && !progress_[l].open) open_ready(l);
  }
}

/// Opens a launch; one without items is over at once and lets others begin.
void HostSchedule::open_ready(std::size_t launch) {
  std::vector<std::size_t> now = {launch};
  while (!now.empty()) {
    const std::size_t l = now.back();
    now.pop_back();
    Progress& p = progress_[l];
    p.open = true;
    while (p.group < groups_[l].size() && groups_[l][p.group].all == 0) ++p.group;
    if (p.group < groups_[l].size()) {
      p.left = groups_[l][p.group].all;
      open_.insert(std::upper_bound(open_.begin(), open_.end(), l), l);
      continue;
    }
    for (const std::size_t next : followers_[l]) {
      if (--progress_[next].waits == 0) now.push_back(next);
    }
  }
}

std::optional<HostItem> HostSchedule::take_from(std::size_t launch, std::int32_t thread) {
  Progress& p = progress_[launch];
  const Group& group = groups_[launch][p.group];
  while (p.next_queue < group.queues.size()) {
    const std::size_t queue = p.next_queue++;
    if (group.queues[queue].empty()) continue;
    held_[static_cast<std::size_t>(thread)] = {launch, p.group, queue, 1, true};
    return group.queues[queue].front();
  }
  if (p.next_item < group.items.size()) return group.items[p.next_item++];
  return std::nullopt;
}

std::optional<HostItem> HostSchedule::take(std::int32_t thread) {
  const std::lock_guard lock(lock_);
  if (held_.size() <= static_cast<std::size_t>(thread)) held_.resize(static_cast<std::size_t>(thread) + 1);
  if (!ready_.empty()) {
    const HostItem item = ready_.back();
    ready_.pop_back();
    return item;
  }
  Queue& held = held_[static_cast<std::size_t>(thread)];
  if (held.held) {
    const auto& items = groups_[held.launch][held.group].queues[held.queue];
    if (held.next < items.size()) return items[held.next++];
    held.held = false;
  }
  for (const std::size_t launch : open_) {
    if (auto item = take_from(launch, thread)) return item;
  }
  return std::nullopt;
}

void HostSchedule::finish_group_item(std::size_t launch) {
  Progress& p = progress_[launch];
  if (--p.left > 0) return;
  do ++p.group;
  while (p.group < groups_[launch].size() && groups_[launch][p.group].all == 0);
  p.next_item = p.next_queue = 0;
  if (p.group < groups_[launch].size()) {
    p.left = groups_[launch][p.group].all;
    return;
  }
  open_.erase(std::find(open_.begin(), open_.end(), launch));
  for (const std::size_t next : followers_[launch]) {
    if (--progress_[next].waits == 0) open_ready(next);
  }
}

void HostSchedule::finish(const HostItem& item) {
  const std::lock_guard lock(lock_);
  const bool task = item.kind == PhaseKind::tasks;
  const auto& fed = (task ? task_feeds_ : step_feeds_)[static_cast<std::size_t>(item.index)];
  for (const std::int32_t s : fed) {
    if (task && !feeds(plan_.tasks[TaskId(item.index)], item.copy, plan_.steps[StepId(s)])) continue;
    if (--missing_[static_cast<std::size_t>(s)] == 0) ready_.push_back(arrival_items_[static_cast<std::size_t>(s)]);
  }
  finish_group_item(item.launch.index());
  left_.fetch_sub(1, std::memory_order_acq_rel);
}

}  // namespace espalier::kernels

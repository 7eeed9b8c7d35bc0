#include "viz/explore/queue_edit.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <queue>
#include <utility>

#include "viz/model/task_diff.h"

namespace espalier::viz {
namespace {

using scheduler::Launch;
using scheduler::Plan;
using scheduler::QueueItem;
using scheduler::TaskId;

using Queues = std::vector<std::vector<QueueItem>>;

Queues read_queues(const Plan& plan) {
  Queues queues;
  for (const scheduler::Interval& queue : plan.queues) {
    queues.emplace_back(plan.queue_items.begin() + queue.begin, plan.queue_items.begin() + queue.end);
  }
  return queues;
}

void write_queues(Plan& plan, const Queues& queues) {
  plan.queues.clear();
  plan.queue_items.clear();
  for (const std::vector<QueueItem>& queue : queues) {
    const auto begin = static_cast<std::int32_t>(plan.queue_items.size());
    plan.queue_items.insert(plan.queue_items.end(), queue.begin(), queue.end());
    plan.queues.push_back({begin, static_cast<std::int32_t>(plan.queue_items.size())});
  }
}

std::int64_t task_tokens(const Plan& plan, TaskId id) {
  std::int64_t tokens = 0;
  const scheduler::Task& task = plan.tasks[id];
  for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
    tokens += segment_tokens(plan, plan.segments[static_cast<std::size_t>(s)]);
  }
  return tokens;
}

/// Phase of each task; -1: none.
std::vector<std::int32_t> phases_of(const Plan& plan) {
  std::vector<std::int32_t> phases(plan.tasks.size(), -1);
  for (std::size_t p = 0; p < plan.phases.size(); ++p) {
    if (plan.phases[p].kind != scheduler::PhaseKind::tasks) continue;
    for (std::int32_t t = plan.phases[p].range.begin; t < plan.phases[p].range.end; ++t) {
      phases[static_cast<std::size_t>(t)] = static_cast<std::int32_t>(p);
    }
  }
  return phases;
}

/// The launch whose workers read a queue; null: none.
const Launch* launch_of(const Plan& plan, std::int32_t queue) {
  for (const Launch& launch : plan.launches) {
    if (launch.workers > 0 && queue >= launch.queue_begin && queue < launch.queue_begin + launch.workers) {
      return &launch;
    }
  }
  return nullptr;
}

/// The only launch with queues, which owns all there are; nothing where there is none, or several.
std::optional<std::size_t> only_queued_launch(const Plan& plan) {
  std::optional<std::size_t> found;
  for (std::size_t l = 0; l < plan.launches.size(); ++l) {
    const Launch& launch = plan.launches.raw()[l];
    if (launch.workers == 0) continue;
    if (found || launch.queue_begin != 0 || launch.workers != static_cast<std::int32_t>(plan.queues.size())) {
      return std::nullopt;
    }
    found = l;
  }
  return found;
}

constexpr const char* kNoQueues =
    "the plan has no queues: its tasks start in launch order as CTAs become free, so all that can be chosen is which "
    "runs first";

}  // namespace

std::vector<std::int32_t> queues_of(const Plan& plan, std::int32_t task) {
  std::vector<std::int32_t> found(static_cast<std::size_t>(std::max(0, plan.tasks[TaskId(task)].copies)), -1);
  for (std::size_t q = 0; q < plan.queues.size(); ++q) {
    for (std::int32_t i = plan.queues[q].begin; i < plan.queues[q].end; ++i) {
      const QueueItem& item = plan.queue_items[static_cast<std::size_t>(i)];
      if (item.task.value == task && static_cast<std::size_t>(item.copy) < found.size()) {
        found[static_cast<std::size_t>(item.copy)] = static_cast<std::int32_t>(q);
      }
    }
  }
  return found;
}

std::vector<std::int64_t> queue_tokens(const Plan& plan) {
  std::vector<std::int64_t> tokens(plan.queues.size(), 0);
  for (std::size_t q = 0; q < tokens.size(); ++q) {
    for (std::int32_t i = plan.queues[q].begin; i < plan.queues[q].end; ++i) {
      tokens[q] += task_tokens(plan, plan.queue_items[static_cast<std::size_t>(i)].task);
    }
  }
  return tokens;
}

std::int32_t emptiest_queue(const Plan& plan) {
  const std::vector<std::int64_t> tokens = queue_tokens(plan);
  return tokens.empty() ? -1
                        : static_cast<std::int32_t>(std::min_element(tokens.begin(), tokens.end()) - tokens.begin());
}

std::string move_to_queue(Plan& plan, std::int32_t task, std::int32_t copy, std::int32_t queue) {
  if (plan.queues.empty()) return kNoQueues;
  if (task < 0 || static_cast<std::size_t>(task) >= plan.tasks.size()) return "the plan has no such task";
  const std::vector<std::int32_t> from = queues_of(plan, task);
  if (copy < 0 || static_cast<std::size_t>(copy) >= from.size() || from[static_cast<std::size_t>(copy)] < 0) {
    return fmt::format("no queue holds a copy {} of it; it has {}", copy, from.size());
  }
  const std::int32_t now = from[static_cast<std::size_t>(copy)];
  const Launch& launch = *launch_of(plan, now);
  if (queue < launch.queue_begin || queue >= launch.queue_begin + launch.workers) {
    return fmt::format("its launch has queues {} to {}, not {}", launch.queue_begin,
                       launch.queue_begin + launch.workers - 1, queue);
  }
  if (queue == now) return fmt::format("copy {} stands in queue {} already", copy, queue);
  Queues queues = read_queues(plan);
  std::vector<QueueItem>& source = queues[static_cast<std::size_t>(now)];
  source.erase(std::find_if(source.begin(), source.end(),
                            [&](const QueueItem& item) { return item.task.value == task && item.copy == copy; }));
  const std::vector<std::int32_t> phases = phases_of(plan);
  std::vector<QueueItem>& target = queues[static_cast<std::size_t>(queue)];
  const std::int32_t phase = phases[static_cast<std::size_t>(task)];
  const auto later = std::find_if(target.begin(), target.end(),
                                  [&](const QueueItem& item) { return phases[item.task.index()] > phase; });
  target.insert(later, {TaskId(task), copy});
  write_queues(plan, queues);
  return "";
}

std::string move_in_queues(Plan& plan, std::int32_t task, std::int32_t places) {
  if (task < 0 || static_cast<std::size_t>(task) >= plan.tasks.size()) return "the plan has no such task";
  const std::vector<std::int32_t> phases = phases_of(plan);
  Queues queues = read_queues(plan);
  bool moved = false;
  for (std::vector<QueueItem>& queue : queues) {
    const auto of_phase = [&](const QueueItem& item) {
      return phases[item.task.index()] == phases[static_cast<std::size_t>(task)];
    };
    std::int32_t step = places < 0 ? -1 : 1;
    std::vector<std::size_t> own;
    for (std::size_t i = 0; i < queue.size(); ++i) {
      if (queue[i].task.value == task) own.push_back(i);
    }
    if (step > 0) std::reverse(own.begin(), own.end());  // copies don't overtake each other
    for (std::size_t at : own) {
      for (std::int32_t left = std::abs(places); left > 0; --left) {
        const std::size_t next = at + static_cast<std::size_t>(step);  // -1 wraps past every size
        if (next >= queue.size() || !of_phase(queue[next]) || queue[next].task.value == task) break;
        std::swap(queue[at], queue[next]);
        at = next;
        moved = true;
      }
    }
  }
  if (!moved) return places < 0 ? "it is the first of its queues already" : "it is the last of its queues already";
  write_queues(plan, queues);
  return "";
}

void keep_queues(const Plan& before, Plan& after) {
  const std::optional<std::size_t> launch = only_queued_launch(after);
  if (!launch || !only_queued_launch(before) || before.queues.size() > after.queues.size()) return;
  const TaskDiff diff = diff_tasks(before, after);
  std::vector<std::int32_t> now(before.tasks.size(), -1);  // old tasks by their new ids
  for (std::size_t t = 0; t < diff.partner.size(); ++t) {
    if (diff.partner[t] >= 0) now[static_cast<std::size_t>(diff.partner[t])] = static_cast<std::int32_t>(t);
  }
  Queues queues(before.queues.size());
  std::vector<std::int64_t> tokens(queues.size(), 0);
  for (std::size_t q = 0; q < queues.size(); ++q) {
    for (std::int32_t i = before.queues[q].begin; i < before.queues[q].end; ++i) {
      const QueueItem& item = before.queue_items[static_cast<std::size_t>(i)];
      const std::int32_t task = now[item.task.index()];
      if (task < 0) continue;
      queues[q].push_back({TaskId(task), item.copy});
      tokens[q] += task_tokens(after, TaskId(task));
    }
  }
  using Load = std::pair<std::int64_t, std::size_t>;
  std::priority_queue<Load, std::vector<Load>, std::greater<>> emptiest;
  for (std::size_t q = 0; q < queues.size(); ++q) emptiest.push({tokens[q], q});
  for (const TaskId t : core::ids<TaskId>(after.tasks.size())) {
    if (diff.partner[t.index()] >= 0) continue;
    for (std::int32_t copy = 0; copy < after.tasks[t].copies; ++copy) {
      const auto [load, q] = emptiest.top();
      emptiest.pop();
      queues[q].push_back({t, copy});
      emptiest.push({load + task_tokens(after, t), q});
    }
  }
  after.launches.raw()[*launch].workers = static_cast<std::int32_t>(queues.size());
  write_queues(after, queues);
}

}  // namespace espalier::viz

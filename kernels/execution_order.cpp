// Launches by their dependencies and streams; inside a launch groups of phases that start together, with all their
// items free against each other, except that items on arrival follow whoever writes the slots they read.
#include "kernels/execution_order.h"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "core/rng.h"
#include "kernels/plan_access.h"

namespace espalier::kernels {
namespace {

using scheduler::Launch;
using scheduler::LaunchId;
using scheduler::Phase;
using scheduler::PhaseKind;
using scheduler::PhaseStart;
using scheduler::Plan;
using scheduler::SlotId;
using scheduler::StepId;
using scheduler::TaskId;

class Orderer {
 public:
  Orderer(const Plan& plan, std::uint64_t shuffle_seed)
      : plan_(plan), shuffled_(shuffle_seed != 0), rng_(shuffle_seed) {}

  std::vector<WorkItem> run() {
    for (const std::size_t launch : launch_order()) add_launch(plan_.launches[LaunchId(launch)]);
    return std::move(order_);
  }

 private:
  /// Rows 0..n-1, each after all `waits` rows that have it among their followers; shuffled: any such order.
  std::vector<std::size_t> topological(const std::vector<std::vector<std::size_t>>& followers,
                                       std::vector<std::size_t> waits, std::string_view what) {
    std::vector<std::size_t> ready, order;
    for (std::size_t i = waits.size(); i-- > 0;) {
      if (waits[i] == 0) ready.push_back(i);
    }
    while (!ready.empty()) {
      if (shuffled_) std::swap(ready.back(), ready[random_below(ready.size())]);
      const std::size_t at = ready.back();
      ready.pop_back();
      order.push_back(at);
      for (const std::size_t next : followers[at]) {
        if (--waits[next] == 0) ready.push_back(next);
      }
    }
    if (order.size() != waits.size()) {
      throw core::bad_input("plan: " + std::string(what), "an order in which all can run",
                            "some that wait in a circle");
    }
    return order;
  }

  std::size_t random_below(std::size_t n) {
    return static_cast<std::size_t>(rng_.integer(0, static_cast<std::int64_t>(n) - 1));
  }

  std::vector<std::size_t> launch_order() {
    LaunchWaits launches = launch_waits(plan_);
    return topological(launches.followers, std::move(launches.waits), "launches");
  }

  void add_launch(const Launch& launch) {
    const auto phases = slice("phases of a launch", plan_.phases, launch.phases);
    for (std::size_t begin = 0, end = 0; begin < phases.size(); begin = end) {
      for (end = begin + 1; end < phases.size() && phases[end].start == PhaseStart::together; ++end) {
      }
      add_group(launch, phases.subspan(begin, end - begin));
    }
  }

  void add_group(const Launch& launch, std::span<const Phase> group) {
    std::vector<WorkItem> items;
    for (const Phase& phase : group) {
      const bool tasks = phase.kind == PhaseKind::tasks;
      check_interval("range of a phase", phase.range.begin, phase.range.end,
                     static_cast<std::int64_t>(tasks ? plan_.tasks.size() : plan_.steps.size()));
      if (tasks && launch.workers > 0) {
        add_queued(launch, phase, items);
        continue;
      }
      for (std::int32_t i = phase.range.begin; i < phase.range.end; ++i) {
        const std::int32_t copies = tasks ? copies_to_run(plan_, plan_.tasks[TaskId(i)]) : 1;
        for (std::int32_t copy = 0; copy < copies; ++copy) items.push_back({phase.kind, i, copy});
      }
    }
    if (group.front().start == PhaseStart::on_arrival) {
      add_on_arrival(items);
      return;
    }
    for (std::size_t left = items.size(); shuffled_ && left > 1; --left) {
      std::swap(items[left - 1], items[random_below(left)]);
    }
    order_.insert(order_.end(), items.begin(), items.end());
  }

  /// The phase's items as persistent workers reach them: first items of all queues, second items, …
  void add_queued(const Launch& launch, const Phase& phase, std::vector<WorkItem>& items) {
    check_interval("queues of a launch", launch.queue_begin, std::int64_t{launch.queue_begin} + launch.workers,
                   static_cast<std::int64_t>(plan_.queues.size()));
    const auto queues =
        slice("queues of a launch", plan_.queues, {launch.queue_begin, launch.queue_begin + launch.workers});
    std::int32_t longest = 0;
    for (const scheduler::Interval queue : queues) {
      slice("queue items", plan_.queue_items, queue);
      longest = std::max(longest, queue.size());
    }
    for (std::int32_t i = 0; i < longest; ++i) {
      for (const scheduler::Interval queue : queues) {
        if (i >= queue.size()) continue;
        const scheduler::QueueItem item = plan_.queue_items[static_cast<std::size_t>(queue.begin + i)];
        if (!runs_in_phase(plan_, phase, item)) continue;
        items.push_back({PhaseKind::tasks, item.task.value, item.copy});
      }
    }
  }

  void add_on_arrival(const std::vector<WorkItem>& items) {
    std::map<SlotId, std::vector<std::size_t>> writers;
    for (std::size_t i = 0; i < items.size(); ++i) {
      const bool task = items[i].kind == PhaseKind::tasks;
      const SlotId out = task ? plan_.tasks[TaskId(items[i].index)].slot : plan_.steps[StepId(items[i].index)].out;
      if (out.valid()) writers[out].push_back(i);
    }
    std::vector<std::vector<std::size_t>> followers(items.size());
    std::vector<std::size_t> waits(items.size(), 0);
    for (std::size_t i = 0; i < items.size(); ++i) {
      for_each_read(items[i], [&](SlotId slot) {
        const auto found = writers.find(slot);
        if (found == writers.end()) return;
        for (const std::size_t writer : found->second) followers[writer].push_back(i);
        waits[i] += found->second.size();
      });
    }
    for (const std::size_t i : topological(followers, std::move(waits), "steps")) order_.push_back(items[i]);
  }

  void for_each_read(const WorkItem& item, const std::function<void(SlotId)>& visit) const {
    if (item.kind == PhaseKind::tasks) {
      for (const SlotId slot : slice("folds of a task", plan_.fold_slots, plan_.tasks[TaskId(item.index)].folds)) {
        visit(slot);
      }
    } else {
      const scheduler::ReductionStep& step = plan_.steps[StepId(item.index)];
      for (const scheduler::RowRef& input : slice("inputs of a step", plan_.reduction_inputs, step.inputs)) {
        visit(input.slot);
      }
    }
  }

  const Plan& plan_;
  bool shuffled_;
  core::Rng rng_;
  std::vector<WorkItem> order_;
};

}  // namespace

LaunchWaits launch_waits(const Plan& plan) {
  const std::size_t n = plan.launches.size();
  LaunchWaits out{std::vector<std::vector<std::size_t>>(n), std::vector<std::size_t>(n, 0)};
  const auto wait = [&](std::size_t launch, std::size_t before) {
    out.followers[before].push_back(launch);
    ++out.waits[launch];
  };
  std::map<std::int32_t, std::size_t> last_of_stream;
  for (std::size_t i = 0; i < n; ++i) {
    const Launch& launch = plan.launches[LaunchId(i)];
    for (const LaunchId before : slice("dependencies of a launch", plan.dependencies, launch.dependencies)) {
      row_of("dependency of a launch", plan.launches, before);
      wait(i, before.index());
    }
    const auto [last, first_of_stream] = last_of_stream.emplace(launch.stream, i);
    if (!first_of_stream) wait(i, std::exchange(last->second, i));
  }
  return out;
}

std::int32_t copies_to_run(const Plan& plan, const scheduler::Task& task) {
  if (task.kind == scheduler::TaskKind::padding) return 0;
  check_interval("copies of a task", 0, task.copies, plan.heads.q_heads);
  return task.copies;
}

bool runs_in_phase(const Plan& plan, const Phase& phase, const scheduler::QueueItem& item) {
  if (item.task.value < phase.range.begin || item.task.value >= phase.range.end) return false;
  const scheduler::Task& task = plan.tasks[item.task];
  if (task.kind == scheduler::TaskKind::padding) return false;
  check_interval("copy of a queue item", item.copy, std::int64_t{item.copy} + 1, copies_to_run(plan, task));
  return true;
}

std::vector<WorkItem> execution_order(const Plan& plan, std::uint64_t shuffle_seed) {
  return Orderer(plan, shuffle_seed).run();
}

}  // namespace espalier::kernels

// Finds the tasks that a cluster serves with one load.
#include "scheduler/multicast.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <map>

namespace espalier::scheduler {
namespace {

/// What tasks that read alike have in common: tokens and KV heads. Who sees them may differ.
using Reading = std::vector<std::array<std::int64_t, 3>>;

Reading reading_of(const Plan& plan, const Task& task) {
  Reading reading = {{task.head_begin, task.head_count, task.copies}};
  for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
    const Segment& segment = plan.segments[static_cast<std::size_t>(s)];
    reading.push_back({segment.node.value, segment.token_begin, segment.token_end});
  }
  return reading;
}

bool reads_alike(const Plan& plan, const Task& a, const Task& b) {
  const bool attend = a.kind == TaskKind::attend && b.kind == TaskKind::attend;
  return attend && reading_of(plan, a) == reading_of(plan, b);
}

/// Nothing but its place in the phase tells when a task of a launch without queues runs, so tasks may change places.
void bring_together(Plan& plan, Interval tasks, std::int32_t cluster) {
  std::map<Reading, std::vector<std::int32_t>> readers;  // last first
  for (std::int32_t t = tasks.end; t-- > tasks.begin;) {
    if (plan.tasks[TaskId(t)].kind == TaskKind::attend) readers[reading_of(plan, plan.tasks[TaskId(t)])].push_back(t);
  }
  std::vector<Task> ordered;
  std::vector<bool> placed(static_cast<std::size_t>(tasks.size()), false);
  for (std::int32_t t = tasks.begin; t < tasks.end; ++t) {
    if (placed[static_cast<std::size_t>(t - tasks.begin)]) continue;
    const Task& task = plan.tasks[TaskId(t)];
    if (task.kind != TaskKind::attend) {
      ordered.push_back(task);
      continue;
    }
    std::vector<std::int32_t>& alike = readers.at(reading_of(plan, task));
    for (std::int32_t i = 0; i < cluster && !alike.empty(); ++i, alike.pop_back()) {
      ordered.push_back(plan.tasks[TaskId(alike.back())]);
      placed[static_cast<std::size_t>(alike.back() - tasks.begin)] = true;
    }
  }
  std::copy(ordered.begin(), ordered.end(), plan.tasks.begin() + tasks.begin);
}

/// Calls visit(phase) for each phase of tasks in a launch without queues.
template <class Visit>
void for_each_phase(const Plan& plan, const Visit& visit) {
  for (const Launch& launch : plan.launches) {
    if (launch.workers > 0) continue;
    for (std::int32_t p = launch.phases.begin; p < launch.phases.end; ++p) {
      if (const Phase& phase = plan.phases[static_cast<std::size_t>(p)]; phase.kind == PhaseKind::tasks) visit(phase);
    }
  }
}

}  // namespace

std::vector<Multicast> multicasts(const Plan& plan, const Phase& phase) {
  std::vector<Multicast> found;
  const std::int32_t cluster = plan.kernels[phase.kernel].cluster;
  if (cluster < 2 || phase.kind != PhaseKind::tasks) return found;
  for (std::int32_t t = phase.range.begin; t < phase.range.end;) {
    std::int32_t end = t + 1;
    while (end < phase.range.end && end - t < cluster &&
           reads_alike(plan, plan.tasks[TaskId(t)], plan.tasks[TaskId(end)])) {
      ++end;
    }
    if (end - t > 1) found.push_back({TaskId(t), end - t});
    t = end;
  }
  return found;
}

std::vector<Multicast> multicasts(const Plan& plan) {
  std::vector<Multicast> found;
  for_each_phase(plan, [&](const Phase& phase) {
    const std::vector<Multicast> here = multicasts(plan, phase);
    found.insert(found.end(), here.begin(), here.end());
  });
  std::sort(found.begin(), found.end(), [](const Multicast& a, const Multicast& b) { return a.first < b.first; });
  return found;
}

void form_clusters(Plan& plan, std::int32_t blocks) {
  for_each_phase(plan, [&](const Phase& phase) {
    costmodel::KernelConfig& kernel = plan.kernels[phase.kernel];
    if (kernel.role != costmodel::KernelRole::attend) return;
    kernel.cluster = blocks;
    bring_together(plan, phase.range, blocks);
  });
  const std::vector<Multicast> found = multicasts(plan);
  std::int64_t tasks = 0;
  for (const Multicast& cluster : found) tasks += cluster.count;
  plan.provenance.options["cluster"] = fmt::format("{}", blocks);
  plan.provenance.why.push_back(
      found.empty()
          ? fmt::format("clusters of {} share nothing: no two tasks of a launch without queues read the same tokens",
                        blocks)
          : fmt::format("in clusters of up to {}, {} of {} tasks load their KV together, {} times", blocks, tasks,
                        plan.tasks.size(), found.size()));
  seal(plan);
}

}  // namespace espalier::scheduler

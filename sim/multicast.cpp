// Finds the tasks that a cluster serves with one load.
#include "sim/multicast.h"

#include <algorithm>

namespace espalier::sim {
namespace {

using scheduler::Plan;
using scheduler::Segment;
using scheduler::Task;
using scheduler::TaskId;

/// The same tokens of the same KV heads; who sees them may differ.
bool reads_alike(const Plan& plan, const Task& a, const Task& b) {
  if (a.kind != scheduler::TaskKind::attend || b.kind != a.kind) return false;
  if (a.head_begin != b.head_begin || a.head_count != b.head_count || a.copies != b.copies) return false;
  const auto at = [&](std::int32_t s) { return plan.segments.begin() + s; };
  return std::equal(at(a.segments.begin), at(a.segments.end), at(b.segments.begin), at(b.segments.end), [](const Segment& x, const Segment& y) {
    return x.node == y.node && x.token_begin == y.token_begin && x.token_end == y.token_end;
  });
}

void append(const Plan& plan, const scheduler::Phase& phase, std::vector<Multicast>& found) {
  const std::int32_t cluster = plan.kernels[phase.kernel].cluster;
  for (std::int32_t t = phase.range.begin; t < phase.range.end;) {
    std::int32_t end = t + 1;
    while (end < phase.range.end && end - t < cluster && reads_alike(plan, plan.tasks[TaskId(t)], plan.tasks[TaskId(end)])) ++end;
    if (end - t > 1) found.push_back({TaskId(t), end - t});
    t = end;
  }
}

}  // namespace

std::vector<Multicast> multicasts(const Plan& plan) {
  std::vector<Multicast> found;
  for (const scheduler::LaunchId l : core::ids<scheduler::LaunchId>(plan.launches.size())) {
    const scheduler::Launch& launch = plan.launches[l];
    if (launch.workers > 0) continue;
    for (std::int32_t p = launch.phases.begin; p < launch.phases.end; ++p) {
      const scheduler::Phase& phase = plan.phases[static_cast<std::size_t>(p)];
      if (phase.kind == scheduler::PhaseKind::tasks && plan.kernels[phase.kernel].cluster > 1) append(plan, phase, found);
    }
  }
  std::sort(found.begin(), found.end(), [](const Multicast& a, const Multicast& b) { return a.first < b.first; });
  return found;
}

}  // namespace espalier::sim

// Groups of blocks into clusters, in order.
#include "kernels/cluster_layout.h"

#include <algorithm>

#include "scheduler/multicast.h"

namespace espalier::kernels {
namespace {

using scheduler::TaskId;

/// Fills the cluster under way with blocks that have nothing to do.
void pad(ClusterLayout& layout) {
  while (layout.items.size() % static_cast<std::size_t>(layout.cluster) != 0) {
    layout.items.push_back({TaskId(), 0});
    layout.mates.push_back({});
  }
}

void add(ClusterLayout& layout, scheduler::Multicast group, std::int32_t copy) {
  const auto used = static_cast<std::int32_t>(layout.items.size()) % layout.cluster;
  if (used + group.count > layout.cluster) pad(layout);
  const auto first = static_cast<std::int16_t>(static_cast<std::int32_t>(layout.items.size()) % layout.cluster);
  for (std::int32_t i = 0; i < group.count; ++i) {
    layout.items.push_back({TaskId(group.first.value + i), copy});
    layout.mates.push_back({first, static_cast<std::int16_t>(group.count)});
  }
}

}  // namespace

ClusterLayout lay_out_clusters(const scheduler::Plan& plan, const scheduler::Phase& phase) {
  ClusterLayout layout;
  const std::vector<scheduler::Multicast> found = scheduler::multicasts(plan, phase);
  for (const scheduler::Multicast& group : found) layout.cluster = std::max(layout.cluster, group.count);
  if (layout.cluster == 1) return layout;
  auto next = found.begin();
  for (std::int32_t t = phase.range.begin; t < phase.range.end;) {
    scheduler::Multicast group{TaskId(t), 1};
    if (next != found.end() && next->first.value == t) group = *next++;
    for (std::int32_t copy = 0; copy < plan.tasks[group.first].copies; ++copy) add(layout, group, copy);
    t += group.count;
  }
  pad(layout);
  return layout;
}

}  // namespace espalier::kernels

// The barrier of a cluster, and how blocks of one end.
#include <algorithm>

#include "kernels/emulator/operations.h"
#include "kernels/emulator/scheduler.h"

namespace espalier::kernels::emulator {
namespace {

/// Lets all go on once those who have not ended are here.
void try_meet(Cluster& cluster) {
  if (cluster.waiting.empty() || cluster.waiting.size() < cluster.live) return;
  std::vector<int> warps;
  for (const Thread* thread : cluster.waiting) warps.push_back(thread->warp->id);
  std::sort(warps.begin(), warps.end());
  warps.erase(std::unique(warps.begin(), warps.end()), warps.end());
  cluster.clocks.synchronise(warps);
  Scheduler& s = active();
  const std::vector<Thread*> released = std::move(cluster.waiting);
  cluster.waiting.clear();
  for (Thread* thread : released) {
    if (thread != &s.thread()) s.wake(*thread);
  }
}

}  // namespace

void cluster_barrier() {
  Scheduler& s = active();
  Cluster& cluster = *s.thread().warp->block->cluster;
  cluster.waiting.push_back(&s.thread());
  const bool last = cluster.waiting.size() == cluster.live;
  try_meet(cluster);
  if (!last) s.wait("the barrier of a cluster");
}

void leave_cluster() {
  Scheduler& s = active();
  Block& block = *s.thread().warp->block;
  Cluster& cluster = *block.cluster;
  --cluster.live;
  if (block.live == 1 && cluster.blocks.size() > 1) {
    for (const auto& [at, barrier] : block.transaction_barriers) {
      if (!barrier.in_flight.empty()) s.fail("the block ends while bulk copies to its shared memory are under way");
    }
    if (const std::string wrong = block.shared->end(); !wrong.empty()) s.fail(wrong);
  }
  try_meet(cluster);
}

}  // namespace espalier::kernels::emulator

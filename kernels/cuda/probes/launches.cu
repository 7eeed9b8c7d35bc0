// Costs around a kernel: an empty one (C12), and barriers of a whole grid (C15), by the one that plans use.
#include "kernels/cuda/arrivals.h"
#include "kernels/cuda/probes/probe_words.h"

namespace espalier::kernels::ESPALIER_TARGET {
namespace {

ESPALIER_KERNEL(kProbeThreads, 1) empty_kernel(ESPALIER_PARAMETER ProbeParams params) { keep_result(params, 0.0F); }

/// Threads that meet at the barrier, as an attend kernel's shape says it.
struct WholeBlock {
  static constexpr bool kProducer = false;
  static constexpr int kThreads = kRingThreads;
};

ESPALIER_KERNEL(kRingThreads, 1) grid_barrier_kernel(ESPALIER_PARAMETER ProbeParams params) {
  for (std::int64_t round = 0; round < params.shape.rounds; ++round) grid_barrier<WholeBlock>(params.words);
}

const ProbeInstance kInstances[] = {{"probe_empty", &empty_kernel}, {"probe_grid_barrier", &grid_barrier_kernel}};

}  // namespace

std::span<const ProbeInstance> launch_probes() { return kInstances; }

}  // namespace espalier::kernels::ESPALIER_TARGET

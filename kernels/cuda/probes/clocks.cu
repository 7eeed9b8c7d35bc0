// For nvcc alone: what needs a clock or counts barriers and atomics. Clocks of an idle device (C0) and of a busy one
// (C21), barriers (C14), fp32 reductions (C16), blocks of unequal length (C17).
#include "kernels/cuda/probes/probe_words.h"

namespace espalier::kernels::on_cuda {
namespace {

ESPALIER_DEVICE std::int64_t cycles_now() { return clock64(); }

/// Reads both clocks around a piece of work; the first thread of the grid writes cycles and nanoseconds to `words`, two
/// words each.
class TwoClocks {
 public:
  ESPALIER_DEVICE TwoClocks() : cycles_(cycles_now()), ns_(timer_ns()) {}
  ESPALIER_DEVICE bool reached(std::int64_t cycles) const { return cycles_now() - cycles_ >= cycles; }
  ESPALIER_DEVICE void write(std::uint32_t* words) const {
    if (block_index() > 0 || thread_index() > 0) return;
    const auto cycles = static_cast<std::uint64_t>(cycles_now() - cycles_), ns = timer_ns() - ns_;
    store_global(reinterpret_cast<std::uint64_t*>(words), cycles);
    store_global(reinterpret_cast<std::uint64_t*>(words) + 1, ns);
  }

 private:
  std::int64_t cycles_;
  std::uint64_t ns_;
};

/// `rounds` is a number of cycles here.
ESPALIER_KERNEL(32, 1) clock_kernel(ESPALIER_PARAMETER ProbeParams params) {
  const TwoClocks clocks;
  while (!clocks.reached(params.shape.rounds)) {
  }
  clocks.write(params.words);
}

ESPALIER_KERNEL(kPipeThreads, 1) busy_mma_kernel(ESPALIER_PARAMETER ProbeParams params) {
  const TwoClocks clocks;
  const std::uint32_t lane = thread_index() % 32,
                      a[4] = {0x3F803F00U + lane, 0x3E803F80U, 0x3F003E00U + lane, 0xBF803F80U};
  float c[8][4] = {};
  // As one: products are of a whole warp, whose lanes read the clock each for itself.
  while (!warp_any(clocks.reached(params.shape.rounds))) {
    for (int turn = 0; turn < 16; ++turn) {
      ESPALIER_UNROLL
      for (int i = 0; i < 8; ++i) mma<Dtype::bf16>(c[i], a, a[0], a[1]);
    }
  }
  clocks.write(params.words);
  float sum = 0;
  for (int i = 0; i < 8; ++i) sum += c[i][0] + c[i][3];
  keep_result(params, sum);
}

/// All blocks stream through a set that stays in L2.
ESPALIER_KERNEL(kPipeThreads, 1) busy_stream_kernel(ESPALIER_PARAMETER ProbeParams params) {
  const TwoClocks clocks;
  Chunk sum = {};
  std::int64_t tile = block_index() % params.shape.tiles;
  while (!clocks.reached(params.shape.rounds)) {
    Chunk got[8];
    const Chunk* from = params.source + tile * 8 * kPipeThreads + thread_index();
    ESPALIER_UNROLL
    for (int i = 0; i < 8; ++i) got[i] = load_fresh(from + i * kPipeThreads);
    keep_order();
    ESPALIER_UNROLL
    for (int i = 0; i < 8; ++i) fold_in(sum, got[i]);
    tile = (tile + grid_blocks()) % params.shape.tiles;
  }
  clocks.write(params.words);
  keep_result(params, sum);
}

ESPALIER_KERNEL(kProbeThreads, 1) block_barrier_kernel(ESPALIER_PARAMETER ProbeParams params) {
  for (std::int64_t round = 0; round < params.shape.rounds; ++round) __syncthreads();
}
ESPALIER_KERNEL(kProbeThreads, 1) named_barrier_kernel(ESPALIER_PARAMETER ProbeParams params) {
  for (std::int64_t round = 0; round < params.shape.rounds; ++round) {
    asm volatile("bar.sync 1, %0;" ::"r"(params.shape.threads) : "memory");
  }
}
/// All threads arrive and wait for the phase to end.
ESPALIER_KERNEL(kProbeThreads, 1) phase_barrier_kernel(ESPALIER_PARAMETER ProbeParams params) {
  if (thread_index() == 0) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(window(0)), "r"(params.shape.threads) : "memory");
  }
  __syncthreads();
  for (std::int64_t round = 0; round < params.shape.rounds; ++round) {
    std::uint64_t token;
    asm volatile("mbarrier.arrive.shared.b64 %0, [%1];" : "=l"(token) : "r"(window(0)) : "memory");
    for (std::uint32_t done = 0; done == 0;) {
      asm volatile("{\n.reg .pred p;\nmbarrier.test_wait.shared.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                   : "=r"(done)
                   : "r"(window(0)), "l"(token)
                   : "memory");
    }
  }
}

/// `rounds` additions of a thread; threads go round `part` addresses a line apart.
ESPALIER_KERNEL(kProbeThreads, 1) reduction_kernel(ESPALIER_PARAMETER ProbeParams params) {
  const std::uint32_t thread = block_index() * static_cast<std::uint32_t>(params.shape.threads) + thread_index();
  float* to = reinterpret_cast<float*>(params.sink) + thread % static_cast<std::uint32_t>(params.shape.part) * 32;
  for (std::int64_t round = 0; round < params.shape.rounds; ++round) {
    asm volatile("red.global.add.f32 [%0], %1;" ::"l"(to), "f"(1.0F) : "memory");
  }
}

/// Every other block takes `rounds` ns, the rest `skew_ns`.
ESPALIER_KERNEL(kProbeThreads, 1) unequal_kernel(ESPALIER_PARAMETER ProbeParams params) {
  pause_ns(block_index() % 2 == 0 ? params.shape.rounds : std::int64_t{params.shape.skew_ns});
}

const ProbeInstance kInstances[] = {
    {"probe_clock", &clock_kernel},
    {"probe_busy_mma", &busy_mma_kernel},
    {"probe_busy_stream", &busy_stream_kernel},
    {"probe_block_barrier", &block_barrier_kernel},
    {"probe_named_barrier", &named_barrier_kernel},
    {"probe_phase_barrier", &phase_barrier_kernel},
    {"probe_reduction", &reduction_kernel},
    {"probe_unequal", &unequal_kernel},
};

}  // namespace

std::span<const ProbeInstance> clock_probes() { return kInstances; }

}  // namespace espalier::kernels::on_cuda

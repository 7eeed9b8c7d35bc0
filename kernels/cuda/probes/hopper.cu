// For nvcc alone, and compute capability 9 and up: a ring filled by bulk copies (C4), matrix products of warp groups
// (C9), launches that begin before the one before has ended (C12), barriers of a cluster (C14). Compiled for older
// devices, and for newer ones without warp-group products, these kernels do nothing: points ask for code that was made
// for Hopper, and those of warp groups for their mark besides.
#include "kernels/cuda/probes/probe_words.h"

namespace espalier::kernels::on_cuda {
namespace {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
ESPALIER_DEVICE void bulk_copy(SharedAddress to, const void* from, std::uint32_t bytes, SharedAddress barrier) {
  asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(window(barrier)), "r"(bytes) : "memory");
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(window(to)),
      "l"(from), "r"(bytes), "r"(window(barrier))
      : "memory");
}
ESPALIER_DEVICE void wait_phase(SharedAddress barrier, std::uint32_t parity) {
  for (std::uint32_t done = 0; done == 0;) {
    asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(window(barrier)), "r"(parity)
                 : "memory");
  }
}
#endif

/// As ring_kernel, one copy a tile issued by one thread. The stages' barriers are behind the tiles.
template <int kStages>
ESPALIER_KERNEL(kRingThreads, 1)
bulk_ring_kernel(ESPALIER_PARAMETER ProbeParams params) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  const ProbeShape& shape = params.shape;
  const auto bytes = static_cast<std::uint32_t>(shape.tile_chunks) * 16;
  const SharedAddress barriers = kStages * bytes;
  if (thread_index() == 0) {
    for (int s = 0; s < kStages; ++s) {
      asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(window(barriers + s * 8)) : "memory");
    }
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  }
  __syncthreads();
  std::int64_t tile = (shape.first_tile + block_index()) % shape.tiles;
  const std::int64_t step = grid_blocks() % shape.tiles;
  std::int64_t issued = 0;
  const auto issue = [&] {
    if (issued >= shape.rounds) return;
    const auto stage = static_cast<std::uint32_t>(issued++ % kStages);
    if (thread_index() == 0) {
      bulk_copy(stage * bytes, params.source + tile * shape.tile_chunks, bytes, barriers + stage * 8);
    }
    tile = tile + step < shape.tiles ? tile + step : tile + step - shape.tiles;
  };
  for (int s = 0; s + 1 < kStages; ++s) issue();
  for (std::int64_t round = 0; round < shape.rounds; ++round) {
    wait_phase(barriers + static_cast<SharedAddress>(round % kStages) * 8,
               static_cast<std::uint32_t>(round / kStages % 2));
    __syncthreads();
    issue();
  }
#endif
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
/// A descriptor of 8x8 blocks of 16-bit numbers without swizzling, blocks of a column 128 bytes apart, columns 2 KiB.
ESPALIER_DEVICE std::uint64_t matrix_descriptor(SharedAddress at) {
  return static_cast<std::uint64_t>((window(at) & 0x3FFFF) >> 4) | std::uint64_t{2048 >> 4} << 16 |
         std::uint64_t{128 >> 4} << 32;
}
#endif

/// Of a product into 64 accumulators d a thread, by four registers of rows and a descriptor of columns.
#define ESPALIER_OPERANDS                                                            \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "          \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, {%64, %65, %66, %67}, %68"
#define ESPALIER_ACCUMULATORS                                                                                 \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), \
      "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]),  \
      "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), \
      "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), \
      "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), \
      "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), \
      "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), \
      "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])

/// Two warp groups; each multiplies 64 rows in registers by 128 columns in shared memory, kTurns times a round, into 64
/// accumulators a thread.
template <bool kFp8>
ESPALIER_KERNEL(256, 1)
warp_group_kernel(ESPALIER_PARAMETER ProbeParams params) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  constexpr int kTurns = 8;
  for (SharedAddress at = thread_index() * 4; at < 8192; at += 1024) store_shared(at, 0x3C3A3836U + at);
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  if (block_index() == 0 && thread_index() == 0) store_global(params.words + kMarkWord, std::uint32_t{kMark});
  const std::uint64_t b = matrix_descriptor(0);
  const std::uint32_t lane = thread_index() % 32,
                      a[4] = {0x3C3D3830U + lane, 0x3A3B3C3DU, 0x3C303E3FU + lane, 0xB83CBC3DU};
  float d[64] = {};
  for (std::int64_t round = 0; round < params.shape.rounds; ++round) {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
    ESPALIER_UNROLL
    for (int turn = 0; turn < kTurns; ++turn) {
      if constexpr (kFp8) {
        asm volatile("wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 " ESPALIER_OPERANDS ", 1, 1, 1;"
                     : ESPALIER_ACCUMULATORS
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
      } else {
        asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " ESPALIER_OPERANDS ", 1, 1, 1, 0;"
                     : ESPALIER_ACCUMULATORS
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
      }
    }
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  }
  float sum = 0;
  ESPALIER_UNROLL
  for (int i = 0; i < 64; ++i) sum += d[i];
  keep_result(params, sum);
#endif
}

/// Lets the next launch begin at once, then waits for the one before.
ESPALIER_KERNEL(kProbeThreads, 1) follow_kernel(ESPALIER_PARAMETER ProbeParams params) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  keep_result(params, 0.0F);
}

/// For launches in clusters.
ESPALIER_KERNEL(kProbeThreads, 1) cluster_barrier_kernel(ESPALIER_PARAMETER ProbeParams params) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  for (std::int64_t round = 0; round < params.shape.rounds; ++round) {
    asm volatile("barrier.cluster.arrive.aligned;" ::: "memory");
    asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
  }
#endif
}

const ProbeInstance kInstances[] = {
    {"probe_bulk_ring_2", &bulk_ring_kernel<2>},
    {"probe_bulk_ring_3", &bulk_ring_kernel<3>},
    {"probe_bulk_ring_4", &bulk_ring_kernel<4>},
    {"probe_bulk_ring_6", &bulk_ring_kernel<6>},
    {"probe_warp_group", &warp_group_kernel<false>},
    {"probe_warp_group_fp8", &warp_group_kernel<true>},
    {"probe_follow", &follow_kernel},
    {"probe_cluster_barrier", &cluster_barrier_kernel},
};

}  // namespace

std::span<const ProbeInstance> hopper_probes() { return kInstances; }

}  // namespace espalier::kernels::on_cuda

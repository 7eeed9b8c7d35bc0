// The pipes of an SM, each alone and mixed: shared memory (C8), matrix products (C9), exponentials, fp32 work and
// conversions (C10), a loop of several (C11). Nothing comes from memory, and chains are many enough to hide the latency
// of an instruction.
#include "kernels/cuda/probes/probe_words.h"

namespace espalier::kernels::ESPALIER_TARGET {
namespace {

constexpr SharedAddress kReadBytes = 16384;  ///< of shared memory, read over and over
constexpr int kLoads = 4, kSlots = 4;        ///< loads of a thread and round; copies of a thread under way

ESPALIER_DEVICE void fill_read_bytes() {
  for (SharedAddress at = thread_index() * 16; at < kReadBytes; at += kPipeThreads * 16) {
    store_shared(at, Chunk{{at, at, at, at}});
  }
  block_sync<kPipeThreads>();
}

/// The eight lanes that are served together read 16 bytes each from 8 / kDegree of the eight bank groups.
template <int kDegree>
ESPALIER_DEVICE void read_shared(std::int64_t round, Chunk& sum) {
  const SharedAddress lane_at = thread_index() % 32 * 16 * kDegree + static_cast<SharedAddress>(round) * 128;
  Chunk got[kLoads];
  ESPALIER_UNROLL
  for (int i = 0; i < kLoads; ++i) {
    got[i] = load_shared<Chunk>((lane_at + static_cast<SharedAddress>(i) * 4096) % kReadBytes);
  }
  ESPALIER_UNROLL
  for (int i = 0; i < kLoads; ++i) fold_in(sum, got[i]);
}

/// Each thread reads 64 bytes a round and, with copies, has 16 more written every kSharedCopyRounds: more would come no
/// faster than L2 gives.
template <int kDegree, bool kCopies>
ESPALIER_KERNEL(kPipeThreads, 1)
shared_kernel(ESPALIER_PARAMETER ProbeParams params) {
  fill_read_bytes();
  Chunk sum = {};
  const Chunk* from = params.source + block_index() * kPipeThreads + thread_index();
  for (std::int64_t round = 0; round < params.shape.rounds; ++round) {
    if (kCopies && round % kSharedCopyRounds == 0) {
      const auto slot = static_cast<SharedAddress>(round / kSharedCopyRounds % kSlots);
      copy_async(kReadBytes + (slot * kPipeThreads + thread_index()) * 16, from);
      commit_copies();
      wait_copies<kSlots - 1>();
    }
    read_shared<kDegree>(round, sum);
    keep_order();
  }
  wait_copies<0>();
  keep_result(params, sum);
}

ESPALIER_DEVICE void matrix_inputs(std::uint32_t (&a)[4], std::uint32_t (&b)[2]) {
  ESPALIER_UNROLL
  for (std::uint32_t i = 0; i < 4; ++i) {
    a[i] = pack<Dtype::bf16>(0.01F * static_cast<float>(thread_index() % 32), 0.25F * static_cast<float>(i));
  }
  b[0] = a[1];
  b[1] = a[2] ^ 0x8000U;
}

template <int kChains>
ESPALIER_DEVICE float sum_of(const float (&c)[kChains][4]) {
  float sum = 0;
  ESPALIER_UNROLL
  for (int i = 0; i < kChains; ++i) sum += c[i][0] + c[i][1] + c[i][2] + c[i][3];
  return sum;
}

/// kChains products a warp and round, one into each of its accumulators.
template <int kChains>
ESPALIER_KERNEL(kPipeThreads, 1)
mma_kernel(ESPALIER_PARAMETER ProbeParams params) {
  std::uint32_t a[4], b[2];
  matrix_inputs(a, b);
  float c[kChains][4] = {};
  for (std::int64_t round = 0; round < params.shape.rounds; ++round) {
    ESPALIER_UNROLL
    for (int i = 0; i < kChains; ++i) mma<Dtype::bf16>(c[i], a, b[0], b[1]);
  }
  keep_result(params, sum_of(c));
}

constexpr int kChains = 8;  ///< of a thread of the probes below

ESPALIER_DEVICE void begin_chains(float (&x)[kChains]) {
  ESPALIER_UNROLL
  for (int i = 0; i < kChains; ++i) x[i] = 0.01F * static_cast<float>(static_cast<int>(thread_index()) + i);
}
ESPALIER_DEVICE float sum_of(const float (&x)[kChains]) {
  float sum = 0;
  ESPALIER_UNROLL
  for (int i = 0; i < kChains; ++i) sum += x[i];
  return sum;
}

/// 8 exponentials a thread and round.
ESPALIER_KERNEL(kPipeThreads, 1) exp_kernel(ESPALIER_PARAMETER ProbeParams params) {
  float x[kChains];
  begin_chains(x);
  for (std::int64_t round = 0; round < params.shape.rounds; ++round) {
    ESPALIER_UNROLL
    for (int i = 0; i < kChains; ++i) x[i] = exp2_fast(-x[i]);
  }
  keep_result(params, sum_of(x));
}

/// 32 multiply-adds a thread and round.
ESPALIER_KERNEL(kPipeThreads, 1) fma_kernel(ESPALIER_PARAMETER ProbeParams params) {
  float x[kChains];
  begin_chains(x);
  const float factor = 0.5F + 1e-3F * static_cast<float>(thread_index());
  for (std::int64_t round = 0; round < params.shape.rounds; ++round) {
    ESPALIER_UNROLL
    for (int i = 0; i < 4 * kChains; ++i) x[i % kChains] = x[i % kChains] * factor + 0.25F;
  }
  keep_result(params, sum_of(x));
}

/// 32 e4m3 numbers a thread and round, widened as the attention kernels do.
ESPALIER_KERNEL(kPipeThreads, 1) convert_kernel(ESPALIER_PARAMETER ProbeParams params) {
  std::uint32_t x[kChains];
  for (int i = 0; i < kChains; ++i) x[i] = thread_index() * 0x01030507U + static_cast<std::uint32_t>(i);
  for (std::int64_t round = 0; round < params.shape.rounds; ++round) {
    ESPALIER_UNROLL
    for (int i = 0; i < kChains; ++i) {
      std::uint32_t low, high;
      widen_fp8<Dtype::bf16>(x[i], low, high);
      x[i] = low ^ high;
    }
  }
  keep_result(params, Chunk{{x[0] ^ x[4], x[1] ^ x[5], x[2] ^ x[6], x[3] ^ x[7]}});
}

/// Of each pipe one unit of work a warp and round, or four: 2 products, 2 exponentials a lane, 16 multiply-adds a lane,
/// a 16-byte load a lane.
template <int kMmas, int kExps, int kFmas, int kShared>
ESPALIER_KERNEL(kPipeThreads, 1)
mix_kernel(ESPALIER_PARAMETER ProbeParams params) {
  fill_read_bytes();
  std::uint32_t a[4], b[2];
  matrix_inputs(a, b);
  float c[4][4] = {}, x[kChains], y[kChains];
  begin_chains(x);
  begin_chains(y);
  Chunk sum = {};
  const float factor = 0.5F + 1e-3F * static_cast<float>(thread_index());
  const SharedAddress lane_at = thread_index() % 32 * 16;
  for (std::int64_t round = 0; round < params.shape.rounds; ++round) {
    Chunk got[kShared];
    ESPALIER_UNROLL
    for (int i = 0; i < kShared; ++i) {
      got[i] = load_shared<Chunk>((lane_at + static_cast<SharedAddress>(round * 512 + i * 4096)) % kReadBytes);
    }
    ESPALIER_UNROLL
    for (int i = 0; i < 2 * kMmas; ++i) mma<Dtype::bf16>(c[i % 4], a, b[0], b[1]);
    ESPALIER_UNROLL
    for (int i = 0; i < 2 * kExps; ++i) x[i % kChains] = exp2_fast(-x[i % kChains]);
    ESPALIER_UNROLL
    for (int i = 0; i < 16 * kFmas; ++i) y[i % kChains] = y[i % kChains] * factor + 0.25F;
    ESPALIER_UNROLL
    for (int i = 0; i < kShared; ++i) fold_in(sum, got[i]);
    keep_order();
  }
  keep_result(params, sum_of(c) + sum_of(x) + sum_of(y));
  keep_result(params, sum);
}

// Numbered by which pipes do four units: 1 products, 2 exponentials, 4 multiply-adds, 8 shared loads.
const ProbeInstance kInstances[] = {
    {"probe_shared_1", &shared_kernel<1, false>},
    {"probe_shared_2", &shared_kernel<2, false>},
    {"probe_shared_4", &shared_kernel<4, false>},
    {"probe_shared_8", &shared_kernel<8, false>},
    {"probe_shared_1_copies", &shared_kernel<1, true>},
    {"probe_shared_2_copies", &shared_kernel<2, true>},
    {"probe_shared_4_copies", &shared_kernel<4, true>},
    {"probe_shared_8_copies", &shared_kernel<8, true>},
    {"probe_mma_4", &mma_kernel<4>},
    {"probe_mma_8", &mma_kernel<8>},
    {"probe_exp", &exp_kernel},
    {"probe_fma", &fma_kernel},
    {"probe_convert", &convert_kernel},
    {"probe_mix_1", &mix_kernel<4, 1, 1, 1>},
    {"probe_mix_2", &mix_kernel<1, 4, 1, 1>},
    {"probe_mix_3", &mix_kernel<4, 4, 1, 1>},
    {"probe_mix_4", &mix_kernel<1, 1, 4, 1>},
    {"probe_mix_5", &mix_kernel<4, 1, 4, 1>},
    {"probe_mix_6", &mix_kernel<1, 4, 4, 1>},
    {"probe_mix_7", &mix_kernel<4, 4, 4, 1>},
    {"probe_mix_8", &mix_kernel<1, 1, 1, 4>},
    {"probe_mix_9", &mix_kernel<4, 1, 1, 4>},
    {"probe_mix_10", &mix_kernel<1, 4, 1, 4>},
    {"probe_mix_11", &mix_kernel<4, 4, 1, 4>},
    {"probe_mix_12", &mix_kernel<1, 1, 4, 4>},
    {"probe_mix_13", &mix_kernel<4, 1, 4, 4>},
    {"probe_mix_14", &mix_kernel<1, 4, 4, 4>},
    {"probe_mix_15", &mix_kernel<4, 4, 4, 4>},
};

}  // namespace

std::span<const ProbeInstance> pipe_probes() { return kInstances; }

}  // namespace espalier::kernels::ESPALIER_TARGET

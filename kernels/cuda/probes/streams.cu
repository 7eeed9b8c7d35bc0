// Streams of plain 16-byte loads: from memory (C1), with writes among them (C2), over a set again and again (C5), of
// one segment by several blocks (C6). A thread has kLoads loads under way. Loads pass the first-level cache by.
#include "kernels/cuda/probes/probe_words.h"

namespace espalier::kernels::ESPALIER_TARGET {
namespace {

template <int kLoads>
ESPALIER_DEVICE void read_tile(const ProbeParams& params, std::int64_t tile, Chunk& sum) {
  const int threads = params.shape.threads;
  const Chunk* from = params.source + tile * kLoads * threads + thread_index();
  Chunk got[kLoads];
  ESPALIER_UNROLL
  for (int i = 0; i < kLoads; ++i) got[i] = load_fresh(from + i * threads);
  keep_order();
  ESPALIER_UNROLL
  for (int i = 0; i < kLoads; ++i) fold_in(sum, got[i]);
}

/// `rounds` tiles a block, the blocks of the grid side by side through a set of `tiles`.
template <int kLoads>
ESPALIER_KERNEL(kProbeThreads, 1)
stream_kernel(ESPALIER_PARAMETER ProbeParams params) {
  const ProbeShape& shape = params.shape;
  Chunk sum = {};
  std::int64_t tile = (shape.first_tile + block_index()) % shape.tiles;
  const std::int64_t step = grid_blocks() % shape.tiles;
  for (std::int64_t round = 0; round < shape.rounds; ++round) {
    read_tile<kLoads>(params, tile, sum);
    tile += step;
    if (tile >= shape.tiles) tile -= shape.tiles;
  }
  keep_result(params, sum);
}

/// Of each 8 tiles of a block `part` are written and the others read, spread evenly, not in step with other blocks.
template <int kLoads>
ESPALIER_KERNEL(kProbeThreads, 1)
mixed_stream_kernel(ESPALIER_PARAMETER ProbeParams params) {
  const ProbeShape& shape = params.shape;
  Chunk sum = {};
  for (std::int64_t round = 0; round < shape.rounds; ++round) {
    const std::int64_t tile = shape.first_tile + block_index() + round * grid_blocks();
    const auto turn = static_cast<std::int32_t>((round + block_index()) % 8);
    if (turn * shape.part % 8 < shape.part) {
      Chunk* to = params.sink + tile % params.sink_tiles * kLoads * shape.threads + thread_index();
      ESPALIER_UNROLL
      for (int i = 0; i < kLoads; ++i) store_global(to + i * shape.threads, sum);
    } else {
      read_tile<kLoads>(params, tile % shape.tiles, sum);
    }
  }
  keep_result(params, sum);
}

/// Blocks b, b + groups, … read segment b of `rounds` tiles; each of the `part` readers starts `skew_ns` after the one
/// before.
template <int kLoads>
ESPALIER_KERNEL(kProbeThreads, 1)
segment_kernel(ESPALIER_PARAMETER ProbeParams params) {
  const ProbeShape& shape = params.shape;
  const std::uint32_t groups = grid_blocks() / static_cast<std::uint32_t>(shape.part);
  const std::uint32_t group = block_index() % groups, reader = block_index() / groups;
  pause_ns(std::int64_t{shape.skew_ns} * reader);
  Chunk sum = {};
  for (std::int64_t round = 0; round < shape.rounds; ++round) {
    read_tile<kLoads>(params, (shape.first_tile + group * shape.rounds + round) % shape.tiles, sum);
  }
  keep_result(params, sum);
}

const ProbeInstance kInstances[] = {
    {"probe_stream_1", &stream_kernel<1>},           {"probe_stream_2", &stream_kernel<2>},
    {"probe_stream_4", &stream_kernel<4>},           {"probe_stream_8", &stream_kernel<8>},
    {"probe_mixed_stream", &mixed_stream_kernel<8>}, {"probe_segment", &segment_kernel<8>},
};

}  // namespace

std::span<const ProbeInstance> stream_probes() { return kInstances; }

}  // namespace espalier::kernels::ESPALIER_TARGET

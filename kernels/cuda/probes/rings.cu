// Loads as the attention kernels make them: a ring of asynchronous copies whose consumer only waits (C3), the same
// through a page table (C19); and loads one after another (C7).
#include "kernels/cuda/probes/probe_words.h"

namespace espalier::kernels::ESPALIER_TARGET {
namespace {

/// Blocks side by side through `tiles` tiles of `tile_chunks`, kStages - 1 of them under way in each.
template <int kStages>
ESPALIER_KERNEL(kRingThreads, 1)
ring_kernel(ESPALIER_PARAMETER ProbeParams params) {
  const ProbeShape& shape = params.shape;
  std::int64_t tile = (shape.first_tile + block_index()) % shape.tiles;
  const std::int64_t step = grid_blocks() % shape.tiles;
  int stage = 0;
  std::int64_t issued = 0;
  const auto issue = [&] {
    if (issued++ < shape.rounds) {
      const Chunk* from = params.source + tile * shape.tile_chunks;
      const auto to = static_cast<SharedAddress>(stage * shape.tile_chunks * 16);
      for (int c = static_cast<int>(thread_index()); c < shape.tile_chunks; c += kRingThreads) {
        copy_async(to + static_cast<SharedAddress>(c) * 16, from + c);
      }
      tile = tile + step < shape.tiles ? tile + step : tile + step - shape.tiles;
      stage = stage + 1 == kStages ? 0 : stage + 1;
    }
    commit_copies();
  };
  for (int s = 0; s + 1 < kStages; ++s) issue();
  for (std::int64_t round = 0; round < shape.rounds; ++round) {
    wait_copies<kStages - 2>();
    block_sync<kRingThreads>();
    issue();
  }
  wait_copies<0>();
}

/// A ring of 3 tiles of 16 KiB, gathered from pages of 2^part chunks. A tile's page ids are looked up while the one
/// before is on its way.
ESPALIER_KERNEL(kRingThreads, 1) gather_kernel(ESPALIER_PARAMETER ProbeParams params) {
  constexpr int kStages = 3, kTileChunks = 1024, kEach = kTileChunks / kRingThreads;
  const ProbeShape& shape = params.shape;
  const std::int64_t page_mask = (std::int64_t{1} << shape.part) - 1;
  std::int64_t looked_up = 0, issued = 0;
  std::uint32_t ids[kEach] = {};
  const auto place = [&](std::int64_t round, int i) {
    const std::int64_t tile = (shape.first_tile + block_index() + round * grid_blocks()) % shape.tiles;
    return tile * kTileChunks + i * kRingThreads + thread_index();
  };
  const auto look_up = [&] {
    if (looked_up >= shape.rounds) return;
    ESPALIER_UNROLL
    for (int i = 0; i < kEach; ++i) ids[i] = load_global(params.table + (place(looked_up, i) >> shape.part));
    ++looked_up;
  };
  const auto issue = [&] {
    if (issued < shape.rounds) {
      const auto to = static_cast<SharedAddress>(issued % kStages * kTileChunks * 16 + thread_index() * 16);
      ESPALIER_UNROLL
      for (int i = 0; i < kEach; ++i) {
        const std::int64_t chunk = (static_cast<std::int64_t>(ids[i]) << shape.part) + (place(issued, i) & page_mask);
        copy_async(to + static_cast<SharedAddress>(i * kRingThreads * 16), params.source + chunk);
      }
    }
    ++issued;
    commit_copies();
  };
  look_up();
  for (int s = 0; s + 1 < kStages; ++s) {
    issue();
    look_up();
  }
  for (std::int64_t round = 0; round < shape.rounds; ++round) {
    wait_copies<kStages - 2>();
    block_sync<kRingThreads>();
    issue();
    look_up();
  }
  wait_copies<0>();
}

/// One thread, `rounds` loads; it goes on where the launch before it ended.
ESPALIER_KERNEL(kProbeThreads, 1) chase_kernel(ESPALIER_PARAMETER ProbeParams params) {
  if (thread_index() > 0) return;
  std::uint32_t at = load_global(params.words);
  for (std::int64_t round = 0; round < params.shape.rounds; ++round) at = load_fresh(params.table + at);
  store_global(params.words, at);
}

const ProbeInstance kInstances[] = {
    {"probe_ring_2", &ring_kernel<2>}, {"probe_ring_3", &ring_kernel<3>}, {"probe_ring_4", &ring_kernel<4>},
    {"probe_ring_6", &ring_kernel<6>}, {"probe_gather", &gather_kernel},  {"probe_chase", &chase_kernel},
};

}  // namespace

std::span<const ProbeInstance> ring_probes() { return kInstances; }

}  // namespace espalier::kernels::ESPALIER_TARGET

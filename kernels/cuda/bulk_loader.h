// The loading half of the attend kernel for devices with bulk copies: a warp of its own that copies whole rows ahead of the warps that compute.
//
// A barrier a stage says what has landed, another what is free again; one more says that a task's queries are no longer needed. Nobody but
// the loading warp holds addresses, and nobody waits for the others of the block to issue copies. Blocks of a cluster whose tasks read the same
// tokens load together: a part each, to all.
#pragma once

#include "kernels/cuda/loader.h"

#if defined(ESPALIER_BULK_COPIES)

namespace espalier::kernels::ESPALIER_TARGET {

/// Places of a block's barriers.
template <class C>
struct Ring {
  ESPALIER_DEVICE static SharedAddress landed(int stage) { return static_cast<SharedAddress>(C::kBarriersAt + stage * 8); }
  ESPALIER_DEVICE static SharedAddress freed(int stage) { return static_cast<SharedAddress>(C::kBarriersAt + (C::kStages + stage) * 8); }
  ESPALIER_DEVICE static SharedAddress queries_freed() { return static_cast<SharedAddress>(C::kBarriersAt + 2 * C::kStages * 8); }

  /// By one thread, before the block meets. `users` blocks must have freed a stage of all of them before it is filled again.
  ESPALIER_DEVICE static void init(int users = 1) {
    for (int stage = 0; stage < C::kStages; ++stage) {
      init_barrier(landed(stage), C::kLandedArrivals);
      init_barrier(freed(stage), C::kWarps * users);
    }
    init_barrier(queries_freed(), C::kWarps);
    fence_engine();
  }
  /// Until nobody needs the stage's tile of the round before; at once in the first.
  ESPALIER_DEVICE void wait_free() const { wait_barrier(freed(stage), parity ^ 1U); }

  int stage = 0;
  std::uint32_t parity = 0;  ///< of the stage's phase
  ESPALIER_DEVICE void advance() {
    if (++stage < C::kStages) return;
    stage = 0;
    parity ^= 1U;
  }
};

/// Loads the block's tasks tile by tile as stages become free. For a cluster a block has one task: in its last tile a mate may have nothing to copy, so
/// it doesn't wait there for the stage's other users, and of a further task it could be a phase ahead of them.
/// `loader` looks up where a tile's tokens are, a tile before it loads it.
template <class C, class TileLoader>
ESPALIER_DEVICE void fill_ring(const AttendParams& params, scheduler::Interval items, TileLoader& loader) {
  std::uint32_t tasks = 0;
  Ring<C> ring;
  for (std::int32_t item = items.begin; item < items.end; ++item) {
    const Work work = read_work(params.plan, params.tensors, load_global(params.items + item));
    if (work.tokens == 0) continue;
    loader.begin(work);
    for (int tile = 0; tile * C::kTokens < work.tokens; ++tile) {
      loader.step(tile);
      if (tile == 0) wait_barrier(Ring<C>::queries_freed(), (tasks & 1U) ^ 1U);
      ring.wait_free();
      loader.load_tile(work, ring, tile == 0);
      ring.advance();
    }
    ++tasks;
  }
  if constexpr (C::kClusters) {
    // The block ends only when nobody can arrive at its barriers any more, and what it sent is where it should be.
    for (int stage = 0; stage < C::kStages; ++stage, ring.advance()) ring.wait_free();
  }
}

/// Copies all rows of a tile, or, with others of its cluster, its part of them to all: each block still looks up and expects the whole tile.
template <class C>
class BulkLoader {
 public:
  ESPALIER_DEVICE explicit BulkLoader(const AttendParams& params, Mates mates = {}) : params_(params), lane_(static_cast<int>(thread_index()) % 32) {
    if constexpr (C::kClusters) {
      blocks_ = ((1U << mates.count) - 1U) << mates.first;
      copies_ = lane_ % mates.count == static_cast<int>(cluster_rank()) - mates.first;
    }
  }

  ESPALIER_DEVICE void load(scheduler::Interval items) { fill_ring<C>(params_, items, *this); }

  // For fill_ring().
  ESPALIER_DEVICE void begin(const Work& work) {
    cursor_.begin(params_.plan, work);
    look_up(0);
  }
  ESPALIER_DEVICE void step(int tile) {
    ESPALIER_UNROLL
    for (int i = 0; i < kTokens; ++i) places_[i] = next_[i];
    look_up(tile + 1);  // a tile before it is needed: page ids come from far away
  }
  ESPALIER_DEVICE void load_tile(const Work& work, const Ring<C>& ring, bool first) {
    const SharedAddress landed = Ring<C>::landed(ring.stage);
    const auto keys = static_cast<SharedAddress>(C::kRingAt + ring.stage * C::kStageBytes);
    std::uint32_t bytes = 0;
    bool cleared = false;
    ESPALIER_UNROLL
    for (int i = 0; i < kTokens; ++i) {
      const int token = i * 32 + lane_;
      store_shared(static_cast<SharedAddress>(C::kMasksAt + (ring.stage * C::kTokens + token) * 4), places_[i].mask);
      if (places_[i].page >= 0) {
        bytes += C::kKeyRowBytes + (C::kVInK ? 0 : C::kValueRowBytes);
      } else {
        clear(keys + static_cast<SharedAddress>(token * (C::kKeyRowBytes + C::kRowPad)), C::kKeyRowBytes);
        if constexpr (!C::kVInK) clear(values_of(keys, token), C::kValueRowBytes);
        cleared = true;
      }
    }
    const char* queries[kRows];
    if (first) {
      ESPALIER_UNROLL
      for (int i = 0; i < kRows; ++i) {
        const int row = i * 32 + lane_;
        queries[i] = query_row(work, row);
        if (queries[i] != nullptr) {
          bytes += C::kQueryRowBytes;
        } else if (row < C::kRows) {
          clear(query_place(row), C::kQueryRowBytes);
          cleared = true;
        }
      }
    }
    if (cleared) fence_engine();
    arrive_expecting(landed, bytes);
    if (first) {
      ESPALIER_UNROLL
      for (int i = 0; i < kRows; ++i) {
        if (queries[i] != nullptr) copy_bulk(query_place(i * 32 + lane_), queries[i], C::kQueryRowBytes, landed);
      }
    }
    ESPALIER_UNROLL
    for (int i = 0; i < kTokens; ++i) {
      if (places_[i].page < 0) continue;
      if (C::kClusters && !copies_) continue;
      const int token = i * 32 + lane_;
      copy_row(keys + static_cast<SharedAddress>(token * (C::kKeyRowBytes + C::kRowPad)), row_of(params_.tensors.keys, places_[i], work.kv_head),
               C::kKeyRowBytes, landed);
      if constexpr (!C::kVInK) copy_row(values_of(keys, token), row_of(params_.tensors.values, places_[i], work.kv_head), C::kValueRowBytes, landed);
    }
  }

 private:
  static constexpr int kTokens = C::kTokens / 32;  ///< of a tile, a lane
  static constexpr int kRows = (C::kRows + 31) / 32;
  static_assert(C::kTokens % 32 == 0);

  struct alignas(16) Chunk {
    std::uint32_t words[4];
  };

  ESPALIER_DEVICE void look_up(int tile) {
    ESPALIER_UNROLL
    for (int i = 0; i < kTokens; ++i) next_[i] = cursor_.place(params_.plan, tile * C::kTokens + i * 32 + lane_);
  }

  ESPALIER_DEVICE void copy_row(SharedAddress at, const char* from, std::uint32_t bytes, SharedAddress landed) const {
    if constexpr (C::kClusters) copy_bulk_to_blocks(at, from, bytes, landed, blocks_);
    else copy_bulk(at, from, bytes, landed);
  }

  /// What no token, and no query, fills must still be numbers: whatever weight 0 multiplies must not be NaN.
  ESPALIER_DEVICE void clear(SharedAddress row, int bytes) {
    ESPALIER_KEEP_LOOP
    for (int at = 0; at < bytes; at += 16) store_shared(row + static_cast<SharedAddress>(at), Chunk{});
  }

  ESPALIER_DEVICE static SharedAddress values_of(SharedAddress keys, int token) {
    return keys + static_cast<SharedAddress>(C::kKeyTileBytes + token * (C::kValueRowBytes + C::kRowPad));
  }
  ESPALIER_DEVICE static SharedAddress query_place(int row) { return static_cast<SharedAddress>(row * (C::kQueryRowBytes + C::kRowPad)); }
  ESPALIER_DEVICE static const char* row_of(const PagedRows& rows, const TokenPlace& place, std::int32_t kv_head) {
    return static_cast<const char*>(rows.base) + place.page * rows.page_stride + place.offset * rows.token_stride + kv_head * rows.head_stride;
  }
  /// Null where the tile has no such row.
  ESPALIER_DEVICE const char* query_row(const Work& work, int row) const {
    if (row >= work.rows) return nullptr;
    const std::int64_t request = load_global(params_.plan.query_rows + work.queries.begin + row / work.head_count);
    const std::int64_t number = request * params_.tensors.q_heads + work.head_begin + row % work.head_count;
    return static_cast<const char*>(params_.tensors.queries) + number * C::kQueryRowBytes;
  }

  const AttendParams& params_;
  int lane_;
  std::uint32_t blocks_ = 0;  ///< of the cluster, that take what is copied
  bool copies_ = true;        ///< this lane's tokens are the block's to copy
  TokenCursor cursor_;
  TokenPlace places_[kTokens], next_[kTokens];
};

}  // namespace espalier::kernels::ESPALIER_TARGET

#endif

// The loading half of the attend kernel for devices with bulk copies: four warps of their own that copy whole rows
// ahead of the warps that compute.
//
// A barrier a stage says what has landed, another what is free again; one more says that a task's queries are no longer
// needed. Nobody but the loading warps holds addresses, and nobody waits for the others of the block to issue copies. A
// warp issues the copies of its lanes one after the other, we guess 30 to 45 cycles each: one warp alone may be slower
// at it than memory. Blocks of a cluster whose tasks read the same tokens load together: a part each, to all.
#pragma once

#include "kernels/cuda/loader.h"

#if defined(ESPALIER_BULK_COPIES)

namespace espalier::kernels::ESPALIER_TARGET {

/// Places of a block's barriers.
template <class C>
struct Ring {
  ESPALIER_DEVICE static SharedAddress landed(int stage) {
    return static_cast<SharedAddress>(C::kBarriersAt + stage * 8);
  }
  ESPALIER_DEVICE static SharedAddress freed(int stage) {
    return static_cast<SharedAddress>(C::kBarriersAt + (C::kStages + stage) * 8);
  }
  ESPALIER_DEVICE static SharedAddress queries_freed() {
    return static_cast<SharedAddress>(C::kBarriersAt + 2 * C::kStages * 8);
  }

  /// By one thread, before the block meets. `users` blocks must have freed a stage of all of them before it is filled
  /// again.
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

/// Loads the block's tasks tile by tile as stages become free. For a cluster a block has one task: in its last tile a
/// mate may have nothing to copy, so it doesn't wait there for the stage's other users, and of a further task it could
/// be a phase ahead of them. `loader` looks up where a tile's tokens are, a tile before it loads it.
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
      ring.wait_free();
      loader.load_tokens(work, ring);
      if (tile == 0) {  // behind its first tokens: the task before may need its queries for a while
        wait_barrier(Ring<C>::queries_freed(), (tasks & 1U) ^ 1U);
        loader.load_queries(ring);
      }
      loader.arrive_at(ring);
      ring.advance();
    }
    ++tasks;
  }
  if constexpr (C::kClusters) {
    // The block ends only when nobody can arrive at its barriers any more, and what it sent is where it should be.
    for (int stage = 0; stage < C::kStages; ++stage, ring.advance()) ring.wait_free();
  }
}

/// Copies all rows of a tile, or, with others of its cluster, its part of them to all: each block still looks up and
/// expects the whole tile. A lane has a token's keys or its values, in every tile the same token, and at most one row
/// of the queries.
template <class C>
class BulkLoader {
 public:
  ESPALIER_DEVICE explicit BulkLoader(const AttendParams& params, Mates mates = {}) : params_(params) {
    const int warp = (static_cast<int>(thread_index()) - C::kThreads) / 32,
              lane = static_cast<int>(thread_index()) % 32;
    token_ = warp * kTokens + lane % kTokens;
    part_ = lane / kTokens;
    row_ = lane * C::kLoadWarps + warp;  // few rows are spread over the warps
    if constexpr (C::kClusters) {
      blocks_ = ((1U << mates.count) - 1U) << mates.first;
      copies_ = token_ % mates.count == static_cast<int>(cluster_rank()) - mates.first;
    }
  }

  ESPALIER_DEVICE void load(scheduler::Interval items) { fill_ring<C>(params_, items, *this); }

  // For fill_ring().
  ESPALIER_DEVICE void begin(const Work& work) {
    cursor_.begin(work);
    look_up(0);
    query_ = query_row(work);
  }
  ESPALIER_DEVICE void step(int tile) {
    place_ = next_;
    look_up(tile + 1);  // a tile before it is needed: page ids come from far away
  }
  ESPALIER_DEVICE void load_tokens(const Work& work, const Ring<C>& ring) {
    const auto keys = static_cast<SharedAddress>(C::kRingAt + ring.stage * C::kStageBytes);
    if (part_ == 0) {
      store_shared(static_cast<SharedAddress>(C::kMasksAt + (ring.stage * C::kTokens + token_) * 4), place_.mask);
    }
    bytes_ = 0;
    if (part_ >= kParts) return;
    const SharedAddress at = part_ == 0 ? keys + static_cast<SharedAddress>(token_ * (C::kKeyRowBytes + C::kRowPad))
                                        : values_of(keys, token_);
    const std::uint32_t size = part_ == 0 ? C::kKeyRowBytes : C::kValueRowBytes;
    if (place_.page < 0) return clear(at, size);
    bytes_ = size;
    if (!C::kClusters || copies_) {
      copy_row(at, row_of(part_ == 0 ? params_.tensors.keys : params_.tensors.values, place_, work.kv_head), size,
               Ring<C>::landed(ring.stage));
    }
  }
  ESPALIER_DEVICE void load_queries(const Ring<C>& ring) {
    if (query_ != nullptr) {
      copy_bulk(query_place(row_), query_, C::kQueryRowBytes, Ring<C>::landed(ring.stage));
      bytes_ += C::kQueryRowBytes;
    } else if (row_ < C::kRows) {
      clear(query_place(row_), C::kQueryRowBytes);
    }
  }
  /// The phase waits for this lane, so bytes may be expected behind their copies.
  ESPALIER_DEVICE void arrive_at(const Ring<C>& ring) const { arrive_expecting(Ring<C>::landed(ring.stage), bytes_); }

 private:
  static constexpr int kTokens = C::kTokens / C::kLoadWarps;  ///< of a tile, a warp
  static constexpr int kParts = C::kVInK ? 1 : 2;             ///< of a token: keys, values
  static_assert(C::kTokens % C::kLoadWarps == 0 && kTokens * kParts <= 32 && C::kRows <= C::kLoadWarps * 32);

  struct alignas(16) Chunk {
    std::uint32_t words[4];
  };

  ESPALIER_DEVICE void look_up(int tile) { next_ = cursor_.place(params_.plan, tile * C::kTokens + token_); }

  ESPALIER_DEVICE void copy_row(SharedAddress at, const char* from, std::uint32_t bytes, SharedAddress landed) const {
    if constexpr (C::kClusters) {
      copy_bulk_to_blocks(at, from, bytes, landed, blocks_);
    } else {
      copy_bulk(at, from, bytes, landed);
    }
  }

  /// What no token, and no query, fills must still be numbers: whatever weight 0 multiplies must not be NaN.
  ESPALIER_DEVICE void clear(SharedAddress row, std::uint32_t bytes) {
    ESPALIER_KEEP_LOOP
    for (std::uint32_t at = 0; at < bytes; at += 16) store_shared(row + at, Chunk{});
    fence_engine();
  }

  ESPALIER_DEVICE static SharedAddress values_of(SharedAddress keys, int token) {
    return keys + static_cast<SharedAddress>(C::kKeyTileBytes + token * (C::kValueRowBytes + C::kRowPad));
  }
  ESPALIER_DEVICE static SharedAddress query_place(int row) {
    return static_cast<SharedAddress>(row * (C::kQueryRowBytes + C::kRowPad));
  }
  ESPALIER_DEVICE static const char* row_of(const PagedRows& rows, const TokenPlace& place, std::int32_t kv_head) {
    return static_cast<const char*>(rows.base) + place.page * rows.page_stride + place.offset * rows.token_stride +
           kv_head * rows.head_stride;
  }
  /// This lane's, null where the tile has no such row.
  ESPALIER_DEVICE const char* query_row(const Work& work) const {
    if (row_ >= work.rows) return nullptr;
    const std::int64_t request = load_global(params_.plan.query_rows + work.queries.begin + row_ / work.head_count);
    const std::int64_t number = request * params_.tensors.q_heads + work.head_begin + row_ % work.head_count;
    return static_cast<const char*>(params_.tensors.queries) + number * C::kQueryRowBytes;
  }

  const AttendParams& params_;
  int token_, part_, row_;    ///< of a tile; of the token: 0 keys, 1 values; of the queries
  std::uint32_t blocks_ = 0;  ///< of the cluster, that take what is copied
  bool copies_ = true;        ///< this lane's token is the block's to copy
  std::uint32_t bytes_ = 0;   ///< of the tile, and its queries, that this lane brings or others bring for it
  const char* query_ = nullptr;
  TokenCursor cursor_;
  TokenPlace place_, next_;
};

}  // namespace espalier::kernels::ESPALIER_TARGET

#endif

// The loading half of the attend kernel for products of warpgroups: four warps of their own gather rows in 16-byte
// pieces, into panels.
//
// Neither kind of bulk copy can do that for pages of any size: one of a row doesn't swizzle, and one by a tensor map
// takes a box, which a node that begins or ends inside a page cuts. Copies are counted at the stage's barrier as they
// land, so nobody waits for them here.
#pragma once

#include "kernels/cuda/bulk_loader.h"
#include "kernels/cuda/warpgroup_product.h"

#if defined(ESPALIER_BULK_COPIES)

namespace espalier::kernels::ESPALIER_TARGET {

template <class C>
class PanelLoader {
 public:
  ESPALIER_DEVICE explicit PanelLoader(const AttendParams& params, Mates = {})
      : params_(params), warp_((static_cast<int>(thread_index()) - C::kThreads) / 32),
        lane_(static_cast<int>(thread_index()) % 32) {}

  ESPALIER_DEVICE void load(scheduler::Interval items) {
    fill_ring<C>(params_, items, *this);
    commit_copies();
    wait_copies<0>();
  }

  // For fill_ring().
  ESPALIER_DEVICE void begin(const Work& work) {
    cursor_.begin(work);
    look_up(0);
    look_up_query(work);
  }
  ESPALIER_DEVICE void step(int tile) {
    place_ = next_;
    look_up(tile + 1);
  }
  ESPALIER_DEVICE void load_tokens(const Work& work, const Ring<C>& ring) {
    const auto keys = static_cast<SharedAddress>(C::kRingAt + ring.stage * C::kStageBytes);
    ESPALIER_UNROLL
    for (int i = 0; i < kTokens; i += kRowsAtOnce) {
      const std::int32_t page = shuffle(place_.page, i + row()), offset = shuffle(place_.offset, i + row());
      const SharedAddress to = keys + place(warp_ * kTokens + i);
      copy_panels<C::kQkDim>(to, C::kTokens,
                             page < 0 ? nullptr : row_of(params_.tensors.keys, page, offset, work.kv_head));
      copy_panels<C::kVDim>(to + C::kKeyTileBytes, C::kTokens,
                            page < 0 ? nullptr : row_of(params_.tensors.values, page, offset, work.kv_head));
    }
    if (lane_ < kTokens) {
      store_shared(static_cast<SharedAddress>(C::kMasksAt + (ring.stage * C::kTokens + warp_ * kTokens + lane_) * 4),
                   place_.mask);
    }
  }
  ESPALIER_DEVICE void load_queries(const Ring<C>&) {
    ESPALIER_KEEP_LOOP
    for (int i = 0; i < kRows; i += kRowsAtOnce) {
      const std::int64_t from = shuffle(query_, i + row());
      const char* queries = static_cast<const char*>(params_.tensors.queries) + from * C::kQueryRowBytes + chunk() * 16;
      copy_panels<C::kQkDim>(place(warp_ * kRows + i), C::kRows, from < 0 ? nullptr : queries);
    }
  }
  ESPALIER_DEVICE void arrive_at(const Ring<C>& ring) const {
    const SharedAddress landed = Ring<C>::landed(ring.stage);
    arrive_when_copied(landed);
    warp_sync();
    if (lane_ == 0) arrive(landed);  // for the masks: the other arrival orders copies alone
  }

 private:
  static constexpr int kTokens = C::kTokens / C::kLoadWarps, kRows = C::kRows / C::kLoadWarps;  ///< of a tile, a warp
  static constexpr int kChunks = kPanelRowBytes / 16, kRowsAtOnce = 32 / kChunks;
  static_assert(kTokens <= 32 && kTokens % kRowsAtOnce == 0 && kRows <= 32 && kRows % kRowsAtOnce == 0);
  static_assert(!C::kVInK && !C::kFp8 && C::kQkDim % kPanelColumns == 0 && C::kVDim % kPanelColumns == 0);

  ESPALIER_DEVICE int row() const { return lane_ / kChunks; }
  ESPALIER_DEVICE int chunk() const { return lane_ % kChunks; }
  /// This lane's chunk of the first panel, rows from `first` on.
  ESPALIER_DEVICE SharedAddress place(int first) const { return swizzled<kPanelRowBytes>(first + row(), chunk()); }
  ESPALIER_DEVICE const char* row_of(const PagedRows& rows, std::int32_t page, std::int32_t offset,
                                     std::int32_t kv_head) const {
    return static_cast<const char*>(rows.base) + page * rows.page_stride + offset * rows.token_stride +
           kv_head * rows.head_stride + chunk() * 16;
  }
  ESPALIER_DEVICE void look_up(int tile) {
    next_ = {-1, 0, 0};
    if (lane_ < kTokens) next_ = cursor_.place(params_.plan, tile * C::kTokens + warp_ * kTokens + lane_);
  }

  /// This lane's chunk of each panel of a row in a tile of `rows`; zeros where there is no row: whatever weight 0
  /// multiplies must not be NaN.
  template <int kColumns>
  ESPALIER_DEVICE void copy_panels(SharedAddress to, int rows, const char* from) {
    ESPALIER_UNROLL
    for (int panel = 0; panel < kColumns / kPanelColumns; ++panel) {
      const SharedAddress at = to + static_cast<SharedAddress>(panel * rows * kPanelRowBytes);
      if (from != nullptr) {
        copy_async(at, from + panel * kPanelRowBytes);
      } else {
        clear_async(at);
      }
    }
  }

  /// A lane finds a row of the queries, once a task; all lanes copy it.
  ESPALIER_DEVICE void look_up_query(const Work& work) {
    query_ = -1;
    const int mine = warp_ * kRows + lane_;
    if (lane_ < kRows && mine < work.rows) {
      const std::int32_t request = load_global(params_.plan.query_rows + work.queries.begin + mine / work.head_count);
      query_ = request * params_.tensors.q_heads + work.head_begin + mine % work.head_count;
    }
  }

  const AttendParams& params_;
  int warp_, lane_;
  std::int32_t query_ = -1;  ///< row of them that this lane has found; below 0: none
  TokenCursor cursor_;
  TokenPlace place_, next_;
};

}  // namespace espalier::kernels::ESPALIER_TARGET

#endif

// The loading half of the attend kernel: walks the block's tasks tile by tile and copies queries, K and V into the
// ring, ahead of the computing half and across the borders of tasks.
#pragma once

#include "kernels/cuda/tile.h"

namespace espalier::kernels::ESPALIER_TARGET {

/// Where a token's row of the cache lies; no page: past the task's last token.
struct TokenPlace {
  std::int32_t page;
  std::int32_t offset;  ///< in the page
  std::uint32_t mask;   ///< rows [low 16 bits, high 16 bits) see it
};

/// This lane's token in the task's segments, tile after tile.
class TokenCursor {
 public:
  ESPALIER_DEVICE void begin(const Work& work) {
    segment_ = work.segments.begin;
    heads_ = work.head_count;
    tokens_ = work.tokens;
    first_ = 0;
    run_ = work.first;
  }
  ESPALIER_DEVICE std::int32_t tokens() const { return tokens_; }
  /// Tokens are asked for in rising order.
  ESPALIER_DEVICE TokenPlace place(const PlanColumns& plan, std::int32_t token) {
    if (token >= tokens_) return {-1, 0, 0};
    while (token >= first_ + run_.tokens) {
      ++segment_;
      read_segment(plan);
    }
    const std::uint32_t in_node = run_.offset + static_cast<std::uint32_t>(token - first_);
    const auto size = static_cast<std::uint32_t>(plan.page_size);
    const std::uint32_t page = in_node / size;
    const std::uint32_t logical = run_.first_page + page;
    const std::uint32_t physical =
        plan.page_ids == nullptr ? logical : static_cast<std::uint32_t>(load_global(plan.page_ids + logical));
    return {static_cast<std::int32_t>(physical), static_cast<std::int32_t>(in_node - page * size), run_.mask};
  }

 private:
  ESPALIER_DEVICE void read_segment(const PlanColumns& plan) {
    const scheduler::Segment s = load_global(plan.segments + segment_);
    const auto stop = s.token_end == scheduler::kToNodeEnd
                          ? static_cast<std::int32_t>(load_global(plan.node_tokens + s.node.value))
                          : s.token_end;
    first_ += run_.tokens;
    run_.tokens = stop - s.token_begin;
    run_.first_page = static_cast<std::uint32_t>(load_global(plan.node_first_page + s.node.value));
    run_.offset = static_cast<std::uint32_t>(load_global(plan.node_first_offset + s.node.value)) +
                  static_cast<std::uint32_t>(s.token_begin);
    run_.mask = static_cast<std::uint32_t>(s.row_begin * heads_) | static_cast<std::uint32_t>(s.row_end * heads_) << 16;
  }

  std::int32_t segment_;         ///< the one at hand
  std::int32_t first_;           ///< of the task's tokens, the segment's first
  std::int32_t heads_, tokens_;  ///< of the task
  TokenRun run_;                 ///< the segment
};

template <class C>
class Loader {
 public:
  ESPALIER_DEVICE Loader(const AttendParams& params, scheduler::Interval items)
      : params_(params), warp_(static_cast<int>(thread_index()) / 32), lane_(static_cast<int>(thread_index()) % 32),
        item_(items.begin), end_(items.end) {
    begin_task();
  }

  /// Fills the ring as far as it is free. Tasks before `tasks_done` no longer need their queries in shared memory.
  ESPALIER_DEVICE void top_up(int tasks_done) {
    while (ahead_ < C::kStages - 1 && item_ < end_ && (tile_ > 0 || tasks_begun_ <= tasks_done)) load_tile();
  }
  ESPALIER_DEVICE int ahead() const { return ahead_; }
  /// The computing half took the oldest tile.
  ESPALIER_DEVICE void took() { --ahead_; }

 private:
  /// Tasks without tokens have nothing to load.
  ESPALIER_DEVICE void begin_task() {
    for (; item_ < end_; ++item_, ++tasks_begun_) {
      const Work work = read_work(params_.plan, params_.tensors, load_global(params_.items + item_));
      cursor_.begin(work);
      kv_head_ = work.kv_head;
      if (work.tokens > 0) break;
    }
    tile_ = 0;
    if (item_ < end_) look_up();
  }
  /// Finds this lane's token of the next tile, a tile before it is needed: page ids come from far away.
  ESPALIER_DEVICE void look_up() {
    next_ = {-1, 0, 0};
    if (lane_ < C::kLoadTokens) {
      next_ = cursor_.place(params_.plan, tile_ * C::kTokens + warp_ * C::kLoadTokens + lane_);
    }
  }

  ESPALIER_DEVICE void load_tile() {
    forget(lane_);  // or its copies' places stay in registers for the whole launch
    forget(warp_);
    if constexpr (C::kTakesQueries) {
      if (tile_ == 0) load_queries();
    }
    const auto ring = static_cast<SharedAddress>(C::kRingAt + stage_ * C::kStageBytes);
    load_rows<C::kKeyRowBytes>(C::kTilesOfValues ? params_.tensors.values : params_.tensors.keys, ring);
    if constexpr (!C::kVInK) load_rows<C::kValueRowBytes>(params_.tensors.values, ring + C::kKeyTileBytes);
    commit_copies();
    if (lane_ < C::kLoadTokens) {
      store_shared(static_cast<SharedAddress>(C::kMasksAt + (stage_ * C::kTokens + warp_ * C::kLoadTokens + lane_) * 4),
                   next_.mask);
    }
    stage_ = stage_ + 1 == C::kStages ? 0 : stage_ + 1;
    ++ahead_;
    if (++tile_ * C::kTokens < cursor_.tokens()) {
      look_up();
    } else {
      ++item_;
      ++tasks_begun_;
      begin_task();
    }
  }

  template <int kRowBytes>
  ESPALIER_DEVICE void load_rows(const PagedRows& rows, SharedAddress tile) {
    constexpr int kChunks = kRowBytes / 16;
    if constexpr (32 % kChunks == 0) {
      load_short_rows<kRowBytes>(rows, tile);
    } else {
      load_long_rows<kRowBytes>(rows, tile);
    }
  }

  /// One or several rows at once.
  template <int kRowBytes>
  ESPALIER_DEVICE void load_short_rows(const PagedRows& rows, SharedAddress tile) {
    constexpr int kChunks = kRowBytes / 16, kCopies = C::kLoadTokens * kChunks;
    static_assert(kCopies % 32 == 0);
    const SharedAddress start = tile + swizzled<kRowBytes>(warp_ * C::kLoadTokens + lane_ / kChunks, lane_ % kChunks);
    const char* from = static_cast<const char*>(rows.base) + kv_head_ * rows.head_stride + lane_ % kChunks * 16;
    ESPALIER_UNROLL
    for (int first = 0; first < kCopies; first += 32) {
      // Rows of a warp begin at a multiple of their number, so the next rows differ from the first by bits of their
      // own.
      const int below = first / kChunks;
      copy_row(along<kRowBytes>(start, spread_of<kRowBytes>(below)) + static_cast<SharedAddress>(below * kRowBytes),
               rows, from, below + lane_ / kChunks);
    }
  }

  /// Rows of more chunks than lanes, one after another. Unrolled, a compiler would keep each copy's place in a register
  /// of its own.
  template <int kRowBytes>
  ESPALIER_DEVICE void load_long_rows(const PagedRows& rows, SharedAddress tile) {
    constexpr int kChunks = kRowBytes / 16;
    const char* from = static_cast<const char*>(rows.base) + kv_head_ * rows.head_stride + lane_ * 16;
    ESPALIER_KEEP_LOOP
    for (int token = 0; token < C::kLoadTokens; ++token) {
      const SharedAddress start = tile + swizzled<kRowBytes>(warp_ * C::kLoadTokens + token, lane_);
      ESPALIER_UNROLL
      for (int first = 0; first < kChunks; first += 32) {
        copy_row(start + static_cast<SharedAddress>(first * 16), rows, from + first * 16, token, kChunks - first);
      }
    }
  }

  /// A chunk of the row of this warp's token `token`; lanes from `lanes` on have none.
  ESPALIER_DEVICE void copy_row(SharedAddress to, const PagedRows& rows, const char* from, int token, int lanes = 32) {
    const std::int32_t page = shuffle(next_.page, token), offset = shuffle(next_.offset, token);
    if (lane_ >= lanes) return;
    if (page >= 0) {
      copy_async(to, from + page * rows.page_stride + offset * rows.token_stride);
    } else {
      clear_async(to);  // zeros: whatever weight 0 multiplies must not be NaN
    }
  }

  ESPALIER_DEVICE void load_queries() {
    const Work work = read_work(params_.plan, params_.tensors, load_global(params_.items + item_));
    constexpr int kChunks = C::kQueryRowBytes / 16, kCopies = C::kLoadRows * kChunks;
    // A lane finds a row, once; all lanes copy it.
    std::int32_t found = -1;
    const int mine = warp_ * C::kLoadRows + lane_;
    if (lane_ < C::kLoadRows && mine < work.rows) {
      const std::int32_t request = load_global(params_.plan.query_rows + work.queries.begin + mine / work.head_count);
      found = request * params_.tensors.q_heads + work.head_begin + mine % work.head_count;
    }
    ESPALIER_KEEP_LOOP
    for (int first = 0; first < kCopies; first += 32) {
      const int copy = first + lane_;
      const int row = copy / kChunks, chunk = copy % kChunks;
      const std::int64_t from = shuffle(found, row & 31);
      if (kCopies % 32 != 0 && copy >= kCopies) continue;
      const SharedAddress to = swizzled<C::kQueryRowBytes>(warp_ * C::kLoadRows + row, chunk);
      if (from >= 0) {
        copy_async(to, static_cast<const char*>(params_.tensors.queries) + from * C::kQueryRowBytes + chunk * 16);
      } else {
        clear_async(to);
      }
    }
  }

  const AttendParams& params_;
  int warp_, lane_;
  std::int32_t item_, end_;
  std::int32_t kv_head_ = 0;
  TokenCursor cursor_;
  TokenPlace next_;
  int tile_ = 0;
  int stage_ = 0;
  int ahead_ = 0;        ///< tiles under way or landed, not yet taken
  int tasks_begun_ = 0;  ///< of this block's items, before the one being loaded
};

/// Waits for the oldest of `ahead` tiles.
template <class C>
ESPALIER_DEVICE void wait_for_tile(int ahead) {
  if (ahead == C::kStages - 1) {
    wait_copies<C::kStages - 2>();
  } else {
    wait_copies<0>();
  }
}

}  // namespace espalier::kernels::ESPALIER_TARGET

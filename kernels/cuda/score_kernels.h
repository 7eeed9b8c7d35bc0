// Attention by two matrix products with stored scores (bifurcated attention): a kernel a product, and one for the
// softmax between them.
//
// A block does one copy of one task, whose rows all see all its tokens (lower_plan sees to that).
#pragma once

#include "kernels/cuda/attend_config.h"
#include "kernels/cuda/events.h"
#include "kernels/cuda/loader.h"
#include "kernels/cuda/score_product.h"
#include "kernels/cuda/task_rows.h"

namespace espalier::kernels::ESPALIER_TARGET {

/// The shape of a product's kernel: its tiles are rows of keys, or of values, alone.
template <Dtype kQueryDtype, Dtype kKvDtype, int kDim>
using ProductTiles = AttendConfig<HeadShape<kQueryDtype, kKvDtype, kDim, kDim, true>, 64, 64, 3, WarpGrid<4, 1, 1>>;

template <Dtype kQueryDtype, Dtype kKvDtype, int kDim>
struct KeyTiles : ProductTiles<kQueryDtype, kKvDtype, kDim> {};

template <Dtype kQueryDtype, Dtype kKvDtype, int kDim>
struct ValueTiles : ProductTiles<kQueryDtype, kKvDtype, kDim> {
  static constexpr bool kTakesQueries = false, kTilesOfValues = true;
};

/// tile(number, stage) for each tile of the loader's only task, once it has landed.
template <class C, class Tile>
ESPALIER_DEVICE void for_each_tile(Loader<C>& loader, std::int32_t tokens, const Tile& tile) {
  loader.top_up(0);
  int stage = 0;
  for (int number = 0; number * C::kTokens < tokens; ++number) {
    wait_for_tile<C>(loader.ahead());
    block_sync<C::kThreads>();
    loader.took();
    loader.top_up(0);
    tile(number, stage);
    stage = stage + 1 == C::kStages ? 0 : stage + 1;
  }
}

/// Rows of scores begin at any even byte where their number of columns is odd: then numbers go one at a time.
ESPALIER_DEVICE void store_scores(const RowPlace& row, std::int32_t column, std::int32_t columns, Pair pair) {
  if (columns % 2 == 0) {
    if (column < columns) store_pair(row, column, pair);
  } else {
    if (column < columns) store_number(row, column, pair.low);
    if (column + 1 < columns) store_number(row, column + 1, pair.high);
  }
}
ESPALIER_DEVICE Pair load_scores(const RowPlace& row, std::int32_t column, std::int32_t columns) {
  if (columns % 2 == 0) return column < columns ? load_pair(row, column) : Pair{0.0F, 0.0F};
  return {column < columns ? load_number(row, column) : 0.0F,
          column + 1 < columns ? load_number(row, column + 1) : 0.0F};
}

/// Scaled scores of a task's rows and tokens, into its slot.
template <class C>
ESPALIER_DEVICE void score_task(const AttendParams& params) {
  const auto block = static_cast<std::int32_t>(block_index());
  const Work work = read_work(params.plan, params.tensors, load_global(params.items + block));
  if (work.tokens == 0) return;
  const WarpShare<C> share = warp_share<C>();
  Loader<C> loader(params, {block, block + 1});
  ScoreProduct<C> product;
  RowPlace rows[C::kRowTiles][2] = {};
  ESPALIER_UNROLL
  for (int r = 0; r < C::kRowTiles; ++r) {
    ESPALIER_UNROLL
    for (int half = 0; half < 2; ++half) {
      if (share.row(r, half) < work.rows) rows[r][half] = task_slot_row(params, work, share.row(r, half));
    }
  }
  const float scale = params.tensors.scale_log2 * kLn2;
  for_each_tile(loader, work.tokens, [&](int tile, int stage) {
    if (tile == 0) product.take_queries(share);
    product.multiply(share, static_cast<SharedAddress>(C::kRingAt + stage * C::kStageBytes));
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      ESPALIER_UNROLL
      for (int half = 0; half < 2; ++half) {
        if (rows[r][half].values == nullptr) continue;
        ESPALIER_UNROLL
        for (int n = 0; n < C::kScoreTiles; ++n) {
          const float(&four)[4] = product.scores[r][n];
          store_scores(rows[r][half], tile * C::kTokens + share.score_token() + n * 8 + share.pair() * 2, work.tokens,
                       {four[2 * half] * scale, four[2 * half + 1] * scale});
        }
      }
    }
  });
}

template <Dtype kQueryDtype, Dtype kKvDtype, int kDim>
ESPALIER_KERNEL((KeyTiles<kQueryDtype, kKvDtype, kDim>::kThreads), 1)
scores_kernel(ESPALIER_PARAMETER AttendParams params) {
  stamp_begin(params.events.items, static_cast<std::int32_t>(block_index()));
  score_task<KeyTiles<kQueryDtype, kKvDtype, kDim>>(params);
  stamp_block_end<KeyTiles<kQueryDtype, kKvDtype, kDim>::kThreads>(params.events.items,
                                                                   static_cast<std::int32_t>(block_index()));
}

/// The folded score slots of a values task, as columns one after another: column i is the task's token i (lower_plan
/// sees to that).
template <class C>
class StoredWeights {
 public:
  ESPALIER_DEVICE StoredWeights(const AttendParams& params, const Work& work, const WarpShare<C>& share)
      : params_(params), work_(work), share_(share), fold_(work.folds.begin) {
    open();
  }

  /// Tiles are asked for in rising order.
  ESPALIER_DEVICE void go_to(std::int32_t tile) {
    tile_begin_ = tile * C::kTokens;
    while (tile_begin_ >= begin_ + columns_ && fold_ + 1 < work_.folds.end) {
      begin_ += columns_;
      ++fold_;
      open();
    }
    const std::int32_t rest = work_.tokens - tile_begin_;
    in_one_slot_ = tile_begin_ + (rest < C::kTokens ? rest : C::kTokens) <= begin_ + columns_;
  }

  /// Weights of 16 rows and 16 tokens of the tile, as the left factor.
  ESPALIER_DEVICE void fragment(std::uint32_t (&a)[4], int r, int block) const {
    ESPALIER_UNROLL
    for (int i = 0; i < 4; ++i) {
      const std::int32_t column = tile_begin_ + share_.value_token() + block * 16 + i / 2 * 8 + share_.pair() * 2;
      const RowPlace& row = rows_[r][i % 2];
      Pair two = {0.0F, 0.0F};
      if (share_.row(r, i % 2) < work_.rows) {
        if (in_one_slot_) {
          two = row.values == nullptr ? two : load_scores(row, column - begin_, columns_);
        } else {
          two = {find(r, i % 2, column), find(r, i % 2, column + 1)};
        }
      }
      a[i] = pack<C::kQueryDtype>(two.low, two.high);
    }
  }

 private:
  ESPALIER_DEVICE scheduler::Slot slot_of(std::int32_t fold) const {
    return load_global(params_.plan.slots + load_global(params_.plan.fold_slots + fold));
  }
  ESPALIER_DEVICE void open() {
    const scheduler::Slot slot = slot_of(fold_);
    columns_ = static_cast<std::int32_t>(slot.columns);
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      ESPALIER_UNROLL
      for (int half = 0; half < 2; ++half) rows_[r][half] = row_in(slot, r, half);
    }
  }
  ESPALIER_DEVICE RowPlace row_in(const scheduler::Slot& slot, int r, int half) const {
    if (share_.row(r, half) >= work_.rows) return {};
    return slot_row(params_, work_, slot, share_.row(r, half));
  }
  /// A number of a tile over which slots change.
  ESPALIER_DEVICE float find(int r, int half, std::int32_t column) const {
    std::int32_t begin = begin_;
    for (std::int32_t f = fold_; f < work_.folds.end; ++f) {
      const scheduler::Slot slot = slot_of(f);
      const auto columns = static_cast<std::int32_t>(slot.columns);
      if (column < begin + columns) {
        const RowPlace row = row_in(slot, r, half);
        return row.values == nullptr ? 0.0F : load_number(row, column - begin);
      }
      begin += columns;
    }
    return 0.0F;
  }

  const AttendParams& params_;
  const Work& work_;
  const WarpShare<C>& share_;
  std::int32_t fold_, tile_begin_ = 0;
  std::int32_t begin_ = 0, columns_ = 0;  ///< of the slot at hand, in the task's columns
  RowPlace rows_[C::kRowTiles][2];
  bool in_one_slot_ = true;
};

/// Rows of weights times values. Weights are of whole rows already, so nothing is normalised, and no log-sum-exp is
/// written.
template <class C>
ESPALIER_DEVICE void value_task(const AttendParams& params) {
  const auto block = static_cast<std::int32_t>(block_index());
  const Work work = read_work(params.plan, params.tensors, load_global(params.items + block));
  if (work.tokens == 0) return;
  const WarpShare<C> share = warp_share<C>();
  Loader<C> loader(params, {block, block + 1});
  StoredWeights<C> weights(params, work, share);
  ValueProduct<C> product;
  product.clear();
  for_each_tile(loader, work.tokens, [&](int tile, int stage) {
    weights.go_to(tile);
    product.add(share, static_cast<SharedAddress>(C::kRingAt + stage * C::kStageBytes),
                [&](std::uint32_t(&a)[4], int r, int part) { weights.fragment(a, r, part); });
  });
  ESPALIER_UNROLL
  for (int r = 0; r < C::kRowTiles; ++r) {
    ESPALIER_UNROLL
    for (int half = 0; half < 2; ++half) {
      if (share.row(r, half) < work.rows) {
        store_row(product, share, task_row<C::kVDim>(params, work, share.row(r, half)), {r, half}, 1.0F);
      }
    }
  }
}

template <Dtype kQueryDtype, Dtype kKvDtype, int kDim>
ESPALIER_KERNEL((ValueTiles<kQueryDtype, kKvDtype, kDim>::kThreads), 1)
values_kernel(ESPALIER_PARAMETER AttendParams params) {
  stamp_begin(params.events.items, static_cast<std::int32_t>(block_index()));
  value_task<ValueTiles<kQueryDtype, kKvDtype, kDim>>(params);
  stamp_block_end<ValueTiles<kQueryDtype, kKvDtype, kDim>::kThreads>(params.events.items,
                                                                     static_cast<std::int32_t>(block_index()));
}

}  // namespace espalier::kernels::ESPALIER_TARGET

// The computing half of the attend kernel: scores, online softmax in base 2, values, for the tiles of one task after
// another.
//
// Probabilities leave the score product in the layout in which the value product takes them.
#pragma once

#include "kernels/cuda/score_product.h"
#include "kernels/cuda/task_rows.h"

namespace espalier::kernels::ESPALIER_TARGET {

template <class C>
class Attention {
 public:
  ESPALIER_DEVICE explicit Attention(const AttendParams& params) : params_(params), share_(warp_share<C>()) {}

  ESPALIER_DEVICE void begin_task() { rows_.clear(); }
  /// Once the task's first tile, and with it the queries, has landed.
  ESPALIER_DEVICE void take_queries() { product_.take_queries(share_); }

  ESPALIER_DEVICE void add_tile(const TaskFacts& facts, int tile, int stage) {
    share_.work_out_anew();
    const auto keys = static_cast<SharedAddress>(C::kRingAt + stage * C::kStageBytes);
    product_.multiply(share_, keys);
    if (facts.unmasked == 0 || (tile + 1) * C::kTokens > facts.tokens) product_.mask(share_, stage);
    if constexpr (C::kColumnGroups > 1) {
      share_probabilities();
    } else {
      softmax();
    }
    const SharedAddress values = C::kVInK ? keys : keys + C::kKeyTileBytes;
    // A loop rather than two calls: the second product takes no registers of its own.
    ESPALIER_KEEP_LOOP
    for (int part = 0; part < (both_parts() ? 2 : 1); ++part) {
      if (part > 0) keep_rest();
      rows_.values.add(share_, values,
                       [&](std::uint32_t(&a)[4], int r, int block) { probability_fragment(a, r, block, part); });
    }
  }

  /// Brings together what the block's warps hold of the task, folds slots in, writes the rows. `scratch` is the ring's
  /// free stage.
  ESPALIER_DEVICE void finish_task(const Work& work, SharedAddress scratch) {
    rows_.bring_together(params_, share_, work, scratch);
    if (share_.token_group == 0) rows_.write(params_, share_, work);
  }

 private:
  /// Moves a row's running maximum up to `most`, turns its scores into probabilities (not yet over their sum). Rows
  /// that have seen nothing stay empty.
  ESPALIER_DEVICE void raise(int r, int half, float most) {
    const float scale = params_.tensors.scale_log2;
    const float raised = fmaxf(rows_.most[r][half], most);
    const float base = raised == minus_infinity() ? 0.0F : raised * scale;
    const float shrink = exp2_fast(rows_.most[r][half] * scale - base);
    rows_.most[r][half] = raised;
    float sum = 0.0F;
    ESPALIER_UNROLL
    for (int n = 0; n < C::kScoreTiles; ++n) {
      float(&four)[4] = product_.scores[r][n];
      const float low = exp2_fast(four[2 * half] * scale - base), high = exp2_fast(four[2 * half + 1] * scale - base);
      four[2 * half] = low;
      four[2 * half + 1] = high;
      sum += low + high;
    }
    rows_.sum[r][half] = rows_.sum[r][half] * shrink + sum;
    ESPALIER_UNROLL
    for (int n = 0; n < C::kColumnTiles; ++n) {
      rows_.values.out[r][n][2 * half] *= shrink;
      rows_.values.out[r][n][2 * half + 1] *= shrink;
    }
  }

  ESPALIER_DEVICE void softmax() {
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      ESPALIER_UNROLL
      for (int half = 0; half < 2; ++half) raise(r, half, product_.maximum(r, half));
    }
  }

  /// Place of this lane's pair of the warp's n-th 8 tokens.
  ESPALIER_DEVICE SharedAddress probability_at(int row, int n) const {
    const SharedAddress first = swizzled<C::kProbabilityRowBytes>(row, share_.score_token() / 8) +
                                static_cast<SharedAddress>(share_.pair() * 4);
    return static_cast<SharedAddress>(C::kProbabilitiesAt) + along<C::kProbabilityRowBytes>(first, n);
  }

  /// Column groups: each warp has the scores of some tokens and needs the probabilities of all.
  ESPALIER_DEVICE void share_probabilities() {
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      ESPALIER_UNROLL
      for (int half = 0; half < 2; ++half) {
        const float most = product_.maximum(r, half);
        if (share_.pair() == 0) store_shared(rows_.maximum_at(share_.column_group, share_.row(r, half)), most);
      }
    }
    team_sync<C>();
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      ESPALIER_UNROLL
      for (int half = 0; half < 2; ++half) {
        float most = minus_infinity();
        ESPALIER_UNROLL
        for (int c = 0; c < C::kColumnGroups; ++c) {
          most = fmaxf(most, load_shared<float>(rows_.maximum_at(c, share_.row(r, half))));
        }
        raise(r, half, most);
        ESPALIER_UNROLL
        for (int n = 0; n < C::kScoreTiles; ++n) {
          const float low = product_.scores[r][n][2 * half], high = product_.scores[r][n][2 * half + 1];
          const SharedAddress at = probability_at(share_.row(r, half), n);
          store_shared(at, pack<C::kQueryDtype>(low, high));
          if (both_parts()) {
            const Pair rest = rest_of(low, high);
            store_shared(at + C::kProbabilityBytes, pack<C::kQueryDtype>(rest.low, rest.high));
          }
        }
      }
    }
    team_sync<C>();
  }

  /// Probabilities enter the product with the values in 16 bits. One bf16 number is off by up to 2^-8 of itself, which
  /// leaves 1.7e-3 of a long row and up to 4e-3 of one of few tokens: fine for rows that are rounded to bf16
  /// themselves. Who asks for fp32 rows gets the rest as a second bf16 number, in a second product.
  ESPALIER_DEVICE bool both_parts() const {
    return C::kQueryDtype == Dtype::bf16 && params_.tensors.row_dtype == Dtype::fp32;
  }

  /// What rounding a pair of probabilities to 16 bits leaves.
  ESPALIER_DEVICE Pair rest_of(float low, float high) const {
    const Pair nearest = unpack<C::kQueryDtype>(pack<C::kQueryDtype>(low, high));
    return {low - nearest.low, high - nearest.high};
  }
  ESPALIER_DEVICE void keep_rest() {
    if constexpr (C::kColumnGroups == 1) {
      ESPALIER_UNROLL
      for (int r = 0; r < C::kRowTiles; ++r) {
        ESPALIER_UNROLL
        for (int n = 0; n < C::kScoreTiles; ++n) {
          ESPALIER_UNROLL
          for (int i = 0; i < 4; i += 2) {
            const Pair rest = rest_of(product_.scores[r][n][i], product_.scores[r][n][i + 1]);
            product_.scores[r][n][i] = rest.low;
            product_.scores[r][n][i + 1] = rest.high;
          }
        }
      }
    }
  }

  /// Probabilities of 16 rows and 16 tokens, as the left factor.
  ESPALIER_DEVICE void probability_fragment(std::uint32_t (&a)[4], int r, int block, int part) const {
    if constexpr (C::kColumnGroups > 1) {
      const SharedAddress first =
          swizzled<C::kProbabilityRowBytes>(share_.first_row() + r * 16 + share_.lane % 16, share_.lane / 16);
      load_matrices(a, static_cast<SharedAddress>(C::kProbabilitiesAt + part * C::kProbabilityBytes) +
                           along<C::kProbabilityRowBytes>(first, 2 * block));
    } else {
      ESPALIER_UNROLL
      for (int i = 0; i < 4; ++i) {
        const float(&four)[4] = product_.scores[r][2 * block + i / 2];
        a[i] = pack<C::kQueryDtype>(four[2 * (i % 2)], four[2 * (i % 2) + 1]);
      }
    }
  }

  const AttendParams& params_;
  WarpShare<C> share_;
  ScoreProduct<C> product_;  ///< scores, then probabilities
  TaskRows<C> rows_;
};

}  // namespace espalier::kernels::ESPALIER_TARGET

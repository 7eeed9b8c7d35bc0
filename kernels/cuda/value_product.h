// Weights times values: rows of output, a tile's tokens at a time.
#pragma once

#include "kernels/cuda/warp_share.h"
#include "kernels/cuda/warpgroup_product.h"

namespace espalier::kernels::ESPALIER_TARGET {

template <class C>
class ValueProduct {
 public:
  float out[C::kRowTiles][C::kColumnTiles][4];

  ESPALIER_DEVICE void clear() {
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      ESPALIER_UNROLL
      for (int n = 0; n < C::kColumnTiles; ++n) {
        ESPALIER_UNROLL
        for (int i = 0; i < 4; ++i) out[r][n][i] = 0.0F;
      }
    }
  }

  /// weights(a, r, block) gives the left factor: 16 rows, and 16 of the warp's tokens.
  template <class Weights>
  ESPALIER_DEVICE void add(const WarpShare<C>& share, SharedAddress values, const Weights& weights) {
    if constexpr (C::kWarpgroups > 0) {
      std::uint32_t a[C::kTokens / 16][4];
      ESPALIER_UNROLL
      for (int block = 0; block < C::kTokens / 16; ++block) weights(a[block], 0, block);
      add_values<C>(out[0], a, values);
    } else {
      add_by_warps(share, values, weights);
    }
  }

  /// Column of the pair of numbers that a lane holds of 16 columns from `n` tiles on, and the numbers.
  ESPALIER_DEVICE int column(const WarpShare<C>& share, int n, int which) const {
    return share.column_group * C::kWarpColumns + n * 8 +
           (C::kFp8 ? share.pair() * 4 + which * 2 : share.pair() * 2 + which * 8);
  }
  ESPALIER_DEVICE float& number(int r, int half, int n, int which, int i) {
    return C::kFp8 ? out[r][n + i][2 * half + which] : out[r][n + which][2 * half + i];
  }

 private:
  template <class Weights>
  ESPALIER_DEVICE void add_by_warps(const WarpShare<C>& share, SharedAddress values, const Weights& weights) {
    const SharedAddress first = values + tile_place<kRowBytes, C::kRowPad>(
                                             share.value_token() + share.lane % 16,
                                             share.column_group * C::kWarpColumns * C::kKvBytes / 16 + share.lane / 16);
    ESPALIER_UNROLL
    for (int block = 0; block < C::kValueTokens / 16; ++block) {
      std::uint32_t a[C::kRowTiles][4];
      ESPALIER_UNROLL
      for (int r = 0; r < C::kRowTiles; ++r) weights(a[r], r, block);
      ESPALIER_UNROLL
      for (int n = 0; n < C::kColumnTiles; n += kSpan) {
        std::uint32_t b[kSpan][2];
        fragments(b, first, block * 16, n * 8);
        ESPALIER_UNROLL
        for (int r = 0; r < C::kRowTiles; ++r) {
          ESPALIER_UNROLL
          for (int i = 0; i < kSpan; ++i) mma<C::kQueryDtype>(out[r][n + i], a[r], b[i][0], b[i][1]);
        }
      }
    }
  }

  /// Tiles of 8 columns that one ldmatrix brings. With 8-bit values they come in pairs of even and odd columns of 16.
  static constexpr int kSpan = C::kFp8 ? 4 : 2;
  static constexpr int kRowBytes = C::kVInK ? C::kKeyRowBytes : C::kValueRowBytes;
  static_assert(C::kColumnTiles % kSpan == 0);
  static_assert(C::kColumnGroups == 1 || C::kWarpColumns * C::kKvBytes % 128 == 0);

  /// Values of 16 tokens and kSpan tiles of columns: b[tile][2]. `first` is this lane's place for the warp's first
  /// tokens and columns.
  ESPALIER_DEVICE void fragments(std::uint32_t (&b)[kSpan][2], SharedAddress first, int token, int columns) const {
    std::uint32_t four[4];
    load_matrices_transposed(
        four, tile_along<kRowBytes, C::kRowPad>(first + static_cast<SharedAddress>(token * (kRowBytes + C::kRowPad)),
                                                columns * C::kKvBytes / 16));
    ESPALIER_UNROLL
    for (int i = 0; i < 4; ++i) {
      if constexpr (C::kFp8) {
        const std::uint32_t x =
            four[i];  // columns 2g, 2g+1 of token 2t, then of token 2t+1: tokens belong side by side
        widen_fp8<C::kQueryDtype>((x & 0xFF0000FFU) | (x >> 8 & 0xFF00U) | (x << 8 & 0xFF0000U), b[i / 2 * 2][i % 2],
                                  b[i / 2 * 2 + 1][i % 2]);
      } else {
        b[i / 2][i % 2] = four[i];
      }
    }
  }
};

}  // namespace espalier::kernels::ESPALIER_TARGET

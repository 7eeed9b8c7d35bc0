// Queries times keys: scores of a tile, and which of them a row may see.
#pragma once

#include "kernels/cuda/warp_share.h"
#include "kernels/cuda/warpgroup_product.h"

namespace espalier::kernels::ESPALIER_TARGET {

struct alignas(8) Words {
  std::uint32_t low, high;
};

template <class C>
class ScoreProduct {
 public:
  float scores[C::kRowTiles][C::kScoreTiles][4];  ///< of the tile

  /// Once the task's first tile, and with it the queries, has landed.
  ESPALIER_DEVICE void take_queries(const WarpShare<C>& share) {
    if constexpr (C::kQueriesInRegisters) {
      ESPALIER_UNROLL
      for (int r = 0; r < C::kRowTiles; ++r) {
        ESPALIER_UNROLL
        for (int k = 0; k < C::kSteps; ++k) query_fragment(share, queries_[r][k], r, k);
      }
    }
  }

  ESPALIER_DEVICE void multiply(const WarpShare<C>& share, SharedAddress keys) {
    if constexpr (C::kWarpgroups > 0) {
      multiply_keys<C>(scores[0], share.row_group, keys);
    } else {
      multiply_by_warps(share, keys);
    }
  }

  /// Scores of tokens that a row doesn't see become minus infinity.
  ESPALIER_DEVICE void mask(const WarpShare<C>& share, int stage) {
    ESPALIER_UNROLL
    for (int n = 0; n < C::kScoreTiles; ++n) {
      const int token = share.score_token() + n * 8 + share.pair() * 2;
      const Words masks =
          load_shared<Words>(static_cast<SharedAddress>(C::kMasksAt + (stage * C::kTokens + token) * 4));
      ESPALIER_UNROLL
      for (int r = 0; r < C::kRowTiles; ++r) {
        ESPALIER_UNROLL
        for (int i = 0; i < 4; ++i) {
          const std::uint32_t seen = i % 2 == 0 ? masks.low : masks.high;
          const auto at = static_cast<std::uint32_t>(share.row(r, i / 2));
          if (at < (seen & 0xFFFFU) || at >= seen >> 16) scores[r][n][i] = minus_infinity();
        }
      }
    }
  }

  /// Largest score of a row in the warp's tokens.
  ESPALIER_DEVICE float maximum(int r, int half) const {
    float most = minus_infinity();
    ESPALIER_UNROLL
    for (int n = 0; n < C::kScoreTiles; ++n) {
      most = fmaxf(most, fmaxf(scores[r][n][2 * half], scores[r][n][2 * half + 1]));
    }
    most = fmaxf(most, shuffle_xor(most, 1));
    return fmaxf(most, shuffle_xor(most, 2));
  }

 private:
  ESPALIER_DEVICE void multiply_by_warps(const WarpShare<C>& share, SharedAddress keys) {
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      ESPALIER_UNROLL
      for (int n = 0; n < C::kScoreTiles; ++n) {
        ESPALIER_UNROLL
        for (int i = 0; i < 4; ++i) scores[r][n][i] = 0.0F;
      }
    }
    const SharedAddress first = keys + key_place(share);
    ESPALIER_UNROLL
    for (int k = 0; k < C::kSteps; k += 2) {
      std::uint32_t fresh[C::kRowTiles][2][4];
      if constexpr (!C::kQueriesInRegisters) {
        ESPALIER_UNROLL
        for (int r = 0; r < C::kRowTiles; ++r) {
          query_fragment(share, fresh[r][0], r, k);
          query_fragment(share, fresh[r][1], r, k + 1);
        }
      }
      ESPALIER_UNROLL
      for (int n = 0; n < C::kScoreTiles; n += kSpanTiles) {
        std::uint32_t b[2][kSpanTiles][2];
        key_fragments(b, first, n * 8, k);
        ESPALIER_UNROLL
        for (int step = 0; step < 2; ++step) {
          ESPALIER_UNROLL
          for (int r = 0; r < C::kRowTiles; ++r) {
            ESPALIER_UNROLL
            for (int half = 0; half < kSpanTiles; ++half) {
              if constexpr (C::kQueriesInRegisters) {
                mma<C::kQueryDtype>(scores[r][n + half], queries_[r][k + step], b[step][half][0], b[step][half][1]);
              } else {
                mma<C::kQueryDtype>(scores[r][n + half], fresh[r][step], b[step][half][0], b[step][half][1]);
              }
            }
          }
        }
      }
    }
  }

  static constexpr int kSlots = C::kQueriesInRegisters ? C::kSteps : 1;
  static constexpr int kSpanTiles = C::kScoreTiles > 1 ? 2 : 1;  ///< tiles of 8 tokens whose keys come together
  static_assert(C::kScoreTiles % kSpanTiles == 0 && (kSpanTiles == 2 || !C::kFp8));

  /// Queries of 16 rows and step k. With 8-bit keys a lane's four neighbouring numbers of a row stand for columns 2t,
  /// 2t+1, 2t+8, 2t+9 of the product, on both sides: a sum doesn't mind the order of its terms.
  ESPALIER_DEVICE void query_fragment(const WarpShare<C>& share, std::uint32_t (&a)[4], int r, int k) const {
    const int first = share.first_row() + r * 16;
    if constexpr (C::kFp8) {
      ESPALIER_UNROLL
      for (int half = 0; half < 2; ++half) {
        const SharedAddress row =
            tile_place<C::kQueryRowBytes, C::kRowPad>(first + half * 8 + share.group(), share.pair() / 2) +
            static_cast<SharedAddress>(share.pair() % 2 * 8);
        const Words two = load_shared<Words>(tile_along<C::kQueryRowBytes, C::kRowPad>(row, 2 * k));
        a[half] = two.low;
        a[2 + half] = two.high;
      }
    } else {
      load_matrices(a, tile_along<C::kQueryRowBytes, C::kRowPad>(
                           tile_place<C::kQueryRowBytes, C::kRowPad>(first + share.lane % 16, share.lane / 16), 2 * k));
    }
  }

  /// This lane's place in the keys for the warp's first tokens and step.
  ESPALIER_DEVICE SharedAddress key_place(const WarpShare<C>& share) const {
    const int lane = share.lane;
    if constexpr (kSpanTiles == 1) {
      return tile_place<C::kKeyRowBytes, C::kRowPad>(share.score_token() + lane % 8, lane / 8);
    } else {
      return tile_place<C::kKeyRowBytes, C::kRowPad>(share.score_token() + lane % 8 + lane / 16 * 8, lane / 8 % 2);
    }
  }

  /// Keys of 8 or 16 tokens for steps k and k + 1: b[step][8 tokens][2].
  ESPALIER_DEVICE void key_fragments(std::uint32_t (&b)[2][kSpanTiles][2], SharedAddress first, int token,
                                     int k) const {
    const SharedAddress row = first + static_cast<SharedAddress>(token * (C::kKeyRowBytes + C::kRowPad));
    if constexpr (kSpanTiles == 1) {
      std::uint32_t four[4];
      load_matrices(four, tile_along<C::kKeyRowBytes, C::kRowPad>(row, 2 * k));
      ESPALIER_UNROLL
      for (int i = 0; i < 4; ++i) b[i / 2][0][i % 2] = four[i];
    } else if constexpr (C::kFp8) {
      std::uint32_t four[4];
      load_matrices(four, tile_along<C::kKeyRowBytes, C::kRowPad>(row, k));
      ESPALIER_UNROLL
      for (int i = 0; i < 4; ++i) widen_fp8<C::kQueryDtype>(four[i], b[i % 2][i / 2][0], b[i % 2][i / 2][1]);
    } else {
      ESPALIER_UNROLL
      for (int step = 0; step < 2; ++step) {
        std::uint32_t four[4];
        load_matrices(four, tile_along<C::kKeyRowBytes, C::kRowPad>(row, 2 * (k + step)));
        ESPALIER_UNROLL
        for (int i = 0; i < 4; ++i) b[step][i / 2][i % 2] = four[i];
      }
    }
  }

  std::uint32_t queries_[C::kRowTiles][kSlots][4];
};

}  // namespace espalier::kernels::ESPALIER_TARGET

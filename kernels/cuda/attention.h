// The computing half of the attend kernel: scores, online softmax in base 2, values, for the tiles of one task after another.
//
// Fragments follow mma.m16n8k16: a lane (g = lane / 4, t = lane % 4) holds rows g and g + 8 of a 16-row tile, and of every 8 columns
// numbers 2t and 2t + 1. Probabilities leave the score product in the layout in which the value product takes them.
#pragma once

#include "kernels/cuda/rows.h"

namespace espalier::kernels::ESPALIER_TARGET {

struct Quad {
  float x[4];
};

template <class C>
class Attention {
 public:
  ESPALIER_DEVICE explicit Attention(const AttendParams& params)
      : params_(params),
        lane_(static_cast<int>(thread_index()) % 32),
        row_group_(static_cast<int>(thread_index()) / 32 / (C::kTokenGroups * C::kColumnGroups)),
        token_group_(C::kTokenGroups > 1 ? static_cast<int>(thread_index()) / 32 % C::kTokenGroups : 0),
        column_group_(C::kColumnGroups > 1 ? static_cast<int>(thread_index()) / 32 % C::kColumnGroups : 0) {}

  ESPALIER_DEVICE void begin_task() {
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      ESPALIER_UNROLL
      for (int n = 0; n < C::kColumnTiles; ++n) {
        ESPALIER_UNROLL
        for (int i = 0; i < 4; ++i) out_[r][n][i] = 0.0F;
      }
      most_[r][0] = most_[r][1] = minus_infinity();
      sum_[r][0] = sum_[r][1] = 0.0F;
    }
  }

  /// Once the task's first tile, and with it the queries, has landed.
  ESPALIER_DEVICE void take_queries() {
    if constexpr (C::kQueriesInRegisters) {
      ESPALIER_UNROLL
      for (int r = 0; r < C::kRowTiles; ++r) {
        ESPALIER_UNROLL
        for (int k = 0; k < kSteps; ++k) query_fragment(queries_[r][k], r, k);
      }
    }
  }

  ESPALIER_DEVICE void add_tile(const TaskFacts& facts, int tile, int stage) {
    const auto keys = static_cast<SharedAddress>(C::kRingAt + stage * C::kStageBytes);
    scores(keys);
    if (facts.unmasked == 0 || (tile + 1) * C::kTokens > facts.tokens) mask(stage);
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
      add_values(values, part);
    }
  }

  /// Brings together what the block's warps hold of the task, folds slots in, writes the rows. `scratch` is the ring's free stage.
  ESPALIER_DEVICE void finish_task(const Work& work, SharedAddress scratch) {
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      ESPALIER_UNROLL
      for (int half = 0; half < 2; ++half) {
        sum_[r][half] += shuffle_xor(sum_[r][half], 1);
        sum_[r][half] += shuffle_xor(sum_[r][half], 2);
      }
    }
    if constexpr (C::kColumnGroups > 1) add_sums();
    // A task of folds alone has no tile, so none of the ring's stages is its own.
    if constexpr (C::kTokenGroups > 1) {
      if (work.tokens > 0) merge_token_groups(scratch);
    }
    if (token_group_ == 0) write_rows(work);
  }

 private:
  static constexpr int kSteps = C::kQkDim / 16;  ///< of the score product
  static constexpr int kScoreTiles = C::kWarpTokens / 8;
  static constexpr int kSlots = C::kQueriesInRegisters ? kSteps : 1;
  static constexpr int kSpanTiles = kScoreTiles > 1 ? 2 : 1;  ///< tiles of 8 tokens whose keys come together
  static_assert(kScoreTiles % kSpanTiles == 0 && (kSpanTiles == 2 || !C::kFp8));

  ESPALIER_DEVICE int group() const { return lane_ / 4; }
  ESPALIER_DEVICE int pair() const { return lane_ % 4; }
  ESPALIER_DEVICE int row(int r, int half) const { return row_group_ * C::kWarpRows + r * 16 + half * 8 + group(); }
  /// First token in the tile whose scores, or values, this warp works on.
  ESPALIER_DEVICE int score_token() const { return (token_group_ * C::kColumnGroups + column_group_) * C::kWarpTokens; }
  ESPALIER_DEVICE int value_token() const { return token_group_ * C::kValueTokens; }

  /// Queries of 16 rows and step k. With 8-bit keys a lane's four neighbouring numbers of a row stand for columns 2t, 2t+1, 2t+8, 2t+9 of
  /// the product, on both sides: a sum doesn't mind the order of its terms.
  ESPALIER_DEVICE void query_fragment(std::uint32_t (&a)[4], int r, int k) const {
    const int first = row_group_ * C::kWarpRows + r * 16;
    if constexpr (C::kFp8) {
      ESPALIER_UNROLL
      for (int half = 0; half < 2; ++half) {
        const SharedAddress row = swizzled<C::kQueryRowBytes>(first + half * 8 + group(), pair() / 2) + static_cast<SharedAddress>(pair() % 2 * 8);
        const Words two = load_shared<Words>(along<C::kQueryRowBytes>(row, 2 * k));
        a[half] = two.low;
        a[2 + half] = two.high;
      }
    } else {
      load_matrices(a, along<C::kQueryRowBytes>(swizzled<C::kQueryRowBytes>(first + lane_ % 16, lane_ / 16), 2 * k));
    }
  }

  struct alignas(8) Words {
    std::uint32_t low, high;
  };

  /// This lane's place in the keys for the warp's first tokens and step.
  ESPALIER_DEVICE SharedAddress key_place() const {
    if constexpr (kSpanTiles == 1) {
      return swizzled<C::kKeyRowBytes>(score_token() + lane_ % 8, lane_ / 8);
    } else {
      return swizzled<C::kKeyRowBytes>(score_token() + lane_ % 8 + lane_ / 16 * 8, lane_ / 8 % 2);
    }
  }

  /// Keys of 8 or 16 tokens for steps k and k + 1: b[step][8 tokens][2].
  ESPALIER_DEVICE void key_fragments(std::uint32_t (&b)[2][kSpanTiles][2], SharedAddress first, int token, int k) const {
    const SharedAddress row = first + static_cast<SharedAddress>(token * C::kKeyRowBytes);
    if constexpr (kSpanTiles == 1) {
      std::uint32_t four[4];
      load_matrices(four, along<C::kKeyRowBytes>(row, 2 * k));
      ESPALIER_UNROLL
      for (int i = 0; i < 4; ++i) b[i / 2][0][i % 2] = four[i];
    } else if constexpr (C::kFp8) {
      std::uint32_t four[4];
      load_matrices(four, along<C::kKeyRowBytes>(row, k));
      ESPALIER_UNROLL
      for (int i = 0; i < 4; ++i) widen_fp8<C::kQueryDtype>(four[i], b[i % 2][i / 2][0], b[i % 2][i / 2][1]);
    } else {
      ESPALIER_UNROLL
      for (int step = 0; step < 2; ++step) {
        std::uint32_t four[4];
        load_matrices(four, along<C::kKeyRowBytes>(row, 2 * (k + step)));
        ESPALIER_UNROLL
        for (int i = 0; i < 4; ++i) b[step][i / 2][i % 2] = four[i];
      }
    }
  }

  ESPALIER_DEVICE void scores(SharedAddress keys) {
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      ESPALIER_UNROLL
      for (int n = 0; n < kScoreTiles; ++n) {
        ESPALIER_UNROLL
        for (int i = 0; i < 4; ++i) scores_[r][n][i] = 0.0F;
      }
    }
    const SharedAddress first = keys + key_place();
    ESPALIER_UNROLL
    for (int k = 0; k < kSteps; k += 2) {
      std::uint32_t fresh[C::kRowTiles][2][4];
      if constexpr (!C::kQueriesInRegisters) {
        ESPALIER_UNROLL
        for (int r = 0; r < C::kRowTiles; ++r) {
          query_fragment(fresh[r][0], r, k);
          query_fragment(fresh[r][1], r, k + 1);
        }
      }
      ESPALIER_UNROLL
      for (int n = 0; n < kScoreTiles; n += kSpanTiles) {
        std::uint32_t b[2][kSpanTiles][2];
        key_fragments(b, first, n * 8, k);
        ESPALIER_UNROLL
        for (int step = 0; step < 2; ++step) {
          ESPALIER_UNROLL
          for (int r = 0; r < C::kRowTiles; ++r) {
            ESPALIER_UNROLL
            for (int half = 0; half < kSpanTiles; ++half) {
              if constexpr (C::kQueriesInRegisters) {
                mma<C::kQueryDtype>(scores_[r][n + half], queries_[r][k + step], b[step][half][0], b[step][half][1]);
              } else {
                mma<C::kQueryDtype>(scores_[r][n + half], fresh[r][step], b[step][half][0], b[step][half][1]);
              }
            }
          }
        }
      }
    }
  }

  ESPALIER_DEVICE void mask(int stage) {
    ESPALIER_UNROLL
    for (int n = 0; n < kScoreTiles; ++n) {
      const int token = score_token() + n * 8 + pair() * 2;
      const Words masks = load_shared<Words>(static_cast<SharedAddress>(C::kMasksAt + (stage * C::kTokens + token) * 4));
      ESPALIER_UNROLL
      for (int r = 0; r < C::kRowTiles; ++r) {
        ESPALIER_UNROLL
        for (int i = 0; i < 4; ++i) {
          const std::uint32_t seen = i % 2 == 0 ? masks.low : masks.high;
          const auto at = static_cast<std::uint32_t>(row(r, i / 2));
          if (at < (seen & 0xFFFFU) || at >= seen >> 16) scores_[r][n][i] = minus_infinity();
        }
      }
    }
  }

  ESPALIER_DEVICE float tile_maximum(int r, int half) const {
    float most = minus_infinity();
    ESPALIER_UNROLL
    for (int n = 0; n < kScoreTiles; ++n) most = fmaxf(most, fmaxf(scores_[r][n][2 * half], scores_[r][n][2 * half + 1]));
    most = fmaxf(most, shuffle_xor(most, 1));
    return fmaxf(most, shuffle_xor(most, 2));
  }

  /// Moves a row's running maximum up to `most`, turns its scores into probabilities (not yet over their sum). Rows that have seen nothing stay empty.
  ESPALIER_DEVICE void raise(int r, int half, float most) {
    const float scale = params_.tensors.scale_log2;
    const float raised = fmaxf(most_[r][half], most);
    const float base = raised == minus_infinity() ? 0.0F : raised * scale;
    const float shrink = exp2_fast(most_[r][half] * scale - base);
    most_[r][half] = raised;
    float sum = 0.0F;
    ESPALIER_UNROLL
    for (int n = 0; n < kScoreTiles; ++n) {
      const float low = exp2_fast(scores_[r][n][2 * half] * scale - base), high = exp2_fast(scores_[r][n][2 * half + 1] * scale - base);
      scores_[r][n][2 * half] = low;
      scores_[r][n][2 * half + 1] = high;
      sum += low + high;
    }
    sum_[r][half] = sum_[r][half] * shrink + sum;
    ESPALIER_UNROLL
    for (int n = 0; n < C::kColumnTiles; ++n) {
      out_[r][n][2 * half] *= shrink;
      out_[r][n][2 * half + 1] *= shrink;
    }
  }

  ESPALIER_DEVICE void softmax() {
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      ESPALIER_UNROLL
      for (int half = 0; half < 2; ++half) raise(r, half, tile_maximum(r, half));
    }
  }

  ESPALIER_DEVICE SharedAddress maximum_at(int column_group, int r, int half) const {
    return static_cast<SharedAddress>(C::kExchangeAt + (column_group * C::kRows + row(r, half)) * 4);
  }
  /// Place of this lane's pair of the warp's n-th 8 tokens.
  ESPALIER_DEVICE SharedAddress probability_at(int row, int n) const {
    const SharedAddress first = swizzled<C::kProbabilityRowBytes>(row, score_token() / 8) + static_cast<SharedAddress>(pair() * 4);
    return static_cast<SharedAddress>(C::kProbabilitiesAt) + along<C::kProbabilityRowBytes>(first, n);
  }

  /// Column groups: each warp has the scores of some tokens and needs the probabilities of all.
  ESPALIER_DEVICE void share_probabilities() {
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      ESPALIER_UNROLL
      for (int half = 0; half < 2; ++half) {
        const float most = tile_maximum(r, half);
        if (pair() == 0) store_shared(maximum_at(column_group_, r, half), most);
      }
    }
    block_sync<C::kThreads>();
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      ESPALIER_UNROLL
      for (int half = 0; half < 2; ++half) {
        float most = minus_infinity();
        ESPALIER_UNROLL
        for (int c = 0; c < C::kColumnGroups; ++c) most = fmaxf(most, load_shared<float>(maximum_at(c, r, half)));
        raise(r, half, most);
        ESPALIER_UNROLL
        for (int n = 0; n < kScoreTiles; ++n) {
          const float low = scores_[r][n][2 * half], high = scores_[r][n][2 * half + 1];
          const SharedAddress at = probability_at(row(r, half), n);
          store_shared(at, pack<C::kQueryDtype>(low, high));
          if (both_parts()) {
            const Pair rest = rest_of(low, high);
            store_shared(at + C::kProbabilityBytes, pack<C::kQueryDtype>(rest.low, rest.high));
          }
        }
      }
    }
    block_sync<C::kThreads>();
  }

  /// Probabilities enter the product with the values in 16 bits. One bf16 number is off by up to 2^-8 of itself, which leaves 1.7e-3 of a
  /// long row and up to 4e-3 of one of few tokens: fine for rows that are rounded to bf16 themselves. Who asks for fp32 rows gets the
  /// rest as a second bf16 number, in a second product.
  ESPALIER_DEVICE bool both_parts() const { return C::kQueryDtype == Dtype::bf16 && params_.tensors.row_dtype == Dtype::fp32; }

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
        for (int n = 0; n < kScoreTiles; ++n) {
          ESPALIER_UNROLL
          for (int i = 0; i < 4; i += 2) {
            const Pair rest = rest_of(scores_[r][n][i], scores_[r][n][i + 1]);
            scores_[r][n][i] = rest.low;
            scores_[r][n][i + 1] = rest.high;
          }
        }
      }
    }
  }

  /// Probabilities of 16 rows and 16 tokens, as the left factor.
  ESPALIER_DEVICE void probability_fragment(std::uint32_t (&a)[4], int r, int block, int part) const {
    if constexpr (C::kColumnGroups > 1) {
      load_matrices(a, static_cast<SharedAddress>(C::kProbabilitiesAt + part * C::kProbabilityBytes) +
                           along<C::kProbabilityRowBytes>(swizzled<C::kProbabilityRowBytes>(row_group_ * C::kWarpRows + r * 16 + lane_ % 16, lane_ / 16), 2 * block));
    } else {
      ESPALIER_UNROLL
      for (int i = 0; i < 4; ++i) {
        const float(&four)[4] = scores_[r][2 * block + i / 2];
        a[i] = pack<C::kQueryDtype>(four[2 * (i % 2)], four[2 * (i % 2) + 1]);
      }
    }
  }

  /// Tiles of 8 columns that one ldmatrix brings. With 8-bit values they come in pairs of even and odd columns of 16.
  static constexpr int kSpan = C::kFp8 ? 4 : 2;
  static_assert(C::kColumnTiles % kSpan == 0);

  static constexpr int kValueRowPitch = C::kVInK ? C::kKeyRowBytes : C::kValueRowBytes;
  static_assert(C::kColumnGroups == 1 || C::kWarpColumns * C::kKvBytes % 128 == 0);

  /// Values of 16 tokens and kSpan tiles of columns: b[tile][2]. `first` is this lane's place for the warp's first tokens and columns.
  ESPALIER_DEVICE void value_fragments(std::uint32_t (&b)[kSpan][2], SharedAddress first, int token, int columns) const {
    std::uint32_t four[4];
    load_matrices_transposed(four, along<kValueRowPitch>(first + static_cast<SharedAddress>(token * kValueRowPitch), columns * C::kKvBytes / 16));
    ESPALIER_UNROLL
    for (int i = 0; i < 4; ++i) {
      if constexpr (C::kFp8) {
        const std::uint32_t x = four[i];  // columns 2g, 2g+1 of token 2t, then of token 2t+1: tokens belong side by side
        widen_fp8<C::kQueryDtype>((x & 0xFF0000FFU) | (x >> 8 & 0xFF00U) | (x << 8 & 0xFF0000U), b[i / 2 * 2][i % 2], b[i / 2 * 2 + 1][i % 2]);
      } else {
        b[i / 2][i % 2] = four[i];
      }
    }
  }

  ESPALIER_DEVICE void add_values(SharedAddress values, int part) {
    const SharedAddress first = values + swizzled<kValueRowPitch>(value_token() + lane_ % 16, column_group_ * C::kWarpColumns * C::kKvBytes / 16 + lane_ / 16);
    ESPALIER_UNROLL
    for (int block = 0; block < C::kValueTokens / 16; ++block) {
      std::uint32_t a[C::kRowTiles][4];
      ESPALIER_UNROLL
      for (int r = 0; r < C::kRowTiles; ++r) probability_fragment(a[r], r, block, part);
      ESPALIER_UNROLL
      for (int n = 0; n < C::kColumnTiles; n += kSpan) {
        std::uint32_t b[kSpan][2];
        value_fragments(b, first, block * 16, n * 8);
        ESPALIER_UNROLL
        for (int r = 0; r < C::kRowTiles; ++r) {
          ESPALIER_UNROLL
          for (int i = 0; i < kSpan; ++i) mma<C::kQueryDtype>(out_[r][n + i], a[r], b[i][0], b[i][1]);
        }
      }
    }
  }

  /// Column groups: a row's sum is that of all its warps.
  ESPALIER_DEVICE void add_sums() {
    block_sync<C::kThreads>();  // the maxima of the last tile have been read
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      ESPALIER_UNROLL
      for (int half = 0; half < 2; ++half) {
        if (pair() == 0) store_shared(maximum_at(column_group_, r, half), sum_[r][half]);
      }
    }
    block_sync<C::kThreads>();
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      ESPALIER_UNROLL
      for (int half = 0; half < 2; ++half) {
        float sum = 0.0F;
        ESPALIER_UNROLL
        for (int c = 0; c < C::kColumnGroups; ++c) sum += load_shared<float>(maximum_at(c, r, half));
        sum_[r][half] = sum;
      }
    }
    block_sync<C::kThreads>();  // before the next task's maxima
  }

  // Token groups: lanes of equal place hold the same rows and columns, so they exchange fragments as they are, in as many rounds as
  // the scratch space asks for: first the statistics of the rows, then the output.
  static constexpr int kPieces = C::kRowTiles * (1 + C::kColumnTiles);
  static constexpr int kGivers = C::kTokenGroups > 1 ? C::kTokenGroups - 1 : 1;
  static constexpr int kFittingPieces = C::kStageBytes / (C::kRowGroups * kGivers * 32 * 16);
  static constexpr int kMostLoads = 16;  // of 16 bytes: what a round's loads may take of the registers
  static constexpr int kRoundPieces = kFittingPieces < kMostLoads / kGivers ? kFittingPieces : kMostLoads / kGivers;
  static_assert(kRoundPieces >= C::kRowTiles, "a round holds at least the statistics");

  ESPALIER_DEVICE SharedAddress piece_at(SharedAddress scratch, int piece, int token_group) const {
    const int stream = (row_group_ * (C::kTokenGroups - 1) + token_group - 1) * kRoundPieces + piece % kRoundPieces;
    return scratch + static_cast<SharedAddress>((stream * 32 + lane_) * 16);
  }
  ESPALIER_DEVICE void give_piece(SharedAddress scratch, int piece) const {
    Quad q;
    if (piece < C::kRowTiles) {
      q = {{most_[piece][0], sum_[piece][0], most_[piece][1], sum_[piece][1]}};
    } else {
      const int r = (piece - C::kRowTiles) / C::kColumnTiles, n = (piece - C::kRowTiles) % C::kColumnTiles;
      q = {{out_[r][n][0], out_[r][n][1], out_[r][n][2], out_[r][n][3]}};
    }
    store_shared(piece_at(scratch, piece, token_group_), q);
  }
  /// Weight of the part of a row whose maximum is `part`.
  ESPALIER_DEVICE float part_weight(float part, float most) const {
    return part == minus_infinity() ? 0.0F : exp2_fast((part - most) * params_.tensors.scale_log2);
  }

  ESPALIER_DEVICE void merge_token_groups(SharedAddress scratch) {
    float weight[C::kTokenGroups][C::kRowTiles][2] = {};
    ESPALIER_UNROLL
    for (int first = 0; first < kPieces; first += kRoundPieces) {
      block_sync<C::kThreads>();
      if (token_group_ > 0) {
        ESPALIER_UNROLL
        for (int piece = first; piece < kPieces && piece < first + kRoundPieces; ++piece) give_piece(scratch, piece);
      }
      block_sync<C::kThreads>();
      if (token_group_ > 0) continue;
      if (first == 0) weigh_groups(scratch, weight);
      ESPALIER_UNROLL
      for (int piece = first < C::kRowTiles ? C::kRowTiles : first; piece < kPieces && piece < first + kRoundPieces; ++piece) {
        const int r = (piece - C::kRowTiles) / C::kColumnTiles, n = (piece - C::kRowTiles) % C::kColumnTiles;
        ESPALIER_UNROLL
        for (int i = 0; i < 4; ++i) out_[r][n][i] *= weight[0][r][i / 2];
        ESPALIER_UNROLL
        for (int g = 1; g < C::kTokenGroups; ++g) {
          const Quad q = load_shared<Quad>(piece_at(scratch, piece, g));
          ESPALIER_UNROLL
          for (int i = 0; i < 4; ++i) out_[r][n][i] += q.x[i] * weight[g][r][i / 2];
        }
        keep_order();
      }
    }
  }

  ESPALIER_DEVICE void weigh_groups(SharedAddress scratch, float (&weight)[C::kTokenGroups][C::kRowTiles][2]) {
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      Quad part[C::kTokenGroups];
      part[0] = {{most_[r][0], sum_[r][0], most_[r][1], sum_[r][1]}};
      ESPALIER_UNROLL
      for (int g = 1; g < C::kTokenGroups; ++g) part[g] = load_shared<Quad>(piece_at(scratch, r, g));
      ESPALIER_UNROLL
      for (int half = 0; half < 2; ++half) {
        float most = minus_infinity(), sum = 0.0F;
        ESPALIER_UNROLL
        for (int g = 0; g < C::kTokenGroups; ++g) most = fmaxf(most, part[g].x[2 * half]);
        ESPALIER_UNROLL
        for (int g = 0; g < C::kTokenGroups; ++g) {
          weight[g][r][half] = part_weight(part[g].x[2 * half], most);
          sum += part[g].x[2 * half + 1] * weight[g][r][half];
        }
        most_[r][half] = most;
        sum_[r][half] = sum;
      }
    }
  }

  /// Column of the pair of numbers that this lane holds of 16 columns from `n` tiles on, and the numbers.
  ESPALIER_DEVICE int pair_column(int n, int which) const {
    return column_group_ * C::kWarpColumns + n * 8 + (C::kFp8 ? pair() * 4 + which * 2 : pair() * 2 + which * 8);
  }
  ESPALIER_DEVICE float& pair_number(int r, int half, int n, int which, int i) {
    return C::kFp8 ? out_[r][n + i][2 * half + which] : out_[r][n + which][2 * half + i];
  }

  ESPALIER_DEVICE void write_rows(const Work& work) {
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      ESPALIER_UNROLL
      for (int half = 0; half < 2; ++half) {
        if (row(r, half) < work.rows) write_row(work, r, half);
      }
    }
  }

  ESPALIER_DEVICE void write_row(const Work& work, int r, int half) {
    const int query = row(r, half) / work.head_count, head = work.head_begin + row(r, half) % work.head_count;
    const std::int32_t request = load_global(params_.plan.query_rows + work.queries.begin + query);
    float top = most_[r][half] == minus_infinity() ? minus_infinity() : most_[r][half] * params_.tensors.scale_log2;
    for (std::int32_t f = work.folds.begin; f < work.folds.end; ++f) {
      const scheduler::Slot slot = load_global(params_.plan.slots + load_global(params_.plan.fold_slots + f));
      const std::int32_t from = find_row(params_.plan, slot, request, query);
      if (from >= 0) fold_row(partial_row(params_.tensors, slot, from, head), r, half, top);
    }
    RowPlace to;
    if (work.slot < 0) {
      to = final_row<C::kVDim>(params_.tensors, request, head);
    } else {
      const scheduler::Slot slot = load_global(params_.plan.slots + work.slot);
      to = partial_row(params_.tensors, slot, find_row(params_.plan, slot, request, query), head);
    }
    const float inverse = sum_[r][half] > 0.0F ? 1.0F / sum_[r][half] : 0.0F;
    ESPALIER_UNROLL
    for (int n = 0; n < C::kColumnTiles; n += 2) {
      ESPALIER_UNROLL
      for (int which = 0; which < 2; ++which) {
        store_pair(to, pair_column(n, which), {pair_number(r, half, n, which, 0) * inverse, pair_number(r, half, n, which, 1) * inverse});
      }
      keep_order();
    }
    if (pair() == 0 && column_group_ == 0) {
      store_global(to.lse, sum_[r][half] > 0.0F ? (top + log2_fast(sum_[r][half])) * kLn2 : minus_infinity());
    }
  }

  /// A partial row counts as one more token, with its log-sum-exp for a score.
  ESPALIER_DEVICE void fold_row(const RowPlace& from, int r, int half, float& top) {
    const float score = load_fresh(from.lse) * kLog2E;
    if (score == minus_infinity()) return;
    const float raised = fmaxf(top, score);
    const float shrink = exp2_fast(top - raised), weight = exp2_fast(score - raised);
    top = raised;
    sum_[r][half] = sum_[r][half] * shrink + weight;
    ESPALIER_UNROLL
    for (int n = 0; n < C::kColumnTiles; n += 2) {
      ESPALIER_UNROLL
      for (int which = 0; which < 2; ++which) {
        const Pair two = load_pair(from, pair_column(n, which));
        float& low = pair_number(r, half, n, which, 0);
        float& high = pair_number(r, half, n, which, 1);
        low = low * shrink + two.low * weight;
        high = high * shrink + two.high * weight;
      }
      keep_order();
    }
  }

  const AttendParams& params_;
  int lane_, row_group_, token_group_, column_group_;
  std::uint32_t queries_[C::kRowTiles][kSlots][4];
  float scores_[C::kRowTiles][kScoreTiles][4];  ///< of the tile, then its probabilities
  float out_[C::kRowTiles][C::kColumnTiles][4];
  float most_[C::kRowTiles][2], sum_[C::kRowTiles][2];
};

}  // namespace espalier::kernels::ESPALIER_TARGET

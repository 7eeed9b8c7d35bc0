// A task's rows while they grow: output, running maximum, running sum; what the block's warps hold of them is brought
// together at the end, slots are folded in, rows are written.
#pragma once

#include "kernels/cuda/value_product.h"

namespace espalier::kernels::ESPALIER_TARGET {

struct Quad {
  float x[4];
};

/// One of the rows that a lane holds: of tile `r`, in its upper or lower half.
struct HeldRow {
  int r, half;
};

template <class C>
ESPALIER_DEVICE void store_row(ValueProduct<C>& values, const WarpShare<C>& share, const RowPlace& to, HeldRow row,
                               float factor) {
  ESPALIER_UNROLL
  for (int n = 0; n < C::kColumnTiles; n += 2) {
    ESPALIER_UNROLL
    for (int which = 0; which < 2; ++which) {
      store_pair(
          to, values.column(share, n, which),
          {values.number(row.r, row.half, n, which, 0) * factor, values.number(row.r, row.half, n, which, 1) * factor});
    }
    keep_order();
  }
}

template <class C>
class TaskRows {
 public:
  ValueProduct<C> values;
  float most[C::kRowTiles][2], sum[C::kRowTiles][2];

  ESPALIER_DEVICE void clear() {
    values.clear();
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      most[r][0] = most[r][1] = minus_infinity();
      sum[r][0] = sum[r][1] = 0.0F;
    }
  }

  /// Makes sums and output those of whole rows, in the warps of the first token group. `scratch` is a stage of the ring
  /// that is free.
  ESPALIER_DEVICE void bring_together(const AttendParams& params, const WarpShare<C>& share, const Work& work,
                                      SharedAddress scratch) {
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      ESPALIER_UNROLL
      for (int half = 0; half < 2; ++half) {
        sum[r][half] += shuffle_xor(sum[r][half], 1);
        sum[r][half] += shuffle_xor(sum[r][half], 2);
      }
    }
    if constexpr (C::kColumnGroups > 1) add_sums(share);
    // A task of folds alone has no tile, so none of the ring's stages is its own.
    if constexpr (C::kTokenGroups > 1) {
      if (work.tokens > 0) merge_token_groups(params, share, scratch);
    }
  }

  ESPALIER_DEVICE void write(const AttendParams& params, const WarpShare<C>& share, const Work& work) {
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      ESPALIER_UNROLL
      for (int half = 0; half < 2; ++half) {
        if (share.row(r, half) < work.rows) write_row(params, share, work, r, half);
      }
    }
  }

  /// Place of a row's maximum, or sum, of one column group's.
  ESPALIER_DEVICE static SharedAddress maximum_at(int column_group, int row) {
    return static_cast<SharedAddress>(C::kExchangeAt + (column_group * C::kRows + row) * 4);
  }

 private:
  /// Column groups: a row's sum is that of all its warps.
  ESPALIER_DEVICE void add_sums(const WarpShare<C>& share) {
    team_sync<C>();  // the maxima of the last tile have been read
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      ESPALIER_UNROLL
      for (int half = 0; half < 2; ++half) {
        if (share.pair() == 0) store_shared(maximum_at(share.column_group, share.row(r, half)), sum[r][half]);
      }
    }
    team_sync<C>();
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      ESPALIER_UNROLL
      for (int half = 0; half < 2; ++half) {
        float total = 0.0F;
        ESPALIER_UNROLL
        for (int c = 0; c < C::kColumnGroups; ++c) total += load_shared<float>(maximum_at(c, share.row(r, half)));
        sum[r][half] = total;
      }
    }
    team_sync<C>();  // before the next task's maxima
  }

  // Token groups: lanes of equal place hold the same rows and columns, so they exchange fragments as they are, in as
  // many rounds as the scratch space asks for: first the statistics of the rows, then the output.
  static constexpr int kPieces = C::kRowTiles * (1 + C::kColumnTiles);
  static constexpr int kGivers = C::kTokenGroups > 1 ? C::kTokenGroups - 1 : 1;
  static constexpr int kFittingPieces = C::kStageBytes / (C::kRowGroups * kGivers * 32 * 16);
  static constexpr int kMostLoads = 16;  // of 16 bytes: what a round's loads may take of the registers
  static constexpr int kRoundPieces = kFittingPieces < kMostLoads / kGivers ? kFittingPieces : kMostLoads / kGivers;
  static_assert(kRoundPieces >= C::kRowTiles, "a round holds at least the statistics");

  ESPALIER_DEVICE static SharedAddress piece_at(const WarpShare<C>& share, SharedAddress scratch, int piece,
                                                int token_group) {
    const int stream =
        (share.row_group * (C::kTokenGroups - 1) + token_group - 1) * kRoundPieces + piece % kRoundPieces;
    return scratch + static_cast<SharedAddress>((stream * 32 + share.lane) * 16);
  }
  ESPALIER_DEVICE void give_piece(const WarpShare<C>& share, SharedAddress scratch, int piece) const {
    Quad q;
    if (piece < C::kRowTiles) {
      q = {{most[piece][0], sum[piece][0], most[piece][1], sum[piece][1]}};
    } else {
      const auto& out = values.out[(piece - C::kRowTiles) / C::kColumnTiles][(piece - C::kRowTiles) % C::kColumnTiles];
      q = {{out[0], out[1], out[2], out[3]}};
    }
    store_shared(piece_at(share, scratch, piece, share.token_group), q);
  }

  using Weights = float[C::kTokenGroups][C::kRowTiles][2];

  ESPALIER_DEVICE void merge_token_groups(const AttendParams& params, const WarpShare<C>& share,
                                          SharedAddress scratch) {
    Weights weight = {};
    ESPALIER_UNROLL
    for (int first = 0; first < kPieces; first += kRoundPieces) {
      team_sync<C>();
      if (share.token_group > 0) {
        ESPALIER_UNROLL
        for (int piece = first; piece < kPieces && piece < first + kRoundPieces; ++piece) {
          give_piece(share, scratch, piece);
        }
      }
      team_sync<C>();
      if (share.token_group > 0) continue;
      if (first == 0) weigh_groups(params, share, scratch, weight);
      ESPALIER_UNROLL
      for (int piece = first < C::kRowTiles ? C::kRowTiles : first; piece < kPieces && piece < first + kRoundPieces;
           ++piece) {
        const int r = (piece - C::kRowTiles) / C::kColumnTiles, n = (piece - C::kRowTiles) % C::kColumnTiles;
        float(&out)[4] = values.out[r][n];
        ESPALIER_UNROLL
        for (int i = 0; i < 4; ++i) out[i] *= weight[0][r][i / 2];
        ESPALIER_UNROLL
        for (int g = 1; g < C::kTokenGroups; ++g) {
          const Quad q = load_shared<Quad>(piece_at(share, scratch, piece, g));
          ESPALIER_UNROLL
          for (int i = 0; i < 4; ++i) out[i] += q.x[i] * weight[g][r][i / 2];
        }
        keep_order();
      }
    }
  }

  /// What each token group's part of a row weighs; sets the rows' maxima and sums.
  ESPALIER_DEVICE void weigh_groups(const AttendParams& params, const WarpShare<C>& share, SharedAddress scratch,
                                    Weights& weight) {
    const float scale = params.tensors.scale_log2;
    ESPALIER_UNROLL
    for (int r = 0; r < C::kRowTiles; ++r) {
      Quad part[C::kTokenGroups];
      part[0] = {{most[r][0], sum[r][0], most[r][1], sum[r][1]}};
      ESPALIER_UNROLL
      for (int g = 1; g < C::kTokenGroups; ++g) part[g] = load_shared<Quad>(piece_at(share, scratch, r, g));
      ESPALIER_UNROLL
      for (int half = 0; half < 2; ++half) {
        float top = minus_infinity(), total = 0.0F;
        ESPALIER_UNROLL
        for (int g = 0; g < C::kTokenGroups; ++g) top = fmaxf(top, part[g].x[2 * half]);
        ESPALIER_UNROLL
        for (int g = 0; g < C::kTokenGroups; ++g) {
          const float own = part[g].x[2 * half];
          weight[g][r][half] = own == minus_infinity() ? 0.0F : exp2_fast((own - top) * scale);
          total += part[g].x[2 * half + 1] * weight[g][r][half];
        }
        most[r][half] = top;
        sum[r][half] = total;
      }
    }
  }

  ESPALIER_DEVICE void write_row(const AttendParams& params, const WarpShare<C>& share, const Work& work, int r,
                                 int half) {
    const int query = share.row(r, half) / work.head_count,
              head = work.head_begin + share.row(r, half) % work.head_count;
    const std::int32_t request = load_global(params.plan.query_rows + work.queries.begin + query);
    float top = most[r][half] == minus_infinity() ? minus_infinity() : most[r][half] * params.tensors.scale_log2;
    for (std::int32_t f = work.folds.begin; f < work.folds.end; ++f) {
      const scheduler::Slot slot = load_global(params.plan.slots + load_global(params.plan.fold_slots + f));
      const std::int32_t from = find_row(params.plan, slot, request, query);
      if (from >= 0) top = fold_row(partial_row(params.tensors, slot, from, head), share, r, half, top);
    }
    RowPlace to;
    if (work.slot < 0) {
      to = final_row<C::kVDim>(params.tensors, request, head);
    } else {
      const scheduler::Slot slot = load_global(params.plan.slots + work.slot);
      to = partial_row(params.tensors, slot, find_row(params.plan, slot, request, query), head);
    }
    store_row(values, share, to, {r, half}, sum[r][half] > 0.0F ? 1.0F / sum[r][half] : 0.0F);
    if (share.pair() == 0 && share.column_group == 0) {
      store_global(to.lse, sum[r][half] > 0.0F ? (top + log2_fast(sum[r][half])) * kLn2 : minus_infinity());
    }
  }

  /// A partial row counts as one more token, with its log-sum-exp for a score. Gives the row's maximum with it.
  ESPALIER_DEVICE float fold_row(const RowPlace& from, const WarpShare<C>& share, int r, int half, float top) {
    const float score = load_fresh(from.lse) * kLog2E;
    if (score == minus_infinity()) return top;
    const float raised = fmaxf(top, score);
    const float shrink = exp2_fast(top - raised), weight = exp2_fast(score - raised);
    sum[r][half] = sum[r][half] * shrink + weight;
    ESPALIER_UNROLL
    for (int n = 0; n < C::kColumnTiles; n += 2) {
      ESPALIER_UNROLL
      for (int which = 0; which < 2; ++which) {
        const Pair two = load_pair(from, values.column(share, n, which));
        float& low = values.number(r, half, n, which, 0);
        float& high = values.number(r, half, n, which, 1);
        low = low * shrink + two.low * weight;
        high = high * shrink + two.high * weight;
      }
      keep_order();
    }
    return raised;
  }
};

}  // namespace espalier::kernels::ESPALIER_TARGET

// What a warp of an attend kernel owns of a task: rows, tokens and value columns, and which of them a lane holds.
//
// Fragments follow mma.m16n8k16: a lane (g = lane / 4, t = lane % 4) holds rows g and g + 8 of a 16-row tile, and of
// every 8 columns numbers 2t and 2t + 1.
#pragma once

#include "kernels/cuda/rows.h"

namespace espalier::kernels::ESPALIER_TARGET {

template <class C>
struct WarpShare {
  int lane, row_group, token_group, column_group;

  ESPALIER_DEVICE int group() const { return lane / 4; }
  ESPALIER_DEVICE int pair() const { return lane % 4; }
  ESPALIER_DEVICE int first_row() const { return row_group * C::kWarpRows; }
  ESPALIER_DEVICE int row(int r, int half) const { return first_row() + r * 16 + half * 8 + group(); }
  /// First token in the tile whose scores, or values, this warp works on.
  ESPALIER_DEVICE int score_token() const { return (token_group * C::kColumnGroups + column_group) * C::kWarpTokens; }
  ESPALIER_DEVICE int value_token() const { return token_group * C::kValueTokens; }

  /// Compilers keep whatever follows from a lane's place in registers for a whole launch; from here on they work it out
  /// anew.
  ESPALIER_DEVICE void work_out_anew() {
    forget(lane);
    forget(row_group);
    forget(column_group);
  }
};

template <class C>
ESPALIER_DEVICE WarpShare<C> warp_share() {
  const int lane = static_cast<int>(thread_index()) % 32, warp = static_cast<int>(thread_index()) / 32;
  return {lane, warp / (C::kTokenGroups * C::kColumnGroups), C::kTokenGroups > 1 ? warp % C::kTokenGroups : 0,
          C::kColumnGroups > 1 ? warp % C::kColumnGroups : 0};
}

}  // namespace espalier::kernels::ESPALIER_TARGET

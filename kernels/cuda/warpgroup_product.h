// Both products of a tile by whole warpgroups: 64 rows each, operands in shared memory by descriptor.
//
// Tiles of queries, keys and values lie in panels of 64 columns: rows of 128 bytes, whose 16-byte chunks are exchanged
// by the row's number (tile.h, swizzled<128>). That is the layout of 128-byte swizzles, K-major for queries and keys,
// and for values, which are read along their columns, MN-major. A lane gets and gives the same numbers as in products
// of single warps, so masks and softmax don't differ.
#pragma once

#include "kernels/cuda/tile.h"

namespace espalier::kernels::ESPALIER_TARGET {

inline constexpr int kPanelColumns = 64, kPanelRowBytes = 128, kGroupRows = 64;

/// What lies from `at` on in panels; `leading` bytes from one panel to the next, which only values need.
ESPALIER_DEVICE std::uint64_t panel_matrix(SharedAddress at, int leading) {
  constexpr std::uint64_t kStride = 8 * kPanelRowBytes;  // from 8 rows to the next 8
  constexpr std::uint64_t kSwizzleOf128Bytes = 1;
  return static_cast<std::uint64_t>((shared_window(at) & 0x3FFFFU) >> 4) |
         static_cast<std::uint64_t>(leading >> 4) << 16 | kStride >> 4 << 32 | kSwizzleOf128Bytes << 62;
}

/// scores = queries x keys, of the rows of this warp's group.
template <class C>
ESPALIER_DEVICE void multiply_keys(float (&scores)[C::kScoreTiles][4], int row_group, SharedAddress keys) {
  fence_engine();  // the tile came by ordinary copies
  const auto queries = static_cast<SharedAddress>(row_group / 4 * kGroupRows * kPanelRowBytes);
  group_fence(scores);
  ESPALIER_UNROLL
  for (int k = 0; k < C::kSteps; ++k) {
    const int panel = k * 16 / kPanelColumns, in_panel = k * 16 % kPanelColumns * 2;
    group_multiply<C::kQueryDtype>(
        scores, panel_matrix(queries + static_cast<SharedAddress>(panel * C::kRows * kPanelRowBytes + in_panel), 16),
        panel_matrix(keys + static_cast<SharedAddress>(panel * C::kTokens * kPanelRowBytes + in_panel), 16), k > 0);
  }
  group_commit();
  group_wait<0>(scores);
}

/// out += weights x values.
template <class C>
ESPALIER_DEVICE void add_values(float (&out)[C::kColumnTiles][4], std::uint32_t (&weights)[C::kTokens / 16][4],
                                SharedAddress values) {
  group_fence(out, weights);
  ESPALIER_UNROLL
  for (int block = 0; block < C::kTokens / 16; ++block) {
    group_multiply<C::kQueryDtype>(
        out, weights[block],
        panel_matrix(values + static_cast<SharedAddress>(block * 16 * kPanelRowBytes), C::kTokens * kPanelRowBytes));
  }
  group_commit();
  group_wait<0>(out, weights);
}

}  // namespace espalier::kernels::ESPALIER_TARGET

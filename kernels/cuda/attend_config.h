// Compile-time shape of an attend kernel: tiles, and how a block's warps share them.
//
// Warps form a grid of row groups x token groups x column groups. Row groups own query rows. Token groups own tokens of
// each KV tile and are merged once a task: best for few rows, as each byte of K and V leaves shared memory once. Column
// groups own value columns and exchange their probabilities each tile: for heads so wide that one warp couldn't hold
// the output of its rows.
#pragma once

#include <cstdint>

#include "traces/head_config.h"

namespace espalier::kernels {

template <traces::Dtype kQueryDtype_, traces::Dtype kKvDtype_, int kQkDim_, int kVDim_, bool kVInK_>
struct HeadShape {
  static constexpr traces::Dtype kQueryDtype = kQueryDtype_, kKvDtype = kKvDtype_;
  static constexpr int kQkDim = kQkDim_, kVDim = kVDim_;
  static constexpr bool kVInK = kVInK_;
};

/// Whether an SM of sm_90 has the shared memory for so many blocks: 228 KiB, of which each takes 1 KiB more than it
/// asks for, all in steps of 128 bytes.
constexpr bool fit_an_sm(int blocks, int block_bytes) {
  return blocks * ((block_bytes + 1024 + 127) / 128 * 128) <= 228 * 1024;
}

template <int kRowGroups_, int kTokenGroups_, int kColumnGroups_>
struct WarpGrid {
  static constexpr int kRowGroups = kRowGroups_, kTokenGroups = kTokenGroups_, kColumnGroups = kColumnGroups_;
};

template <class Heads, int kRows_, int kTokens_, int kStages_, class Grid, int kRowPad_ = 0>
struct AttendConfig : Heads, Grid {
  static constexpr int kRows = kRows_;      ///< query tile
  static constexpr int kTokens = kTokens_;  ///< KV tile
  static constexpr int kStages = kStages_;
  static constexpr int kRowPad =
      kRowPad_;  ///< bytes behind each shared row of queries, keys, values; 0: chunks are swizzled instead
  static constexpr int kWarpgroups = 0;          ///< that multiply as one; 0: each warp by itself
  static constexpr bool kClusters = false;       ///< blocks of a cluster load for each other
  static constexpr bool kTakesQueries = true;    ///< loads them with a task's first tile
  static constexpr bool kTilesOfValues = false;  ///< tiles are rows of values alone
  static constexpr bool kFp8 = Heads::kKvDtype == traces::Dtype::fp8_e4m3;
  static constexpr int kKvBytes = kFp8 ? 1 : 2;

  static constexpr int kWarps = Grid::kRowGroups * Grid::kTokenGroups * Grid::kColumnGroups;
  static constexpr int kThreads = kWarps * 32;
  static constexpr int kWarpRows = kRows / Grid::kRowGroups;
  static constexpr int kRowTiles = kWarpRows / 16;
  static constexpr int kWarpTokens =
      kTokens / (Grid::kTokenGroups * Grid::kColumnGroups);          ///< whose scores a warp computes
  static constexpr int kValueTokens = kTokens / Grid::kTokenGroups;  ///< whose values a warp adds
  static constexpr int kWarpColumns = Heads::kVDim / Grid::kColumnGroups;
  static constexpr int kColumnTiles = kWarpColumns / 8;
  static constexpr int kSteps = Heads::kQkDim / 16;     ///< of the score product
  static constexpr int kScoreTiles = kWarpTokens / 8;   ///< of 8 tokens
  static constexpr int kLoadTokens = kTokens / kWarps;  ///< of a tile, loaded by one warp
  static constexpr int kLoadRows = kRows / kWarps;      ///< of the queries, likewise

  /// Query fragments stay in registers where that leaves room for the output.
  static constexpr bool kQueriesInRegisters = kRowTiles * (Heads::kQkDim / 4 + kWarpColumns / 2) <= 112;

  static constexpr int kQueryRowBytes = Heads::kQkDim * 2;
  static constexpr int kKeyRowBytes = Heads::kQkDim * kKvBytes;
  static constexpr int kValueRowBytes = Heads::kVDim * kKvBytes;
  static constexpr int kQueryBytes = kRows * (kQueryRowBytes + kRowPad);
  static constexpr int kKeyTileBytes = kTokens * (kKeyRowBytes + kRowPad);
  static constexpr int kStageBytes = kKeyTileBytes + (Heads::kVInK ? 0 : kTokens * (kValueRowBytes + kRowPad));

  // Shared memory: queries, the ring of KV tiles, per tile and token which rows see it, then what warps exchange.
  static constexpr int kRingAt = kQueryBytes;
  static constexpr int kMasksAt = kRingAt + kStages * kStageBytes;
  static constexpr int kExchangeAt = kMasksAt + kStages * kTokens * 4;
  static constexpr int kMaximaBytes = (Grid::kColumnGroups > 1) ? Grid::kColumnGroups * kRows * 4 : 0;
  static constexpr int kProbabilitiesAt = kExchangeAt + kMaximaBytes;
  static constexpr int kProbabilityRowBytes = kTokens * 2;
  static constexpr int kProbabilityBytes =
      (Grid::kColumnGroups > 1) ? kRows * kProbabilityRowBytes : 0;  ///< of 16 bits each; then what these leave
  static constexpr int kChoresAt = kProbabilitiesAt + 2 * kProbabilityBytes;  ///< steps whose turn has come
  static constexpr int kChores = 8;
  static constexpr int kSharedBytes = kChoresAt + 16 + kChores * 16;

  // With rows that are padded a group of four warps of its own loads them, as one may take longer to ask for a tile's
  // rows than they take to come: a barrier a stage for what has landed, one for what is free, one for the queries.
  static constexpr bool kProducer = kRowPad > 0;
  static constexpr int kLoadWarps = kProducer ? 4 : 0;
  static constexpr int kLandedArrivals = kLoadWarps * 32;  ///< at a stage's barrier
  /// The loading group hands registers to a computing one of its size.
  static constexpr bool kHandsRegisters = kProducer && kWarps == 4;
  static constexpr int kBlockThreads = kThreads + kLoadWarps * 32;
  /// Blocks that an SM shall hold. Two of 256 threads leave 128 registers to each thread of a launch, of which the
  /// loading ones keep fewer.
  static constexpr int kBlocks = kHandsRegisters ? 2 : 1;
  static constexpr int kLoadingRegisters = 40, kComputingRegisters = 2 * 128 - kLoadingRegisters;
  static constexpr int kBarriersAt = kSharedBytes;
  static constexpr int kBlockSharedBytes = kSharedBytes + (kProducer ? (2 * kStages + 1) * 8 : 0);

  static_assert(kRows % (16 * Grid::kRowGroups) == 0 && kTokens % kWarps == 0 && kLoadTokens <= 32 &&
                kRows % kWarps == 0 && kLoadRows <= 32);
  static_assert(Grid::kTokenGroups == 1 || Grid::kColumnGroups == 1);
  static_assert(kWarpTokens % (Grid::kColumnGroups > 1 ? 8 : 16) == 0 && kWarpColumns % 16 == 0);
  static_assert(Heads::kQkDim % 32 == 0 && kStages >= 2);
  static_assert(fit_an_sm(kBlocks, kBlockSharedBytes));
};

/// As the shape it is made of, for blocks that load with others of their cluster.
template <class Shape>
struct ClusterConfig : Shape {
  static constexpr bool kClusters = true;
  static_assert(Shape::kProducer && Shape::kRowPad > 0, "bulk copies alone go to several blocks");
};

/// As AttendConfig, for products of warpgroups: each owns 64 rows, whose queries stay in shared memory; a warpgroup
/// more loads.
template <class Heads, int kRows_, int kTokens_, int kStages_>
struct WarpgroupConfig : AttendConfig<Heads, kRows_, kTokens_, kStages_, WarpGrid<kRows_ / 16, 1, 1>> {
  using Base = AttendConfig<Heads, kRows_, kTokens_, kStages_, WarpGrid<kRows_ / 16, 1, 1>>;
  static constexpr int kWarpgroups = kRows_ / 64;
  static constexpr int kLoadWarps = 4;
  static constexpr int kLandedArrivals = kLoadWarps * 33;  ///< a thread's copies, a warp's masks
  static constexpr bool kQueriesInRegisters = false;
  static constexpr bool kProducer = true;
  static constexpr int kBlockThreads = Base::kThreads + kLoadWarps * 32;
  static constexpr int kBlockSharedBytes = Base::kSharedBytes + (2 * kStages_ + 1) * 8;
  static constexpr int kBlocks = kWarpgroups > 1 ? 1 : Heads::kVDim > 64 ? 2 : 3;  ///< that an SM shall hold
  /// Several blocks leave too few registers a thread for those that compute; the loading ones hand some over.
  static constexpr bool kHandsRegisters = kBlocks > 1;
  static constexpr int kLoadingRegisters = Heads::kVDim > 64 ? 56 : 40;
  static constexpr int kComputingRegisters = 2 * (65536 / (kBlocks * kBlockThreads) / 8 * 8) - kLoadingRegisters;

  static_assert(kRows_ % 64 == 0 && Base::kRingAt % 1024 == 0 && Base::kKeyTileBytes % 1024 == 0 &&
                    Base::kStageBytes % 1024 == 0,
                "swizzles repeat each 1024 bytes");
  static_assert(fit_an_sm(kBlocks, kBlockSharedBytes));
};

}  // namespace espalier::kernels

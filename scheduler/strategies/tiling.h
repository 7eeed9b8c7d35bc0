// From a cover to pieces: which tokens of a tile one task reads, and which requests see them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "scheduler/strategies/cover.h"
#include "scheduler/strategies/tile_kernel.h"

namespace espalier::scheduler::planning {

/// A task to be: segments [first, last) of Pieces::segments, for the requests in [begin, end) that see one of them.
struct TilePiece {
  std::size_t first = 0, last = 0;
  std::int32_t begin = 0, end = 0;
  bool gaps = false;  ///< some requests in [begin, end) see nothing
  std::int64_t tokens = 0;
  std::size_t height = 0;
};

struct TilePieces {
  std::vector<TilePiece> pieces;
  std::vector<Segment> segments;  ///< row intervals are requests, not yet rows
};

/// Cuts the tiles of a cover: at multiples of `piece_tokens[height]` from the tile's first token, so that tiles that begin with the same
/// nodes are cut alike and meet in the L2; a rest below half a piece stays with its neighbour. Tiles walk their nodes in
/// depth-first order, so a cut splits the rows of few requests.
TilePieces cut_tiles(const traces::PrefixForest& forest, const Cover& cover, const std::vector<std::int64_t>& piece_tokens);

/// KV tiles [begin, end) of a query tile, for one lane: a persistent CTA of each copy.
struct Share {
  std::int32_t tile;
  std::int64_t begin, end;
  std::int32_t lane;
};

/// Cuts the tiles of a cover of one height as they are shared out: a piece a share, in order.
TilePieces cut_shares(const traces::PrefixForest& forest, const Cover& cover, std::int32_t kv_tile, std::span<const Share> shares);

/// The order in which pieces are launched: longest first, of alike ones by place in the forest. In step: when tiles are about equally long
/// and read the same tokens at the same time.
std::vector<std::uint32_t> dispatch_order(const TilePieces& cut);

/// Pieces that cut_tiles() makes of a tile.
std::int64_t piece_count(std::int64_t tokens, std::int64_t piece_tokens);

/// About how many partial rows a tile cut into pieces leaves, as if its requests shared one prefix and then had tails of one length, side
/// by side: a piece has a row of each request that sees its first token, and of each whose tail begins in it.
double cut_rows(const TileRun& run, std::int64_t pieces, std::int64_t piece_tokens);

/// Queues of the last launch: the pieces of a lane are tasks side by side from `first` on, and each copy of a lane is a worker.
void queue_lanes(PlanBuilder& builder, TaskId first, std::span<const Share> shares, std::int32_t copies);

/// Appends a piece as a task.
TaskId emit_piece(PlanBuilder& builder, KernelId kernel, TilePieces& from, const TilePiece& piece);

}  // namespace espalier::scheduler::planning

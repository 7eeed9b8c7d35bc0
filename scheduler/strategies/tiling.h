// From a cover to pieces: which tokens of a tile one task reads, and which requests see them.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <utility>
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

/// How a tile is cut, into as many pieces as there are such lengths in it, to the nearest.
struct PieceCut {
  std::int64_t tokens = 0;  ///< of a piece; one KV tile at least
  /// 0: at multiples of that from the tile's first token, so that tiles that begin with the same nodes are cut alike
  /// and meet in the L2; the last piece takes what is over. Else a number of tokens: pieces differ by so many at most,
  /// longer ones first, so that nobody is late.
  std::int64_t even_tile = 0;
  bool tapered = false;    ///< even, but one more is longer and the last is shorter: it begins last
  std::int64_t whole = 0;  ///< tiles of the layer, the first, that aren't cut
  friend bool operator==(const PieceCut&, const PieceCut&) = default;
};

/// Of the `count` pieces of a tile, in order: `longer` of `each` + `more` tokens, others of `each`, and the last.
struct PieceLengths {
  std::int64_t count = 1, longer = 0, each = 0, more = 0, last = 0;
};
PieceLengths piece_lengths(std::int64_t tokens, const PieceCut& cut);

/// Runs of tiles of a layer, as they are cut by height: visit(run, lengths). Those that read nothing are among them.
template <class Visit>
void for_cut_runs(const TileLayer& layer, std::span<const PieceCut> cuts, Visit visit) {
  std::int64_t whole = cuts[0].whole;
  for (TileRun run : layer.runs) {
    const auto visit_some = [&](std::int64_t tiles, const PieceLengths& lengths) {
      run.tiles = static_cast<std::int32_t>(tiles);
      if (tiles > 0) visit(std::as_const(run), lengths);
    };
    const std::int64_t all = run.tiles, kept = std::min(whole, all);
    visit_some(kept, {.last = run.tokens});
    visit_some(all - kept, piece_lengths(run.tokens, cuts[run.height]));
    whole -= kept;
  }
}

/// How many there are of all tiles of a layer, by height.
std::array<std::int64_t, kMaxHeights> count_pieces(const TileLayer& layer, std::span<const PieceCut> cuts);

/// Cuts the tiles of a cover, those of each height alike. Tiles walk their nodes in depth-first order, so a cut splits
/// the rows of few requests.
TilePieces cut_tiles(const traces::PrefixForest& forest, const Cover& cover, const std::vector<PieceCut>& cuts);

/// KV tiles [begin, end) of a query tile, for one lane: a persistent CTA of each copy.
struct Share {
  std::int32_t tile;
  std::int64_t begin, end;
  std::int32_t lane;
};

/// Cuts the tiles of a cover of one height as they are shared out: a piece a share, in order.
TilePieces cut_shares(const traces::PrefixForest& forest, const Cover& cover, std::int32_t kv_tile,
                      std::span<const Share> shares);

/// The order in which pieces are launched: longest first, of alike ones by place in the forest. Mixed: so that those
/// that share their tokens with many others run beside those that don't. Joined: the readers of the same tokens with
/// the longest of them, where their lengths are not too different.
enum class Dispatch : std::uint8_t { longest_first, mixed, joined };
std::vector<std::uint32_t> dispatch_order(const TilePieces& cut, Dispatch dispatch);

/// About how many partial rows a tile cut into pieces leaves, as if its requests shared one prefix and then had tails
/// of one length, side by side: a piece has a row of each request that sees its first token, and of each whose tail
/// begins in it.
double cut_rows(const TileRun& run, const PieceLengths& lengths);

/// Queues of the last launch: the pieces of a lane are tasks side by side from `first` on, and each copy of a lane is a
/// worker.
void queue_lanes(PlanBuilder& builder, TaskId first, std::span<const Share> shares, std::int32_t copies);

/// Appends a piece as a task.
TaskId emit_piece(PlanBuilder& builder, KernelId kernel, TilePieces& from, const TilePiece& piece);

}  // namespace espalier::scheduler::planning

// Covering a forest with query tiles: which tile height reads which node, and where the tiles of a height begin.
//
// A tile is an interval of requests; it reads every node assigned to its height that one of its requests needs, each
// once, and masks the rows that don't see it. So the number of partial rows of a request is the number of heights on
// its path, whatever its depth, and a node is read once for each tile of its height that its readers fall into.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "core/error.h"
#include "traces/prefix_forest.h"

namespace espalier::scheduler::planning {

using traces::NodeId;
using traces::RequestId;

/// What a tile height costs, in SM time (us) over all head copies.
struct HeightCost {
  std::int32_t queries = 1;  ///< requests of a full tile
  double token_us = 0;       ///< a KV token of a tile
};

struct CoverPrices {
  std::span<const HeightCost> heights;  ///< ascending queries, at most 4
  double partial_us = 0;                ///< a partial row of a request, all heads: written, read, merged
  double tile_tokens = 0;               ///< KV tokens that cost as much as having one more tile
  double kept_tokens = 0;               ///< that each CTA reads before the L2 has forgotten what it read at first
};

/// Neighbouring tiles that look alike.
struct TileRun {
  std::int64_t tokens = 0;   ///< of each tile; 0: it reads nothing
  std::int64_t logical = 0;  ///< of each tile: tokens x requests that see them
  std::int32_t requests = 0;
  std::int32_t tiles = 0;
  bool alone = false;       ///< known to read what no other tile reads
  std::uint8_t height = 0;  ///< whose kernel reads them: the lowest of the cover that holds their requests
  friend bool operator==(const TileRun&, const TileRun&) = default;
};

/// One height's part of a cover. Tiles of few requests, such as what is over behind full ones, are left to a lower one.
struct TileLayer {
  std::vector<std::int32_t> borders;  ///< first request of each tile, and the end; empty when no node has this height
  std::vector<TileRun> runs;          ///< of the tiles, in order
  std::int64_t unique = 0;            ///< tokens of the height's nodes
  std::int64_t apart = 0;  ///< that two tiles have in common, but not at the same place from their first token
  std::int64_t again = 0;  ///< that tiles left to a lower height have in common with others
};

/// Of some nodes: tokens on the path of each request, and tokens that request r shares with r - 1. One more than
/// requests, the last 0.
struct PathTokens {
  std::vector<std::int64_t> own, shared;
  std::int64_t unique = 0;
};
/// Of all nodes.
PathTokens path_tokens(const traces::PrefixForest& forest);

/// Childless nodes side by side under one parent, equally long and with as many readers each; or one node.
struct NodeGroup {
  NodeId first;
  std::int32_t count = 1;
  std::int32_t parent = -1;  ///< group of the node above
  std::int32_t readers = 0;  ///< of each node
  std::int64_t tokens = 0;   ///< of each node
};
/// In preorder. Most trees end in many such leaves: what is decided for one holds for all.
std::vector<NodeGroup> group_nodes(const traces::PrefixForest& forest);

inline constexpr std::size_t kMaxHeights = 4;

/// Heights of a cover, rising: indices of the planner's kernels.
struct HeightSet {
  std::array<std::uint8_t, kMaxHeights> kernel{};
  std::size_t count = 0;
  HeightSet(std::initializer_list<std::size_t> kernels = {}) {
    for (const std::size_t k : kernels) add(k);
  }
  void add(std::size_t k) {
    ESPALIER_CHECK_OP(count, <, kMaxHeights);
    kernel[count++] = static_cast<std::uint8_t>(k);
  }
};

/// Which height reads which node.
struct HeightChoice {
  std::vector<std::uint8_t> height;  ///< of each node; empty: all have height 0
  std::int64_t partial_rows = 0;     ///< requests x heights on their paths, of requests with more than one
  /// Tokens that the tiles of each height read at least, as least_tokens() counts them.
  std::array<std::int64_t, kMaxHeights> least_tokens{};
};

/// Tokens that tiles of one height read at least, for each of several: each node once for as many full tiles as hold
/// its readers. `queries`: requests of a full tile, ascending.
std::vector<std::int64_t> least_tokens(std::span<const NodeGroup> groups, std::span<const std::int32_t> queries);

/// With one height all nodes have it. With several: the assignment with the least tile and partial cost when tiles are
/// full and no node straddles more of them than it must. O(nodes x heights).
HeightChoice choose_heights(std::span<const NodeGroup> groups, const CoverPrices& prices);

/// True when all nodes have one height.
bool one_height(const HeightChoice& choice);

struct Cover {
  std::vector<std::uint8_t> height;  ///< as chosen
  std::vector<TileLayer> layers;     ///< one a height
  std::int64_t partial_rows = 0;
};

/// For each height, the tile borders that split the fewest shared tokens (exact, by a sliding-window minimum). `all` is
/// path_tokens(forest). O((nodes + requests) x heights).
Cover cover_forest(const traces::PrefixForest& forest, const CoverPrices& prices, const PathTokens& all,
                   HeightChoice&& choice);

inline Cover cover_forest(const traces::PrefixForest& forest, const CoverPrices& prices, const PathTokens& all) {
  return cover_forest(forest, prices, all, choose_heights(group_nodes(forest), prices));
}

}  // namespace espalier::scheduler::planning

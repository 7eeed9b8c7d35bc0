// From paths of ids to a forest: requests are sequences of page or prefix-block ids, equal beginnings are shared nodes.
//
// Block tables (ids are physical pages) and traces (ids name prefix blocks) both come through here. Linear in the
// number of ids, nothing is done per token: this stands on the way of every decode step that is planned from an
// engine's block table.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "traces/prefix_forest.h"

namespace espalier::traces {

/// Paths of requests in flat arrays that somebody else owns.
template <class PathId>
struct PathView {
  std::int64_t unit_tokens = 1;
  std::span<const std::size_t> begin;
  std::span<const PathId> ids;
  std::span<const std::int64_t> tokens;

  std::size_t request_count() const { return tokens.size(); }
};

struct RequestPaths {
  std::int64_t unit_tokens = 1;       ///< tokens an id stands for, except the last id of a request
  std::vector<std::size_t> begin{0};  ///< ids of request r: [begin[r], begin[r + 1])
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> tokens;  ///< of each request; ceil(tokens / unit_tokens) ids

  PathView<std::int64_t> view() const { return {unit_tokens, begin, ids, tokens}; }
};

/// Where a node of the source came from. Requests that fill the same last unit to different degrees make nodes that
/// begin inside the unit their parent ends in; such a node stands right behind its parent in preorder.
struct NodeUnits {
  std::size_t ids_begin = 0, ids_end = 0;  ///< the ids that begin in this node; none if it lies inside one unit
  std::int64_t first_offset = 0;           ///< tokens of its first unit that belong to the nodes above
};

struct PathForest {
  ForestSource source;           ///< every node has tokens and readers, nodes are maximal
  std::vector<NodeUnits> units;  ///< one a node of `source`
};

/// Siblings stand in the order of the first request that reaches them.
PathForest forest_of_paths(const RequestPaths& paths);
/// Nodes stand in depth-first preorder, children in the order of the first request that reaches them: ready for
/// make_forest_in_preorder().
PathForest preorder_of_paths(const PathView<std::int32_t>& paths);
PathForest preorder_of_paths(const PathView<std::int64_t>& paths);

/// make_forest() for a source whose nodes stand in depth-first preorder, all with tokens and read by some request. Node
/// labels are the source's rows, and where their pages are is left to the caller. Lengths and columns are checked, the
/// order isn't. (In prefix_forest.cpp, beside the general one.)
PrefixForest make_forest_in_preorder(ForestSource&& source);

}  // namespace espalier::traces

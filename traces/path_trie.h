// From paths of ids to a forest: requests are sequences of page or prefix-block ids, equal beginnings are shared nodes.
//
// Block tables (ids are physical pages) and traces (ids name prefix blocks) both come through here. Linear in the
// number of ids, nothing is done per token: this stands on the way of every decode step that is planned from an
// engine's block table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "traces/prefix_forest.h"

namespace espalier::traces {

struct RequestPaths {
  std::int64_t unit_tokens = 1;       ///< tokens an id stands for, except the last id of a request
  std::vector<std::size_t> begin{0};  ///< ids of request r: [begin[r], begin[r + 1])
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> tokens;  ///< of each request; ceil(tokens / unit_tokens) ids

  std::size_t request_count() const { return tokens.size(); }
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

/// Children stand in the order of the first request that reaches them.
PathForest forest_of_paths(const RequestPaths& paths);

}  // namespace espalier::traces

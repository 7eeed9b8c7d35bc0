// The other way to cover a forest: each run of nodes with the same readers by itself, for up to a tile's requests at a
// time.
//
// Boxes leave a partial row for each run on a request's path, where tiles leave one in all before they are cut. But a
// cut costs them only the rows of its own readers, and their lengths are those of the nodes: long ones go first and
// short ones fill what they leave, often without any cut.
#pragma once

#include <span>

#include "scheduler/strategies/boxes.h"
#include "scheduler/strategies/tiling.h"

namespace espalier::scheduler::planning {

/// Rows of requests that more than one run of nodes with the same readers leads to.
std::int64_t box_rows(std::span<const NodeGroup> groups);

/// One layer without borders: its tiles are the boxes, in preorder. Tiles hold `queries` requests.
Cover box_cover(std::span<const NodeGroup> groups, const Runs& runs, std::int32_t queries);

/// The boxes of box_cover(), each cut as cut_tiles() cuts a tile.
TilePieces cut_box_cover(const traces::PrefixForest& forest, const Runs& runs, std::int32_t queries,
                         const PieceCut& cut);

}  // namespace espalier::scheduler::planning

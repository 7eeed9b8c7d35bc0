// The forest as an icicle: width = requests through a node, height = its tokens, roots on top. And the same plane tiled
// by a plan's tasks: who reads which tokens for whom.
//
// Both share one plane: x counts requests in depth-first order, y counts context tokens from the root.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/plan.h"
#include "viz/model/sharing.h"
#include "viz/scene/scene.h"

namespace espalier::viz {

/// What part of the plane is shown, and on how many pixels.
struct ForestWindow {
  double first_request = 0, requests = 1;
  double first_token = 0, tokens = 1;
  double width_px = 1, height_px = 1;
  double min_px = 3;                ///< smaller boxes are folded
  std::int64_t max_boxes = 50'000;  ///< min_px grows until fewer are drawn
  double x(double request) const { return (request - first_request) / requests * width_px; }
  double y(double token) const { return (token - first_token) / tokens * height_px; }
};
/// All of a forest.
ForestWindow whole_forest(const traces::PrefixForest& forest, double width_px, double height_px);

struct ForestBox {
  double x = 0, y = 0, w = 0, h = 0;
  Paint paint = Paint::none;
  Item item;                ///< the node, or the first of those folded in
  std::int64_t folded = 1;  ///< nodes in this box
  std::int32_t request_begin = 0, request_end = 0;
};

/// What layout needs of a forest, made once: where subtrees end and how deep they reach.
struct ForestIndex {
  std::vector<std::int32_t> subtree_end;  ///< by node: one past its last descendant in preorder
  std::vector<std::int64_t> deepest;      ///< by node: tokens at the end of its deepest descendant
  SavingScale scale;
  std::int64_t bytes_per_token = 0;
};
ForestIndex index_forest(const traces::PrefixForest& forest, std::int64_t bytes_per_token);

/// Boxes in preorder, coloured by bytes saved. Subtrees narrower than min_px are folded with narrow siblings beside
/// them; runs of single children flatter than min_px become one box; what is then flatter than half a pixel is left
/// out. O(nodes).
std::vector<ForestBox> lay_out_forest(const traces::PrefixForest& forest, const ForestIndex& index,
                                      const ForestWindow& window);

/// Node at a point of the plane, -1 outside. O(depth x log nodes).
std::int32_t node_at(const traces::PrefixForest& forest, double request, double token);

struct CoverBox {
  double x = 0, y = 0, w = 0, h = 0;
  Paint paint = Paint::none;
  std::uint8_t level = 4;  ///< how full, in quarters; less only for folded cells
  Item item;               ///< the task; none for folded cells
};

/// What a task reads of a node, for neighbouring requests.
struct CoverTile {
  double top = 0, bottom = 0;       ///< tokens
  std::int32_t begin = 0, end = 0;  ///< requests
  std::int32_t task = 0;
  Paint served = Paint::none;  ///< by the queries that the segment serves
};
using CoverIndex = std::vector<CoverTile>;
/// Of the tasks that serve query head 0, in their order. O(segments + rows).
CoverIndex index_cover(const scheduler::Plan& plan);

/// Tiles coloured by task, or without `paints` by the queries they serve. Tiles smaller than min_px either way are
/// folded into cells of that size. O(tiles).
std::vector<CoverBox> lay_out_cover(const CoverIndex& cover, const ForestWindow& window,
                                    const std::vector<Paint>* paints = nullptr);

}  // namespace espalier::viz

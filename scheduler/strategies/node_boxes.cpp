#include "scheduler/strategies/node_boxes.h"

#include <algorithm>

#include "core/error.h"

namespace espalier::scheduler::planning {
namespace {

/// Appends tiles; those like the last ones count among these.
void add_tiles(TileLayer& layer, const TileRun& run) {
  if (run.tiles == 0 || run.requests == 0) return;
  if (!layer.runs.empty()) {
    TileRun& last = layer.runs.back();
    if (last.tokens == run.tokens && last.requests == run.requests && last.alone == run.alone) {
      last.tiles += run.tiles;
      return;
    }
  }
  layer.runs.push_back(run);
}

}  // namespace

std::int64_t box_rows(std::span<const NodeGroup> groups) {
  const auto rows_of = [](std::int32_t runs) { return runs > 1 ? runs : 0; };
  std::vector<std::int32_t> runs(groups.size());  // on the path to a node of each group
  std::int64_t rows = 0;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const NodeGroup& group = groups[g];
    const auto parent = static_cast<std::size_t>(group.parent);
    const std::int32_t above = group.parent < 0 ? 0 : runs[parent];
    runs[g] = above + (above == 0 || groups[parent].readers != group.readers ? 1 : 0);
    // Of all requests below, what this node adds to their rows.
    rows += std::int64_t{group.count} * group.readers * (rows_of(runs[g]) - rows_of(above));
  }
  return rows;
}

Cover box_cover(std::span<const NodeGroup> groups, const Runs& runs, std::int32_t queries) {
  ESPALIER_CHECK(!runs.runs.empty() && queries > 0);
  Cover cover;
  cover.layers.resize(1);
  cover.partial_rows = box_rows(groups);
  TileLayer& layer = cover.layers[0];
  for (const Run& run : runs.runs) {
    layer.unique += run.chain.tokens;
    const std::int32_t full = run.readers() / queries, rest = run.readers() % queries;
    const bool alone = full + (rest > 0 ? 1 : 0) == 1;
    add_tiles(layer, {run.chain.tokens, run.chain.tokens * queries, queries, full, alone});
    add_tiles(layer, {run.chain.tokens, run.chain.tokens * rest, rest, 1, alone});
  }
  return cover;
}

}  // namespace espalier::scheduler::planning

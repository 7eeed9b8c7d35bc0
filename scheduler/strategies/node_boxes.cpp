#include "scheduler/strategies/node_boxes.h"

#include <algorithm>

#include "core/error.h"

namespace espalier::scheduler::planning {
namespace {

void add_tiles(TileLayer& layer, std::int64_t tokens, std::int32_t requests, std::int32_t tiles) {
  if (tiles == 0 || requests == 0) return;
  const TileRun run{tokens, tokens * requests, requests, tiles};
  TileRun* last = layer.runs.empty() ? nullptr : &layer.runs.back();
  if (last != nullptr && last->tokens == run.tokens && last->requests == requests) {
    last->tiles += tiles;
  } else {
    layer.runs.push_back(run);
  }
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
    add_tiles(layer, run.chain.tokens, queries, run.readers() / queries);
    add_tiles(layer, run.chain.tokens, run.readers() % queries, 1);
  }
  return cover;
}

}  // namespace espalier::scheduler::planning

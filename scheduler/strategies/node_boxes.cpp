#include "scheduler/strategies/node_boxes.h"

#include <algorithm>

#include "core/error.h"

namespace espalier::scheduler::planning {
namespace {

void add_tiles(TileLayer& layer, std::int64_t tokens, std::int32_t requests, std::int32_t tiles) {
  if (tiles == 0 || requests == 0) return;
  const TileRun run{tokens, tokens * requests, requests, tiles};
  TileRun* last = layer.runs.empty() ? nullptr : &layer.runs.back();
  if (last != nullptr && last->tokens == run.tokens && last->requests == requests) last->tiles += tiles;
  else layer.runs.push_back(run);
}

}  // namespace

std::int64_t box_rows(const Runs& runs) {
  std::int64_t rows = 0;
  for (const std::int32_t levels : runs.levels) rows += levels > 1 ? levels : 0;
  return rows;
}

Cover box_cover(const traces::PrefixForest& forest, const Runs& runs, std::int32_t queries) {
  ESPALIER_CHECK(forest.request_count() > 0 && queries > 0);
  Cover cover;
  cover.layers.resize(1);
  cover.partial_rows = box_rows(runs);
  TileLayer& layer = cover.layers[0];
  for (const Run& run : runs.runs) {
    layer.unique += run.chain.tokens;
    add_tiles(layer, run.chain.tokens, queries, run.readers() / queries);
    add_tiles(layer, run.chain.tokens, run.readers() % queries, 1);
  }
  return cover;
}

}  // namespace espalier::scheduler::planning

// What sharing saves, as steps of a colour sequence: bytes of a node that only one reader has to load, queries that a
// task serves.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "traces/head_config.h"
#include "traces/prefix_forest.h"
#include "viz/scene/palette.h"

namespace espalier::viz {

/// KV bytes of one layer that needn't be read again if the node is read once: (readers - 1) x tokens x bytes a token.
double bytes_saved(const traces::PrefixForest& forest, traces::NodeId node, std::int64_t bytes_per_token);

struct LegendEntry {
  Paint paint = Paint::none;
  std::string label;
};

/// Steps of four down from the power of two above the largest saving of the forest; step 0 is a node with one reader.
struct SavingScale {
  double top_bytes = 0;  ///< 0: nothing is shared
  Paint paint(double bytes) const;
  std::vector<LegendEntry> legend() const;
};
SavingScale saving_scale(const traces::PrefixForest& forest, std::int64_t bytes_per_token);

/// Queries a task serves with one read: 1, 2-3, 4-7, 8-15, 16-31, 32-63, 64 and more.
Paint paint_of_queries(std::int64_t queries);
std::vector<LegendEntry> queries_legend(std::int64_t most_queries);

}  // namespace espalier::viz

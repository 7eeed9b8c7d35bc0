// What a forest looks like: the figures `espalier trace info` prints.
#pragma once

#include <cstdint>
#include <vector>

#include "traces/head_config.h"
#include "traces/prefix_forest.h"

namespace espalier::traces {

/// Logical tokens of the nodes read by `low`..`high` requests (both included).
struct SharingBin {
  std::int32_t low, high;
  std::int64_t nodes;
  std::int64_t unique_tokens;
  std::int64_t logical_tokens;
};

struct ForestStatistics {
  std::int64_t requests = 0, roots = 0, nodes = 0, deepest_level = 0;
  std::int64_t unique_tokens = 0, logical_tokens = 0;
  double dedupe = 1.0;            ///< logical / unique
  double one_level_dedupe = 1.0;  ///< if root nodes alone were shared
  double dedupe_at_page = 1.0;    ///< after floor_to_pages at `page_size`
  std::int32_t page_size = 1;
  double mean_context = 0.0;
  std::int64_t longest_context = 0;
  std::vector<SharingBin> sharing;  ///< bins 1, 2, 3-4, 5-8, 9-16, …
  std::int64_t kv_bytes_per_layer = 0;
};

ForestStatistics describe(const PrefixForest& forest, const HeadConfig& heads, std::int32_t page_size);

}  // namespace espalier::traces

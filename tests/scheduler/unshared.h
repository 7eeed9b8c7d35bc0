// Batches for the flat planners' tests.
#pragma once

#include <cstdint>
#include <vector>

#include "traces/prefix_forest.h"

namespace espalier::scheduler {

/// Requests without anything in common.
inline traces::PrefixForest unshared(const std::vector<std::int64_t>& lengths, std::int32_t page_size = 1) {
  traces::ForestSource source;
  source.name = "unshared";
  source.page_size = page_size;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    source.parent.push_back(-1);
    source.tokens.push_back(lengths[i]);
    source.leaf.push_back(static_cast<std::int64_t>(i));
  }
  return traces::make_forest(source);
}

inline std::vector<std::int64_t> equal_lengths(std::int64_t requests, std::int64_t length) {
  return std::vector<std::int64_t>(static_cast<std::size_t>(requests), length);
}

}  // namespace espalier::scheduler

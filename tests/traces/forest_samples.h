// Random forests and small helpers that the tests of this folder share.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "traces/prefix_forest.h"

namespace espalier::traces {

/// The sentence of the Error that `action` throws; anything else fails the test.
inline std::string message_of(const std::function<void()>& action, core::ErrorKind kind = core::ErrorKind::bad_input) {
  try {
    action();
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

/// A ragged forest as a file might have it: rows in random order, several roots, empty and unread nodes, requests at
/// inner nodes, twins.
inline ForestSource random_source(std::uint64_t seed) {
  core::Rng rng(seed);
  const auto n = static_cast<std::size_t>(rng.integer(1, 40));
  std::vector<std::int64_t> place(n);  // row of the i-th node made
  std::iota(place.begin(), place.end(), 0);
  for (std::size_t i = n; i > 1; --i) {
    std::swap(place[i - 1], place[static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(i) - 1))]);
  }
  const double root_share = rng.uniform() * 0.3, empty_share = rng.chance(0.5) ? 0.2 : 0.0;
  ForestSource source;
  source.name = "random";
  source.parent.resize(n);
  source.tokens.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    const auto row = static_cast<std::size_t>(place[i]);
    const bool root = i == 0 || rng.chance(root_share);
    source.parent[row] = root ? -1 : place[static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(i) - 1))];
    source.tokens[row] = !root && rng.chance(empty_share) ? 0 : rng.log_normal(12, 1.0);
  }
  const auto requests = rng.integer(0, 30);
  for (std::int64_t r = 0; r < requests; ++r) source.leaf.push_back(rng.integer(0, static_cast<std::int64_t>(n) - 1));
  const std::int32_t sizes[] = {1, 4, 16};
  source.page_size = sizes[rng.integer(0, 2)];
  return source;
}

/// Every KV slot a request reads, in order.
inline std::vector<std::int64_t> slots_of(const PrefixForest& forest, RequestId r) {
  std::vector<std::int64_t> slots;
  for (const NodeId n : path_of(forest, forest.leaf[r])) {
    for (std::int64_t t = 0; t < forest.tokens[n]; ++t) slots.push_back(kv_slot(forest.pages, n, t));
  }
  return slots;
}

}  // namespace espalier::traces

// What the tests of families and suites measure and expect.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "core/error.h"
#include "traces/prefix_forest.h"

namespace espalier::traces {

inline constexpr std::uint64_t kSeeds = 20;

inline double dedupe(const PrefixForest& forest) {
  return static_cast<double>(logical_tokens(forest)) / static_cast<double>(unique_tokens(forest));
}

inline std::int32_t deepest_level(const PrefixForest& forest) {
  const auto depth = depths(forest);
  return *std::max_element(depth.begin(), depth.end());
}

/// The sentence with which `make(spec)` refuses, which must be a usage error.
template <class Make>
std::string refusal_of(Make&& make, std::string_view spec) {
  try {
    make(spec);
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::usage);
    return error.what();
  }
  ADD_FAILURE() << "accepted: " << spec;
  return {};
}

}  // namespace espalier::traces

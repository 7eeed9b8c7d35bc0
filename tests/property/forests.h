// Forests for property tests: random ragged ones, edge cases, and any forest with its nodes shortened.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "core/rng.h"
#include "traces/prefix_forest.h"

namespace espalier::property {

using traces::ForestSource;
using traces::NodeId;
using traces::PrefixForest;
using traces::RequestId;

/// ESPALIER_FULL=1 in the environment: many more cases than a run between two edits can afford.
inline bool full_run() {
  const char* flag = std::getenv("ESPALIER_FULL");
  return flag != nullptr && std::string(flag) != "0" && std::string(flag) != "";
}

#ifdef __SANITIZE_ADDRESS__
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

/// Random cases to run where `usual` is right between two edits: twenty times as many in a full run, fewer where each
/// is slow.
inline std::uint64_t cases(std::uint64_t usual) {
  return full_run() ? 20 * usual : kSanitized ? (usual + 3) / 4 : usual;
}

/// The forest as a source whose rows are the forest's own.
inline ForestSource source_of(const PrefixForest& forest) {
  ForestSource source;
  source.name = forest.name;
  source.page_size = forest.pages.page_size;
  for (const NodeId p : forest.parent) source.parent.push_back(p.value);
  source.tokens = forest.tokens.raw();
  for (const NodeId n : forest.leaf) source.leaf.push_back(n.value);
  source.request_label = forest.request_label.raw();
  return source;
}

/// Random recursive forest of 1 to 5 roots: requests end anywhere, several at one node; lengths are short and uneven
/// with some of length 1. About `tokens` tokens in all.
inline ForestSource random_source(std::uint64_t seed, std::int64_t tokens) {
  core::Rng rng(seed);
  ForestSource source;
  source.name = "random forest of seed " + std::to_string(seed);
  const std::int64_t nodes = rng.integer(1, rng.chance(0.3) ? 40 : 10), roots = rng.chance(0.6) ? 1 : rng.integer(1, 5);
  const double depth = rng.uniform();  // share of nodes that hang below the one before them: 1 is a chain
  for (std::int64_t i = 0; i < nodes; ++i) {
    source.parent.push_back(i < roots ? -1 : rng.chance(depth) ? i - 1 : rng.integer(0, i - 1));
    const std::int64_t longest = std::max<std::int64_t>(2, 2 * tokens / nodes);
    source.tokens.push_back(rng.chance(0.2) ? 1 : rng.chance(0.1) ? tokens / 2 + 1 : rng.integer(1, longest));
  }
  const std::int64_t requests = rng.integer(1, rng.chance(0.2) ? 3 * nodes : nodes);
  for (std::int64_t r = 0; r < requests; ++r) {
    source.leaf.push_back(rng.integer(rng.chance(0.5) ? nodes / 2 : 0, nodes - 1));
  }
  return source;
}

/// Node lengths scaled down so that there are at most `most` unique tokens (and at least one a node).
inline PrefixForest shortened(const PrefixForest& forest, std::int64_t most) {
  const std::int64_t unique = traces::unique_tokens(forest);
  if (unique <= most) return forest;
  const double factor =
      static_cast<double>(most - static_cast<std::int64_t>(forest.node_count())) / static_cast<double>(unique);
  ForestSource source = source_of(forest);
  for (std::int64_t& tokens : source.tokens) {
    tokens = std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(tokens) * factor));
  }
  return traces::make_forest(source);
}

/// `requests` tails of `tail` tokens below a root.
inline ForestSource star(std::int64_t root, std::int64_t requests, std::int64_t tail) {
  ForestSource source;
  source.name = "star of " + std::to_string(root) + " and " + std::to_string(requests) + " x " + std::to_string(tail);
  source.parent.push_back(-1);
  source.tokens.push_back(root);
  for (std::int64_t r = 0; r < requests; ++r) {
    source.parent.push_back(0);
    source.tokens.push_back(tail);
    source.leaf.push_back(r + 1);
  }
  return source;
}

inline ForestSource chain(std::int64_t levels, std::int64_t tokens, bool every_level_ends) {
  ForestSource source;
  source.name = "chain of " + std::to_string(levels) + " x " + std::to_string(tokens);
  for (std::int64_t i = 0; i < levels; ++i) {
    source.parent.push_back(i - 1);
    source.tokens.push_back(tokens);
    if (every_level_ends || i == levels - 1) source.leaf.push_back(i);
  }
  return source;
}

/// The cases that every plan must survive.
inline std::vector<ForestSource> edge_sources() {
  std::vector<ForestSource> sources = {
      star(1, 1, 1),       star(1, 40, 3),     star(17, 2, 16),    star(15, 3, 31),
      star(128, 5, 1),     star(300, 512, 1),  star(2, 1, 700),    chain(1, 1, true),
      chain(1, 500, true), chain(6, 16, true), chain(30, 2, true), chain(60, 3, false),
  };
  ForestSource twins = star(40, 3, 9);
  twins.name = "identical prompts, and requests that end at the shared root";
  twins.leaf = {1, 1, 1, 0, 2, 0, 3};
  sources.push_back(twins);
  ForestSource roots;
  roots.name = "requests that share nothing, one of them long";
  roots.parent = std::vector<std::int64_t>(9, -1);
  roots.tokens = {5, 1, 900, 16, 17, 15, 2, 64, 33};
  roots.leaf = {8, 7, 6, 5, 4, 3, 2, 1, 0};
  sources.push_back(roots);
  ForestSource twin_roots;
  twin_roots.name = "one node, many readers";
  twin_roots.parent = {-1};
  twin_roots.tokens = {130};
  twin_roots.leaf = std::vector<std::int64_t>(70, 0);
  sources.push_back(twin_roots);
  return sources;
}

/// The same batch with its nodes and requests in another order; labels stay with what they name.
inline PrefixForest reordered(const ForestSource& source, std::uint64_t seed) {
  core::Rng rng(seed);
  const auto shuffle = [&](std::size_t n) {
    std::vector<std::int64_t> order(n);
    for (std::size_t i = 0; i < n; ++i) order[i] = static_cast<std::int64_t>(i);
    for (std::size_t left = n; left > 1; --left) {
      std::swap(order[left - 1], order[static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(left) - 1))]);
    }
    return order;
  };
  const std::vector<std::int64_t> place = shuffle(source.parent.size()), from = shuffle(source.leaf.size());
  ForestSource moved = source;
  std::vector<std::int64_t> label(place.size());
  for (std::size_t i = 0; i < place.size(); ++i) {
    const auto to = static_cast<std::size_t>(place[i]);
    label[to] = static_cast<std::int64_t>(i);
    moved.tokens[to] = source.tokens[i];
    moved.parent[to] = source.parent[i] < 0 ? -1 : place[static_cast<std::size_t>(source.parent[i])];
  }
  moved.request_label.clear();
  for (std::size_t r = 0; r < from.size(); ++r) {
    moved.leaf[r] = place[static_cast<std::size_t>(source.leaf[static_cast<std::size_t>(from[r])])];
    moved.request_label.push_back(std::to_string(from[r]));
  }
  PrefixForest forest = traces::make_forest(moved);
  for (std::int64_t& row : forest.node_label.raw()) row = label[static_cast<std::size_t>(row)];
  return forest;
}

}  // namespace espalier::property

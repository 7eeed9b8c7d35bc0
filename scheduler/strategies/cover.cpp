// Two steps of dynamic programming; see the header.
#include "scheduler/strategies/cover.h"

#include <algorithm>
#include <array>
#include <limits>

#include "core/error.h"
#include "core/units.h"

namespace espalier::scheduler::planning {

using traces::PrefixForest;

namespace {

constexpr std::size_t kMaxHeights = 4;

/// Least cost of a node's subtree when the node stands at a height: for requests that have one partial row so far (their heights
/// have all been the same), and for those that have several.
struct SubtreeCost {
  std::array<double, kMaxHeights> single{}, several{};
};

class HeightChoice {
 public:
  HeightChoice(const PrefixForest& forest, const CoverPrices& prices) : forest_(forest), prices_(prices) {}

  std::vector<std::uint8_t> run() {
    const std::size_t heights = prices_.heights.size();
    costs_.resize(forest_.node_count());
    for (std::size_t i = forest_.node_count(); i-- > 0;) {
      const NodeId n(static_cast<std::int32_t>(i));
      SubtreeCost& cost = costs_[i];
      const std::int32_t readers = forest_.readers(n);
      const auto tokens = static_cast<double>(forest_.tokens[n]);
      for (std::size_t h = 0; h < heights; ++h) {
        const HeightCost& height = prices_.heights[h];
        // Most nodes fit a tile; a division is spared.
        const std::int32_t tiles = readers <= height.queries ? 1 : (readers - 1) / height.queries + 1;
        const double own = tokens * tiles * height.token_us;
        cost.single[h] += own;
        cost.several[h] += own;
      }
      if (forest_.is_root(n)) continue;
      SubtreeCost& above = costs_[forest_.parent[n].index()];
      const double lower = static_cast<double>(readers) * prices_.partial_us;
      double least = std::numeric_limits<double>::infinity();  // over lower heights, after a change
      for (std::size_t h = 0; h < heights; ++h) {
        above.single[h] += std::min(cost.single[h], least + 2 * lower);
        above.several[h] += std::min(cost.several[h], least + lower);
        least = std::min(least, cost.several[h]);
      }
    }
    return assign();
  }

 private:
  std::vector<std::uint8_t> assign() const {
    const std::size_t heights = prices_.heights.size();
    std::vector<std::uint8_t> chosen(forest_.node_count());
    std::vector<char> several(forest_.node_count(), 0);
    for (const NodeId n : core::ids<NodeId>(forest_.node_count())) {
      const SubtreeCost& cost = costs_[n.index()];
      std::size_t best = 0;
      if (forest_.is_root(n)) {
        for (std::size_t h = 1; h < heights; ++h) best = cost.single[h] < cost.single[best] ? h : best;
      } else {
        const std::size_t parent = forest_.parent[n].index();
        const std::size_t top = chosen[parent];
        const bool merged = several[parent] != 0;
        best = top;
        double least = merged ? cost.several[top] : cost.single[top];
        const double lower = static_cast<double>(forest_.readers(n)) * prices_.partial_us * (merged ? 1 : 2);
        for (std::size_t h = top; h-- > 0;) {
          if (cost.several[h] + lower >= least) continue;
          least = cost.several[h] + lower;
          best = h;
        }
        several[n.index()] = static_cast<char>(merged || best != top);
      }
      chosen[n.index()] = static_cast<std::uint8_t>(best);
    }
    return chosen;
  }

  const PrefixForest& forest_;
  const CoverPrices& prices_;
  std::vector<SubtreeCost> costs_;
};

/// Borders with gaps of at most `longest` and the least sum of `shared[i]` + tile_tokens over borders i.
std::vector<std::int32_t> place_borders(const std::vector<std::int64_t>& shared, std::int32_t longest, double tile_tokens) {
  struct Cheapest {
    double cost;
    std::int32_t border;
  };
  const auto end = static_cast<std::int32_t>(shared.size()) - 1;
  std::vector<std::int32_t> before(shared.size());
  std::vector<Cheapest> window(shared.size());  // candidates for the border before, cost rising
  std::size_t head = 0, tail = 1;
  window[0] = {0, 0};
  for (std::int32_t i = 1; i <= end; ++i) {
    while (window[head].border + longest < i) ++head;
    before[static_cast<std::size_t>(i)] = window[head].border;
    const double cost = window[head].cost + static_cast<double>(shared[static_cast<std::size_t>(i)]) + tile_tokens;
    // Of equals the earlier stays: longer tiles.
    while (tail > head && window[tail - 1].cost > cost) --tail;
    window[tail++] = {cost, i};
  }
  std::vector<std::int32_t> borders;
  borders.reserve(shared.size() / static_cast<std::size_t>(longest) + 2);
  for (std::int32_t i = end; i > 0; i = before[static_cast<std::size_t>(i)]) borders.push_back(i);
  borders.push_back(0);
  std::reverse(borders.begin(), borders.end());
  return borders;
}

template <class Takes>
PathTokens path_tokens_of(const PrefixForest& forest, Takes&& takes) {
  // Differences first: a node adds to its requests, and to the borders inside them.
  PathTokens tokens;
  tokens.own.assign(forest.request_count() + 1, 0);
  tokens.shared.assign(forest.request_count() + 1, 0);
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    if (!takes(n)) continue;
    const std::size_t begin = forest.request_begin[n].index(), end = forest.request_end[n].index();
    const std::int64_t own = forest.tokens[n];
    tokens.unique += own;
    tokens.own[begin] += own;
    tokens.own[end] -= own;
    tokens.shared[begin + 1] += own;
    tokens.shared[end] -= own;
  }
  std::int64_t own = 0, shared = 0;
  for (std::size_t r = 0; r < tokens.own.size(); ++r) {
    tokens.own[r] = own += tokens.own[r];
    tokens.shared[r] = shared += tokens.shared[r];
  }
  return tokens;
}

TileLayer make_layer(const PathTokens& path, std::int32_t longest, double tile_tokens) {
  TileLayer layer;
  layer.unique = path.unique;
  layer.borders = place_borders(path.shared, longest, tile_tokens);
  for (std::size_t t = 0; t + 1 < layer.borders.size(); ++t) {
    const auto begin = static_cast<std::size_t>(layer.borders[t]), end = static_cast<std::size_t>(layer.borders[t + 1]);
    TileRun tile{path.own[begin], path.own[begin], static_cast<std::int32_t>(end - begin), 1};
    for (std::size_t r = begin + 1; r < end; ++r) {
      tile.tokens += path.own[r] - path.shared[r];
      tile.logical += path.own[r];
    }
    TileRun* last = layer.runs.empty() ? nullptr : &layer.runs.back();
    if (last != nullptr && last->tokens == tile.tokens && last->logical == tile.logical && last->requests == tile.requests) {
      ++last->tiles;
    } else {
      layer.runs.push_back(tile);
    }
  }
  return layer;
}

}  // namespace

PathTokens path_tokens(const PrefixForest& forest) {
  return path_tokens_of(forest, [](NodeId) { return true; });
}

Cover cover_forest(const PrefixForest& forest, const CoverPrices& prices, const PathTokens& all) {
  ESPALIER_CHECK(!prices.heights.empty() && prices.heights.size() <= kMaxHeights && forest.request_count() > 0);
  Cover cover;
  cover.layers.resize(prices.heights.size());
  if (prices.heights.size() == 1) {
    cover.layers[0] = make_layer(all, prices.heights[0].queries, prices.tile_tokens);
    return cover;
  }
  cover.height = HeightChoice(forest, prices).run();
  std::vector<std::uint8_t> heights_on_path(forest.request_count(), 0);
  for (std::size_t h = 0; h < prices.heights.size(); ++h) {
    if (std::find(cover.height.begin(), cover.height.end(), h) == cover.height.end()) continue;
    const PathTokens path = path_tokens_of(forest, [&](NodeId n) { return cover.height[n.index()] == h; });
    cover.layers[h] = make_layer(path, prices.heights[h].queries, prices.tile_tokens);
    for (std::size_t r = 0; r < heights_on_path.size(); ++r) heights_on_path[r] += path.own[r] > 0;
  }
  for (const std::uint8_t heights : heights_on_path) cover.partial_rows += heights > 1 ? heights : 0;
  return cover;
}

}  // namespace espalier::scheduler::planning

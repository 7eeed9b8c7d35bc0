// Two steps of dynamic programming; see the header.
#include "scheduler/strategies/cover.h"

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/units.h"

namespace espalier::scheduler::planning {

using traces::PrefixForest;

namespace {

/// Least cost of a node's subtree when the node stands at a height: for requests that have one partial row so far (their heights
/// have all been the same), and for those that have several.
template <std::size_t Heights>
struct SubtreeCost {
  std::array<double, Heights> single{}, several{};
};

/// Full tiles that hold the readers of a node. Most nodes fit one; a division is spared.
std::int32_t tiles_of(std::int32_t readers, std::int32_t queries) { return readers <= queries ? 1 : (readers - 1) / queries + 1; }

/// The number of heights is known at compile time: this runs for every node at every step that is planned.
template <std::size_t Heights>
class HeightAssignment {
 public:
  HeightAssignment(const PrefixForest& forest, const CoverPrices& prices)
      : forest_(forest), partial_us_(prices.partial_us), costs_(forest.node_count()) {
    std::copy_n(prices.heights.begin(), Heights, heights_.begin());
  }

  HeightChoice run() {
    const std::array<HeightCost, Heights> heights = heights_;
    for (std::size_t i = forest_.node_count(); i-- > 0;) {
      const NodeId n(static_cast<std::int32_t>(i));
      SubtreeCost<Heights>& cost = costs_[i];
      const std::int32_t readers = forest_.readers(n);
      const auto tokens = static_cast<double>(forest_.tokens[n]);
      for (std::size_t h = 0; h < Heights; ++h) {
        const double own = tokens * tiles_of(readers, heights[h].queries) * heights[h].token_us;
        cost.single[h] += own;
        cost.several[h] += own;
      }
      const NodeId parent = forest_.parent[n];
      if (!parent.valid()) continue;
      SubtreeCost<Heights>& above = costs_[parent.index()];
      const double lower = static_cast<double>(readers) * partial_us_;
      double least = std::numeric_limits<double>::infinity();  // over lower heights, after a change
      for (std::size_t h = 0; h < Heights; ++h) {
        above.single[h] += std::min(cost.single[h], least + 2 * lower);
        above.several[h] += std::min(cost.several[h], least + lower);
        least = std::min(least, cost.several[h]);
      }
    }
    return assign();
  }

 private:
  HeightChoice assign() const {
    HeightChoice choice;
    choice.height.resize(forest_.node_count());
    std::vector<std::uint8_t> on_path(forest_.node_count());  // a bit a height
    for (const NodeId n : core::ids<NodeId>(forest_.node_count())) {
      const SubtreeCost<Heights>& cost = costs_[n.index()];
      const NodeId parent = forest_.parent[n];
      std::size_t best = 0;
      unsigned above = 0;
      if (!parent.valid()) {
        for (std::size_t h = 1; h < Heights; ++h) best = cost.single[h] < cost.single[best] ? h : best;
      } else {
        above = on_path[parent.index()];
        best = choice.height[parent.index()];
        const bool merged = (above & (above - 1)) != 0;
        double least = merged ? cost.several[best] : cost.single[best];
        const double lower = static_cast<double>(forest_.readers(n)) * partial_us_ * (merged ? 1 : 2);
        for (std::size_t h = best; h-- > 0;) {
          if (cost.several[h] + lower >= least) continue;
          least = cost.several[h] + lower;
          best = h;
        }
      }
      choice.height[n.index()] = static_cast<std::uint8_t>(best);
      on_path[n.index()] = static_cast<std::uint8_t>(above | 1U << best);
      choice.least_tokens[best] += forest_.tokens[n] * tiles_of(forest_.readers(n), heights_[best].queries);
    }
    static constexpr std::int8_t kRows[] = {0, 0, 0, 2, 0, 2, 2, 3, 0, 2, 2, 3, 2, 3, 3, 4};  // of a request, by the heights on its path
    for (const NodeId leaf : forest_.leaf) choice.partial_rows += kRows[on_path[leaf.index()]];
    return choice;
  }

  const PrefixForest& forest_;
  std::array<HeightCost, Heights> heights_;
  double partial_us_;
  std::vector<SubtreeCost<Heights>> costs_;
};

/// Where every border costs the same, as between equal leaves of one node: as few tiles as will do, the first one short.
std::vector<std::int32_t> even_borders(std::int32_t end, std::int32_t longest) {
  std::vector<std::int32_t> borders = {0};
  borders.reserve(static_cast<std::size_t>(end / longest) + 2);
  for (std::int32_t i = (end - 1) % longest + 1; i <= end; i += longest) borders.push_back(i);
  return borders;
}

/// Borders with gaps of at most `longest` and the least sum of `shared[i]` + tile_tokens over borders i.
std::vector<std::int32_t> place_borders(const std::vector<std::int64_t>& shared, std::int32_t longest, double tile_tokens) {
  struct Cheapest {
    double cost;
    std::int32_t border;
  };
  const auto end = static_cast<std::int32_t>(shared.size()) - 1;
  if (std::adjacent_find(shared.begin() + 1, shared.end() - 1, std::not_equal_to<>()) == shared.end() - 1) return even_borders(end, longest);
  const auto before = std::make_unique_for_overwrite<std::int32_t[]>(shared.size());
  const auto window = std::make_unique_for_overwrite<Cheapest[]>(shared.size());  // candidates for the border before, cost and place rising
  std::size_t head = 0, tail = 1;
  window[0] = {0, 0};
  for (std::int32_t i = 1; i <= end; ++i) {
    if (window[head].border + longest < i) ++head;  // places differ, so one at most drops out
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

HeightChoice choose_heights(const PrefixForest& forest, const CoverPrices& prices) {
  switch (prices.heights.size()) {
    case 1: {
      HeightChoice choice;
      for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
        choice.least_tokens[0] += forest.tokens[n] * tiles_of(forest.readers(n), prices.heights[0].queries);
      }
      return choice;
    }
    case 2: return HeightAssignment<2>(forest, prices).run();
    case 3: return HeightAssignment<3>(forest, prices).run();
    case 4: return HeightAssignment<4>(forest, prices).run();
    default: break;
  }
  core::fail_check(__FILE__, __LINE__, "one to four heights", std::to_string(prices.heights.size()));
}

bool one_height(const HeightChoice& choice) {
  return std::all_of(choice.height.begin(), choice.height.end(), [&](std::uint8_t h) { return h == choice.height.front(); });
}

Cover cover_forest(const PrefixForest& forest, const CoverPrices& prices, const PathTokens& all, HeightChoice&& choice) {
  ESPALIER_CHECK(forest.request_count() > 0);
  Cover cover;
  cover.layers.resize(prices.heights.size());
  cover.partial_rows = choice.partial_rows;
  cover.height = std::move(choice.height);
  for (std::size_t h = 0; h < prices.heights.size(); ++h) {
    if (cover.height.empty()) {
      cover.layers[h] = make_layer(all, prices.heights[h].queries, prices.tile_tokens);
    } else if (std::find(cover.height.begin(), cover.height.end(), h) != cover.height.end()) {
      const PathTokens path = path_tokens_of(forest, [&](NodeId n) { return cover.height[n.index()] == h; });
      cover.layers[h] = make_layer(path, prices.heights[h].queries, prices.tile_tokens);
    }
  }
  return cover;
}

}  // namespace espalier::scheduler::planning

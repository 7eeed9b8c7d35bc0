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

/// Runs of alike tiles that a layer has room for at first: most have fewer.
constexpr std::size_t kRunsAtFirst = 16;

/// Least cost of a node's subtree when the node stands at a height: for requests that have one partial row so far
/// (their heights have all been the same), and for those that have several.
template <std::size_t Heights>
struct SubtreeCost {
  std::array<double, Heights> single{}, several{};
  void add(const SubtreeCost& other) {
    for (std::size_t h = 0; h < Heights; ++h) {
      single[h] += other.single[h];
      several[h] += other.several[h];
    }
  }
};

/// Full tiles that hold the readers of a node. Most nodes fit one; a division is spared.
std::int32_t tiles_of(std::int32_t readers, std::int32_t queries) {
  return readers <= queries ? 1 : (readers - 1) / queries + 1;
}

/// The lowest of `count` heights that holds so many requests, `most` if none below it does.
std::size_t lowest_height(const HeightCost* heights, std::size_t most, std::int32_t requests) {
  std::size_t h = 0;
  while (h < most && heights[h].queries < requests) ++h;
  return h;
}

/// Tiles of one height that hold the readers of a node, if it is read by itself; what is over behind full tiles is left
/// to a lower height.
struct NodeTiles {
  std::int32_t full = 1, rest = 0;  ///< tiles; 0 or 1 tile of height `below`
  std::size_t below = 0;
};
NodeTiles node_tiles(const HeightCost* heights, std::size_t h, std::int32_t readers) {
  const std::int32_t queries = heights[h].queries;
  if (readers <= queries) return {};
  const std::int32_t over = readers % queries;
  return {readers / queries, over > 0 ? 1 : 0, lowest_height(heights, h, over)};
}

/// The number of heights is known at compile time: this runs for every node at every step that is planned.
template <std::size_t Heights>
class HeightAssignment {
 public:
  HeightAssignment(std::span<const NodeGroup> groups, const CoverPrices& prices)
      : groups_(groups), partial_us_(prices.partial_us), costs_(groups.size()) {
    std::copy_n(prices.heights.begin(), Heights, heights_.begin());
  }

  HeightChoice run() {
    for (std::size_t g = groups_.size(); g-- > 0;) {
      add_own(g);
      const NodeGroup& group = groups_[g];
      if (group.parent < 0) continue;
      const SubtreeCost<Heights> cost = seen_from_parent(g);
      SubtreeCost<Heights> above = costs_[static_cast<std::size_t>(group.parent)];
      std::int32_t left = group.count;
      do {  // one by one: the sums are those of the nodes, to the last bit
        above.add(cost);
      } while (--left > 0);
      costs_[static_cast<std::size_t>(group.parent)] = above;
    }
    return assign();
  }

 private:
  void add_own(std::size_t g) {
    const auto tokens = static_cast<double>(groups_[g].tokens);
    for (std::size_t h = 0; h < Heights; ++h) {
      const NodeTiles tiles = node_tiles(heights_.data(), h, groups_[g].readers);
      const double own = tokens * (tiles.full * heights_[h].token_us + tiles.rest * heights_[tiles.below].token_us);
      costs_[g].single[h] += own;
      costs_[g].several[h] += own;
    }
  }

  SubtreeCost<Heights> seen_from_parent(std::size_t g) const {
    const SubtreeCost<Heights>& cost = costs_[g];
    SubtreeCost<Heights> above;
    const double lower = static_cast<double>(groups_[g].readers) * partial_us_;
    double least = std::numeric_limits<double>::infinity();  // over lower heights, after a change
    for (std::size_t h = 0; h < Heights; ++h) {
      above.single[h] = std::min(cost.single[h], least + 2 * lower);
      above.several[h] = std::min(cost.several[h], least + lower);
      least = std::min(least, cost.several[h]);
    }
    return above;
  }

  std::size_t height_at_root(std::size_t g) const {
    const std::array<double, Heights>& cost = costs_[g].single;
    return static_cast<std::size_t>(std::min_element(cost.begin(), cost.end()) - cost.begin());
  }

  /// `merged`: there are several heights above.
  std::size_t height_below(std::size_t g, std::size_t parents, bool merged) const {
    const SubtreeCost<Heights>& cost = costs_[g];
    std::size_t best = parents;
    double least = merged ? cost.several[best] : cost.single[best];
    const double lower = static_cast<double>(groups_[g].readers) * partial_us_ * (merged ? 1 : 2);
    for (std::size_t h = best; h-- > 0;) {
      if (cost.several[h] + lower >= least) continue;
      least = cost.several[h] + lower;
      best = h;
    }
    return best;
  }

  HeightChoice assign() const {
    static constexpr std::int8_t kRows[] = {0, 0, 0, 2, 0, 2, 2, 3,
                                            0, 2, 2, 3, 2, 3, 3, 4};  // of a request, by the heights on its path
    HeightChoice choice;
    choice.height.resize(static_cast<std::size_t>(groups_.back().first.value + groups_.back().count));
    std::vector<std::uint8_t> on_path(groups_.size());  // a bit a height
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      const NodeGroup& group = groups_[g];
      const unsigned above = group.parent < 0 ? 0 : on_path[static_cast<std::size_t>(group.parent)];
      const std::size_t best =
          group.parent < 0
              ? height_at_root(g)
              : height_below(g, choice.height[groups_[static_cast<std::size_t>(group.parent)].first.index()],
                             (above & (above - 1)) != 0);
      on_path[g] = static_cast<std::uint8_t>(above | 1U << best);
      choice.height[group.first.index()] = static_cast<std::uint8_t>(best);
      if (group.count > 1) {
        std::fill_n(choice.height.begin() + group.first.value + 1, group.count - 1, static_cast<std::uint8_t>(best));
      }
      const NodeTiles tiles = node_tiles(heights_.data(), best, group.readers);
      choice.least_tokens[best] += group.count * group.tokens * tiles.full;
      choice.least_tokens[tiles.below] += group.count * group.tokens * tiles.rest;
      // Of all requests below, what this height adds to their rows.
      choice.partial_rows += std::int64_t{group.count} * group.readers * (kRows[on_path[g]] - kRows[above]);
    }
    return choice;
  }

  std::span<const NodeGroup> groups_;
  std::array<HeightCost, Heights> heights_;
  double partial_us_;
  std::vector<SubtreeCost<Heights>> costs_;
};

/// Where every border costs the same, as between equal leaves of one node: as few tiles as will do, the first one
/// short.
std::vector<std::int32_t> even_borders(std::int32_t end, std::int32_t longest) {
  std::vector<std::int32_t> borders = {0};
  borders.reserve(static_cast<std::size_t>(end / longest) + 2);
  for (std::int32_t i = (end - 1) % longest + 1; i <= end; i += longest) borders.push_back(i);
  return borders;
}

/// Borders with gaps of at most `longest` and the least sum of `shared[i]` + tile_tokens over borders i.
std::vector<std::int32_t> place_borders(const std::vector<std::int64_t>& shared, std::int32_t longest,
                                        double tile_tokens) {
  struct Cheapest {
    double cost;
    std::int32_t border;
  };
  const auto end = static_cast<std::int32_t>(shared.size()) - 1;
  if (std::adjacent_find(shared.begin() + 1, shared.end() - 1, std::not_equal_to<>()) == shared.end() - 1) {
    return even_borders(end, longest);
  }
  const auto before = std::make_unique_for_overwrite<std::int32_t[]>(shared.size());
  const auto window = std::make_unique_for_overwrite<Cheapest[]>(
      shared.size());  // candidates for the border before, cost and place rising
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

TileLayer make_layer(const PathTokens& path, std::size_t height, const CoverPrices& prices) {
  TileLayer layer;
  layer.unique = path.unique;
  layer.borders = place_borders(path.shared, prices.heights[height].queries, prices.tile_tokens);
  layer.runs.reserve(std::min<std::size_t>(layer.borders.size(), kRunsAtFirst));
  for (std::size_t t = 0; t + 1 < layer.borders.size(); ++t) {
    const auto begin = static_cast<std::size_t>(layer.borders[t]), end = static_cast<std::size_t>(layer.borders[t + 1]);
    TileRun tile{path.own[begin], path.own[begin], static_cast<std::int32_t>(end - begin), 1};
    // How much of the last request's path is read before anything else; and of that, how much a request shares.
    std::int64_t common = path.own[end - 1], least = common;
    for (std::size_t r = end - 1; r > begin; --r) {
      tile.tokens += path.own[r] - path.shared[r];
      tile.logical += path.own[r];
      least = std::min(least, path.shared[r]);
      if (path.own[r - 1] > least) common = std::min(common, least);
    }
    // What the last request's path doesn't hold comes before the rest of it.
    const std::int64_t shift = tile.tokens - path.own[end - 1];
    if (static_cast<double>(shift) > prices.kept_tokens) {
      layer.apart += std::max<std::int64_t>(0, path.shared[end] - common);
    }
    TileRun* last = layer.runs.empty() ? nullptr : &layer.runs.back();
    tile.height = static_cast<std::uint8_t>(lowest_height(prices.heights.data(), height, tile.requests));
    // Other kernels read at another pace.
    if (tile.height < height) layer.again += std::max(path.shared[begin], path.shared[end]);
    if (last != nullptr && last->tokens == tile.tokens && last->logical == tile.logical &&
        last->requests == tile.requests) {
      ++last->tiles;
    } else {
      layer.runs.push_back(tile);
    }
  }
  return layer;
}

}  // namespace

PathTokens path_tokens(const PrefixForest& forest) {
  PathTokens tokens;
  const std::size_t requests = forest.request_count();
  tokens.own.assign(requests + 1, 0);
  tokens.shared.assign(requests + 1, 0);
  // Twins share all.
  for (std::size_t r = 0; r < requests; ++r) tokens.shared[r + 1] = tokens.own[r] = forest.context_tokens(RequestId(r));
  tokens.shared[requests] = 0;
  // Else a request leaves the path of the one before at the highest node that begins with it: in preorder, the first.
  for (std::size_t i = forest.node_count(); i-- > 0;) {
    const NodeId n(i);
    tokens.shared[forest.request_begin[n].index()] = forest.tokens_before[n];
    tokens.unique += forest.tokens[n];
  }
  return tokens;
}

std::vector<NodeGroup> group_nodes(const PrefixForest& forest) {
  const std::size_t nodes = forest.node_count();
  const NodeId* const parents = forest.parent.raw().data();
  const std::int64_t* const tokens = forest.tokens.raw().data();
  const RequestId* const begin = forest.request_begin.raw().data();
  const RequestId* const end = forest.request_end.raw().data();
  std::vector<NodeGroup> groups;
  groups.reserve(nodes);
  const auto group_of =
      std::make_unique_for_overwrite<std::int32_t[]>(nodes);  // of first nodes, and so of all that have children
  NodeGroup last;
  for (std::size_t i = 0; i < nodes; ++i) {
    const NodeId parent = parents[i];
    const std::int32_t readers = end[i].value - begin[i].value;
    const bool childless = i + 1 == nodes || parents[i + 1].value != static_cast<std::int32_t>(i);
    // Who has the parent of the node before isn't its child: that one is childless too.
    if (childless && i > 0 && parents[i - 1] == parent && last.tokens == tokens[i] && last.readers == readers) {
      ++last.count;
      continue;
    }
    if (i > 0) groups.push_back(last);
    group_of[i] = static_cast<std::int32_t>(groups.size());
    last = {NodeId(i), 1, parent.valid() ? group_of[parent.index()] : -1, readers, tokens[i]};
  }
  if (nodes > 0) groups.push_back(last);
  return groups;
}

std::vector<std::int64_t> least_tokens(std::span<const NodeGroup> groups, std::span<const std::int32_t> queries) {
  std::vector<std::int64_t> least(queries.size(), 0);
  std::int64_t once = 0;  // nodes that fit the lowest tile
  for (const NodeGroup& group : groups) {
    const std::int64_t tokens = group.count * group.tokens;
    if (group.readers <= queries[0]) {
      once += tokens;
      continue;
    }
    for (std::size_t h = 0; h < queries.size(); ++h) least[h] += tokens * tiles_of(group.readers, queries[h]);
  }
  for (std::int64_t& tokens : least) tokens += once;
  return least;
}

HeightChoice choose_heights(std::span<const NodeGroup> groups, const CoverPrices& prices) {
  switch (prices.heights.size()) {
    case 1: {
      HeightChoice choice;
      choice.least_tokens[0] = least_tokens(groups, std::span(&prices.heights[0].queries, 1))[0];
      return choice;
    }
    case 2:
      return HeightAssignment<2>(groups, prices).run();
    case 3:
      return HeightAssignment<3>(groups, prices).run();
    case 4:
      return HeightAssignment<4>(groups, prices).run();
    default:
      break;
  }
  core::fail_check(__FILE__, __LINE__, "one to four heights", std::to_string(prices.heights.size()));
}

bool one_height(const HeightChoice& choice) {
  return std::all_of(choice.height.begin(), choice.height.end(),
                     [&](std::uint8_t h) { return h == choice.height.front(); });
}

Cover cover_forest(const PrefixForest& forest, const CoverPrices& prices, const PathTokens& all,
                   HeightChoice&& choice) {
  ESPALIER_CHECK(forest.request_count() > 0);
  Cover cover;
  cover.layers.resize(prices.heights.size());
  cover.partial_rows = choice.partial_rows;
  cover.height = std::move(choice.height);
  for (std::size_t h = 0; h < prices.heights.size(); ++h) {
    if (cover.height.empty()) {
      cover.layers[h] = make_layer(all, h, prices);
    } else if (std::find(cover.height.begin(), cover.height.end(), h) != cover.height.end()) {
      const PathTokens path = path_tokens_of(forest, [&](NodeId n) { return cover.height[n.index()] == h; });
      cover.layers[h] = make_layer(path, h, prices);
    }
  }
  return cover;
}

}  // namespace espalier::scheduler::planning

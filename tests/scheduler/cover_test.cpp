// Covers against brute force: tile borders, token counts and height assignments of small random forests.
#include "scheduler/strategies/cover.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <map>
#include <set>

#include "scheduler/strategies/shares.h"
#include "scheduler/strategies/tiling.h"
#include "tests/scheduler/sample_plans.h"
#include "traces/import.h"

namespace espalier::scheduler::planning {
namespace {

using core::Rng;

bool reads(const traces::PrefixForest& forest, NodeId n, std::int32_t begin, std::int32_t end) {
  return forest.request_begin[n].value < end && begin < forest.request_end[n].value;
}

/// Tokens that a tile over requests [begin, end) reads, of nodes of one height.
std::int64_t tile_tokens(const traces::PrefixForest& forest, const Cover& cover, std::size_t height, std::int32_t begin,
                         std::int32_t end) {
  std::int64_t tokens = 0;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    if (!cover.height.empty() && cover.height[n.index()] != height) continue;
    tokens += reads(forest, n, begin, end) ? forest.tokens[n] : 0;
  }
  return tokens;
}

TEST(Cover, KnowsWhatNeighboursShare) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    Rng rng(seed);
    const traces::PrefixForest forest = samples::ragged_forest(rng, 14, 12);
    const PathTokens path = path_tokens(forest);
    const auto requests = static_cast<std::int32_t>(forest.request_count());
    for (std::int32_t r = 0; r <= requests; ++r) {
      std::int64_t own = 0, shared = 0;
      for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
        own += reads(forest, n, r, r + 1) ? forest.tokens[n] : 0;
        shared += reads(forest, n, r - 1, r) && reads(forest, n, r, r + 1) ? forest.tokens[n] : 0;
      }
      EXPECT_EQ(path.own[static_cast<std::size_t>(r)], own) << "seed " << seed << ", request " << r;
      EXPECT_EQ(path.shared[static_cast<std::size_t>(r)], shared) << "seed " << seed << ", request " << r;
    }
    EXPECT_EQ(path.unique, traces::unique_tokens(forest));
  }
}

TEST(Cover, TakesEqualLeavesTogether) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    Rng rng(seed);
    traces::PrefixForest forest = samples::ragged_forest(rng, 40, 60);
    for (std::int64_t& tokens : forest.tokens) tokens = 1 + tokens % 2;
    const std::vector<NodeGroup> groups = group_nodes(forest);
    const auto has_children = [&](std::int32_t n) {
      return std::find(forest.parent.begin(), forest.parent.end(), NodeId(n)) != forest.parent.end();
    };
    std::int32_t next = 0;
    for (const NodeGroup& group : groups) {
      EXPECT_EQ(group.first.value, next);
      for (const std::int32_t end = next + group.count; next < end; ++next) {
        const NodeId n(next), parent = forest.parent[n];
        EXPECT_EQ(parent, group.parent < 0 ? NodeId() : groups.at(static_cast<std::size_t>(group.parent)).first)
            << "seed " << seed << ", node " << next;
        EXPECT_EQ(std::pair(forest.tokens[n], forest.readers(n)), std::pair(group.tokens, group.readers))
            << "seed " << seed << ", node " << next;
        EXPECT_TRUE(group.count == 1 || !has_children(next)) << "seed " << seed << ", node " << next;
      }
    }
    EXPECT_EQ(static_cast<std::size_t>(next), forest.node_count());
    const std::vector<std::int32_t> queries = {2, 3, 7};
    std::vector<std::int64_t> least(3, 0);
    for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
      for (std::size_t h = 0; h < 3; ++h) {
        least[h] += forest.tokens[n] * ((forest.readers(n) + queries[h] - 1) / queries[h]);
      }
    }
    EXPECT_EQ(least_tokens(groups, queries), least) << "seed " << seed;
  }
  EXPECT_EQ(group_nodes(traces::parse_tree("1,32,1024|2048,512,128")).size(), 1u + 32 + 32);
}

TEST(Cover, PlacesBordersWhereTheyCostLeast) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    Rng rng(seed);
    const traces::PrefixForest forest = samples::ragged_forest(rng, 14, 12);
    const auto requests = static_cast<std::int32_t>(forest.request_count());
    const auto longest = static_cast<std::int32_t>(rng.integer(1, 5));
    const HeightCost height{longest, 1.0};
    const double price = static_cast<double>(rng.integer(0, 40));
    const Cover cover = cover_forest(forest, {std::span(&height, 1), 0, price}, path_tokens(forest));
    // Least total over all partitions, by their last tile.
    std::vector<double> least(static_cast<std::size_t>(requests) + 1, std::numeric_limits<double>::infinity());
    least[0] = 0;
    for (std::int32_t end = 1; end <= requests; ++end) {
      for (std::int32_t begin = std::max(0, end - longest); begin < end; ++begin) {
        const double with = least[static_cast<std::size_t>(begin)] + price +
                            static_cast<double>(tile_tokens(forest, cover, 0, begin, end));
        least[static_cast<std::size_t>(end)] = std::min(least[static_cast<std::size_t>(end)], with);
      }
    }
    const TileLayer& layer = cover.layers[0];
    ASSERT_EQ(layer.borders.front(), 0);
    ASSERT_EQ(layer.borders.back(), requests);
    double total = 0;
    std::vector<std::int64_t> tokens;
    for (const TileRun& run : layer.runs) tokens.insert(tokens.end(), static_cast<std::size_t>(run.tiles), run.tokens);
    ASSERT_EQ(tokens.size() + 1, layer.borders.size());
    for (std::size_t t = 0; t + 1 < layer.borders.size(); ++t) {
      const std::int32_t begin = layer.borders[t], end = layer.borders[t + 1];
      ASSERT_LE(end - begin, longest);
      EXPECT_EQ(tokens[t], tile_tokens(forest, cover, 0, begin, end)) << "seed " << seed << " tile " << t;
      total += price + static_cast<double>(tokens[t]);
    }
    EXPECT_DOUBLE_EQ(total, least.back()) << "seed " << seed;
  }
}

/// Readers by tiles of at most the node's height, the last by the lowest that holds it.
double naive_tiles_us(const CoverPrices& prices, std::size_t height, std::int32_t readers) {
  double us = 0;
  for (bool first = true; readers > 0; readers -= prices.heights[height].queries, first = false) {
    std::size_t h = height;
    if (!first && readers < prices.heights[height].queries) {
      for (h = 0; prices.heights[h].queries < readers;) ++h;
    }
    us += prices.heights[h].token_us;
  }
  return us;
}

/// What HeightChoice minimises, counted request by request.
double naive_cost(const traces::PrefixForest& forest, const CoverPrices& prices,
                  const std::vector<std::uint8_t>& height) {
  double cost = 0;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    cost += static_cast<double>(forest.tokens[n]) * naive_tiles_us(prices, height[n.index()], forest.readers(n));
  }
  for (const traces::RequestId r : core::ids<traces::RequestId>(forest.request_count())) {
    std::set<std::uint8_t> on_path;
    for (const NodeId n : traces::path_of(forest, forest.leaf[r])) on_path.insert(height[n.index()]);
    if (on_path.size() > 1) cost += static_cast<double>(on_path.size()) * prices.partial_us;
  }
  return cost;
}

TEST(Cover, AssignsHeightsAsWellAsExhaustiveSearch) {
  int mixed = 0;
  for (std::uint64_t seed = 1; seed <= 80; ++seed) {
    Rng rng(seed);
    const traces::PrefixForest forest = samples::ragged_forest(rng, 7, 10);
    const std::array<HeightCost, 3> heights{HeightCost{1, 1.0},
                                            HeightCost{3, 1.0 + 0.01 * static_cast<double>(rng.integer(0, 150))},
                                            HeightCost{8, 2.0 + 0.01 * static_cast<double>(rng.integer(0, 200))}};
    const CoverPrices prices{heights, static_cast<double>(rng.integer(0, 30)), 1};
    const Cover cover = cover_forest(forest, prices, path_tokens(forest));
    double least = std::numeric_limits<double>::infinity();
    std::vector<std::uint8_t> height(forest.node_count(), 0);
    // Heights never rise towards the leaves.
    const std::function<void(std::size_t)> assign = [&](std::size_t i) {
      if (i == forest.node_count()) {
        least = std::min(least, naive_cost(forest, prices, height));
        return;
      }
      const NodeId n(static_cast<std::int32_t>(i));
      const int top = forest.is_root(n) ? 2 : height[forest.parent[n].index()];
      for (int h = 0; h <= top; ++h) {
        height[i] = static_cast<std::uint8_t>(h);
        assign(i + 1);
      }
    };
    assign(0);
    EXPECT_NEAR(naive_cost(forest, prices, cover.height), least, 1e-9 * least) << "seed " << seed;
    mixed += std::set<std::uint8_t>(cover.height.begin(), cover.height.end()).size() > 1;
    std::int64_t rows = 0;
    for (const traces::RequestId r : core::ids<traces::RequestId>(forest.request_count())) {
      std::set<std::uint8_t> on_path;
      for (const NodeId n : traces::path_of(forest, forest.leaf[r])) on_path.insert(cover.height[n.index()]);
      rows += on_path.size() > 1 ? static_cast<std::int64_t>(on_path.size()) : 0;
    }
    EXPECT_EQ(cover.partial_rows, rows) << "seed " << seed;
  }
  EXPECT_GE(mixed, 15);
}

TEST(Cover, LeavesWhatIsOverBehindFullTilesToTheLowestHeightThatHoldsIt) {
  const std::array<HeightCost, 3> heights{HeightCost{2, 1.0}, HeightCost{8, 1.1}, HeightCost{16, 1.2}};
  const CoverPrices prices{heights, 1e6, 64};
  const auto tiles = [&](const char* tree) {
    const traces::PrefixForest forest = traces::parse_tree(tree);
    const Cover cover = cover_forest(forest, prices, path_tokens(forest));
    std::vector<std::array<std::int32_t, 3>> list;  // requests, tiles, height
    for (const TileRun& run : cover.layers[2].runs) list.push_back({run.requests, run.tiles, run.height});
    return std::pair(list, cover.layers[2].again);
  };
  using Tiles = std::vector<std::array<std::int32_t, 3>>;
  EXPECT_EQ(tiles("1,32|9000,1"), std::pair(Tiles{{16, 2, 2}}, std::int64_t{0}));
  EXPECT_EQ(tiles("1,33|9000,1"), std::pair(Tiles{{1, 1, 0}, {16, 2, 2}}, std::int64_t{9000}));
  EXPECT_EQ(tiles("1,35|9000,1"), std::pair(Tiles{{3, 1, 1}, {16, 2, 2}}, std::int64_t{9000}));
  EXPECT_EQ(tiles("1,41|9000,1"), std::pair(Tiles{{9, 1, 2}, {16, 2, 2}}, std::int64_t{0}));
}

/// Offsets of the nodes that a tile reads, from its first token on.
std::map<NodeId, std::int64_t> offsets_of(const traces::PrefixForest& forest, std::int32_t begin, std::int32_t end) {
  std::map<NodeId, std::int64_t> offsets;
  std::int64_t at = 0;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    if (forest.request_begin[n].value >= end || forest.request_end[n].value <= begin) continue;
    offsets[n] = at;
    at += forest.tokens[n];
  }
  return offsets;
}

TEST(Cover, CountsTokensThatNeighboursReadAtDifferentPlaces) {
  std::int64_t all = 0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Rng rng(seed);
    const traces::PrefixForest forest = samples::ragged_forest(rng, 30, 100);
    const HeightCost height{static_cast<std::int32_t>(rng.integer(1, 5)), 1.0};
    CoverPrices prices{std::span(&height, 1), 0, 1};
    const Cover cover = cover_forest(forest, prices, path_tokens(forest));
    const TileLayer& layer = cover.layers[0];
    std::int64_t apart = 0;
    for (std::size_t t = 0; t + 2 < layer.borders.size(); ++t) {
      const auto before = offsets_of(forest, layer.borders[t], layer.borders[t + 1]);
      for (const auto& [node, offset] : offsets_of(forest, layer.borders[t + 1], layer.borders[t + 2])) {
        const auto found = before.find(node);
        apart += found != before.end() && found->second != offset ? forest.tokens[node] : 0;
      }
    }
    EXPECT_EQ(layer.apart, apart) << "seed " << seed;
    all += apart;
    prices.kept_tokens = 1e9;
    EXPECT_EQ(cover_forest(forest, prices, path_tokens(forest)).layers[0].apart, 0) << "the L2 keeps all";
  }
  EXPECT_GT(all, 0) << "else this shows nothing";
}

TileLayer layer_of(const std::vector<std::int64_t>& tokens) {
  TileLayer layer;
  for (const std::int64_t n : tokens) layer.runs.push_back({n, n, 1, 1});
  return layer;
}

std::vector<double> loads(const Shares& shares, const PieceCost& cost, const std::vector<std::int64_t>& kv_tiles) {
  std::vector<double> sums;
  for (const Share& s : shares.list) {
    if (static_cast<std::size_t>(s.lane) >= sums.size()) sums.resize(static_cast<std::size_t>(s.lane) + 1, 0);
    const bool whole = s.begin == 0 && s.end == kv_tiles[static_cast<std::size_t>(s.tile)];
    sums[static_cast<std::size_t>(s.lane)] +=
        static_cast<double>(s.end - s.begin) + cost.begin + (whole ? 0 : cost.partial);
  }
  return sums;
}

TEST(Shares, ReadEveryTileOnceAndAreNoLongerThanSaid) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Rng rng(seed);
    std::vector<std::int64_t> tokens, kv_tiles;
    for (std::int64_t i = rng.integer(1, 40); i > 0; --i) {
      tokens.push_back(rng.integer(1, 900));
      kv_tiles.push_back((tokens.back() + 15) / 16);
    }
    const TileLayer layer = layer_of(tokens);
    const std::int64_t lanes = rng.integer(1, 30);
    const PieceCost cost{0.25 * static_cast<double>(rng.integer(0, 12)),
                         0.25 * static_cast<double>(rng.integer(0, 20))};
    const double share = even_share(layer, 16, lanes, cost);
    const Shares shares = deal_shares(layer, 16, lanes, share, cost);
    std::vector<std::int64_t> next(tokens.size(), 0);
    std::int64_t partials = 0;
    for (std::size_t i = 0; i < shares.list.size(); ++i) {
      const Share& s = shares.list[i];
      const auto t = static_cast<std::size_t>(s.tile);
      EXPECT_EQ(s.begin, next[t]) << "seed " << seed;
      EXPECT_LT(s.begin, s.end);
      next[t] = s.end;
      partials += s.begin > 0 || s.end < kv_tiles[t] ? 1 : 0;
      EXPECT_EQ(s.lane - (i > 0 ? shares.list[i - 1].lane : 0), i > 0 && s.lane != shares.list[i - 1].lane ? 1 : 0);
    }
    EXPECT_EQ(next, kv_tiles) << "seed " << seed;
    EXPECT_EQ(shares.partials, partials) << "seed " << seed;
    const std::vector<double> sums = loads(shares, cost, kv_tiles);
    EXPECT_LE(sums.size(), static_cast<std::size_t>(lanes));
    const std::vector<double> begun = loads(shares, {cost.begin, 0}, kv_tiles);
    EXPECT_NEAR(longest_lane(layer, 16, shares.list, {cost.begin, 0}), *std::max_element(begun.begin(), begun.end()),
                1e-9)
        << "seed " << seed;
    const double longest = longest_lane(layer, 16, shares.list, cost);
    EXPECT_LE(longest, *std::max_element(sums.begin(), sums.end()) + 1e-9) << "seed " << seed;
    for (std::size_t lane = 0; lane + 1 < sums.size(); ++lane) {
      EXPECT_LE(sums[lane], share + cost.partial + 1e-9) << "seed " << seed;
    }
  }
}

TEST(Shares, DontCutWhatIsCheaperToFinish) {
  const TileLayer layer = layer_of({160, 160, 160});  // 10 KV tiles each
  const Shares free = deal_shares(layer, 16, 4, 7.5, {});
  EXPECT_GT(free.partials, 0);
  const PieceCost dear{1, 4};
  const Shares whole = deal_shares(layer, 16, 3, even_share(layer, 16, 3, dear), dear);
  EXPECT_EQ(whole.partials, 0);
  EXPECT_EQ(whole.list.size(), 3u);
  EXPECT_DOUBLE_EQ(longest_lane(layer, 16, whole.list, dear), 11);
}

TEST(Shares, WaitOnlyForTheLastPartialRowsOfALane) {
  const TileLayer layer = layer_of({160, 160, 160});
  // The end of the first tile with the beginning of the second, the rest of that with all of the third.
  const std::vector<Share> list = {{0, 0, 4, 0}, {0, 4, 10, 1}, {1, 0, 3, 1}, {1, 3, 10, 2}, {2, 0, 10, 2}};
  EXPECT_DOUBLE_EQ(longest_lane(layer, 16, list, {1, 0.5}), 19);
  EXPECT_DOUBLE_EQ(longest_lane(layer, 16, std::span(list).first(3), {1, 0.5}), 11.5);
  EXPECT_DOUBLE_EQ(longest_lane(layer, 16, list, {1, 100}), 111);
}

TEST(Tiling, CutsTilesAsTheyAreShared) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Rng rng(seed);
    const traces::PrefixForest forest = samples::ragged_forest(rng, 12, 200);
    const HeightCost height{2, 1.0};
    const Cover cover = cover_forest(forest, {std::span(&height, 1), 0, 16}, path_tokens(forest));
    const Shares shares = deal_shares(cover.layers[0], 16, 1000, static_cast<double>(rng.integer(1, 6)), {});
    const TilePieces cut = cut_shares(forest, cover, 16, shares.list);
    ASSERT_EQ(cut.pieces.size(), shares.list.size()) << "seed " << seed;
    std::int64_t tokens = 0, expected = 0;
    for (std::size_t i = 0; i < cut.pieces.size(); ++i) {
      EXPECT_EQ((cut.pieces[i].tokens + 15) / 16, shares.list[i].end - shares.list[i].begin) << "seed " << seed;
      tokens += cut.pieces[i].tokens;
    }
    for (const TileRun& run : cover.layers[0].runs) expected += run.tiles * run.tokens;
    EXPECT_EQ(tokens, expected);
  }
}

TEST(OurPlanner, SharesOutEquallyWhatIsBoundByArithmetic) {
  const traces::PrefixForest forest = traces::parse_tree("50|3000");
  const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  const auto plan_for = [&](const char* heads) {
    const traces::HeadConfig config = traces::parse_heads(heads);
    return std::get<Plan>(make_plan(parse_strategy("espalier"), PlanRequest{forest, config, device}));
  };
  const Plan latent = plan_for("128/1/576:512");
  ASSERT_EQ(latent.launches.size(), 1u);
  EXPECT_GT(latent.launches.raw()[0].workers, 100);
  EXPECT_EQ(plan_for("32/8/128").launches.raw()[0].workers, 0);
}

}  // namespace
}  // namespace espalier::scheduler::planning

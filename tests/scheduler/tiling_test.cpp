// How tiles are cut into pieces, and how many partial rows that leaves.
#include "scheduler/strategies/tiling.h"

#include <fmt/core.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "core/rng.h"
#include "tests/scheduler/sample_plans.h"
#include "traces/import.h"

namespace espalier::scheduler::planning {
namespace {

using ::testing::ElementsAre;

using core::Rng;

TEST(Tiling, CutsTilesThatBeginWithTheSameNodesAlike) {
  const traces::PrefixForest forest = traces::parse_tree("1,8|1000,100");
  const HeightCost height{4, 1.0};
  const Cover cover = cover_forest(forest, {std::span(&height, 1), 0, 64}, path_tokens(forest));
  const TilePieces cut = cut_tiles(forest, cover, {PieceCut{448}});
  ASSERT_EQ(cut.pieces.size(), 6u);  // two tiles of 1400 tokens: 448, 448 and the rest
  for (std::size_t i = 0; i < 3; ++i) {
    const Segment &a = cut.segments[cut.pieces[i].first], &b = cut.segments[cut.pieces[i + 3].first];
    EXPECT_EQ(cut.pieces[i].tokens, cut.pieces[i + 3].tokens);
    EXPECT_EQ(a.token_begin, b.token_begin);
    EXPECT_EQ(a.node, b.node);
  }
  EXPECT_EQ(cut.pieces[2].tokens, 1400 - 2 * 448);
}

TEST(Tiling, LeavesTheFirstTilesOfALayerWhole) {
  const traces::PrefixForest forest = traces::parse_tree("1,6|1000,100");
  const HeightCost height{2, 1.0};
  const Cover cover = cover_forest(forest, {std::span(&height, 1), 0, 64}, path_tokens(forest));
  const PieceCut cut{.tokens = 640, .even_tile = 64, .whole = 2};
  const TilePieces pieces = cut_tiles(forest, cover, {cut});
  std::vector<std::int64_t> tokens;
  for (const TilePiece& piece : pieces.pieces) tokens.push_back(piece.tokens);
  EXPECT_THAT(tokens, ElementsAre(1200, 1200, 640, 560));
  EXPECT_EQ(count_pieces(cover.layers[0], std::span(&cut, 1))[0], 4);
}

TEST(Tiling, LeavesARestBelowHalfAPieceWithItsNeighbour) {
  const auto piece_count = [](std::int64_t tokens, std::int64_t piece) { return piece_lengths(tokens, {piece}).count; };
  EXPECT_EQ(piece_count(100, 64), 2);
  EXPECT_EQ(piece_count(95, 64), 1);
  EXPECT_EQ(piece_count(1, 64), 1);
  EXPECT_EQ(piece_count(64 * 5 + 32, 64), 6);
}

/// Of a forest of one request.
Cover one_tile(std::int64_t tokens) {
  const traces::PrefixForest forest = traces::parse_tree(fmt::format("1|{}", tokens));
  const HeightCost height{4, 1.0};
  return cover_forest(forest, {std::span(&height, 1), 0, 64}, path_tokens(forest));
}

TEST(Tiling, CutsEvenlyByKvTiles) {
  // 37 KV tiles: ten pieces of three or four, the one token over in the last of them.
  const PieceLengths lengths = piece_lengths(2305, {230, 64});
  EXPECT_EQ(lengths.count, 10);
  EXPECT_EQ(lengths.longer, 7);
  EXPECT_EQ(lengths.each + lengths.more, 256);
  EXPECT_EQ(lengths.each, 192);
  EXPECT_EQ(lengths.last, 129);
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    Rng rng(seed);
    const std::int64_t tile = 16 * rng.integer(1, 8), tokens = rng.integer(1, 20000), piece = tile * rng.integer(1, 40);
    const PieceLengths even = piece_lengths(tokens, {piece, tile}), like = piece_lengths(tokens, {piece});
    EXPECT_EQ(even.count, like.count) << "seed " << seed;
    EXPECT_LT(even.longer, even.count) << "seed " << seed;
    EXPECT_EQ(even.longer * (even.each + even.more) + (even.count - 1 - even.longer) * even.each + even.last, tokens)
        << "seed " << seed;
    EXPECT_EQ((like.count - 1) * like.each + like.last, tokens) << "seed " << seed;
    EXPECT_GT(even.last, even.each - tile) << "seed " << seed;
    EXPECT_LE(even.last, even.each) << "seed " << seed;
    EXPECT_EQ(even.each % tile, 0) << "seed " << seed;
    const TilePieces cut =
        cut_tiles(traces::parse_tree(fmt::format("1|{}", tokens)), one_tile(tokens), {PieceCut{piece, tile}});
    ASSERT_EQ(static_cast<std::int64_t>(cut.pieces.size()), even.count) << "seed " << seed;
    EXPECT_EQ(cut.pieces.back().tokens, even.last) << "seed " << seed;
  }
}

TEST(Tiling, TapersTheLastPiece) {
  // 37 KV tiles in ten pieces: seven of four, two of three and one of three less 63 tokens. One of four more, and the
  // last is of two.
  const PieceLengths even = piece_lengths(2305, {230, 64}), tapered = piece_lengths(2305, {230, 64, true});
  EXPECT_EQ(tapered.longer, even.longer + 1);
  EXPECT_EQ(tapered.last, even.last - 64);
  EXPECT_EQ(tapered.each, even.each);
  for (std::int64_t tokens = 1; tokens < 3000; ++tokens) {
    const PieceLengths lengths = piece_lengths(tokens, {192, 64, true});
    EXPECT_GT(lengths.last, 0) << tokens;
    EXPECT_LE(lengths.longer, lengths.count - 1) << tokens;
    EXPECT_EQ((lengths.count - 1) * lengths.each + lengths.longer * lengths.more + lengths.last, tokens);
  }
}

TEST(Tiling, CountsPiecesBeforeTheyAreCut) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Rng rng(seed);
    const traces::PrefixForest forest = samples::ragged_forest(rng, 30, 400);
    const HeightCost height{static_cast<std::int32_t>(rng.integer(1, 5)), 1.0};
    const Cover cover = cover_forest(forest, {std::span(&height, 1), 0, 16}, path_tokens(forest));
    const PieceCut cut{16 * rng.integer(1, 20), rng.chance(0.5) ? 16 : 0};
    EXPECT_EQ(count_pieces(cover.layers[0], std::span(&cut, 1))[0],
              static_cast<std::int64_t>(cut_tiles(forest, cover, {cut}).pieces.size()))
        << "seed " << seed;
  }
}

TEST(DispatchOrder, LetsThoseWhoShareAndThoseWhoDoNotRunBesideEachOther) {
  // Four tiles of eight requests, each of 8192 tokens that all four read and as many that only it does.
  const traces::PrefixForest forest = traces::parse_tree("1,32|8192,1024");
  const HeightCost height{8, 1.0};
  const Cover cover = cover_forest(forest, {std::span(&height, 1), 0, 64}, path_tokens(forest));
  const TilePieces cut = cut_tiles(forest, cover, {PieceCut{2048}});
  ASSERT_EQ(cut.pieces.size(), 32u);
  const auto first = [&](std::uint32_t i) {
    const Segment& s = cut.segments[cut.pieces[i].first];
    return std::pair(s.node.value, s.token_begin);
  };
  const auto is_shared = [&](std::uint32_t i) { return first(i).first == 0; };
  const std::vector<std::uint32_t> apart = dispatch_order(cut, Dispatch::longest_first),
                                   mixed = dispatch_order(cut, Dispatch::mixed);
  EXPECT_EQ(std::count_if(apart.begin(), apart.begin() + 16, is_shared), 16);
  EXPECT_TRUE(std::is_permutation(mixed.begin(), mixed.end(), apart.begin()));
  std::set<std::pair<std::int32_t, std::int32_t>> seen;
  for (std::size_t i = 0; i < mixed.size(); ++i) {
    // Readers of the same tokens stay together, so half are shared but for one group.
    const bool begins = i == 0 || first(mixed[i]) != first(mixed[i - 1]);
    EXPECT_TRUE(!begins || seen.insert(first(mixed[i])).second) << i;
    const auto so_far = static_cast<std::ptrdiff_t>(i) + 1;
    EXPECT_NEAR(static_cast<double>(std::count_if(mixed.begin(), mixed.begin() + so_far, is_shared)),
                static_cast<double>(so_far) / 2, 2)
        << i;
  }
}

TEST(DispatchOrder, IsTheSameWhereNothingIsShared) {
  const traces::PrefixForest forest = traces::parse_tree("32|1024");
  const HeightCost height{8, 1.0};
  const Cover cover = cover_forest(forest, {std::span(&height, 1), 0, 64}, path_tokens(forest));
  const TilePieces cut = cut_tiles(forest, cover, {PieceCut{512}});
  EXPECT_EQ(dispatch_order(cut, Dispatch::mixed), dispatch_order(cut, Dispatch::longest_first));
}

TEST(DispatchOrder, JoinsTheReadersOfTheSameTokens) {
  const auto nodes = [](const traces::PrefixForest& forest, Dispatch dispatch) {
    const HeightCost height{4, 1.0};
    const Cover cover = cover_forest(forest, {std::span(&height, 1), 0, 64}, path_tokens(forest));
    const TilePieces cut = cut_tiles(forest, cover, {PieceCut{100'000}});
    std::vector<std::int32_t> list;
    for (const std::uint32_t i : dispatch_order(cut, dispatch)) {
      list.push_back(cut.segments[cut.pieces[i].first].node.value);
    }
    return list;
  };
  // Tiles of four and of three of a node's requests: 5,300 and 4,600 tokens, of which they share 2,500.
  const traces::PrefixForest sevens = traces::parse_tree("3,21|2500,700");
  EXPECT_THAT(nodes(sevens, Dispatch::longest_first), ElementsAre(0, 8, 16, 0, 8, 16));
  EXPECT_THAT(nodes(sevens, Dispatch::joined), ElementsAre(0, 0, 8, 8, 16, 16));
  // Of four, two and four: 5,000 is too short to come with 9,000.
  traces::ForestSource source;
  for (const int requests : {6, 4}) {
    const auto root = static_cast<std::int64_t>(source.parent.size());
    source.parent.push_back(-1);
    source.tokens.push_back(1000);
    for (int r = 0; r < requests; ++r) {
      source.leaf.push_back(static_cast<std::int64_t>(source.parent.size()));
      source.parent.push_back(root);
      source.tokens.push_back(2000);
    }
  }
  EXPECT_THAT(nodes(traces::make_forest(source), Dispatch::joined), ElementsAre(0, 7, 0));
  // Tiles of another height are launched by themselves.
  TilePieces cut;
  cut.segments = {{.node = NodeId(5)}, {.node = NodeId(0)}};
  cut.pieces = {{.first = 0, .tokens = 5300}, {.first = 0, .tokens = 4600, .height = 1}, {.first = 1, .tokens = 4600}};
  EXPECT_THAT(dispatch_order(cut, Dispatch::joined), ElementsAre(0, 2, 1));
}

TEST(CutRows, NeverMoreThanOneOfEveryRequestAPiece) {
  // The last piece takes what is over, so it begins well before the tails of one token do.
  EXPECT_EQ(cut_rows({2305, 4 * 2302, 4, 1}, piece_lengths(2305, {1024})), 2 * 4);
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    Rng rng(seed);
    const std::int64_t requests = rng.integer(1, 64), prefix = rng.integer(0, 5000), tail = rng.integer(0, 300),
                       piece = 64 * rng.integer(1, 30);
    const TileRun run{prefix + requests * tail + 1, requests * (prefix + tail) + 1, static_cast<std::int32_t>(requests),
                      1};
    const PieceLengths lengths = piece_lengths(run.tokens, {piece, rng.chance(0.5) ? 64 : 0});
    const std::int64_t pieces = lengths.count;
    if (pieces == 1) continue;
    const double rows = cut_rows(run, lengths);
    EXPECT_LE(rows, static_cast<double>(requests * pieces) + 1e-9)
        << "seed " << seed << ": " << requests << " requests, prefix " << prefix << ", tail " << tail << ", " << pieces
        << " of " << piece;
    EXPECT_GE(rows, static_cast<double>(std::max(requests, pieces)) - 1 - 1e-9) << "seed " << seed;
  }
}

}  // namespace
}  // namespace espalier::scheduler::planning

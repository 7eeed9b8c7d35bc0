// make_forest, page flooring and the invariants every later stage relies on.
#include "traces/prefix_forest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "forest_samples.h"

namespace espalier::traces {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ForestSource source_of(std::vector<std::int64_t> parent, std::vector<std::int64_t> tokens,
                       std::vector<std::int64_t> leaf) {
  ForestSource source;
  source.name = "f";
  source.parent = std::move(parent);
  source.tokens = std::move(tokens);
  source.leaf = std::move(leaf);
  return source;
}

std::string make_message(const ForestSource& source) {
  return message_of([&] { make_forest(source); });
}

TEST(MakeForest, RenumbersToPreorderAndKeepsTheFilesIds) {
  // 3 is the root; 0 and 4 hang under it, 2 under 4, 1 under 0.
  const PrefixForest forest = make_forest(source_of({3, 0, 4, -1, 3}, {10, 20, 30, 40, 50}, {2, 1, 4, 2, 0}));
  check_forest(forest);
  EXPECT_THAT(forest.node_label.raw(), ElementsAre(3, 0, 1, 4, 2));
  EXPECT_THAT(forest.tokens_before.raw(), ElementsAre(0, 40, 50, 40, 90));
  EXPECT_THAT(forest.request_label.raw(), ElementsAre("4", "1", "2", "0", "3"));
  EXPECT_THAT(forest.batch_position.raw(), ElementsAre(4, 1, 2, 0, 3));
  EXPECT_THAT(batch_order(forest), ElementsAre(RequestId(3), RequestId(1), RequestId(2), RequestId(4), RequestId(0)));
  EXPECT_EQ(forest.readers(NodeId(0)), 5);
  EXPECT_EQ(forest.readers(NodeId(3)), 3);
  EXPECT_EQ(forest.context_tokens(RequestId(4)), 120);
  EXPECT_EQ(unique_tokens(forest), 150);
  EXPECT_EQ(logical_tokens(forest), 40 * 5 + 10 * 2 + 20 + 50 * 3 + 30 * 2);
  EXPECT_THAT(depths(forest).raw(), ElementsAre(0, 1, 2, 1, 2));
  EXPECT_THAT(path_of(forest, NodeId(4)), ElementsAre(NodeId(0), NodeId(3), NodeId(4)));
}

TEST(MakeForest, ContractsEmptyNodesAndDropsUnreadOnes) {
  // Root 0 is empty, so 1 and 2 become roots; 3 under 2 is empty and its request ends at 2; nobody reads 4.
  const PrefixForest forest = make_forest(source_of({-1, 0, 0, 2, 2, 3}, {0, 5, 6, 0, 7, 8}, {5, 3, 1}));
  check_forest(forest);
  EXPECT_THAT(forest.node_label.raw(), ElementsAre(1, 2, 5));
  EXPECT_THAT(forest.parent.raw(), ElementsAre(NodeId(), NodeId(), NodeId(1)));
  EXPECT_THAT(forest.request_label.raw(), ElementsAre("2", "1", "0"));
}

TEST(MakeForest, KeepsEveryRequestsPathOnRandomForests) {
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    const ForestSource source = random_source(seed);
    const PrefixForest forest = make_forest(source);
    check_forest(forest);
    ASSERT_EQ(forest.request_count(), source.leaf.size());
    std::set<std::int64_t> read;
    std::set<std::string> labels;
    for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
      labels.insert(forest.request_label[r]);
      std::vector<std::int64_t> expected, got;
      for (std::int64_t i = source.leaf[static_cast<std::size_t>(std::stoll(forest.request_label[r]))]; i >= 0;
           i = source.parent[static_cast<std::size_t>(i)]) {
        if (source.tokens[static_cast<std::size_t>(i)] > 0) expected.insert(expected.begin(), i);
      }
      for (const NodeId n : path_of(forest, forest.leaf[r])) {
        got.push_back(forest.node_label[n]);
        EXPECT_EQ(forest.tokens[n], source.tokens[static_cast<std::size_t>(forest.node_label[n])]);
      }
      EXPECT_EQ(got, expected) << "seed " << seed;
      read.insert(expected.begin(), expected.end());
    }
    EXPECT_EQ(labels.size(), source.leaf.size()) << "each request once";
    EXPECT_EQ(forest.node_count(), read.size()) << "read nodes only, seed " << seed;
  }
}

TEST(MakeForest, KeepsTheSourcesOrderOfSiblingsAndTwins) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    ForestSource source = random_source(seed);
    for (std::int64_t& tokens : source.tokens) tokens += 1;
    const PrefixForest forest = make_forest(source);
    std::vector<std::int64_t> last_child(forest.node_count() + 1, -1);
    for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
      std::int64_t& last = last_child[static_cast<std::size_t>(forest.parent[n].value + 1)];
      EXPECT_LT(last, forest.node_label[n]) << "seed " << seed;
      last = forest.node_label[n];
    }
    for (std::int32_t r = 1; r < static_cast<std::int32_t>(forest.request_count()); ++r) {
      if (forest.leaf[RequestId(r)] != forest.leaf[RequestId(r - 1)]) continue;
      EXPECT_LT(std::stoll(forest.request_label[RequestId(r - 1)]), std::stoll(forest.request_label[RequestId(r)]));
    }
  }
}

TEST(MakeForest, NamesTheElementThatIsWrong) {
  EXPECT_EQ(make_message(source_of({-1, 7}, {1, 1}, {1})), "f: parent[1]: expected a node from 0 to 1 or -1, got 7");
  EXPECT_EQ(make_message(source_of({-1, -2}, {1, 1}, {1})), "f: parent[1]: expected a node from 0 to 1 or -1, got -2");
  EXPECT_EQ(make_message(source_of({-1, 0}, {1, -5}, {1})),
            "f: tokens[1]: expected an integer from 0 to 2147483646, got -5");
  EXPECT_THAT(make_message(source_of({-1}, {kMaxNodeTokens + 1}, {0})), HasSubstr("f: tokens[0]: expected"));
  EXPECT_EQ(make_message(source_of({-1}, {1}, {0, 1})), "f: leaf[1]: expected a node from 0 to 0, got 1");
  EXPECT_EQ(make_message(source_of({-1}, {1}, {-1})), "f: leaf[0]: expected a node from 0 to 0, got -1");
  EXPECT_THAT(make_message(source_of({}, {}, {0})), HasSubstr("f: leaf[0]: expected a node, but there are none"));
  EXPECT_EQ(make_message(source_of({-1, 0}, {0, 0}, {1})),
            "f: leaf[0]: expected a path of at least one token, got an empty path");
  EXPECT_THAT(make_message(source_of({-1, 0}, {1}, {0})), HasSubstr("f: tokens: expected 2 elements"));
  ForestSource labels = source_of({-1}, {1}, {0});
  labels.request_label = {"a", "b"};
  EXPECT_THAT(make_message(labels), HasSubstr("f: request_label: expected 1 elements"));
  ForestSource pages = source_of({-1}, {1}, {0});
  pages.page_size = 0;
  EXPECT_THAT(make_message(pages), HasSubstr("f: page_size: expected an integer from 1"));
}

TEST(MakeForest, NamesANodeOnTheCycle) {
  EXPECT_EQ(make_message(source_of({0}, {1}, {0})),
            "f: parent[0]: expected a path that leads to a root, got a cycle through node 0");
  // 1 hangs below the cycle 2 -> 3 -> 4 -> 2 and isn't part of it.
  const std::string message = make_message(source_of({-1, 2, 3, 4, 2}, {1, 1, 1, 1, 1}, {0}));
  EXPECT_THAT(message, HasSubstr("a cycle through node"));
  EXPECT_THAT(message, testing::Not(HasSubstr("parent[1]")));
}

TEST(MakeForest, AllowsZeroRequestsAndZeroNodes) {
  const PrefixForest unread = make_forest(source_of({-1, 0}, {3, 4}, {}));
  EXPECT_EQ(unread.node_count(), 0U);
  check_forest(unread);
  check_forest(make_forest(source_of({}, {}, {})));
}

TEST(MakeForest, SurvivesAChainOfAHundredThousandLevels) {
  constexpr std::int64_t kLevels = 100000;
  ForestSource source = source_of({}, {}, {0});
  for (std::int64_t i = 0; i < kLevels; ++i) {  // the last row is the root
    source.parent.push_back(i + 1 == kLevels ? -1 : i + 1);
    source.tokens.push_back(3);
  }
  source.leaf.push_back(kLevels / 2);
  const PrefixForest forest = make_forest(source);
  check_forest(forest);
  EXPECT_EQ(forest.context_tokens(RequestId(1)), 3 * kLevels);
  EXPECT_EQ(depths(forest)[NodeId(static_cast<std::int32_t>(kLevels) - 1)], kLevels - 1);
  const PrefixForest paged = floor_to_pages(forest, 16);
  check_forest(paged);
  EXPECT_EQ(paged.context_tokens(RequestId(1)), 3 * kLevels);
}

TEST(MakeForest, HandlesAMillionNodes) {
  ForestSource star = source_of({-1}, {5}, {});
  for (std::int64_t i = 1; i < 1000000; ++i) {
    star.parent.push_back(i % 1000 == 0 ? i / 2 : 0);
    star.tokens.push_back(1 + i % 7);
    star.leaf.push_back(i);
  }
  const PrefixForest forest = make_forest(star);
  check_forest(forest);
  EXPECT_EQ(forest.node_count(), 1000000U);
}

TEST(MakeForest, CountsABillionTokensExactlyAndRefusesToWrap) {
  ForestSource star = source_of({-1}, {1000000000}, {});
  for (std::int64_t i = 0; i < 1000; ++i) {
    star.parent.push_back(0);
    star.tokens.push_back(1000000000);
    star.leaf.push_back(i + 1);
  }
  const PrefixForest forest = make_forest(star);
  EXPECT_EQ(unique_tokens(forest), 1001000000000);
  EXPECT_EQ(logical_tokens(forest), 2000000000000);
  EXPECT_EQ(unique_tokens(floor_to_pages(forest, 1 << 20)), 1001000000000 + 999 * (1000000000 % (1 << 20)));

  ForestSource tower = source_of({}, {}, std::vector<std::int64_t>(1 << 17, (1 << 17) - 1));
  for (std::int64_t i = 0; i < (1 << 17); ++i) {
    tower.parent.push_back(i - 1);
    tower.tokens.push_back(kMaxNodeTokens);
  }
  const PrefixForest absurd = make_forest(tower);
  EXPECT_EQ(unique_tokens(absurd), kMaxNodeTokens << 17);
  EXPECT_THAT(message_of([&] { logical_tokens(absurd); }), HasSubstr("below 2^63"));
}

/// Unique tokens when only whole pages, measured from the start of the path, are shared: counted page by page.
std::int64_t unique_at_page(const PrefixForest& forest, std::int64_t page_size) {
  std::set<std::pair<std::int32_t, std::int64_t>> pages;  // node of the page's last token, page number on the path
  std::int64_t partial = 0;
  for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
    for (const NodeId n : path_of(forest, forest.leaf[r])) {
      for (std::int64_t t = forest.tokens_before[n]; t < forest.tokens_before[n] + forest.tokens[n]; ++t) {
        if ((t + 1) % page_size == 0) pages.emplace(n.value, t / page_size);
      }
    }
    partial += forest.context_tokens(r) % page_size;
  }
  return static_cast<std::int64_t>(pages.size()) * page_size + partial;
}

TEST(FloorToPages, SharesExactlyTheWholePagesOnRandomForests) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const PrefixForest forest = make_forest(random_source(seed));
    std::int64_t last_unique = unique_tokens(forest);
    for (const std::int32_t page_size : {2, 16, 64}) {
      const PrefixForest paged = floor_to_pages(forest, page_size);
      check_forest(paged);
      EXPECT_EQ(paged.pages.page_size, page_size);
      EXPECT_EQ(paged.batch_position, forest.batch_position) << "seed " << seed;
      ASSERT_EQ(paged.request_label, forest.request_label) << "requests keep their order, seed " << seed;
      for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
        EXPECT_EQ(paged.context_tokens(r), forest.context_tokens(r)) << "seed " << seed;
      }
      for (const NodeId n : core::ids<NodeId>(paged.node_count())) {
        EXPECT_TRUE(paged.readers(n) == 1 || paged.tokens[n] % page_size == 0) << "seed " << seed;
        EXPECT_EQ(paged.tokens_before[n] % page_size, 0) << "paths are aligned, seed " << seed;
      }
      EXPECT_EQ(unique_tokens(paged), unique_at_page(forest, page_size)) << "seed " << seed << " page " << page_size;
      EXPECT_GE(unique_tokens(paged), last_unique) << "coarser pages share less, seed " << seed;
      last_unique = unique_tokens(paged);
    }
  }
}

TEST(FloorToPages, CopiesTheRestIntoChildrenAndPrivateNodes) {
  // A root of 20 read by a twin pair that ends there and by one that goes on for 5.
  const PrefixForest forest = make_forest(source_of({-1, 0}, {20, 5}, {1, 0, 0}));
  const PrefixForest paged = floor_to_pages(forest, 16);
  EXPECT_THAT(paged.tokens.raw(), ElementsAre(16, 4, 4, 9));
  EXPECT_THAT(paged.node_label.raw(), ElementsAre(0, 0, 0, 1));
  EXPECT_THAT(paged.pages.first_page.raw(), ElementsAre(0, 1, 2, 3));
  // A shared node below a page disappears into its readers.
  EXPECT_THAT(floor_to_pages(forest, 32).tokens.raw(), ElementsAre(20, 20, 25));
}

TEST(FloorToPages, LeavesTokenPagesAloneAndRejectsNonsense) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const PrefixForest forest = make_forest(random_source(seed));
    EXPECT_EQ(floor_to_pages(forest, 1), forest);
  }
  EXPECT_THAT(message_of([] { floor_to_pages(PrefixForest{}, 0); }, core::ErrorKind::usage), HasSubstr("page size"));
}

TEST(PageTable, GivesEachTokenItsOwnSlot) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const PrefixForest forest = make_forest(random_source(seed));
    std::set<std::int64_t> slots;
    for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
      for (std::int64_t t = 0; t < forest.tokens[n]; ++t) slots.insert(kv_slot(forest.pages, n, t));
    }
    EXPECT_EQ(static_cast<std::int64_t>(slots.size()), unique_tokens(forest));
  }
  PageTable pages;
  pages.page_size = 4;
  pages.first_page = {1};
  pages.first_offset = {3};
  pages.page_ids = {9, 8, 7};
  EXPECT_EQ(kv_slot(pages, NodeId(0), 0), 8 * 4 + 3);
  EXPECT_EQ(kv_slot(pages, NodeId(0), 1), 7 * 4);
}

TEST(CheckForest, FindsEveryBrokenRule) {
  const PrefixForest good = make_forest(source_of({-1, 0, 1, 0, -1}, {9, 8, 7, 6, 5}, {2, 3, 1, 4}));
  check_forest(good);
  const auto broken = [&](const std::function<void(PrefixForest&)>& change) {
    PrefixForest forest = good;
    change(forest);
    EXPECT_THROW(check_forest(forest), core::InvariantError);
  };
  broken([](PrefixForest& f) { f.parent[NodeId(1)] = NodeId(1); });
  broken([](PrefixForest& f) { f.parent[NodeId(3)] = NodeId(2); });
  broken([](PrefixForest& f) { f.tokens[NodeId(1)] = 0; });
  broken([](PrefixForest& f) { f.tokens[NodeId(1)] += 1; });
  broken([](PrefixForest& f) { f.tokens_before[NodeId(4)] = 1; });
  broken([](PrefixForest& f) { f.request_end[NodeId(1)].value += 1; });
  broken([](PrefixForest& f) { f.request_begin[NodeId(2)].value -= 1; });
  broken([](PrefixForest& f) { std::swap(f.leaf[RequestId(0)], f.leaf[RequestId(1)]); });
  broken([](PrefixForest& f) { f.leaf[RequestId(3)] = NodeId(5); });
  broken([](PrefixForest& f) { f.leaf.push_back(NodeId(4)); });
  broken([](PrefixForest& f) { f.node_label.push_back(4); });
  broken([](PrefixForest& f) { f.batch_position[RequestId(0)] = 1; });
  broken([](PrefixForest& f) { f.pages.page_size = 0; });
  broken([](PrefixForest& f) { f.pages.first_offset[NodeId(0)] = 1; });
  broken([](PrefixForest& f) { f.pages.first_page[NodeId(0)] = -1; });
  broken([](PrefixForest& f) { f.pages.page_ids = {1, 2, 3}; });
  // Preorder broken although parents precede children: 0 <- 1, then a new root, then another child of 0.
  PrefixForest shuffled = make_forest(source_of({-1, 0, 0, -1}, {1, 1, 1, 1}, {1, 2, 3}));
  std::swap(shuffled.parent[NodeId(2)], shuffled.parent[NodeId(3)]);
  std::swap(shuffled.tokens_before[NodeId(2)], shuffled.tokens_before[NodeId(3)]);
  EXPECT_THROW(check_forest(shuffled), core::InvariantError);
}

TEST(ForestHash, SeesStructureLengthsLabelsAndPages) {
  const PrefixForest good = make_forest(source_of({-1, 0, 0}, {9, 8, 7}, {1, 2}));
  const auto changed = [&](const std::function<void(PrefixForest&)>& change) {
    PrefixForest forest = good;
    change(forest);
    EXPECT_NE(forest_hash(forest), forest_hash(good));
  };
  changed([](PrefixForest& f) { f.tokens[NodeId(1)] = 10; });
  changed([](PrefixForest& f) { f.parent[NodeId(2)] = NodeId(1); });
  changed([](PrefixForest& f) { f.node_label[NodeId(2)] = 5; });
  changed([](PrefixForest& f) { f.request_label[RequestId(0)] = "a"; });
  changed([](PrefixForest& f) { std::swap(f.batch_position[RequestId(0)], f.batch_position[RequestId(1)]); });
  changed([](PrefixForest& f) { f.pages.page_ids = {3, 2, 1}; });
  changed([](PrefixForest& f) { f.pages.first_page[NodeId(2)] += 1; });
  PrefixForest renamed = good;
  renamed.name = "other";
  EXPECT_EQ(forest_hash(renamed), forest_hash(good)) << "a name isn't content";
}

}  // namespace
}  // namespace espalier::traces

// Paged block tables: as lines of JSON, as rows, and as the flat arrays that an engine holds.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "core/rng.h"
#include "forest_samples.h"
#include "traces/import.h"

namespace espalier::traces {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string table_text(std::int32_t page_size, const std::vector<std::string>& requests) {
  std::string text = fmt::format("{{\"schema\":\"block_table/1\",\"page_size\":{}}}\n", page_size);
  for (const std::string& request : requests) text += request + "\n";
  return text;
}

TEST(BlockTable, FindsSharedPagesAndPartlyFilledOnes) {
  // a fills page 8 with 2 of 4, b with 3, c goes on past it; d shares page 7 alone; e has page 8 behind another page.
  const PrefixForest forest = read_block_table(
      table_text(4, {R"({"id":"a","tokens":6,"pages":[7,8]})", R"({"id":"b","tokens":7,"pages":[7,8]})",
                     R"({"id":"c","tokens":9,"pages":[7,8,9]})", R"({"id":4,"tokens":8,"pages":[7,3]})",
                     R"({"id":"e","tokens":6,"pages":[6,8]})", R"({"id":"twin","tokens":6,"pages":[7,8]})"}),
      "t.jsonl");
  check_forest(forest);
  EXPECT_THAT(forest.request_label.raw(), ElementsAre("a", "twin", "b", "c", "4", "e"));
  EXPECT_THAT(forest.tokens.raw(), ElementsAre(4, 2, 1, 2, 4, 6));
  EXPECT_THAT(forest.pages.first_offset.raw(), ElementsAre(0, 0, 2, 3, 0, 0));
  EXPECT_THAT(forest.pages.page_ids, ElementsAre(7, 8, 9, 3, 6, 8));
  EXPECT_THAT(slots_of(forest, RequestId(3)), ElementsAre(28, 29, 30, 31, 32, 33, 34, 35, 36));
}

BlockTable random_table(std::uint64_t seed) {
  core::Rng rng(seed);
  BlockTable table;
  table.page_size = static_cast<std::int32_t>(rng.integer(1, 5));
  const bool hashed = rng.chance(0.3);  // engines that name pages by hash have huge ids
  const auto requests = rng.integer(1, 25);
  for (std::int64_t r = 0; r < requests; ++r) {
    table.request_id.push_back(fmt::format("r{}", r));
    // Few choices a level make shared paths, the level in the id keeps a page from standing twice in a request.
    const std::int64_t pages = rng.integer(1, 12), choices = rng.chance(0.2) ? 4 : 2;
    for (std::int64_t level = 0; level < pages; ++level) {
      const std::int64_t id = level * 8 + (rng.chance(0.85) ? 0 : rng.integer(0, choices));
      table.pages.push_back(hashed ? id * 1000000007 : id);
    }
    table.page_begin.push_back(table.pages.size());
    table.tokens.push_back((pages - 1) * table.page_size + rng.integer(1, table.page_size));
  }
  return table;
}

TEST(BlockTable, ReadsTheSameSlotsAsTheTableOnRandomTables) {
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    const BlockTable table = random_table(seed);
    const PrefixForest forest = make_forest(table, "random");
    check_forest(forest);
    ASSERT_EQ(forest.request_count(), table.request_id.size());
    using Prefix = std::vector<std::int64_t>;
    std::map<Prefix, std::int64_t> fill;  // path of pages -> most tokens any request has in its last page
    for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
      const auto row = static_cast<std::size_t>(std::stoll(forest.request_label[r].substr(1)));
      std::vector<std::int64_t> expected;
      Prefix path;
      for (std::int64_t t = 0; t < table.tokens[row]; ++t) {
        const std::int64_t page = table.pages[table.page_begin[row] + static_cast<std::size_t>(t / table.page_size)];
        expected.push_back(page * table.page_size + t % table.page_size);
        if (t % table.page_size == 0) path.push_back(page);
        fill[path] = std::max(fill[path], t % table.page_size + 1);
      }
      EXPECT_EQ(slots_of(forest, r), expected) << "seed " << seed;
    }
    std::int64_t unique = 0;
    for (const auto& [path, tokens] : fill) unique += tokens;
    EXPECT_EQ(unique_tokens(forest), unique) << "each token of each path once, seed " << seed;
    for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
      if (forest.is_root(n)) continue;
      EXPECT_LT(forest.readers(n), forest.readers(forest.parent[n])) << "nodes are maximal, seed " << seed;
    }
    EXPECT_EQ(read_forest_document(write_forest(forest), "f"), forest) << "unaligned nodes survive, seed " << seed;
  }
}

/// A table as an engine holds it.
struct FlatTable {
  explicit FlatTable(const BlockTable& table)
      : page_size(table.page_size), tokens(table.tokens.begin(), table.tokens.end()),
        begin(table.page_begin.begin(), table.page_begin.end()), pages(table.pages.begin(), table.pages.end()) {}
  BlockTableView view() const { return {page_size, tokens, begin, pages}; }
  std::int32_t page_size;
  std::vector<std::int32_t> tokens, begin, pages;
};

TEST(BlockTable, GivesTheSameForestFromFlatArrays) {
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    BlockTable table = random_table(seed);
    if (*std::max_element(table.pages.begin(), table.pages.end()) > 1000) continue;  // hashed ids need 64 bits
    for (std::size_t r = 0; r < table.request_id.size(); ++r) table.request_id[r] = std::to_string(r);
    const FlatTable flat(table);
    EXPECT_EQ(make_forest(flat.view(), "t"), make_forest(table, "t")) << "seed " << seed;
  }
}

TEST(BlockTable, ReadsASliceOfLargerFlatArrays) {
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    BlockTable table = random_table(seed);
    if (*std::max_element(table.pages.begin(), table.pages.end()) > 1000) continue;
    for (std::size_t r = 0; r < table.request_id.size(); ++r) table.request_id[r] = std::to_string(r);
    if (seed % 2 == 1) {
      for (std::int64_t& page : table.pages) page += 1 << 26;  // more than are looked up by their bits
    }
    FlatTable flat(table);
    for (std::int32_t& begin : flat.begin) begin += 3;
    flat.pages.insert(flat.pages.begin(), {flat.pages.front(), -7, 0});
    flat.pages.insert(flat.pages.end(), {flat.pages.back(), -1, 1 << 27, 0, 0});
    EXPECT_EQ(make_forest(flat.view(), "t"), make_forest(table, "t")) << "seed " << seed;
  }
}

/// Pages of the nodes, or what is wrong.
std::string read_flat(const std::vector<std::int32_t>& tokens, const std::vector<std::int32_t>& begin,
                      const std::vector<std::int32_t>& pages) {
  std::string text;
  try {
    for (const std::int64_t page : make_forest(BlockTableView{1, tokens, begin, pages}, "t").pages.page_ids) {
      text += fmt::format("{} ", page);
    }
  } catch (const core::Error& e) {
    return e.what();
  }
  return text;
}

TEST(BlockTable, TakesPagesOfASliceAlone) {
  EXPECT_EQ(read_flat({2}, {3, 5}, {7, 8, 9, 10, 11}), "10 11 ");
  EXPECT_EQ(read_flat({5}, {3, 5}, {7, 8, 9, 10, 11}), "t: request 0: pages: expected 5 pages for 5 tokens, got 2");
  EXPECT_EQ(read_flat({2}, {0, 2}, {1 << 26, 5, 0}), "67108864 5 ");
  EXPECT_EQ(read_flat({2, 2}, {0, 2, 4}, {1, 2, 2, 3, 0, 0}), "1 2 2 3 ");
  EXPECT_EQ(read_flat({2, 2}, {2, 4, 6}, {0, 0, 1, 2, 3, 3}),
            "t: request 1: pages[1]: expected each page once in a request, got page 3 again");
  EXPECT_EQ(read_flat({}, {1}, {7, 8}), "");
  EXPECT_EQ(read_flat({1}, {-1, 0}, {7, 8}), "t: page_begin[0]: expected 0 to 2, got -1");
  EXPECT_EQ(read_flat({1}, {3, 4}, {7, 8}), "t: page_begin[0]: expected 0 to 2, got 3");
  EXPECT_EQ(read_flat({}, {3}, {7, 8}), "t: page_begin[0]: expected 0 to 2, got 3");
  EXPECT_EQ(read_flat({1, 1}, {1, 2, 1}, {7, 8}), "t: page_begin[2]: expected 2 to 2, got 1");
}

TEST(BlockTable, NamesWhatIsWrongInFlatArrays) {
  BlockTable table;
  table.page_size = 4;
  table.tokens = {9, 9};
  table.page_begin = {0, 3, 6};
  table.pages = {0, 1, 2, 0, 1, 3};
  const auto message = [&](auto&& spoil) {
    FlatTable flat(table);
    spoil(flat);
    return message_of([&] { make_forest(flat.view(), "t"); });
  };
  EXPECT_EQ(make_forest(FlatTable(table).view(), "t").request_count(), 2U);
  EXPECT_THAT(message([](FlatTable& t) { t.tokens[1] = 13; }),
              HasSubstr("t: request 1: pages: expected 4 pages for 13 tokens, got 3"));
  EXPECT_THAT(message([](FlatTable& t) { t.tokens[0] = 0; }), HasSubstr("t: request 0: tokens"));
  EXPECT_THAT(message([](FlatTable& t) { t.pages[5] = 1; }),
              HasSubstr("t: request 1: pages[2]: expected each page once in a request"));
  EXPECT_THAT(message([](FlatTable& t) { t.pages = {0, 64, 128, 0, 64, 0}; }),
              HasSubstr("t: request 1: pages[2]: expected each page once"));
  EXPECT_THAT(message([](FlatTable& t) { t.pages[4] = -7; }),
              HasSubstr("t: request 1: pages[1]: expected an integer from 0"));
  EXPECT_THAT(message([](FlatTable& t) { t.begin[1] = 7; }), HasSubstr("t: page_begin[1]: expected 0 to 6, got 7"));
  EXPECT_THAT(message([](FlatTable& t) { t.begin[1] = -1; }), HasSubstr("t: page_begin[1]"));
  EXPECT_THAT(message([](FlatTable& t) { t.page_size = 0; }), HasSubstr("t: page_size"));
}

TEST(BlockTable, WrittenAndReadAgainIsTheSame) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const PrefixForest forest = make_forest(random_table(seed), "t");
    const std::string text = write_block_table(forest);
    PrefixForest again = read_block_table(text, "t");
    EXPECT_EQ(write_block_table(again), text);
    EXPECT_EQ(again, forest) << "seed " << seed;
    const PrefixForest paged = floor_to_pages(make_forest(random_source(seed)), 8);
    const PrefixForest read = read_block_table(write_block_table(paged), "t");
    EXPECT_EQ(unique_tokens(read), unique_tokens(paged));
    EXPECT_EQ(logical_tokens(read), logical_tokens(paged));
    const auto in_batch_order = [](const PrefixForest& f) {
      std::vector<std::pair<std::string, std::int64_t>> rows;
      for (const RequestId r : batch_order(f)) rows.emplace_back(f.request_label[r], f.context_tokens(r));
      return rows;
    };
    EXPECT_EQ(in_batch_order(read), in_batch_order(paged)) << "seed " << seed;
  }
}

TEST(BlockTable, CannotSayThatAPageIsLeftHalfFull) {
  ForestSource source;
  source.name = "gap";
  source.parent = {-1, 0, 0};
  source.tokens = {5, 3, 3};
  source.leaf = {1, 2};
  source.page_size = 4;
  EXPECT_THAT(message_of([&] { write_block_table(make_forest(source)); }),
              AllOf(HasSubstr("gap: node 1"), HasSubstr("1 of 4 tokens are filled")));
}

TEST(BlockTable, NamesLineAndElementOfBadInput) {
  const std::string ok = R"({"id":"a","tokens":6,"pages":[7,8]})";
  const auto message = [&](const std::string& line) {
    return message_of([&] { read_block_table(table_text(4, {ok, line}), "t.jsonl"); });
  };
  EXPECT_EQ(message(ok), "t.jsonl:3: id: expected an id of its own, got \"a\" again, as in t.jsonl:2");
  EXPECT_EQ(message(R"({"id":"b","tokens":9,"pages":[7,8]})"),
            "t.jsonl:3: pages: expected 3 pages for 9 tokens, got 2");
  EXPECT_THAT(message(R"({"id":"b","tokens":4,"pages":[7,8]})"), HasSubstr("expected 1 pages for 4 tokens, got 2"));
  EXPECT_EQ(message(R"({"id":"b","tokens":12,"pages":[7,8,7]})"),
            "t.jsonl:3: pages[2]: expected each page once in a request, got page 7 again");
  EXPECT_EQ(message(R"({"id":"b","tokens":8,"pages":[4000000000000,4000000000000]})"),
            "t.jsonl:3: pages[1]: expected each page once in a request, got page 4000000000000 again");
  EXPECT_THAT(message(R"({"id":"b","tokens":0,"pages":[]})"), HasSubstr("t.jsonl:3: tokens: expected an integer >= 1"));
  EXPECT_THAT(message(R"({"id":"b","tokens":4,"pages":[-1]})"), HasSubstr("t.jsonl:3: pages[0]"));
  EXPECT_THAT(message(R"({"id":1.5,"tokens":4,"pages":[1]})"), HasSubstr("t.jsonl:3: id: expected an integer"));
  EXPECT_THAT(message(R"({"id":"b","tokens":4,"pages":[1],"age":3})"), HasSubstr("\"age\""));
  EXPECT_THAT(message(R"({"id":"b","tokens":9000000000000000000,"pages":[1]})"), HasSubstr("pages for"));
  EXPECT_THAT(message_of([] { read_block_table("", "t"); }), HasSubstr("an empty file"));
  EXPECT_THAT(message_of([] { read_block_table("{\"schema\":\"block_table/1\"}", "t"); }), HasSubstr("page_size"));
  EXPECT_THAT(message_of([] { read_block_table("{\"schema\":\"block_table/2\",\"page_size\":1}", "t"); }),
              HasSubstr("block_table/1"));
  EXPECT_THAT(message_of([] { read_block_table(table_text(0, {}), "t"); }), HasSubstr("page_size"));
  EXPECT_EQ(read_block_table(table_text(4, {}), "t").request_count(), 0U);
}

TEST(BlockTable, WithAMillionPagesIsPlannedQuickly) {
  // 256 requests of 4,096 pages that share three quarters: linear work is milliseconds, quadratic would be minutes.
  BlockTable table;
  table.page_size = 16;
  for (std::int64_t r = 0; r < 256; ++r) {
    table.request_id.push_back(std::to_string(r));
    for (std::int64_t p = 0; p < 4096; ++p) table.pages.push_back(p < 3072 ? p : 4096 * (r + 1) + p);
    table.page_begin.push_back(table.pages.size());
    table.tokens.push_back(4096 * 16 - r % 16);
  }
  const PrefixForest forest = make_forest(table, "big");
  EXPECT_EQ(forest.node_count(), 257U);
  EXPECT_EQ(forest.pages.page_ids.size(), 3072U + 256 * 1024);
}

TEST(BlockTable, WithAHundredThousandRootsStaysLinear) {
  BlockTable table;
  for (std::int64_t r = 0; r < 100000; ++r) {
    table.request_id.push_back(std::to_string(r));
    table.pages.push_back(r);
    table.page_begin.push_back(table.pages.size());
    table.tokens.push_back(1);
  }
  EXPECT_EQ(make_forest(table, "wide").node_count(), 100000U);
}

}  // namespace
}  // namespace espalier::traces

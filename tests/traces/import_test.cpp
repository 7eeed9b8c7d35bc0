// Snapshots, tree notation, block tables and our own document.
#include "traces/import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "core/file.h"
#include "core/json.h"
#include "core/text.h"
#include "forest_samples.h"
#include "traces/statistics.h"

namespace espalier::traces {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kLine0 = R"({"name":"a","snapshot":0,"note":"n","parent":[-1,0,0],"tokens":[5,6,7],"leaf":[1,2]})";
const std::string kLine4 = R"({"name":"a","snapshot":4,"parent":[1,-1],"tokens":[2,3],"leaf":[0],"x_free":[{}]})";

std::string forests_message(const std::string& text, std::optional<std::int64_t> snapshot = std::nullopt) {
  return message_of([&] { read_forests(text, "s.jsonl", snapshot); });
}

TEST(Snapshots, AreReadAndPicked) {
  const std::string text = kLine0 + "\n\n" + kLine4 + "\n";
  const auto all = read_forests(text, "s.jsonl", std::nullopt);
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].name, "a#0");
  EXPECT_EQ(unique_tokens(all[0]), 18);
  EXPECT_THAT(all[1].node_label.raw(), ElementsAre(1, 0)) << "the file's own ids";
  const auto one = read_forests(text, "s.jsonl", 4);
  ASSERT_EQ(one.size(), 1U);
  EXPECT_EQ(one[0].name, "a#4");
  EXPECT_EQ(forests_message(text, 7), "s.jsonl: expected a snapshot 7, got only snapshots 0, 4");
}

TEST(Snapshots, FallBackToFileAndPlaceForTheirName) {
  const auto forests = read_forests(R"({"parent":[-1],"tokens":[5],"leaf":[]})", "dir/s.jsonl.gz", std::nullopt);
  EXPECT_EQ(forests.at(0).name, "s#0");
  EXPECT_EQ(forests.at(0).node_count(), 0U) << "no request, an empty forest";
}

TEST(Snapshots, NameLineAndElementOfBadInput) {
  const auto with = [](const std::string& parent, const std::string& tokens, const std::string& leaf) {
    return kLine0 + "\n{\"parent\":" + parent + ",\"tokens\":" + tokens + ",\"leaf\":" + leaf + "}\n";
  };
  EXPECT_EQ(forests_message(with("[-1,0,0,9]", "[1,1,1,1]", "[1]")),
            "s.jsonl:2: parent[3]: expected an integer from -1 to 3, got 9");
  EXPECT_EQ(forests_message(with("[-1]", "[-4]", "[0]")),
            "s.jsonl:2: tokens[0]: expected an integer from 0 to 2147483646, got -4");
  EXPECT_THAT(forests_message(with("[-1]", "[1000000000000]", "[0]")), HasSubstr("s.jsonl:2: tokens[0]"));
  EXPECT_THAT(forests_message(with("[-1]", "[1.5]", "[0]")), HasSubstr("tokens[0]: expected an integer"));
  EXPECT_THAT(forests_message(with("[-1]", "[1]", "[1]")), HasSubstr("s.jsonl:2: leaf[0]: expected"));
  EXPECT_THAT(forests_message(with("[1,0]", "[1,1]", "[1]")), HasSubstr("a cycle through node"));
  EXPECT_THAT(forests_message(with("[-1,0]", "[1]", "[0]")), HasSubstr("s.jsonl:2: tokens: expected 2 elements"));
  EXPECT_THAT(forests_message(with("[-1]", "[0]", "[0]")), HasSubstr("an empty path"));
  EXPECT_THAT(forests_message(with("3", "[1]", "[0]")), HasSubstr("s.jsonl:2: parent: expected an array, got 3"));
  EXPECT_THAT(forests_message(with("[-1]", "[1]", "[0],\"color\":1")),
              AllOf(HasSubstr("s.jsonl:2: expected only the keys"), HasSubstr("\"color\"")));
  EXPECT_THAT(forests_message("{\"parent\":[-1],\"tokens\":[1]}"), HasSubstr("s.jsonl:1: expected key \"leaf\""));
  EXPECT_THAT(forests_message("{\"parent\":[-1"), HasSubstr("s.jsonl:1: expected JSON"));
  EXPECT_THAT(forests_message(" \n"), HasSubstr("an empty file"));
  EXPECT_THAT(forests_message("[1]"), HasSubstr("s.jsonl:1: expected an object"));
}

/// Rows "| name | 8 | requests | roots | nodes | level | mean (low-high) | …" of the data set's own table.
std::map<std::string, std::vector<std::string>> table_rows(const std::string& readme) {
  std::map<std::string, std::vector<std::string>> rows;
  for (const std::string& line : core::split(readme, '\n')) {
    auto cells = core::split(line, '|');
    if (cells.size() < 12) continue;
    for (std::string& cell : cells) {
      cell.erase(0, cell.find_first_not_of(' '));
      cell.erase(cell.find_last_not_of(' ') + 1);
    }
    if (cells[2] == "8") rows[cells[1]] = cells;
  }
  return rows;
}

TEST(Snapshots, OfTheRealForestsHaveThePublishedFigures) {
  const std::string folder = ESPALIER_SHARED_DATA "/forests";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no real forests beside the checkout";
  const auto rows = table_rows(core::read_file(folder + "/README.md"));
  EXPECT_EQ(rows.size(), 33U);
  for (const auto& [name, cells] : rows) {
    double low = 1e9, high = 0, one_level = 0, unique = 0;
    std::int64_t deepest = 0;
    const auto forests = read_forests(core::read_file(folder + "/" + name + ".jsonl"), name, std::nullopt);
    ASSERT_EQ(forests.size(), 8U);
    for (const PrefixForest& forest : forests) {
      check_forest(forest);
      const ForestStatistics s = describe(forest, HeadConfig{}, 1);
      low = std::min(low, s.dedupe);
      high = std::max(high, s.dedupe);
      one_level += s.one_level_dedupe / 8;
      unique += static_cast<double>(s.unique_tokens) / 8;
      deepest = std::max(deepest, s.deepest_level);
    }
    const std::string& range = cells[7];
    EXPECT_EQ(range.substr(range.find('(')), fmt::format("({:.2f}-{:.2f})", low, high)) << name;
    EXPECT_EQ(cells[6], std::to_string(deepest)) << name;
    EXPECT_EQ(cells[8], fmt::format("{:.2f}", one_level)) << name;
    EXPECT_EQ(cells[11], fmt::format("{:.0f}", unique / 1000)) << name;
  }
}

TEST(Tree, FollowsTheNotation) {
  const PrefixForest star = parse_tree("1,10|4096,416");
  check_forest(star);
  EXPECT_EQ(star.node_count(), 11U);
  EXPECT_EQ(star.request_count(), 10U);
  EXPECT_EQ(star.name, "1,10|4096,416");
  EXPECT_EQ(parse_tree("1,10_4096,416").tokens, star.tokens);
  // Node j of 5 hangs under floor(j * 2 / 5).
  const PrefixForest uneven = parse_tree("2,5|8,1");
  EXPECT_EQ(uneven.readers(NodeId(0)), 3);
  EXPECT_EQ(uneven.readers(NodeId(4)), 2);
}

TEST(Tree, MayShrinkAndMayHaveEmptyLevels) {
  const PrefixForest shrunk = parse_tree("8,4|10,1");
  check_forest(shrunk);
  EXPECT_EQ(shrunk.node_count(), 8U) << "roots 1, 3, 5 and 7 are read by nobody";
  EXPECT_THAT(shrunk.node_label.raw(), ElementsAre(0, 8, 2, 9, 4, 10, 6, 11));
  const PrefixForest twins = parse_tree("1,2,4|10,20,0");
  check_forest(twins);
  EXPECT_EQ(twins.node_count(), 3U);
  EXPECT_EQ(twins.request_count(), 4U);
}

TEST(Tree, RejectsBadNotationAsUsage) {
  for (const char* text : {"", "1,10", "|", "1|", "1,10|4096", "0|5", "1|-5", "1,x|1,1", "1|0", "1,2|0,0", "1|5|6",
                           "99999999999|1", "1|99999999999", "16777216,1|1,1", "1 |5"}) {
    EXPECT_THAT(message_of([&] { parse_tree(text); }, core::ErrorKind::usage), HasSubstr("tree: expected")) << text;
  }
}

TEST(Document, RoundTripsEveryForest) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    PrefixForest forest = make_forest(random_source(seed));
    for (NodeId n : core::ids<NodeId>(forest.node_count())) forest.node_label[n] += 1000;
    const std::string text = write_forest(forest);
    EXPECT_EQ(read_forest_document(text, "f.json"), forest) << "seed " << seed;
    EXPECT_EQ(read_forests(text, "f.json", std::nullopt).at(0), forest) << "seed " << seed;
    EXPECT_EQ(write_forest(read_forest_document(text, "f.json")), text);
  }
}

TEST(Document, TakesRowsInAnyOrderWithTheirPages) {
  const PrefixForest forest = read_forest_document(
      R"({"schema":"forest/1","page_size":4,"parent":[1,-1,1],"tokens":[4,8,4],"leaf":[0,2,1],"first_page":[2,0,3],
          "first_offset":[0,0,0],"page_ids":[10,11,12,13]})",
      "f.json");
  check_forest(forest);
  EXPECT_THAT(forest.node_label.raw(), ElementsAre(1, 0, 2));
  EXPECT_THAT(forest.pages.first_page.raw(), ElementsAre(0, 2, 3));
  EXPECT_THAT(forest.request_label.raw(), ElementsAre("2", "0", "1"));
}

TEST(Document, StandsInsideAnother) {
  const PrefixForest forest = parse_tree("1,3|10,4");
  core::JsonWriter out;
  out.begin_object().key("forest");
  write_forest(out, forest);
  const std::string text = out.end_object().finish();
  const auto document = core::JsonDocument::parse(text, "plan.json");
  EXPECT_EQ(read_forest(document.root().at("forest")), forest);
}

TEST(Document, NamesWhatIsWrong) {
  const auto message = [](const std::string& body) {
    return message_of([&] { read_forests("{ \"schema\": \"forest/1\"," + body + "}", "f.json", std::nullopt); });
  };
  const std::string rows = R"("parent":[-1,0],"tokens":[5,6],"leaf":[1])";
  EXPECT_THAT(message(rows + R"(,"page_size":0)"), HasSubstr("f.json: page_size: expected an integer from 1"));
  EXPECT_THAT(message(rows + R"(,"first_page":[0])"), HasSubstr("expected key \"first_offset\""));
  EXPECT_THAT(message(rows + R"(,"first_offset":[0,0])"),
              HasSubstr("f.json: first_offset: expected first_page beside"));
  EXPECT_THAT(
      message(rows + R"(,"first_page":[0,9],"first_offset":[0,0],"page_ids":[1,2,3,4,5,6])"),
      HasSubstr("f.json: first_page[1]: expected a node that ends before page 6, got one that ends in page 14"));
  EXPECT_THAT(message(rows + R"(,"page_ids":[1])"), HasSubstr("f.json: page_ids"));
  EXPECT_THAT(message(rows + R"(,"request_label":["a","b"])"), HasSubstr("request_label: expected 1 elements"));
  EXPECT_THAT(message(rows + R"(,"node_label":[1])"), HasSubstr("node_label: expected 2 elements"));
  EXPECT_THAT(message(rows + R"(,"batch_position":[1])"), HasSubstr("batch_position: expected a permutation of the 1"));
  EXPECT_THAT(message(rows + R"(,"colour":1)"), HasSubstr("\"colour\""));
  EXPECT_THAT(message_of([] { read_forests(R"({"schema":"plan/1"})", "p.json", std::nullopt); }),
              HasSubstr("p.json: schema: expected \"forest/1\", got \"plan/1\""));
  EXPECT_THAT(message_of([] { read_forests(write_forest(parse_tree("1|5")), "f.json", 3); }), HasSubstr("snapshot 3"));
}

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

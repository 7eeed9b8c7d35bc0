// Snapshots, tree notation and our own document.
#include "traces/import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>

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

}  // namespace
}  // namespace espalier::traces

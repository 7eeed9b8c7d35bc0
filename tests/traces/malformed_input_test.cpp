// Random damage to valid files: a reader gives a valid forest or an Error, never another exception, never a crash.
#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "core/rng.h"
#include "forest_samples.h"
#include "traces/import.h"
#include "traces/replay.h"

namespace espalier::traces {
namespace {

const std::string kSnapshots =
    "{\"name\":\"a\",\"snapshot\":0,\"note\":\"n\",\"parent\":[-1,0,0,2,-1],\"tokens\":[5,6,7,1,900],\"leaf\":[1,2,3,4,"
    "3]}\n"
    "{\"name\":\"a\",\"snapshot\":1,\"parent\":[1,-1],\"tokens\":[2,3],\"leaf\":[0]}\n";
const std::string kBlockTable =
    "{\"schema\":\"block_table/1\",\"page_size\":4}\n{\"id\":\"a\",\"tokens\":6,\"pages\":[7,8]}\n"
    "{\"id\":\"b\",\"tokens\":7,\"pages\":[7,8]}\n{\"id\":3,\"tokens\":9,\"pages\":[7,8,9]}\n";
const std::string kMooncake =
    "{\"timestamp\":0,\"input_length\":600,\"output_length\":9,\"hash_ids\":[0,2]}\n"
    "{\"timestamp\":27,\"input_length\":1100,\"output_length\":40,\"hash_ids\":[0,3,4]}\n"
    "{\"timestamp\":40,\"input_length\":512,\"output_length\":1,\"hash_ids\":[0]}\n";

/// One to four edits: a byte changed, dropped, doubled, a digit swapped for another, a piece copied elsewhere, or the
/// end cut off.
std::string damaged(std::string text, std::uint64_t seed) {
  core::Rng rng(seed);
  const std::string alphabet = "0123456789-.,:[]{}\"eE \n\\x\xff";
  const std::int64_t edits = rng.integer(1, 4);
  for (std::int64_t e = 0; e < edits && !text.empty(); ++e) {
    const auto at = static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(text.size()) - 1));
    const char c = alphabet[static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(alphabet.size()) - 1))];
    switch (rng.integer(0, 6)) {
      case 0:
        text[at] = c;
        break;
      case 1:
        text.erase(at, 1);
        break;
      case 2:
        text.insert(at, 1, c);
        break;
      case 3:
        text.insert(at, text.substr(at / 2, 9));
        break;
      case 4:
        text.resize(at);
        break;
      default: {  // digits are where the meaning is
        const std::size_t digit = text.find_first_of("0123456789", at);
        if (digit != std::string::npos) text[digit] = static_cast<char>('0' + rng.integer(0, 9));
      }
    }
  }
  return text;
}

/// Reads damaged copies; returns how many were still valid, so that a test sees both outcomes.
int survivors(const std::string& text, const std::function<std::vector<PrefixForest>(const std::string&)>& read) {
  int valid = 0;
  for (std::uint64_t seed = 0; seed < 4000; ++seed) {
    const std::string input = damaged(text, seed);
    try {
      for (const PrefixForest& forest : read(input)) check_forest(forest);
      ++valid;
    } catch (const core::Error& e) {
      EXPECT_GT(std::string(e.what()).size(), 10U);
    } catch (const std::exception& e) {
      ADD_FAILURE() << "seed " << seed << ": " << e.what() << "\n" << input;
    }
  }
  return valid;
}

TEST(MalformedInput, SnapshotsGiveAForestOrAnError) {
  const int valid = survivors(kSnapshots, [](const std::string& s) { return read_forests(s, "f", std::nullopt); });
  EXPECT_GT(valid, 100);
  EXPECT_LT(valid, 3000);
}

TEST(MalformedInput, DocumentsGiveAForestOrAnError) {
  const std::string text = write_forest(read_block_table(kBlockTable, "t"));
  const int valid = survivors(text, [](const std::string& s) { return read_forests(s, "f", std::nullopt); });
  EXPECT_GT(valid, 100);
  EXPECT_LT(valid, 3000);
}

TEST(MalformedInput, BlockTablesGiveAForestOrAnError) {
  const int valid =
      survivors(kBlockTable, [](const std::string& s) { return std::vector<PrefixForest>{read_block_table(s, "f")}; });
  EXPECT_GT(valid, 100);
  EXPECT_LT(valid, 3000);
}

TEST(MalformedInput, TracesGiveBatchesOrAnError) {
  const int valid = survivors(kMooncake, [](const std::string& s) {
    ReplayOptions options;
    options.running = 2;
    options.samples = 2;
    return replay(read_mooncake(s, "f"), options);
  });
  EXPECT_GT(valid, 100);
  EXPECT_LT(valid, 3000);
}

TEST(MalformedInput, TreesGiveAForestOrAnError) {
  EXPECT_GT(survivors("1,2,4|10,200,3", [](const std::string& s) { return std::vector<PrefixForest>{parse_tree(s)}; }),
            100);
}

TEST(MalformedInput, PagesThatStandTwiceAreFoundHoweverTheyFollowOneAnother) {
  std::int64_t twice = 0;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    core::Rng rng(seed);
    std::vector<std::int32_t> pages;
    std::set<std::int32_t> once;
    while (pages.size() < 60) {
      const auto first = static_cast<std::int32_t>(rng.integer(0, 4000));
      const std::int64_t run = rng.chance(0.5) ? rng.integer(1, 40) : 1;
      for (std::int32_t k = 0; k < run; ++k) pages.push_back(first + k);
    }
    once.insert(pages.begin(), pages.end());
    const std::vector<std::int32_t> tokens{static_cast<std::int32_t>(pages.size())}, begin{0, tokens[0]};
    const auto read = [&] { return make_forest(BlockTableView{1, tokens, begin, pages}, "t"); };
    if (once.size() == pages.size()) {
      EXPECT_NO_THROW(read()) << "seed " << seed;
    } else {
      EXPECT_THROW(read(), core::Error) << "seed " << seed;
      ++twice;
    }
  }
  EXPECT_GT(twice, 50);
  EXPECT_LT(twice, 350);
}

}  // namespace
}  // namespace espalier::traces

// The table of suites. Shapes are those that the benchmarks' scripts and papers state; where a benchmark replays
// recorded data, the items are drawn from the family that was fitted to it, with a seed of their own. Left out of
// DeFT's: its tree of 10 drafted tokens, whose shape is not published, and the steps in between (a few-shot tree stands
// at its last one).
#include "traces/suites.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/rng.h"
#include "core/text.h"
#include "traces/families.h"
#include "traces/import.h"

namespace espalier::traces {
namespace {

/// "01", "02", …: numbers as in the benchmark's own table.
std::vector<SuiteItem> numbered(const std::vector<std::string>& specs) {
  std::vector<SuiteItem> items;
  for (const std::string& spec : specs) items.push_back({fmt::format("{:02}", items.size() + 1), spec});
  return items;
}

Suite pat20() {
  return {"pat20",
          "PAT's 20 kernel shapes: one to seven levels, several roots, no sharing; batch order shuffled with a seed of "
          "ours",
          numbered({"1,10|4096,416",
                    "1,256|256,32",
                    "1,1024|2048,32",
                    "1,2,64|1024,256,256",
                    "1,4,256|32,256,32",
                    "1,8,512|32,512,256",
                    "1,8,512|32,2048,256",
                    "1,8,512|512,512,256",
                    "1,4,8,256|32,256,256,32",
                    "1,4,16,512|1024,256,128,32",
                    "1,4,16,64,256,1024|256,32,256,64,32,256",
                    "1,16,32,64,128,1024|256,128,64,32,32,32",
                    "1,16,32,64,256,1024|256,128,64,32,32,32",
                    "1,8,16,32,64,128,1024|256,128,64,32,32,32,32",
                    "1,8,16,32,64,256,1024|256,128,64,32,32,32,32",
                    "2,8,16,256|256,256,32,32",
                    "4,16,256,512|512,32,128,32",
                    "8,16,32,256|512,512,256,32",
                    "256|1024",
                    "256|4096"}),
          true};
}

Suite ft15() {
  return {
      "ft15", "FastTree's 15 kernel shapes, two to nine levels, numbered as in its figure",
      numbered({"1,10|4000,400", "1,256|256,32", "1,1024|2048,32", "1,2,64|8,256,32", "1,4,256|8,256,32",
                "1,16,64|1024,256,32", "1,4,8,256|8,256,256,32", "1,4,16,512|1024,256,128,32",
                "1,4,16,64,256,1024|256,8,256,64,32,256", "1,16,32,64,128,1024|256,128,64,16,16,16",
                "1,16,32,64,256,1024|256,128,64,16,16,16", "1,8,16,32,64,128,1024|256,128,64,16,16,16,16",
                "1,8,16,32,64,256,1024|256,128,64,16,16,16,16", "1,2,4,8,16,32,64,128,1024|16,16,16,16,16,16,16,16,16",
                "1,2,4,8,16,32,64,128,1024|256,128,64,16,16,16,16,16,16"})};
}

/// "1,k,k^2|1024,1024,1024"
std::string full_tree(std::int64_t arity, int depth) {
  std::vector<std::string> widths, tokens;
  std::int64_t width = 1;
  for (int level = 0; level < depth; ++level, width *= arity) {
    widths.push_back(std::to_string(width));
    tokens.emplace_back("1024");
  }
  return core::join(widths, ",") + "|" + core::join(tokens, ",");
}

Suite codec_suite() {
  Suite suite = {
      "codec_suite",
      "CoDec's five sweeps: tail length, batch (two roots), depth, shared ratio at 120000 tokens a request, arity",
      {}};
  const auto add = [&](std::string label, std::string spec) {
    suite.items.push_back({std::move(label), std::move(spec)});
  };
  // Its benchmark makes this star as a binary tree whose two middle levels are empty.
  for (const int tail : {128, 256, 512, 1024, 2048}) {
    add(fmt::format("seq-{}", tail), fmt::format("1,2,4,8|4096,0,0,{}", tail));
  }
  for (const int root : {2048, 120000}) {
    for (const int batch : {4, 8, 16, 32, 64}) {
      add(fmt::format("batch-{}-root-{}", batch, root), fmt::format("1,{}|{},2048", batch, root));
    }
  }
  for (const int depth : {2, 3, 4, 5, 6}) add(fmt::format("depth-{}", depth), full_tree(2, depth));
  constexpr double kBatch = 16, kContext = 120000;
  for (const double ratio : {0.05, 0.1, 0.2, 0.5, 0.8}) {
    // The ratio is the shared node over all unique tokens.
    const std::int64_t shared = std::llround(ratio * kBatch * kContext / (1 + ratio * (kBatch - 1)));
    add(fmt::format("ratio-{}", ratio),
        fmt::format("1,16|{},{}", shared, static_cast<std::int64_t>(kContext) - shared));
  }
  for (const int arity : {2, 3, 4, 5}) add(fmt::format("arity-{}", arity), full_tree(arity, 3));
  add("chain", full_tree(1, 3));
  return suite;
}

Suite deft_suite() {
  Suite suite = {"deft_suite",
                 "DeFT's workloads: few-shot trees at their end, Medusa token trees; its recorded reasoning trees "
                 "approximated by tot, three moments each",
                 {}};
  for (const int width : {20, 30, 50}) {
    suite.items.push_back({fmt::format("few-shot-{}", width), fmt::format("1,{}|4000,400", width)});
  }
  suite.items.push_back({"few-shot-50-long", "1,50|20000,400"});
  // Means and spreads of the recorded trees: levels, prompt, median thought, sigma from its 10th and 90th percentile.
  const std::array<std::pair<const char*, const char*>, 4> tasks = {{
      {"docmerge", "levels=3,prompt=1250,thought=1023,spread=0.37"},
      {"keyword", "levels=6,prompt=1419,thought=78,spread=0.25"},
      {"set", "levels=9,prompt=1611,thought=63,spread=0.88"},
      {"sorting", "levels=10,prompt=1104,thought=369,spread=1"},
  }};
  for (const auto& [task, options] : tasks) {
    for (const char* moment : {"a", "b", "c"}) {
      suite.items.push_back(
          {fmt::format("{}-{}", task, moment), fmt::format("tot:trees=1,width=10,expanded=1,{}", options)});
    }
  }
  for (const char* tree : {"t5", "t32", "t64", "t96", "t128", "t256"}) {
    suite.items.push_back({tree, fmt::format("spec_tree:contexts=1,context=1000,spread=0,tree={}", tree)});
  }
  suite.items.push_back({"t64-long", "spec_tree:contexts=1,context=20000,spread=0,tree=t64"});
  return suite;
}

Suite planning_tree(const char* name, const char* summary, const char* spec) { return {name, summary, {{"", spec}}}; }

constexpr std::string_view kCaterpillar = "caterpillar:", kRagged = "ragged:";

Suite ragged40() {
  Suite suite{
      "ragged40",
      "random ragged forests on which planners are compared with the tuner's best plans; half small, half medium",
      {}};
  for (std::int64_t i = 0; i < kRaggedForests; ++i) {
    suite.items.push_back(
        {fmt::format("{}-{:02}", i % 2 == 0 ? "small" : "medium", i / 2), fmt::format("{}{}", kRagged, i)});
  }
  return suite;
}

/// A spine of `spine` segments, a leaf and its request on each.
PrefixForest caterpillar(std::int64_t spine, std::int64_t segment, std::int64_t leaf) {
  ForestSource source;
  std::int64_t at = -1;
  for (std::int64_t s = 0; s < spine; ++s) {
    const auto here = static_cast<std::int64_t>(source.parent.size());
    source.parent.insert(source.parent.end(), {at, here});
    source.tokens.insert(source.tokens.end(), {segment, leaf});
    source.leaf.push_back(here + 1);
    at = here;
  }
  return make_forest(source);
}

PrefixForest forest_of(const Suite& suite, const SuiteItem& item) {
  if (item.spec.starts_with(kCaterpillar)) {
    std::vector<std::int64_t> n;
    for (const std::string& part : core::split(std::string_view(item.spec).substr(kCaterpillar.size()), ',')) {
      n.push_back(core::parse_integer(part).value_or(0));
    }
    ESPALIER_CHECK_OP(n.size(), ==, std::size_t{3});
    return caterpillar(n[0], n[1], n[2]);
  }
  if (item.spec.starts_with(kRagged)) {
    return ragged_forest(1, core::parse_integer(std::string_view(item.spec).substr(kRagged.size())).value_or(-1));
  }
  if (item.spec.find('|') != std::string::npos) return parse_tree(item.spec);
  // One seed an item, so that the moments of one task differ.
  return generate_family(item.spec, static_cast<std::uint64_t>(&item - suite.items.data()) + 1);
}

void shuffle_batch(PrefixForest& forest) {
  core::Rng rng(1);
  auto& positions = forest.batch_position.raw();
  for (std::size_t i = positions.size(); i > 1; --i) {
    const auto j = static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(i) - 1));
    std::swap(positions[i - 1], positions[j]);
  }
}

}  // namespace

const std::vector<Suite>& suites() {
  static const std::vector<Suite> table = {
      pat20(),
      ft15(),
      codec_suite(),
      deft_suite(),
      planning_tree("s1", "planning-speed tree: 64 requests of 256 tokens behind a shared 8192", "1,64|8192,256"),
      planning_tree("s2", "planning-speed tree: four levels, 256 requests", "1,4,32,256|2048,512,256,128"),
      planning_tree("s3", "planning-speed tree: three levels, 1024 requests", "1,32,1024|2048,512,128"),
      planning_tree("s4", "planning-speed tree: a spine of 64 segments with a leaf on each", "caterpillar:64,128,128"),
      ragged40(),
  };
  return table;
}

std::string item_name(const Suite& suite, const SuiteItem& item) {
  return item.label.empty() ? suite.name : suite.name + "/" + item.label;
}

PrefixForest make_item(const Suite& suite, const SuiteItem& item) {
  PrefixForest forest = forest_of(suite, item);
  if (suite.shuffled) shuffle_batch(forest);
  forest.name = item_name(suite, item);
  return forest;
}

std::vector<PrefixForest> make_suite(std::string_view name) {
  std::vector<std::string> names;
  const std::string_view wanted = name.substr(0, name.find('/'));
  for (const Suite& suite : suites()) {
    names.push_back(suite.name);
    if (suite.name != wanted) continue;
    std::vector<PrefixForest> forests;
    std::vector<std::string> labels;
    for (const SuiteItem& item : suite.items) {
      if (name == suite.name || name == item_name(suite, item)) forests.push_back(make_item(suite, item));
      labels.push_back(item_name(suite, item));
    }
    if (forests.empty()) throw core::usage_error(core::unknown_name("input of suite " + suite.name, name, labels));
    return forests;
  }
  throw core::usage_error(core::unknown_name("suite", wanted, names));
}

}  // namespace espalier::traces

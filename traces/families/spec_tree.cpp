// spec_tree: speculative decoding. A tree of drafted tokens hangs on each context; every drafted token is a query, and
// so is the last token of the context. A node is one token long and reads its path alone: most of the work shares one
// long node, the rest is tiny and ragged.
//
// The fixed trees are those of Medusa heads as DeFT's benchmark has them: nodes a level and children of each expanded
// node are exact; that expanded nodes come first in their level is ours.
#include <algorithm>
#include <array>
#include <vector>

#include "traces/families/building.h"

namespace espalier::traces {
namespace {

/// `nodes` nodes of a level with `children` each; the nodes of a level that no run counts have none.
struct Run {
  std::int64_t children, nodes;
};
using Levels = std::vector<std::vector<Run>>;

enum class Draft : std::int64_t { random, t5, t32, t64, t96, t128, t256 };

/// From the root's children on.
const Levels& fixed_tree(Draft draft) {
  static const std::array<Levels, 6> trees = {{
      {{{4, 1}}, {{1, 1}}},
      {{{4, 1}}, {{2, 4}}, {{2, 8}}, {{2, 1}, {1, 1}}},
      {{{10, 1}}, {{10, 1}, {7, 1}, {3, 1}, {2, 1}, {1, 6}}, {{10, 1}, {3, 1}, {2, 2}, {1, 6}}, {{2, 1}}},
      {{{4, 1}}, {{3, 4}}, {{3, 12}}, {{3, 14}, {1, 1}}},
      {{{5, 1}}, {{4, 5}}, {{4, 20}}, {{4, 5}, {2, 1}}},
      {{{6, 1}}, {{5, 6}}, {{5, 30}}, {{4, 17}, {1, 1}}},
  }};
  return trees[static_cast<std::size_t>(draft) - 1];
}

/// A drafted token and a query at it.
std::int64_t draft_token(ForestSource& source, std::int64_t parent) {
  add_tail(source, parent, 1);
  return source.leaf.back();
}

void add_fixed(ForestSource& source, std::int64_t context, const Levels& levels) {
  std::vector<std::int64_t> above = {context};
  for (const std::vector<Run>& level : levels) {
    std::vector<std::int64_t> here;
    std::size_t parent = 0;
    for (const Run& run : level) {
      for (std::int64_t n = 0; n < run.nodes; ++n, ++parent) {
        for (std::int64_t c = 0; c < run.children; ++c) here.push_back(draft_token(source, above[parent]));
      }
    }
    above = std::move(here);
  }
}

/// A path of `levels` tokens, then tokens under any that are above the last level.
void add_random(ForestSource& source, core::Rng& rng, std::int64_t context, std::int64_t tokens, std::int64_t levels) {
  struct Drafted {
    std::int64_t node, level;
  };
  std::vector<Drafted> parents = {{context, 0}};
  for (std::int64_t t = 0; t < tokens; ++t) {
    const std::int64_t last = static_cast<std::int64_t>(parents.size()) - 1;
    const Drafted parent = parents[static_cast<std::size_t>(t < levels ? last : rng.integer(0, last))];
    const Drafted token = {draft_token(source, parent.node), parent.level + 1};
    if (token.level < levels) parents.push_back(token);
  }
}

PrefixForest generate(const FamilyOptions& options, std::uint64_t seed) {
  const std::int64_t contexts = whole_option(options, "contexts");
  const std::int64_t queries = whole_option(options, "queries");
  const std::int64_t levels = whole_option(options, "levels");
  const auto draft = static_cast<Draft>(whole_option(options, "tree"));
  const double median = real_option(options, "context");
  const LengthRange context = {median, real_option(options, "spread"), static_cast<std::int64_t>(median / 8),
                               static_cast<std::int64_t>(median * 8)};
  core::Rng rng(seed);
  ForestSource source;
  for (std::int64_t c = 0; c < contexts; ++c) {
    const std::int64_t root = add_node(source, kNoParent, draw_length(rng, context));
    source.leaf.push_back(root);
    if (draft == Draft::random) {
      add_random(source, rng, root, queries - 1, levels);
    } else {
      add_fixed(source, root, fixed_tree(draft));
    }
  }
  return make_forest(source);
}

}  // namespace

Family spec_tree_family() {
  return {"spec_tree",
          "trees of drafted tokens on long contexts, a query at every token; dedupe about the size of a tree",
          {{"contexts", 4, 1, 1024, "contexts, each with a tree of its own"},
           {"tree",
            3,
            0,
            6,
            "random, or a tree of Medusa heads by its published size",
            OptionKind::whole,
            {"random", "t5", "t32", "t64", "t96", "t128", "t256"}},
           {"context", 8000, 1, kLongestOption, "median context tokens, clipped to an eighth and 8 times of it"},
           {"spread", 0.8, 0, 3, "sigma of the logarithm of context lengths", OptionKind::real},
           {"queries", 64, 1, 512, "random: queries of a tree, the one of the context included"},
           {"levels", 5, 1, 64, "random: levels of drafted tokens"}},
          generate};
}

}  // namespace espalier::traces

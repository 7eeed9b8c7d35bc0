// tot: tree-of-thought search at a random iteration. A level has `width` candidates; `expanded` of them get children,
// which start when their parent ends; the others are pruned when they end. So a tree is a caterpillar, and what runs is
// a star on the chain of chosen thoughts, with stragglers of the level before it.
#include <algorithm>
#include <cmath>
#include <vector>

#include "traces/families/building.h"

namespace espalier::traces {
namespace {

struct Shape {
  std::int64_t width, levels, expanded;
  LengthRange thought;
};

/// A node and the iterations (start, end] in which it generates its tokens, one each.
struct Thought {
  std::int64_t node, start, end;
};

/// Grows the whole tree under `prompt`, then keeps what runs at one iteration drawn from its life.
void add_tree(ForestSource& source, core::Rng& rng, const Shape& shape, std::int64_t prompt) {
  std::vector<Thought> all, chosen = {{prompt, 0, 0}};
  std::int64_t last_iteration = 0;
  for (std::int64_t level = 0; level < shape.levels; ++level) {
    std::vector<Thought> candidates;
    for (std::int64_t w = 0; w < shape.width; ++w) {
      const Thought parent = chosen[static_cast<std::size_t>(w) % chosen.size()];
      const std::int64_t tokens = draw_length(rng, shape.thought);
      candidates.push_back({add_node(source, parent.node, tokens), parent.end, parent.end + tokens});
      last_iteration = std::max(last_iteration, parent.end + tokens);
    }
    all.insert(all.end(), candidates.begin(), candidates.end());
    const std::int64_t keep = std::min(shape.expanded, shape.width);
    for (std::int64_t k = 0; k < keep; ++k) {
      const auto swap_with = static_cast<std::size_t>(rng.integer(k, shape.width - 1));
      std::swap(candidates[static_cast<std::size_t>(k)], candidates[swap_with]);
    }
    candidates.resize(static_cast<std::size_t>(keep));
    chosen = std::move(candidates);
  }
  const std::int64_t now = rng.integer(1, last_iteration);
  for (const Thought& thought : all) {
    if (thought.start >= now || now > thought.end) continue;
    source.tokens[static_cast<std::size_t>(thought.node)] = now - thought.start;
    source.leaf.push_back(thought.node);
  }
}

PrefixForest generate(const FamilyOptions& options, std::uint64_t seed) {
  const double median = real_option(options, "thought");
  const Shape shape = {whole_option(options, "width"),
                       whole_option(options, "levels"),
                       whole_option(options, "expanded"),
                       {median, real_option(options, "spread"), static_cast<std::int64_t>(median / 10),
                        static_cast<std::int64_t>(median * 3)}};
  const double prompt = real_option(options, "prompt");
  const auto common = static_cast<std::int64_t>(std::round(real_option(options, "common") * prompt));
  core::Rng rng(seed);
  ForestSource source;
  const std::int64_t task = common > 0 ? add_node(source, kNoParent, common) : kNoParent;
  for (std::int64_t t = 0; t < whole_option(options, "trees"); ++t) {
    const double tokens = std::round(prompt * (0.75 + 0.5 * rng.uniform()));
    const std::int64_t own = std::max<std::int64_t>(static_cast<std::int64_t>(tokens) - common, 1);
    add_tree(source, rng, shape, add_node(source, task, own));
  }
  contract_chains(source);
  return make_forest(source);
}

}  // namespace

Family tot_family() {
  return {"tot",
          "tree-of-thought searches at a random iteration: live candidates on the chain of chosen ones; dedupe 2-10",
          {{"trees", 8, 1, 64, "searches that run together"},
           {"width", 10, 1, 64, "candidates of a level"},
           {"levels", 6, 1, 64, "levels of a search"},
           {"expanded", 1, 1, 64, "candidates of a level that get children"},
           {"prompt", 1300, 1, kLongestOption, "mean prompt tokens, uniform within 25 %"},
           {"common", 0, 0, 0.75, "share of the prompt that all trees have in common", OptionKind::real},
           {"thought", 500, 1, 100000, "median thought tokens, clipped to a tenth and 3 times of it"},
           {"spread", 0.5, 0, 3, "sigma of the logarithm of thought lengths", OptionKind::real}},
          generate};
}

}  // namespace espalier::traces

// kary: balanced k-ary tree with a request at each leaf, the synthetic shape most published kernels are timed on.
// Without noise the dedupe has the closed form D k^(D-1) (k-1) / (k^D - 1).
#include <algorithm>
#include <cmath>

#include "traces/families/building.h"

namespace espalier::traces {
namespace {

/// Nodes of the tree, or more than the budget as soon as that is certain.
std::int64_t count_nodes(std::int64_t k, std::int64_t levels) {
  std::int64_t nodes = 0, width = 1;
  for (std::int64_t level = 0; level < levels && nodes <= kMaxGeneratedNodes; ++level, width *= k) nodes += width;
  return nodes;
}

PrefixForest generate(const FamilyOptions& options, std::uint64_t seed) {
  const std::int64_t k = whole_option(options, "k");
  const std::int64_t levels = whole_option(options, "levels");
  const double tokens = real_option(options, "tokens");
  const double noise = real_option(options, "noise");
  check_node_budget("kary", count_nodes(k, levels));
  core::Rng rng(seed);
  const auto draw = [&] {
    const double factor = 1.0 + noise * (2.0 * rng.uniform() - 1.0);
    return std::max<std::int64_t>(1, std::llround(tokens * factor));
  };
  ForestSource source;
  std::int64_t level_begin = add_node(source, kNoParent, draw()), level_end = level_begin + 1;
  for (std::int64_t level = 1; level < levels; ++level) {
    for (std::int64_t parent = level_begin; parent < level_end; ++parent) {
      for (std::int64_t child = 0; child < k; ++child) add_node(source, parent, draw());
    }
    level_begin = level_end;
    level_end = static_cast<std::int64_t>(source.parent.size());
  }
  for (std::int64_t leaf = level_begin; leaf < level_end; ++leaf) source.leaf.push_back(leaf);
  return make_forest(source);
}

}  // namespace

Family kary_family() {
  return {"kary",
          "balanced k-ary tree, a request at each leaf; dedupe D k^(D-1) (k-1) / (k^D - 1) without noise",
          {{"k", 2, 1, 1024, "children of each node"},
           {"levels", 6, 1, 256, "levels, the root's included"},
           {"tokens", 1024, 1, kLongestOption, "tokens of a node"},
           {"noise", 0, 0, 1, "node lengths vary uniformly within this share (0.5: half to one and a half)",
            OptionKind::real}},
          generate};
}

}  // namespace espalier::traces

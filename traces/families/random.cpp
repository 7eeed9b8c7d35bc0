// random: random recursive forest with requests that end anywhere, inner nodes and the same node included. No workload
// looks like this; it is here to find what the others leave out.
#include "traces/families/building.h"

namespace espalier::traces {
namespace {

PrefixForest generate(const FamilyOptions& options, std::uint64_t seed) {
  const std::int64_t nodes = whole_option(options, "nodes");
  const std::int64_t requests = whole_option(options, "requests");
  const LengthRange length = {real_option(options, "tokens"), real_option(options, "spread"), 1, 1'000'000};
  core::Rng rng(seed);
  ForestSource source;
  // "No parent" is one of the equally likely parents, so a forest of n nodes has about ln n roots.
  for (std::int64_t i = 0; i < nodes; ++i) add_node(source, rng.integer(kNoParent, i - 1), draw_length(rng, length));
  for (std::int64_t r = 0; r < requests; ++r) source.leaf.push_back(rng.integer(0, nodes - 1));
  return make_forest(source);
}

}  // namespace

Family random_family() {
  return {"random",
          "random recursive forest, requests end anywhere, also together; any dedupe",
          {{"nodes", 64, 1, 100000, "nodes drawn; those no request reads are left out"},
           {"requests", 64, 1, 65536, "running requests"},
           {"tokens", 256, 1, kLongestOption, "median node tokens"},
           {"spread", 1.5, 0, 3, "sigma of the logarithm of node lengths", OptionKind::real}},
          generate};
}

}  // namespace espalier::traces

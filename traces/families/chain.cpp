// chain: one path, and at each depth of it a request that ends there or a short way off. As deep as a forest can be for
// its number of requests; every node has a different number of readers.
#include "traces/families/building.h"

namespace espalier::traces {
namespace {

PrefixForest generate(const FamilyOptions& options, std::uint64_t seed) {
  const std::int64_t levels = whole_option(options, "levels");
  const std::int64_t tokens = whole_option(options, "tokens");
  const std::int64_t tail = whole_option(options, "tail");
  core::Rng rng(seed);
  ForestSource source;
  std::int64_t at = kNoParent;
  for (std::int64_t level = 0; level < levels; ++level) {
    at = add_node(source, at, rng.integer(1, tokens));
    if (tail == 0) {
      source.leaf.push_back(at);
    } else {
      add_tail(source, at, rng.integer(1, tail));
    }
  }
  return make_forest(source);
}

}  // namespace

Family chain_family() {
  return {"chain",
          "one path with a request at each depth; dedupe about half the levels",
          {{"levels", 32, 1, 256, "nodes of the path, and requests"},
           {"tokens", 2048, 1, kLongestOption, "longest node; uniform from 1"},
           {"tail", 64, 0, kLongestOption, "longest private tail; uniform from 1; 0: requests end on the path itself"}},
          generate};
}

}  // namespace espalier::traces

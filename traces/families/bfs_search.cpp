// bfs_search: breadth-first search over short thoughts, in the stage where candidates are judged. A problem's prompt,
// the thoughts that its beam has kept, the candidates of this step, and several samples that judge each candidate.
// Contexts are tiny and sequences many: launches and latencies decide, not bytes.
#include <algorithm>
#include <vector>

#include "traces/families/building.h"

namespace espalier::traces {
namespace {

struct Search {
  std::int64_t beam, children, samples, thought, output;
};

/// 1 to `children` candidates of each kept node.
std::vector<std::int64_t> add_candidates(ForestSource& source, core::Rng& rng, const Search& search,
                                         const std::vector<std::int64_t>& kept) {
  std::vector<std::int64_t> candidates;
  for (const std::int64_t parent : kept) {
    for (std::int64_t c = rng.integer(1, search.children); c > 0; --c) {
      candidates.push_back(add_node(source, parent, draw_uniform(rng, 0.25, search.thought)));
    }
  }
  return candidates;
}

/// Keeps `beam` of the candidates, in any order.
void keep_some(std::vector<std::int64_t>& candidates, core::Rng& rng, std::int64_t beam) {
  const std::int64_t last = static_cast<std::int64_t>(candidates.size()) - 1;
  const std::int64_t keep = std::min(beam, last + 1);
  for (std::int64_t k = 0; k < keep; ++k) {
    std::swap(candidates[static_cast<std::size_t>(k)], candidates[static_cast<std::size_t>(rng.integer(k, last))]);
  }
  candidates.resize(static_cast<std::size_t>(keep));
}

PrefixForest generate(const FamilyOptions& options, std::uint64_t seed) {
  const std::int64_t problems = whole_option(options, "problems");
  const std::int64_t prompt = whole_option(options, "prompt");
  const std::int64_t steps = whole_option(options, "steps");
  const Search search = {whole_option(options, "beam"), whole_option(options, "children"),
                         whole_option(options, "samples"), whole_option(options, "thought"),
                         whole_option(options, "output")};
  check_node_budget("bfs_search", problems * search.beam * search.children * (steps + search.samples));
  core::Rng rng(seed);
  ForestSource source;
  for (std::int64_t p = 0; p < problems; ++p) {
    std::vector<std::int64_t> kept = {add_node(source, kNoParent, draw_uniform(rng, 0.35, prompt))};
    for (std::int64_t step = rng.integer(1, steps); step > 1; --step) {
      kept = add_candidates(source, rng, search, kept);
      keep_some(kept, rng, search.beam);
    }
    for (const std::int64_t candidate : add_candidates(source, rng, search, kept)) {
      for (std::int64_t s = 0; s < search.samples; ++s) add_tail(source, candidate, draw_generated(rng, search.output));
    }
  }
  contract_chains(source);
  return make_forest(source);
}

}  // namespace

Family bfs_search_family() {
  return {"bfs_search",
          "breadth-first searches over short thoughts, candidates being judged; dedupe 5-9",
          {{"problems", 16, 1, 1024, "searches that run together"},
           {"beam", 5, 1, 64, "thoughts kept at a step"},
           {"children", 8, 1, 64, "most candidates of a kept thought; uniform from 1"},
           {"samples", 3, 1, 64, "samples that judge each candidate"},
           {"steps", 4, 1, 64, "steps of a search; each is at a random one"},
           {"prompt", 200, 1, kLongestOption, "longest few-shot prompt; uniform from 0.35 of it"},
           {"thought", 20, 1, 100000, "longest thought; uniform from a quarter of it"},
           {"output", 40, 0, 100000, "longest output of a sample"}},
          generate};
}

}  // namespace espalier::traces

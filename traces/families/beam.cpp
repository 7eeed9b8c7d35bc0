// beam: beam search. Beams that lose die and the winners branch, so looking back the beams of a prompt coalesce: most
// of the history is common, and beams part only in the last few tokens. Branch ages (tokens since a beam left another)
// are geometric; a beam leaves one that is older than itself.
#include <algorithm>
#include <functional>
#include <vector>

#include "traces/families/building.h"

namespace espalier::traces {
namespace {

/// The part of a beam that no other beam shares yet: `tokens` of it under node `parent`.
struct Open {
  std::int64_t parent, tokens;
};

/// Beams under `root`, the first of which has generated `generated` tokens; `ages` of the others, falling.
void add_beams(ForestSource& source, core::Rng& rng, std::int64_t root, std::int64_t generated,
               const std::vector<std::int64_t>& ages) {
  std::vector<Open> beams = {{root, generated}};
  for (const std::int64_t age : ages) {
    Open& from = beams[static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(beams.size()) - 1))];
    if (from.tokens > age) from = {add_node(source, from.parent, from.tokens - age), age};
    beams.push_back(from);
  }
  for (const Open& beam : beams) add_tail(source, beam.parent, beam.tokens);
}

PrefixForest generate(const FamilyOptions& options, std::uint64_t seed) {
  const std::int64_t output = whole_option(options, "output");
  const double age = real_option(options, "age"), median = real_option(options, "prompt");
  const LengthRange prompt = {median, real_option(options, "spread"), static_cast<std::int64_t>(median / 10),
                              static_cast<std::int64_t>(median * 8)};
  std::vector<std::int64_t> ages(static_cast<std::size_t>(whole_option(options, "beams") - 1));
  core::Rng rng(seed);
  ForestSource source;
  for (std::int64_t p = 0; p < whole_option(options, "prompts"); ++p) {
    const std::int64_t root = add_node(source, kNoParent, draw_length(rng, prompt));
    const std::int64_t generated = draw_generated(rng, output);
    for (std::int64_t& a : ages) a = std::min(1 + rng.geometric(1.0 / age), generated);
    std::sort(ages.begin(), ages.end(), std::greater<>());
    add_beams(source, rng, root, generated, ages);
  }
  contract_chains(source);
  return make_forest(source);
}

}  // namespace

Family beam_family() {
  return {
      "beam",
      "beam searches whose beams part only in their last tokens; dedupe about the number of beams",
      {{"prompts", 4, 1, 256, "prompts"},
       {"beams", 16, 1, 512, "beams of each"},
       {"prompt", 4000, 1, kLongestOption, "median prompt tokens, clipped to a tenth and 8 times of it"},
       {"spread", 0.8, 0, 3, "sigma of the logarithm of prompt lengths", OptionKind::real},
       {"output", 500, 1, kLongestOption, "longest output; uniform from 1"},
       {"age", 15, 1, 100000, "mean tokens since a beam left another, at most all of its output", OptionKind::real}},
      generate};
}

}  // namespace espalier::traces

// best_of_n: parallel samples of one prompt. Samples of a group start together, so at a given step each has generated
// equally many tokens g, and finished ones have left: dedupe of a group is n(P+g)/(P+ng) with n those still running.
#include <algorithm>
#include <vector>

#include "traces/families/building.h"

namespace espalier::traces {
namespace {

PrefixForest generate(const FamilyOptions& options, std::uint64_t seed) {
  const std::int64_t groups = whole_option(options, "groups");
  const std::int64_t samples = whole_option(options, "samples");
  const double prompt_median = real_option(options, "prompt");
  const LengthRange prompt = {prompt_median, real_option(options, "prompt_spread"),
                              static_cast<std::int64_t>(prompt_median / 10),
                              static_cast<std::int64_t>(prompt_median * 8)};
  const LengthRange output = {real_option(options, "output"), real_option(options, "spread"), 1, 131072};
  core::Rng rng(seed);
  ForestSource source;
  std::vector<std::int64_t> lengths(static_cast<std::size_t>(samples));
  for (std::int64_t g = 0; g < groups; ++g) {
    const std::int64_t root = add_node(source, kNoParent, draw_length(rng, prompt));
    for (std::int64_t& length : lengths) length = draw_length(rng, output);
    const std::int64_t generated = draw_generated(rng, *std::max_element(lengths.begin(), lengths.end()));
    for (const std::int64_t length : lengths) {
      if (length >= generated) add_tail(source, root, generated);
    }
  }
  return make_forest(source);
}

}  // namespace

Family best_of_n_family() {
  return {"best_of_n",
          "parallel samples of a few prompts, finished ones gone; dedupe n(P+g)/(P+ng) in each group",
          {{"groups", 8, 1, 1024, "prompts"},
           {"samples", 16, 1, 512, "samples of each prompt, finished ones included"},
           {"prompt", 1000, 1, kLongestOption, "median prompt tokens, clipped to a tenth and 8 times of it"},
           {"prompt_spread", 0.8, 0, 3, "sigma of the logarithm of prompt lengths", OptionKind::real},
           {"output", 2000, 1, 131072, "median output tokens"},
           {"spread", 0.7, 0, 3, "sigma of the logarithm of output lengths; 0: all samples end together",
            OptionKind::real}},
          generate};
}

}  // namespace espalier::traces

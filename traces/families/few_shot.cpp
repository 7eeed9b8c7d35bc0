// few_shot: one system root, blocks of worked examples under it, questions under each block. Two shared levels.
#include "traces/families/building.h"

namespace espalier::traces {
namespace {

PrefixForest generate(const FamilyOptions& options, std::uint64_t seed) {
  const std::int64_t blocks = whole_option(options, "blocks");
  const std::int64_t questions = whole_option(options, "questions");
  const std::int64_t shots = whole_option(options, "shots");
  const std::int64_t shot = whole_option(options, "shot");
  const std::int64_t question = whole_option(options, "question");
  const std::int64_t output = whole_option(options, "output");
  core::Rng rng(seed);
  ForestSource source;
  const std::int64_t root = add_node(source, kNoParent, whole_option(options, "root"));
  for (std::int64_t b = 0; b < blocks; ++b) {
    std::int64_t tokens = 0;
    for (std::int64_t s = 0; s < shots; ++s) tokens += draw_uniform(rng, 8.0 / 15.0, shot);
    const std::int64_t block = add_node(source, root, tokens);
    for (std::int64_t q = 0; q < questions; ++q) {
      const std::int64_t asked = draw_uniform(rng, 0.25, question);
      add_tail(source, block, asked + draw_generated(rng, output));
    }
  }
  return make_forest(source);
}

}  // namespace

Family few_shot_family() {
  return {"few_shot",
          "a system prompt, blocks of examples under it, questions under each; dedupe 5-40",
          {{"root", 800, 0, kLongestOption, "system prompt tokens"},
           {"blocks", 8, 1, 256, "blocks of examples"},
           {"shots", 20, 1, 1000, "examples in a block"},
           {"shot", 150, 1, 100000, "longest example; uniform from 8/15 of it"},
           {"questions", 16, 1, 1024, "questions behind each block"},
           {"question", 200, 1, kLongestOption, "longest question; uniform from a quarter of it"},
           {"output", 256, 0, kLongestOption, "output tokens of a request"}},
          generate};
}

}  // namespace espalier::traces

// chat: what runs at one instant of an online chat service. A short root that all share and long private tails; few
// have a twin (a retry, a regenerated answer) that shares more. The family on which sharing hardly pays.
#include "traces/families/building.h"

namespace espalier::traces {
namespace {

PrefixForest generate(const FamilyOptions& options, std::uint64_t seed) {
  const std::int64_t longest = whole_option(options, "longest");
  const LengthRange tail = {real_option(options, "tail"), real_option(options, "spread"), 1, longest};
  const LengthRange shared = {real_option(options, "shared"), 1.0, 1, longest};
  // A draw makes one request or a pair; this probability of a pair gives each request a twin with probability `twin`.
  const double twin = real_option(options, "twin");
  const double pair = twin / (2.0 - twin);
  core::Rng rng(seed);
  ForestSource source;
  const std::int64_t root = add_node(source, kNoParent, whole_option(options, "root"));
  for (std::int64_t left = whole_option(options, "requests"); left > 0; --left) {
    if (left >= 2 && rng.chance(pair)) {
      const std::int64_t common = add_node(source, root, draw_length(rng, shared));
      add_tail(source, common, draw_length(rng, tail));
      add_tail(source, common, draw_length(rng, tail));
      --left;
    } else {
      add_tail(source, root, draw_length(rng, tail));
    }
  }
  return make_forest(source);
}

}  // namespace

Family chat_family() {
  return {"chat",
          "one short root and long private tails, few twins; dedupe 1.02-1.10",
          {{"requests", 64, 1, 65536, "running requests"},
           {"root", 512, 0, kLongestOption, "tokens all share"},
           {"tail", 7000, 1, kLongestOption, "median private tokens"},
           {"spread", 1.3, 0, 3, "sigma of the logarithm of private lengths", OptionKind::real},
           {"longest", 131072, 1, kLongestOption, "tails are clipped here"},
           {"twin", 0.03, 0, 1, "probability that a request has a twin", OptionKind::real},
           {"shared", 6000, 1, kLongestOption, "median tokens twins share below the root"}},
          generate};
}

}  // namespace espalier::traces

// no_share: every request is its own root. Here a prefix-aware plan can only lose, so the loss is the result.
#include "traces/families/building.h"

namespace espalier::traces {
namespace {

PrefixForest generate(const FamilyOptions& options, std::uint64_t seed) {
  const std::int64_t requests = whole_option(options, "requests");
  const LengthRange context = {real_option(options, "context"), real_option(options, "spread"), 1,
                               whole_option(options, "longest")};
  core::Rng rng(seed);
  ForestSource source;
  for (std::int64_t r = 0; r < requests; ++r) add_tail(source, kNoParent, draw_length(rng, context));
  return make_forest(source);
}

}  // namespace

Family no_share_family() {
  return {"no_share",
          "requests with nothing in common; dedupe 1",
          {{"requests", 64, 1, 65536, "running requests"},
           {"context", 7000, 1, kLongestOption, "median context tokens"},
           {"spread", 1.3, 0, 3, "sigma of the logarithm of contexts; 0: all equal", OptionKind::real},
           {"longest", 131072, 1, kLongestOption, "contexts are clipped here"}},
          generate};
}

}  // namespace espalier::traces

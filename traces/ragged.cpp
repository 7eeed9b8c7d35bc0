// Random ragged forests that searches are judged on: no workload's, but of any sharing and any shape that planners get
// wrong.
#include <fmt/core.h>

#include <algorithm>

#include "core/error.h"
#include "core/rng.h"
#include "traces/suites.h"

namespace espalier::traces {

PrefixForest ragged_forest(std::uint64_t seed, std::int64_t index) {
  ESPALIER_CHECK(index >= 0 && index < kRaggedForests);
  core::Rng rng(core::random_bits(seed, static_cast<std::uint64_t>(index)));
  const bool small = index % 2 == 0;
  ForestSource source;
  source.name = fmt::format("{}-{:02}", small ? "small" : "medium", index / 2);
  const std::int64_t nodes = small ? rng.integer(2, 12) : rng.integer(20, 120);
  // One root, a few, or as many as share little.
  const std::int64_t roots = rng.chance(0.4)   ? 1
                             : rng.chance(0.6) ? rng.integer(1, std::min<std::int64_t>(nodes, 4))
                                               : rng.integer((nodes + 1) / 2, nodes);
  const double depth = 0.6 * rng.uniform(), spread = 0.3 + 1.2 * rng.uniform();
  const auto median = static_cast<double>(rng.integer(64, small ? 4096 : 1024));
  for (std::int64_t n = 0; n < nodes; ++n) {
    source.parent.push_back(n < roots ? -1 : rng.chance(depth) ? n - 1 : rng.integer(0, n - 1));
    const bool long_root = n < std::min<std::int64_t>(roots, 4);
    source.tokens.push_back(std::min<std::int64_t>(rng.log_normal(long_root ? 4 * median : median, spread), 65536));
  }
  const std::int64_t requests = rng.chance(0.3) ? nodes : small ? rng.integer(2, 24) : rng.integer(16, 128);
  for (std::int64_t r = 0; r < requests; ++r) source.leaf.push_back(rng.integer(nodes / 2, nodes - 1));
  return make_forest(source);
}

}  // namespace espalier::traces

// The figures of a forest: how much is shared, by how many, how deep, and what it costs in KV bytes.
#include "traces/statistics.h"

#include <algorithm>

#include "core/units.h"

namespace espalier::traces {
namespace {

double quotient(std::int64_t logical, std::int64_t unique) {
  return unique > 0 ? static_cast<double>(logical) / static_cast<double>(unique) : 1.0;
}

/// 1, 2, 3-4, 5-8, … up to the bin that holds the widest node. Empty bins in between stay, so that histograms line up.
std::vector<SharingBin> sharing_of(const PrefixForest& forest) {
  std::vector<SharingBin> bins;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    const std::int32_t readers = forest.readers(n);
    std::size_t bin = 0;
    while ((std::int64_t{1} << bin) < readers) ++bin;
    while (bins.size() <= bin) {
      const auto k = bins.size();
      const auto high = static_cast<std::int32_t>(std::min<std::int64_t>(std::int64_t{1} << k, INT32_MAX));
      bins.push_back({k == 0 ? 1 : high / 2 + 1, high, 0, 0, 0});
    }
    bins[bin].nodes += 1;
    bins[bin].unique_tokens = core::checked_add(bins[bin].unique_tokens, forest.tokens[n]);
    bins[bin].logical_tokens =
        core::checked_add(bins[bin].logical_tokens, core::checked_mul(forest.tokens[n], readers));
  }
  return bins;
}

}  // namespace

ForestStatistics describe(const PrefixForest& forest, const HeadConfig& heads, std::int32_t page_size) {
  ForestStatistics s;
  s.requests = static_cast<std::int64_t>(forest.request_count());
  s.nodes = static_cast<std::int64_t>(forest.node_count());
  s.page_size = page_size;
  for (const std::int32_t depth : depths(forest)) s.deepest_level = std::max<std::int64_t>(s.deepest_level, depth);
  s.unique_tokens = unique_tokens(forest);
  s.logical_tokens = logical_tokens(forest);
  s.dedupe = quotient(s.logical_tokens, s.unique_tokens);

  // With the roots alone shared, all else is read once a request: subtract what sharing a root saves.
  std::int64_t saved_by_roots = 0;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    if (!forest.is_root(n)) continue;
    ++s.roots;
    saved_by_roots = core::checked_add(saved_by_roots, core::checked_mul(forest.tokens[n], forest.readers(n) - 1));
  }
  s.one_level_dedupe = quotient(s.logical_tokens, s.logical_tokens - saved_by_roots);
  s.dedupe_at_page =
      page_size == 1 ? s.dedupe : quotient(s.logical_tokens, unique_tokens(floor_to_pages(forest, page_size)));

  for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
    s.longest_context = std::max(s.longest_context, forest.context_tokens(r));
  }
  if (s.requests > 0) s.mean_context = static_cast<double>(s.logical_tokens) / static_cast<double>(s.requests);
  s.sharing = sharing_of(forest);
  s.kv_bytes_per_layer = core::checked_mul(s.unique_tokens, heads.kv_bytes_per_token());
  return s;
}

}  // namespace espalier::traces

// Sources: FlashAttention-2's num_splits heuristic and block sizes of its split kernel; FlashInfer's prefill planner (tile from the
// mean packed length, chunk by bisection). Exact, except that lengths are in tokens where FlashInfer counts pages.
#include "scheduler/strategies/split_rules.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/units.h"

namespace espalier::scheduler::planning {

using core::ceil_div;

std::int64_t fa2_block_tokens(std::int32_t qk_dim) { return qk_dim <= 64 ? 256 : qk_dim <= 128 ? 128 : 64; }

std::int64_t fa2_splits(std::int64_t work, std::int64_t slots, std::int64_t blocks) {
  constexpr std::int64_t kMostSplits = 128;
  ESPALIER_CHECK(work > 0 && slots > 0 && blocks > 0);
  if (work * 10 >= slots * 8) return 1;  // 0.8 of the slots are filled without splitting
  const std::int64_t cap = std::min({kMostSplits, slots, blocks});
  // A count is eligible when it shortens the splits.
  const auto eligible = [&](std::int64_t s) { return s == 1 || ceil_div(blocks, s) != ceil_div(blocks, s - 1); };
  const auto efficiency = [&](std::int64_t s) {
    const double waves = static_cast<double>(work * s) / static_cast<double>(slots);
    return waves / std::ceil(waves);
  };
  double best = 0;
  for (std::int64_t s = 1; s <= cap; ++s) {
    if (eligible(s)) best = std::max(best, efficiency(s));
  }
  for (std::int64_t s = 1; s <= cap; ++s) {
    if (eligible(s) && efficiency(s) >= 0.85 * best) return s;
  }
  return 1;
}

std::int32_t flashinfer_tile_rows(std::int64_t mean_packed, std::int32_t qk_dim, std::int32_t v_dim) {
  if (qk_dim >= 512) return 16;
  if (v_dim >= 512) return mean_packed <= 32 ? 16 : 32;
  if (mean_packed > 64 && v_dim < 256) return 128;
  return mean_packed > 16 ? 64 : 16;
}

std::int64_t flashinfer_chunk_tokens(std::span<const LevelLoad> loads, std::int32_t tile_rows, std::int64_t budget) {
  std::int64_t longest = 1;
  for (const LevelLoad& load : loads) longest = std::max(longest, load.tokens);
  const auto fits = [&](std::int64_t chunk) {
    std::int64_t items = 0;
    for (const LevelLoad& load : loads) items += ceil_div(load.packed_rows, tile_rows) * ceil_div(load.tokens, chunk);
    return items <= budget;
  };
  std::int64_t low = kLeastChunkTokens, high = std::max(kLeastChunkTokens, longest);
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (fits(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

}  // namespace espalier::scheduler::planning

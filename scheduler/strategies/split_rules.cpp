// Sources: FlashAttention-2's num_splits heuristic and block sizes of its split kernel; FlashAttention-3's tile table,
// static and dynamic split rules; FlashInfer's decode, prefill, persistent and latent-attention planners; SGLang's
// Triton split counts; the stream-K grid of ONNX Runtime's lean attention; FlashMLA's tile scheduler. Exact, in tokens
// or in pages of the forest.
#include "scheduler/strategies/split_rules.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <vector>

#include "core/error.h"
#include "core/units.h"

namespace espalier::scheduler::planning {

using core::ceil_div;
using core::round_up;

namespace {

constexpr std::int64_t kMostSplits = 128;

bool fills(std::int64_t work, std::int64_t slots) { return work * 10 >= slots * 8; }

/// Least eligible split count whose last wave is at least 85 % as full as the best one's.
template <class Eligible>
std::int64_t fewest_good_splits(std::int64_t work, std::int64_t slots, std::int64_t cap, Eligible eligible) {
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

/// Least value in [low, high] that fits, by bisection; `high` (or `low` when that is above) if none below does.
template <class Fits>
std::int64_t least_that_fits(std::int64_t low, std::int64_t high, Fits fits) {
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (fits(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

}  // namespace

std::int64_t fa2_block_tokens(std::int32_t qk_dim) { return qk_dim <= 64 ? 256 : qk_dim <= 128 ? 128 : 64; }

std::int64_t fa2_splits(std::int64_t work, std::int64_t slots, std::int64_t blocks) {
  ESPALIER_CHECK(work > 0 && slots > 0 && blocks > 0);
  if (fills(work, slots)) return 1;
  // A count is eligible when it shortens the splits.
  const auto eligible = [&](std::int64_t s) { return s == 1 || ceil_div(blocks, s) != ceil_div(blocks, s - 1); };
  return fewest_good_splits(work, slots, std::min({kMostSplits, slots, blocks}), eligible);
}

Fa3Tile fa3_tile(const traces::HeadConfig& heads) {
  const std::int32_t d = heads.qk_dim, v = heads.v_dim;
  if (heads.v_in_k && d > 512 && d <= 576 && v == 512) return {64, 64};
  if (d <= 64 && v == 512) return {64, 64};
  if (d > 256 || v > 256) return {};
  const bool bytes = traces::dtype_bytes(heads.kv_dtype) == 1;
  const std::int32_t wide = std::max(d, v);
  if (d <= 64 && v > 64 && !bytes) return {128, v <= 128 ? 128 : 96};
  if (wide <= 64) return {192, bytes ? 160 : 128};
  if (wide <= 96) return {192, 128};
  if (wide <= 128) return {128, bytes ? 160 : 128};
  if (wide <= 192) return {128, bytes ? 160 : 96};
  return {128, bytes ? 128 : 80};
}

std::int64_t fa3_split_bound(std::int64_t tiles, std::int64_t sms, std::int64_t blocks) {
  ESPALIER_CHECK(tiles > 0 && sms > 0 && blocks > 0);
  if (fills(tiles, sms) || blocks <= 4) return 1;
  return fewest_good_splits(tiles, sms, std::min({kMostSplits, sms, blocks}), [](std::int64_t) { return true; });
}

Fa3Splits fa3_dynamic_splits(std::span<const std::int64_t> blocks, std::int64_t tiles, std::int64_t sms,
                             std::int64_t bound) {
  Fa3Splits splits;
  splits.of.assign(blocks.size(), 1);
  if (blocks.size() > kFa3MostSplitRequests) return splits;
  std::int64_t total = 0;
  for (const std::int64_t n : blocks) total += n;
  // In single precision, as the device computes it.
  const float share = static_cast<float>(total) * 1.1F * static_cast<float>(tiles) / static_cast<float>(sms);
  splits.blocks_per_sm = std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(share)));
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    splits.of[i] = std::clamp<std::int64_t>(ceil_div(blocks[i], splits.blocks_per_sm), 1, bound);
  }
  return splits;
}

std::int32_t flashinfer_tile_rows(std::int64_t mean_packed, std::int32_t qk_dim, std::int32_t v_dim) {
  if (qk_dim >= 512) return 16;
  if (v_dim >= 512) return mean_packed <= 32 ? 16 : 32;
  if (mean_packed > 64 && v_dim < 256) return 128;
  return mean_packed > 16 ? 64 : 16;
}

std::int64_t flashinfer_chunk_tokens(std::span<const LevelLoad> loads, std::int32_t tile_rows, std::int64_t budget,
                                     std::int64_t page_size) {
  std::int64_t longest = 1;
  for (const LevelLoad& load : loads) longest = std::max(longest, ceil_div(load.tokens, page_size));
  const auto fits = [&](std::int64_t pages) {
    std::int64_t items = 0;
    for (const LevelLoad& load : loads) {
      items += ceil_div(load.packed_rows, tile_rows) * ceil_div(load.tokens, pages * page_size);
    }
    return items <= budget;
  };
  const std::int64_t least = std::max<std::int64_t>(kLeastChunkTokens / page_size, 1);
  return least_that_fits(least, std::max(least, longest), fits) * page_size;
}

DecodeShape flashinfer_decode_shape(const traces::HeadConfig& heads) {
  constexpr std::int32_t kLeastThreads = 128;
  const std::int32_t bytes = traces::dtype_bytes(heads.kv_dtype), group = heads.group();
  const std::int32_t vector = std::max(16 / bytes, static_cast<std::int32_t>(ceil_div(heads.qk_dim, 32)));
  const auto across = static_cast<std::int32_t>(ceil_div(heads.qk_dim, vector));
  const std::int32_t parts = std::max(1, std::max(kLeastThreads, across * group) / (across * group));
  const std::int32_t tile = group > 1 ? 1 : bytes == 1 ? 2 : 4;
  return {across * group * parts, group * parts * tile, std::clamp(32 / across, 1, group)};
}

std::int64_t flashinfer_persistent_limit(std::int64_t share) {
  return share <= 128 ? 128 : round_up(share, std::int64_t{256});
}

std::int64_t flashinfer_latent_limit(std::int64_t share) {
  if (share <= 8) return 32;
  if (share <= 16) return 64;
  if (share <= 32) return 128;
  return share <= 64 ? 192 : round_up(share, std::int64_t{256});
}

LeastLoaded::LeastLoaded(std::int64_t workers) {
  std::vector<Entry> idle;
  for (std::int32_t w = 0; w < workers; ++w) idle.emplace_back(0, w);
  heap_ = decltype(heap_)(std::greater<>(), std::move(idle));
}

std::int32_t LeastLoaded::take(std::int64_t cost) {
  const auto [load, worker] = heap_.top();
  heap_.pop();
  heap_.emplace(load + cost, worker);
  longest_ = std::max(longest_, load + cost);
  return worker;
}

std::vector<std::int64_t> sglang_splits(std::span<const std::int64_t> lengths, const SglangGrid& grid) {
  std::vector<std::int64_t> splits;
  if (lengths.empty()) return splits;
  const auto [least, most] = std::minmax_element(lengths.begin(), lengths.end());
  const std::int64_t longest = *most, shortest = 8 * longest < 10 * *least ? longest : *least;
  const std::int64_t by_length = std::min(ceil_div(longest, shortest), grid.cap);
  // "A hack to let splits grow with the length": the device counts as larger the longer the contexts are.
  const float growth = std::max(std::log2(static_cast<float>(longest) / 64.0F), 1.0F);
  const auto wanted = static_cast<std::int64_t>(static_cast<float>(grid.sms) * growth);
  const std::int64_t by_device = std::min(ceil_div(wanted, grid.ctas), grid.cap);
  const std::int64_t chunk_1 = ceil_div(longest, by_length), chunk_2 = ceil_div(longest, by_device);
  for (const std::int64_t length : lengths) {
    splits.push_back(std::max(ceil_div(length, chunk_1), ceil_div(length, chunk_2)));
  }
  return splits;
}

LeanGrid lean_grid(std::int64_t tiles, std::int64_t outputs, std::int64_t longest, std::int64_t sms) {
  ESPALIER_CHECK(tiles > 0 && outputs > 0 && longest > 0 && sms > 0);
  constexpr std::int64_t kMostPerOutput = 32;
  const std::int64_t wanted =
      tiles > 4 * sms ? std::min(2 * sms, kMostPerOutput * outputs)
                      : std::min(ceil_div(tiles, std::int64_t{2}), ceil_div(kMostPerOutput * tiles, longest));
  const std::int64_t ctas = std::clamp<std::int64_t>(wanted, 1, tiles);
  const std::int64_t most = ceil_div(tiles, ctas);
  return {ctas, most, tiles - (most - 1) * ctas};
}

std::vector<std::vector<PartPiece>> flashmla_parts(std::span<const std::int64_t> blocks, std::int64_t parts) {
  constexpr std::int64_t kFixed = kFlashMlaOverheadBlocks;
  std::int64_t total = 0;
  for (const std::int64_t n : blocks) total += n + kFixed;
  const std::int64_t payload = ceil_div(total, parts) + kFixed;
  std::vector<std::vector<PartPiece>> shares(static_cast<std::size_t>(parts));
  std::size_t request = 0;
  std::int64_t done = 0;
  for (std::vector<PartPiece>& share : shares) {
    std::int64_t left = payload;
    while (request < blocks.size()) {
      const std::int64_t remaining = blocks[request] - done;
      const auto r = static_cast<std::int32_t>(request);
      if (left >= remaining + kFixed) {
        share.push_back({r, done, blocks[request]});
        left -= remaining + kFixed;
        ++request;
        done = 0;
        continue;
      }
      if (left > kFixed) {
        share.push_back({r, done, done + left - kFixed});
        done += left - kFixed;
      }
      break;
    }
  }
  ESPALIER_CHECK(request == blocks.size());
  return shares;
}

}  // namespace espalier::scheduler::planning

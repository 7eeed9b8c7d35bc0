// The published rules that choose split counts, chunk sizes and shares from lengths alone, as pure functions:
// FlashAttention's split heuristics, FlashInfer's tile and chunk choices, SGLang's split counts, stream-K's and
// FlashMLA's shares. Strategies call them; tests hold them to the acceptance values.
#pragma once

#include <cstdint>
#include <queue>
#include <span>
#include <utility>
#include <vector>

#include "traces/head_config.h"

namespace espalier::scheduler::planning {

// FlashAttention-2

/// Tokens of one KV block of FlashAttention-2's split kernel: 256 up to head dim 64, 128 up to 128, else 64.
std::int64_t fa2_block_tokens(std::int32_t qk_dim);

/// FlashAttention-2's split count. `work`: CTAs without splits (m-blocks x KV heads x requests); `slots`: CTAs the
/// device is taken to hold (2 an SM); `blocks`: KV blocks of the longest context.
std::int64_t fa2_splits(std::int64_t work, std::int64_t slots, std::int64_t blocks);

// FlashAttention-3

/// Rows and tokens of FlashAttention-3's tile on the way decoding takes (KV gathered from pages, heads packed); rows 0:
/// it has no kernel for these heads. Its latent-attention kernel is the one for 576 dims with values inside.
struct Fa3Tile {
  std::int32_t rows = 0, tokens = 0;
};
Fa3Tile fa3_tile(const traces::HeadConfig& heads);

/// Split count for the batch, and the bound of the counts a request: FlashAttention-2's rule on one CTA an SM, without
/// the condition that a count shortens the splits, and no split up to 4 blocks. `tiles`: CTAs without splits.
std::int64_t fa3_split_bound(std::int64_t tiles, std::int64_t sms, std::int64_t blocks);

/// Batches above this size aren't split by the device's planner: its CTAs don't know one another's totals.
inline constexpr std::size_t kFa3MostSplitRequests = 992;

/// Each request's splits from its KV blocks. `tiles`: CTAs one request takes without splits.
struct Fa3Splits {
  std::int64_t blocks_per_sm = 0;
  std::vector<std::int64_t> of;
};
Fa3Splits fa3_dynamic_splits(std::span<const std::int64_t> blocks, std::int64_t tiles, std::int64_t sms,
                             std::int64_t bound);

// FlashInfer

/// Query tile of FlashInfer's prefill kernels from the integer mean of the packed lengths (requests x group).
std::int32_t flashinfer_tile_rows(std::int64_t mean_packed, std::int32_t qk_dim, std::int32_t v_dim);

/// One KV run that a level's requests share.
struct LevelLoad {
  std::int64_t packed_rows;  ///< readers x group
  std::int64_t tokens;
};

/// Least chunk FlashInfer cuts KV into, tokens.
inline constexpr std::int64_t kLeastChunkTokens = 128;

/// Smallest chunk of whole pages, at least kLeastChunkTokens, for which the level's work items stay within `budget`;
/// the longest run, rounded up to pages, when none does (then nothing is split).
std::int64_t flashinfer_chunk_tokens(std::span<const LevelLoad> loads, std::int32_t tile_rows, std::int64_t budget,
                                     std::int64_t page_size = 1);

/// Shape of a CTA of FlashInfer's decode kernel on CUDA cores: each head of a group has a row of threads, left-over
/// threads split the KV.
struct DecodeShape {
  std::int32_t threads, kv_tile, heads_per_warp;
};
DecodeShape flashinfer_decode_shape(const traces::HeadConfig& heads);

/// Most tokens of an item of the persistent kernel, from the tokens of an equal share: 128 up to 128, else whole 256s.
std::int64_t flashinfer_persistent_limit(std::int64_t share);
/// The same for its latent-attention plan.
std::int64_t flashinfer_latent_limit(std::int64_t share);

/// Workers by load; the least loaded, and of those the first, takes the next item.
class LeastLoaded {
 public:
  explicit LeastLoaded(std::int64_t workers);
  std::int32_t take(std::int64_t cost);
  /// Load of the most loaded worker.
  std::int64_t longest() const { return longest_; }

 private:
  using Entry = std::pair<std::int64_t, std::int32_t>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> heap_;
  std::int64_t longest_ = 0;
};

// SGLang

/// What its split rule sees besides lengths.
struct SglangGrid {
  std::int64_t ctas = 1;  ///< of one split of all requests
  std::int64_t sms = 1;
  std::int64_t cap = 8;  ///< most splits of a request
};
std::vector<std::int64_t> sglang_splits(std::span<const std::int64_t> lengths, const SglangGrid& grid);

// Stream-K

/// CTAs that share `tiles` KV tiles, of which the first `larger` get `most` and the others one less.
struct LeanGrid {
  std::int64_t ctas, most, larger;
};
/// `outputs`: rows of tiles (request x head x row tile); `longest`: KV tiles of the longest.
LeanGrid lean_grid(std::int64_t tiles, std::int64_t outputs, std::int64_t longest, std::int64_t sms);

// FlashMLA

/// Blocks a part pays for beginning a piece of a request.
inline constexpr std::int64_t kFlashMlaOverheadBlocks = 5;

/// Blocks [begin, end) of one request in a part.
struct PartPiece {
  std::int32_t request;
  std::int64_t begin, end;
};
/// The pieces of each part, requests in order. Every block is in one piece.
std::vector<std::vector<PartPiece>> flashmla_parts(std::span<const std::int64_t> blocks, std::int64_t parts);

}  // namespace espalier::scheduler::planning

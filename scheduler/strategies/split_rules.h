// The published rules that choose split counts and chunk sizes from lengths alone, as pure functions: FlashAttention-2's split
// heuristic and FlashInfer's tile and chunk choice. Strategies call them; tests hold them to the acceptance values.
#pragma once

#include <cstdint>
#include <span>

namespace espalier::scheduler::planning {

/// Tokens of one KV block of FlashAttention-2's split kernel: 256 up to head dim 64, 128 up to 128, else 64.
std::int64_t fa2_block_tokens(std::int32_t qk_dim);

/// FlashAttention-2's split count. `work`: CTAs without splits (m-blocks x KV heads x requests); `slots`: CTAs the device is taken
/// to hold (2 an SM); `blocks`: KV blocks of the longest context.
std::int64_t fa2_splits(std::int64_t work, std::int64_t slots, std::int64_t blocks);

/// Query tile of FlashInfer's prefill kernels from the integer mean of the packed lengths (requests x group).
std::int32_t flashinfer_tile_rows(std::int64_t mean_packed, std::int32_t qk_dim, std::int32_t v_dim);

/// One KV run that a level's requests share.
struct LevelLoad {
  std::int64_t packed_rows;  ///< readers x group
  std::int64_t tokens;
};

/// Least chunk FlashInfer cuts KV into, tokens.
inline constexpr std::int64_t kLeastChunkTokens = 128;

/// Smallest chunk, at least kLeastChunkTokens, for which the level's work items stay within `budget`; the longest run when none
/// does (then nothing is split).
std::int64_t flashinfer_chunk_tokens(std::span<const LevelLoad> loads, std::int32_t tile_rows, std::int64_t budget);

}  // namespace espalier::scheduler::planning

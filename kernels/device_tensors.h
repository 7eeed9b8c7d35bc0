// Tensors as kernels read them, in host memory: what is uploaded to a device, or to the emulator of one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/oracle.h"
#include "scheduler/plan.h"

namespace espalier::kernels {

/// A cache laid out [page][kv head][token in page][column]; where no token lies, NaN.
struct CacheBytes {
  std::vector<std::byte> keys, values;  ///< no values when they lie in the keys
};

/// The bytes of a number, rounded to what the dtype holds.
void store_number(std::byte* to, traces::Dtype dtype, double x);

/// Pages that a cache must have: one more than the highest in use.
std::int64_t cache_pages(const traces::PrefixForest& forest);

/// Rows of the cache: tokens of all pages in use, times KV heads.
std::int64_t cache_rows(const scheduler::Plan& plan);

/// Throws Error (check failed) for a cache of more than `most_bytes`.
CacheBytes make_cache(const scheduler::Plan& plan, const TensorSource& source, std::int64_t most_bytes);

/// [requests][q_heads][qk_dim] of the queries' dtype.
std::vector<std::byte> make_queries(const scheduler::Plan& plan, const TensorSource& source);

/// Final rows of `row_dtype` and their log-sum-exps, as a kernel left them.
AttentionOutput read_rows(const scheduler::Plan& plan, traces::Dtype row_dtype, const std::byte* rows,
                          const float* lse);

}  // namespace espalier::kernels

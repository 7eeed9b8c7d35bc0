// Partial attention on one CPU core: bf16 keys and values, fp32 arithmetic, AVX2 and FMA where the machine has them.
//
// The work is done in blocks of tokens that stay in the L1 cache: keys and values are widened once, then read by every
// pair of query rows. A row's running maximum, sum and output live in HostRows between blocks, so segments can follow
// one another.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "costmodel/host_kernel.h"

namespace espalier::kernels {

/// Columns are padded to this many with zeros, so that no vector loop has a tail.
inline constexpr std::int64_t kHostColumns = 32;
/// Query rows that share one read of the widened block.
inline constexpr std::int64_t kHostRowStep = costmodel::kHostRowStep;

/// The rows of one task while it runs.
struct HostRows {
  std::int64_t qk_columns = 0, v_columns = 0;  ///< padded
  std::vector<float> query;                    ///< [rows][qk_columns], scaled so that exp2 of a product is its weight
  std::vector<float> most, sum;                ///< of each row, in powers of two
  std::vector<float> out;                      ///< [rows][v_columns], not yet divided by the sum
  /// Rows that saw nothing yet; their queries hold anything until the caller writes them.
  void reset(std::int64_t rows, std::int64_t qk, std::int64_t v);
};

/// A run of tokens of one KV head, row-major with padded columns.
struct HostTokens {
  const std::uint16_t* key = nullptr;
  const std::uint16_t* value = nullptr;
  std::int64_t key_stride = 0, value_stride = 0;  ///< elements from one token to the next
  std::int64_t tokens = 0;
};

/// Rows [row_begin, row_end) see the tokens. `next`, which may be none, will be read after them: its first lines are
/// asked for meanwhile.
void attend_tokens(HostRows& rows, std::int64_t row_begin, std::int64_t row_end, const HostTokens& tokens,
                   const HostTokens& next = {});

/// A partial row (normalised, log-sum-exp in powers of two) enters row `row`.
void fold_row(HostRows& rows, std::int64_t row, const float* partial, float lse2);
/// Writes the row divided by its sum to `to` [v_columns]; returns the log-sum-exp in powers of two. A row that saw
/// nothing is zero, with -inf.
float finish_row(const HostRows& rows, std::int64_t row, float* to);

/// Normalised, with its log-sum-exp in powers of two.
struct PartialRow {
  const float* values;
  float lse2;
};
/// Has its lines fetched: merges wait for the log-sum-exps before they read values.
inline void ask_for(const PartialRow& row, std::int64_t columns) {
  constexpr std::int64_t kLine = 64 / sizeof(float);
  for (std::int64_t c = 0; c < columns; c += kLine) __builtin_prefetch(row.values + c);
}
/// All partial rows of one row into `to` [columns], which may be one of them; returns the log-sum-exp in powers of two.
/// Rows that saw nothing (-inf) aren't read; of nothing else come zeros, with -inf. NaN stays NaN. `partials` is used
/// up: its log-sum-exps become weights.
float merge_rows(std::span<PartialRow> partials, std::int64_t columns, float* to);

/// "avx2+fma" or "generic".
const char* host_instructions();

/// Sum of `count` floats read from memory, vectorised: what streaming bandwidth is measured with.
float stream_sum(const float* data, std::int64_t count);

}  // namespace espalier::kernels

// The host's attention kernel, compiled for AVX2 with FMA and for any machine; which one runs is decided once.
#include "kernels/host_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

namespace espalier::kernels {
namespace {

using Floats = float __attribute__((vector_size(32)));
using Ints = std::int32_t __attribute__((vector_size(32)));
using Words = std::uint32_t __attribute__((vector_size(32)));
using Halves = std::uint16_t __attribute__((vector_size(16)));

constexpr std::int64_t kLanes = 8;
constexpr std::int64_t kBlock = 32;     ///< tokens widened at a time: K and V of 128 columns fill 32 KiB
constexpr std::int64_t kTokenStep = 4;  ///< tokens whose scores are summed side by side
constexpr std::int64_t kMostColumns = 1024;

#define ESPALIER_INLINE inline __attribute__((always_inline))

ESPALIER_INLINE void load(const float* from, Floats& to) { std::memcpy(&to, from, sizeof(to)); }
ESPALIER_INLINE void store(const Floats& from, float* to) { std::memcpy(to, &from, sizeof(from)); }
ESPALIER_INLINE Floats all_lanes(float x) { return Floats{x, x, x, x, x, x, x, x}; }

/// bf16 is the upper half of an fp32.
ESPALIER_INLINE void widen(const std::uint16_t* from, std::int64_t columns, float* to) {
  for (std::int64_t c = 0; c < columns; c += kLanes) {
    Halves halves;
    std::memcpy(&halves, from + c, sizeof(halves));
    const Words words = __builtin_convertvector(halves, Words) << 16;
    std::memcpy(to + c, &words, sizeof(words));
  }
}

ESPALIER_INLINE float lane_sum(Floats v) {
  v += __builtin_shuffle(v, Ints{4, 5, 6, 7, 0, 1, 2, 3});
  v += __builtin_shuffle(v, Ints{2, 3, 0, 1, 6, 7, 4, 5});
  v += __builtin_shuffle(v, Ints{1, 0, 3, 2, 5, 4, 7, 6});
  return v[0];
}

ESPALIER_INLINE Floats higher(Floats a, Floats b) { return b > a ? b : a; }
ESPALIER_INLINE float lane_max(Floats v) {
  v = higher(v, __builtin_shuffle(v, Ints{4, 5, 6, 7, 0, 1, 2, 3}));
  v = higher(v, __builtin_shuffle(v, Ints{2, 3, 0, 1, 6, 7, 4, 5}));
  v = higher(v, __builtin_shuffle(v, Ints{1, 0, 3, 2, 5, 4, 7, 6}));
  return v[0];
}

/// 2^x for x <= 0, relative error below 2e-7; 0 below -126.
ESPALIER_INLINE Floats exp2_of(Floats x) {
  const Floats low = all_lanes(-126.0F);
  const Ints kept = x > low;
  x = kept ? x : low;
  const Floats magic = all_lanes(12582912.0F);  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  const Floats shifted = x + magic;
  const Floats f = x - (shifted - magic);  // in [-0.5, 0.5]
  Floats p = all_lanes(1.5403530e-4F);     // Taylor series of 2^f
  p = p * f + 1.3333558e-3F;
  p = p * f + 9.6181291e-3F;
  p = p * f + 5.5504109e-2F;
  p = p * f + 2.4022651e-1F;
  p = p * f + 6.9314718e-1F;
  p = p * f + 1.0F;
  Ints bits, exponent;
  std::memcpy(&bits, &p, sizeof(bits));
  std::memcpy(&exponent, &shifted, sizeof(exponent));
  bits += (exponent - 0x4B400000) << 23;
  std::memcpy(&p, &bits, sizeof(p));
  return kept ? p : all_lanes(0.0F);
}

/// Lines of the block after this one, asked for bit by bit while this one is computed with: a core's own prefetches
/// stop while it asks for nothing.
class Ahead {
 public:
  /// `steps`: how often step() will be called.
  void aim(const HostTokens& tokens, const HostRows& rows, std::int64_t begin, std::int64_t steps) {
    const std::int64_t count = std::min(kBlock, tokens.tokens - begin);
    const auto lines = [&](const std::uint16_t* from, std::int64_t stride, std::int64_t columns) {
      const auto first = reinterpret_cast<std::uintptr_t>(from + begin * stride);
      const auto bytes = static_cast<std::uintptr_t>((count - 1) * stride + columns) * sizeof(*from);
      return Lines{first / kLine * kLine, first + bytes};
    };
    now_ = lines(tokens.key, tokens.key_stride, rows.qk_columns);
    then_ = lines(tokens.value, tokens.value_stride, rows.v_columns);
    // Values inside keys come with them.
    if (then_.at >= now_.at && then_.end <= now_.end) then_ = {};
    const std::uintptr_t all = (now_.end - now_.at + then_.end - then_.at) / kLine + 2;
    lines_a_step_ = static_cast<std::int64_t>(all) / std::max<std::int64_t>(1, steps) + 1;
  }
  ESPALIER_INLINE void step() {
    for (std::int64_t i = 0; i < lines_a_step_; ++i, now_.at += kLine) {
      if (now_.at >= now_.end) now_ = std::exchange(then_, {});
      if (now_.at >= now_.end) return;
      __builtin_prefetch(reinterpret_cast<const void*>(now_.at));
    }
  }

 private:
  static constexpr std::uintptr_t kLine = 64;
  /// Numbers, as the last line may reach beyond what pointers may point to.
  struct Lines {
    std::uintptr_t at = 0, end = 0;
  };
  Lines now_, then_;
  std::int64_t lines_a_step_ = 0;
};

struct Scratch {
  alignas(32) float key[kBlock * kMostColumns];
  alignas(32) float value[kBlock * kMostColumns];
  alignas(32) float score[kHostRowStep * kBlock];
  Ahead ahead;
};

Scratch& scratch() {
  thread_local Scratch s;
  return s;
}

/// Scores of kRows rows against the block, in score[row][kBlock].
template <std::int64_t kRows>
ESPALIER_INLINE void score_rows(const float* query, std::int64_t columns, Scratch& s, std::int64_t tokens,
                                float* score) {
  for (std::int64_t t = 0; t < tokens; t += kTokenStep) {
    s.ahead.step();
    Floats sums[kRows][kTokenStep] = {};
    for (std::int64_t c = 0; c < columns; c += kLanes) {
      Floats q[kRows];
#pragma GCC unroll 8
      for (std::int64_t r = 0; r < kRows; ++r) load(query + r * columns + c, q[r]);
#pragma GCC unroll 8
      for (std::int64_t i = 0; i < kTokenStep; ++i) {
        Floats k;
        load(s.key + (t + i) * columns + c, k);
#pragma GCC unroll 8
        for (std::int64_t r = 0; r < kRows; ++r) sums[r][i] += q[r] * k;
      }
    }
#pragma GCC unroll 8
    for (std::int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (std::int64_t i = 0; i < kTokenStep; ++i) score[r * kBlock + t + i] = lane_sum(sums[r][i]);
    }
  }
}

/// Scores become weights, 0 up to the next whole vector; the row's maximum, sum and output follow the new maximum.
ESPALIER_INLINE void soften(HostRows& rows, std::int64_t row, float* score, std::int64_t tokens) {
  Floats highest = all_lanes(rows.most[static_cast<std::size_t>(row)]);
  for (std::int64_t t = 0; t < tokens; t += kLanes) {
    Floats x;
    load(score + t, x);
    highest = higher(highest, x);
  }
  const float most = lane_max(highest);
  float& old = rows.most[static_cast<std::size_t>(row)];
  float& sum = rows.sum[static_cast<std::size_t>(row)];
  if (most > old) {
    // A row that has seen nothing has nothing to shrink.
    if (!std::isinf(old)) {
      const float shrink = std::exp2(old - most);
      sum *= shrink;
      float* out = &rows.out[static_cast<std::size_t>(row * rows.v_columns)];
      for (std::int64_t c = 0; c < rows.v_columns; ++c) out[c] *= shrink;
    }
    old = most;
  }
  Floats total = all_lanes(0.0F);
  for (std::int64_t t = 0; t < tokens; t += kLanes) {
    Floats x;
    load(score + t, x);
    x = exp2_of(x - most);
    store(x, score + t);
    total += x;
  }
  sum += lane_sum(total);
}

/// out[row] += weights x values.
template <std::int64_t kRows>
ESPALIER_INLINE void weigh_values(const float* score, std::int64_t tokens, const Scratch& s, float* out,
                                  std::int64_t columns) {
  constexpr std::int64_t kVectors = kHostColumns / kLanes;
  for (std::int64_t c = 0; c < columns; c += kHostColumns) {
    Floats sums[kRows][kVectors];
#pragma GCC unroll 8
    for (std::int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (std::int64_t v = 0; v < kVectors; ++v) load(out + r * columns + c + v * kLanes, sums[r][v]);
    }
    for (std::int64_t t = 0; t < tokens; ++t) {
      Floats value[kVectors];
#pragma GCC unroll 8
      for (std::int64_t v = 0; v < kVectors; ++v) load(s.value + t * columns + c + v * kLanes, value[v]);
#pragma GCC unroll 8
      for (std::int64_t r = 0; r < kRows; ++r) {
        const Floats weight = all_lanes(score[r * kBlock + t]);
#pragma GCC unroll 8
        for (std::int64_t v = 0; v < kVectors; ++v) sums[r][v] += weight * value[v];
      }
    }
#pragma GCC unroll 8
    for (std::int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (std::int64_t v = 0; v < kVectors; ++v) store(sums[r][v], out + r * columns + c + v * kLanes);
    }
  }
}

template <std::int64_t kRows>
ESPALIER_INLINE void attend_rows(HostRows& rows, std::int64_t row, std::int64_t tokens, std::int64_t padded,
                                 Scratch& s) {
  score_rows<kRows>(&rows.query[static_cast<std::size_t>(row * rows.qk_columns)], rows.qk_columns, s, padded, s.score);
#pragma GCC unroll 8
  for (std::int64_t r = 0; r < kRows; ++r) {
    std::fill(s.score + r * kBlock + tokens, s.score + (r + 1) * kBlock, -std::numeric_limits<float>::infinity());
    soften(rows, row + r, s.score + r * kBlock, tokens);
  }
  weigh_values<kRows>(s.score, tokens, s, &rows.out[static_cast<std::size_t>(row * rows.v_columns)], rows.v_columns);
}

ESPALIER_INLINE void attend_all(HostRows& rows, std::int64_t row_begin, std::int64_t row_end, const HostTokens& tokens,
                                const HostTokens& next) {
  Scratch& s = scratch();
  const std::int64_t rows_seeing = row_end - row_begin;
  const std::int64_t row_steps = rows_seeing / kHostRowStep + rows_seeing % kHostRowStep;
  for (std::int64_t begin = 0; begin < tokens.tokens; begin += kBlock) {
    const std::int64_t count = std::min(kBlock, tokens.tokens - begin);
    const std::int64_t padded = (count + kTokenStep - 1) / kTokenStep * kTokenStep;
    for (std::int64_t t = 0; t < count; ++t) {
      widen(tokens.key + (begin + t) * tokens.key_stride, rows.qk_columns, s.key + t * rows.qk_columns);
      widen(tokens.value + (begin + t) * tokens.value_stride, rows.v_columns, s.value + t * rows.v_columns);
    }
    // Scores of tokens that don't exist are thrown away, but must not be computed from what an earlier block left (it
    // may be NaN).
    std::memset(s.key + count * rows.qk_columns, 0,
                static_cast<std::size_t>((padded - count) * rows.qk_columns) * sizeof(float));
    const bool last = begin + kBlock >= tokens.tokens;
    const HostTokens& after = last ? next : tokens;
    s.ahead = {};
    if (after.tokens > 0) s.ahead.aim(after, rows, last ? 0 : begin + kBlock, row_steps * padded / kTokenStep);
    std::int64_t row = row_begin;
    for (; row + kHostRowStep <= row_end; row += kHostRowStep) attend_rows<kHostRowStep>(rows, row, count, padded, s);
    for (; row < row_end; ++row) attend_rows<1>(rows, row, count, padded, s);
  }
}

ESPALIER_INLINE float sum_all(const float* data, std::int64_t count) {
  constexpr std::int64_t kVectors = 8;
  Floats sums[kVectors] = {};
  std::int64_t i = 0;
  for (; i + kVectors * kLanes <= count; i += kVectors * kLanes) {
#pragma GCC unroll 8
    for (std::int64_t v = 0; v < kVectors; ++v) {
      Floats x;
      load(data + i + v * kLanes, x);
      sums[v] += x;
    }
  }
  for (std::int64_t v = 1; v < kVectors; ++v) sums[0] += sums[v];
  float sum = lane_sum(sums[0]);
  for (; i < count; ++i) sum += data[i];
  return sum;
}

/// Columns are a multiple of kHostColumns.
ESPALIER_INLINE void fold_columns(float* out, float keep, const float* partial, float weight, std::int64_t columns) {
  for (std::int64_t c = 0; c < columns; c += kLanes) {
    Floats o, p;
    load(out + c, o);
    load(partial + c, p);
    store(o * keep + p * weight, out + c);
  }
}

/// Sums of the rows by their weights. Column blocks outermost, so that sums stay in registers.
ESPALIER_INLINE void weigh_rows(std::span<const PartialRow> rows, std::int64_t columns, float* to) {
  constexpr std::int64_t kVectors = kHostColumns / kLanes;
  for (std::int64_t c = 0; c < columns; c += kHostColumns) {
    Floats sums[kVectors] = {};
    for (const PartialRow& row : rows) {
      const Floats weight = all_lanes(row.lse2);
#pragma GCC unroll 8
      for (std::int64_t v = 0; v < kVectors; ++v) {
        Floats x;
        load(row.values + c + v * kLanes, x);
        sums[v] += weight * x;
      }
    }
#pragma GCC unroll 8
    for (std::int64_t v = 0; v < kVectors; ++v) store(sums[v], to + c + v * kLanes);
  }
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) void attend_avx2(HostRows& rows, std::int64_t row_begin, std::int64_t row_end,
                                                     const HostTokens& tokens, const HostTokens& next) {
  attend_all(rows, row_begin, row_end, tokens, next);
}
__attribute__((target("avx2,fma"))) float sum_avx2(const float* data, std::int64_t count) {
  return sum_all(data, count);
}
__attribute__((target("avx2,fma"))) void fold_avx2(float* out, float keep, const float* partial, float weight,
                                                   std::int64_t columns) {
  fold_columns(out, keep, partial, weight, columns);
}
__attribute__((target("avx2,fma"))) void weigh_avx2(std::span<const PartialRow> rows, std::int64_t columns, float* to) {
  weigh_rows(rows, columns, to);
}
bool has_avx2() {
  static const bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return has;
}
#endif

void attend_generic(HostRows& rows, std::int64_t row_begin, std::int64_t row_end, const HostTokens& tokens,
                    const HostTokens& next) {
  attend_all(rows, row_begin, row_end, tokens, next);
}

/// `lse2` of each row is its weight.
void weigh(std::span<const PartialRow> rows, std::int64_t columns, float* to) {
#if defined(__x86_64__)
  if (has_avx2()) return weigh_avx2(rows, columns, to);
#endif
  weigh_rows(rows, columns, to);
}

}  // namespace

void HostRows::reset(std::int64_t rows, std::int64_t qk, std::int64_t v) {
  qk_columns = qk;
  v_columns = v;
  query.resize(static_cast<std::size_t>(rows * qk));
  most.assign(static_cast<std::size_t>(rows), -std::numeric_limits<float>::infinity());
  sum.assign(static_cast<std::size_t>(rows), 0.0F);
  out.assign(static_cast<std::size_t>(rows * v), 0.0F);
}

void attend_tokens(HostRows& rows, std::int64_t row_begin, std::int64_t row_end, const HostTokens& tokens,
                   const HostTokens& next) {
#if defined(__x86_64__)
  if (has_avx2()) return attend_avx2(rows, row_begin, row_end, tokens, next);
#endif
  attend_generic(rows, row_begin, row_end, tokens, next);
}

void fold_row(HostRows& rows, std::int64_t row, const float* partial, float lse2) {
  if (std::isinf(lse2) && lse2 < 0) return;
  float& most = rows.most[static_cast<std::size_t>(row)];
  float& sum = rows.sum[static_cast<std::size_t>(row)];
  float* out = &rows.out[static_cast<std::size_t>(row * rows.v_columns)];
  // One of the two has the maximum, and a weight of 1.
  const bool keeps = lse2 <= most;
  const float less = std::isinf(most) ? 0.0F : std::exp2(keeps ? lse2 - most : most - lse2);
  const float keep = keeps ? 1 : less, weight = keeps ? less : 1;
#if defined(__x86_64__)
  if (has_avx2()) {
    fold_avx2(out, keep, partial, weight, rows.v_columns);
  } else
#endif
    fold_columns(out, keep, partial, weight, rows.v_columns);
  sum = sum * keep + weight;
  if (!keeps) most = lse2;
}

float finish_row(const HostRows& rows, std::int64_t row, float* to) {
  const float sum = rows.sum[static_cast<std::size_t>(row)];
  const PartialRow weighed{&rows.out[static_cast<std::size_t>(row * rows.v_columns)], sum == 0 ? 0.0F : 1 / sum};
  weigh(std::span(&weighed, 1), rows.v_columns, to);
  return sum == 0 ? -std::numeric_limits<float>::infinity() : rows.most[static_cast<std::size_t>(row)] + std::log2(sum);
}

float merge_rows(std::span<PartialRow> partials, std::int64_t columns, float* to) {
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  const auto end =
      std::remove_if(partials.begin(), partials.end(), [](const PartialRow& row) { return row.lse2 == kNothing; });
  const auto rows = partials.first(static_cast<std::size_t>(end - partials.begin()));
  // Of no rows: zeros, and the logarithm of 0.
  float most = kNothing, sum = 0;
  for (const PartialRow& row : rows) most = std::max(most, row.lse2);
  for (PartialRow& row : rows) sum += row.lse2 = std::exp2(row.lse2 - most);
  for (PartialRow& row : rows) row.lse2 /= sum;
  weigh(rows, columns, to);
  return most + std::log2(sum);
}

const char* host_instructions() {
#if defined(__x86_64__)
  if (has_avx2()) return "avx2+fma";
#endif
  return "generic";
}

float stream_sum(const float* data, std::int64_t count) {
#if defined(__x86_64__)
  if (has_avx2()) return sum_avx2(data, count);
#endif
  return sum_all(data, count);
}

}  // namespace espalier::kernels

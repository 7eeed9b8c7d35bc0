// Units. Quantities carry their unit in their name (`_tokens`, `_bytes`, `_us`); this header holds the conversions and
// the checked arithmetic that keeps byte counts of absurd inputs (10^9 tokens) from wrapping.
#pragma once

#include <cstdint>

namespace espalier::core {

inline constexpr std::int64_t kKiB = 1024;
inline constexpr std::int64_t kMiB = 1024 * kKiB;
inline constexpr std::int64_t kGiB = 1024 * kMiB;

/// Exact product or sum; throws `Error` (bad input) when it doesn't fit 63 bits.
std::int64_t checked_mul(std::int64_t a, std::int64_t b);
std::int64_t checked_add(std::int64_t a, std::int64_t b);

/// ceil(a / b) for a >= 0, b > 0.
constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return a / b + (a % b != 0); }
constexpr std::int64_t round_up(std::int64_t a, std::int64_t multiple) { return ceil_div(a, multiple) * multiple; }

}  // namespace espalier::core

// How far a kernel's rows are from the oracle's: normwise a row, as kernel tests report it.
#pragma once

#include <cstdint>

#include "kernels/oracle.h"

namespace espalier::kernels {

struct RowError {
  double worst = 0;      ///< largest |got - want| / |want| of a final row, Euclidean norms; infinity where NaN stands
  double worst_lse = 0;  ///< largest difference of a log-sum-exp
  std::int32_t request = -1, head = -1;  ///< of the worst row
};
RowError row_error(const AttentionOutput& got, const AttentionOutput& want);

/// What a row may be off. Probabilities are rounded to the queries' 16-bit type before they meet the values: with bf16 each by up to 2^-8 of
/// itself, which makes about 1.6e-3 of a row of many tokens and more where few values cancel. Final rows of 16 bits, and partial ones
/// (rounded at every merge), add to it.
double row_tolerance(const scheduler::Plan& plan, traces::Dtype row_dtype);

}  // namespace espalier::kernels

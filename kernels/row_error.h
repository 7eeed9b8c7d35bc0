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

/// What a row may be off: 2e-3 of its size in fp32, 4e-3 in 16 bits, where the probabilities' rounding comes on top of
/// the row's; a quarter of that for fp16 queries. A plan that keeps partial rows in 16 bits, as some published ones do,
/// rounds them again at every merge: 3e-3 more, times the root of the merges one behind the other. So does one whose
/// scores are stored.
double row_tolerance(const scheduler::Plan& plan, traces::Dtype row_dtype);

}  // namespace espalier::kernels

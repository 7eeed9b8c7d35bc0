// What a plan gives in the emulator, against the oracle.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "kernels/emulate.h"
#include "kernels/row_error.h"

namespace espalier::kernels {

/// Runs the plan as `options` say, on drawn tensors, and holds every row and log-sum-exp to naive attention's.
inline void expect_right(const scheduler::Plan& plan, const std::string& what, const EmulateOptions& options = {},
                         double lse_tolerance = 1e-4) {
  const TensorSource source{7};
  const RowError error =
      row_error(emulate(plan, source, options).output, naive_attention(plan.forest, plan.heads, source));
  EXPECT_LE(error.worst, row_tolerance(plan, options.row_dtype))
      << what << ": request " << error.request << ", head " << error.head;
  EXPECT_LE(error.worst_lse, lse_tolerance) << what;
}

}  // namespace espalier::kernels

// What a plan gives in the emulator, against the oracle.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "kernels/emulate.h"
#include "kernels/row_error.h"

namespace espalier::kernels {

/// Runs the plan as `options` say, on drawn tensors, and holds every row and log-sum-exp to naive attention's.
inline void expect_right(const scheduler::Plan& plan, const std::string& what, const EmulateOptions& options = {}) {
  const TensorSource source{7};
  const RowError error =
      row_error(emulate(plan, source, options).output, naive_attention(plan.forest, plan.heads, source));
  EXPECT_LE(error.worst, row_tolerance(plan, options.row_dtype))
      << what << ": request " << error.request << ", head " << error.head;
  // Scores kept in 16 bits are off by up to 2^-9 of themselves.
  const bool rounded_scores = std::any_of(plan.slots.begin(), plan.slots.end(), [](const scheduler::Slot& s) {
    return s.kind == scheduler::SlotKind::scores && s.dtype != traces::Dtype::fp32;
  });
  EXPECT_LE(error.worst_lse, rounded_scores ? 2e-3 : 1e-4) << what;
}

}  // namespace espalier::kernels

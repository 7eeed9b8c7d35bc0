// Errors of rows by their norms.
#include "kernels/row_error.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace espalier::kernels {

RowError row_error(const AttentionOutput& got, const AttentionOutput& want) {
  ESPALIER_CHECK(got.requests == want.requests && got.q_heads == want.q_heads && got.v_dim == want.v_dim);
  RowError error;
  std::size_t row = 0;
  for (std::int32_t r = 0; r < want.requests; ++r) {
    for (std::int32_t h = 0; h < want.q_heads; ++h, ++row) {
      double off = 0, size = 0;
      for (std::int32_t c = 0; c < want.v_dim; ++c) {
        const double difference = got.at(r, h, c) - want.at(r, h, c);
        off += difference * difference;
        size += want.at(r, h, c) * want.at(r, h, c);
      }
      double relative = size > 0 ? std::sqrt(off / size) : std::sqrt(off);
      if (!std::isfinite(relative)) relative = std::numeric_limits<double>::infinity();
      if (relative > error.worst || error.request < 0) {
        error.worst = relative;
        error.request = r;
        error.head = h;
      }
      const double lse = std::abs(got.lse[row] - want.lse[row]);
      if (!(lse <= error.worst_lse)) error.worst_lse = std::isnan(lse) ? std::numeric_limits<double>::infinity() : lse;
    }
  }
  return error;
}

double row_tolerance(const scheduler::Plan& plan, traces::Dtype row_dtype) {
  const auto exact = [](const scheduler::Slot& slot) { return slot.dtype == traces::Dtype::fp32; };
  const double probabilities = plan.heads.q_dtype == traces::Dtype::bf16 ? 2.5e-3 : 0.5e-3;
  const double rows = row_dtype == traces::Dtype::fp32 ? 0.0 : 1.5e-3;
  const double partials = std::all_of(plan.slots.begin(), plan.slots.end(), exact) ? 0.0 : 3e-3;
  return probabilities + rows + partials;
}

}  // namespace espalier::kernels

// Errors of rows by their norms.
#include "kernels/row_error.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "kernels/plan_access.h"

namespace espalier::kernels {
namespace {

using scheduler::Plan;
using scheduler::SlotId;

/// How often a row may be rounded to 16 bits on its way through slots: one after another, over steps and folds. Stored
/// scores enter the product with the values in 16 bits, whatever they are stored in.
std::int32_t most_roundings(const Plan& plan) {
  core::Column<SlotId, std::int32_t> roundings;
  for (const scheduler::Slot& slot : plan.slots) {
    roundings.push_back(slot.dtype == traces::Dtype::fp32 && slot.kind == scheduler::SlotKind::partial ? 0 : 1);
  }
  const core::Column<SlotId, std::int32_t> own = roundings;
  std::int32_t most = 0;
  for (bool changed = true; changed && most <= static_cast<std::int32_t>(plan.slots.size());) {
    changed = false;
    const auto raise = [&](SlotId out, std::int32_t inputs) {
      most = std::max(most, inputs);
      if (!out.valid() || roundings[out] >= inputs + own[out]) return;
      roundings[out] = inputs + own[out];
      changed = true;
    };
    for (const scheduler::Task& task : plan.tasks) {
      std::int32_t folded = 0;
      for (const SlotId slot : slice("folds of a task", plan.fold_slots, task.folds)) {
        folded = std::max(folded, roundings[slot]);
      }
      raise(task.slot, folded);
    }
    for (const scheduler::ReductionStep& step : plan.steps) {
      std::int32_t merged = 0;
      for (const scheduler::RowRef& input : slice("inputs of a step", plan.reduction_inputs, step.inputs)) {
        merged = std::max(merged, roundings[input.slot]);
      }
      raise(step.out, merged);
    }
  }
  return most;
}

}  // namespace

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
  const double bits = plan.heads.q_dtype == traces::Dtype::fp16 ? 0.25 : 1.0;  // fp16 has three more of them
  const double rows = bits * (row_dtype == traces::Dtype::fp32 ? 2e-3 : 4e-3);
  return rows + 3e-3 * std::sqrt(most_roundings(plan));
}

}  // namespace espalier::kernels

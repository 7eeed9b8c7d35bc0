// Opinions on what a task costs. Strategies plan by them; the simulator never reads one.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "costmodel/work_counts.h"

namespace espalier::costmodel {

struct Cost {
  double us = 0;  ///< time of one CTA at a fair share of the device
};

/// Pure, total, monotone in tokens: more KV tokens never cost less. Made for one device and one set of heads. Thread-safe.
class CostModel {
 public:
  virtual ~CostModel() = default;
  virtual std::string_view name() const = 0;
  virtual Cost task(const TaskShape& shape, const KernelConfig& kernel) const = 0;
  virtual Cost reduction(const ReductionShape& shape, const KernelConfig& kernel) const = 0;
};

/// "analytic": fixed cost + per-tile max of compute and the CTA's share of bandwidth (the form CoDec's estimator takes).
std::unique_ptr<CostModel> make_cost_model(std::string_view name, const DeviceSpec& device, const traces::HeadConfig& heads);
const std::vector<std::string>& cost_model_names();

}  // namespace espalier::costmodel

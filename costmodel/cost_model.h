// Opinions on what a task costs. Strategies plan by them; the simulator never reads one.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "costmodel/work_counts.h"

namespace espalier::costmodel {

struct Cost {
  double us = 0;              ///< time of one CTA at a fair share of the device, its KV from HBM
  bool extrapolated = false;  ///< beyond what the model was profiled on; whoever uses it says so
};

/// Pure, total, monotone in tokens: more KV tokens never cost less. Made for one device and one set of heads.
/// Thread-safe.
class CostModel {
 public:
  virtual ~CostModel() = default;
  virtual std::string_view name() const = 0;
  virtual Cost task(const TaskShape& shape, const KernelConfig& kernel) const = 0;
  virtual Cost reduction(const ReductionShape& shape, const KernelConfig& kernel) const = 0;
};

struct CostModelInfo {
  std::string_view name;
  std::string_view formula;  ///< of a task
  std::string_view source;
  /// Its numbers have no physical unit; one calibration point scales them to microseconds (relative_models.cpp).
  bool relative = false;
};
/// Every model, simplest first.
const std::vector<CostModelInfo>& cost_models();
const std::vector<std::string>& cost_model_names();

/// A name, or "table:FILE" (cost_table/1). Throws Error (usage) for an unknown name and for "table" without a file,
/// Error (bad input) for a bad table or one of another device or other heads.
std::unique_ptr<CostModel> make_cost_model(std::string_view spec, const DeviceSpec& device,
                                           const traces::HeadConfig& heads);

/// The name in a spec: "table" of "table:FILE". Throws Error (usage) for an unknown one, nearest name suggested.
const CostModelInfo& cost_model_info(std::string_view spec);

}  // namespace espalier::costmodel

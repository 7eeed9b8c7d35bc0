// Makers of the single cost models; make_cost_model() is the way in from outside.
#pragma once

#include <memory>
#include <string_view>

#include "costmodel/cost_model.h"

namespace espalier::costmodel {

std::unique_ptr<CostModel> make_analytic_model(const DeviceSpec& device, const traces::HeadConfig& heads);
std::unique_ptr<CostModel> make_roofline_model(const DeviceSpec& device, const traces::HeadConfig& heads);
/// unit, padding, linear, wave, payload, memory_profit; null for another name.
std::unique_ptr<CostModel> make_relative_model(std::string_view name, const DeviceSpec& device,
                                               const traces::HeadConfig& heads);

}  // namespace espalier::costmodel

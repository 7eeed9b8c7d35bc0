// Which cost models a command line names, and made for a device: "linear,table:F,analytic".
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "costmodel/cost_model.h"
#include "scheduler/strategy.h"

namespace espalier::apps {

/// Specs of a list; "all" is every model. Throws Error (usage) for an unknown name, a model named twice or an empty
/// list.
std::vector<std::string> choose_cost_models(std::string_view list);

/// make_cost_model(), and "table" without a file is a table that the simulator makes now, of the kernel set's kernels.
std::shared_ptr<const costmodel::CostModel> make_model(const std::string& spec, const costmodel::DeviceSpec& device,
                                                       const traces::HeadConfig& heads, scheduler::KernelSet kernels);

}  // namespace espalier::apps

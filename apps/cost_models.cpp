#include "apps/cost_models.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/error.h"
#include "core/text.h"
#include "sim/cost_table_maker.h"

namespace espalier::apps {

std::vector<std::string> choose_cost_models(std::string_view list) {
  if (list == "all") return costmodel::cost_model_names();
  std::vector<std::string> specs;
  for (const std::string& spec : core::split(list, ',')) {
    if (spec.empty()) {
      throw core::usage_error(fmt::format("--cost-model: expected names separated by commas, got '{}'", list));
    }
    (void)costmodel::cost_model_info(spec);
    if (std::find(specs.begin(), specs.end(), spec) != specs.end()) {
      throw core::usage_error(fmt::format("--cost-model: {} is named twice", spec));
    }
    specs.push_back(spec);
  }
  if (specs.empty()) throw core::usage_error("--cost-model: expected a cost model");
  return specs;
}

std::shared_ptr<const costmodel::CostModel> make_model(const std::string& spec, const costmodel::DeviceSpec& device,
                                                       const traces::HeadConfig& heads, scheduler::KernelSet kernels) {
  if (spec != "table") return costmodel::make_cost_model(spec, device, heads);
  const auto profiled = sim::profiled_kernels(device, heads, kernels == scheduler::KernelSet::ours);
  return costmodel::make_table_model(sim::make_cost_table(device, heads, profiled), "the simulator's cost table",
                                     device, heads);
}

}  // namespace espalier::apps

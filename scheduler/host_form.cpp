#include "scheduler/host_form.h"

#include <algorithm>

#include "costmodel/host_kernel.h"

namespace espalier::scheduler {

Plan as_host_plan(const Plan& plan) {
  Plan host = plan;
  for (costmodel::KernelConfig& kernel : host.kernels) kernel = costmodel::host_kernel(kernel, plan.heads);
  host.heads = costmodel::host_heads(plan.heads);
  seal(host);
  return host;
}

std::optional<Plan> host_form(const Plan& plan, const costmodel::DeviceSpec& device) {
  const bool own = std::all_of(plan.kernels.begin(), plan.kernels.end(), [](const costmodel::KernelConfig& kernel) {
    return kernel.engine == costmodel::Engine::cpu;
  });
  if (!device.is_cpu() || own) return std::nullopt;
  return as_host_plan(plan);
}

}  // namespace espalier::scheduler

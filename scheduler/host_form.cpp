#include "scheduler/host_form.h"

#include <algorithm>

namespace espalier::scheduler {
namespace {

/// Of a core's prefetches.
constexpr std::int64_t kBytesAhead = 4096;

}  // namespace

std::int32_t host_kv_tile(const traces::HeadConfig& heads) {
  return static_cast<std::int32_t>(std::max<std::int64_t>(1, kBytesAhead / heads.kv_bytes_per_token_head()));
}

Plan as_host_plan(const Plan& plan) {
  Plan host = plan;
  host.heads.q_dtype = traces::Dtype::fp32;  // queries and results
  for (costmodel::KernelConfig& kernel : host.kernels) {
    if (kernel.engine == costmodel::Engine::cpu) continue;
    const bool attend = kernel.role != costmodel::KernelRole::reduce;
    kernel.origin = "what the host executor runs for " + kernel.name;
    kernel.name = "host_" + kernel.name;
    kernel.engine = costmodel::Engine::cpu;
    kernel.kv_tile = attend ? host_kv_tile(plan.heads) : 1;
    kernel.rows_per_warp = kHostRowStep;
    kernel.stages = attend ? 2 : 1;
    kernel.warps = 1;
    kernel.smem_bytes = 1;
    kernel.registers = 32;
    kernel.lookups = 0;
    kernel.overlap = 0;
    kernel.efficiency = 1;
    kernel.partial_dtype = traces::Dtype::fp32;
    kernel.implemented = true;
  }
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

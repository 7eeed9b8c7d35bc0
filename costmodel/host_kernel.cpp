#include "costmodel/host_kernel.h"

#include <algorithm>

namespace espalier::costmodel {
namespace {

/// Of a core's prefetches.
constexpr std::int64_t kBytesAhead = 4096;

}  // namespace

std::int32_t host_kv_tile(const traces::HeadConfig& heads) {
  return static_cast<std::int32_t>(std::max<std::int64_t>(1, kBytesAhead / heads.kv_bytes_per_token_head()));
}

KernelConfig host_kernel(const KernelConfig& kernel, const traces::HeadConfig& heads) {
  if (kernel.engine == Engine::cpu) return kernel;
  const bool attend = kernel.role != KernelRole::reduce;
  KernelConfig host = kernel;
  host.origin = "what the host executor runs for " + kernel.name;
  host.name = "host_" + kernel.name;
  host.engine = Engine::cpu;
  host.kv_tile = attend ? host_kv_tile(heads) : 1;
  host.rows_per_warp = kHostRowStep;
  host.stages = attend ? 2 : 1;
  host.warps = 1;
  host.smem_bytes = 1;
  host.registers = 32;
  host.lookups = 0;
  host.overlap = 0;
  host.efficiency = 1;
  host.partial_dtype = traces::Dtype::fp32;
  host.implemented = true;
  return host;
}

traces::HeadConfig host_heads(traces::HeadConfig heads) {
  heads.q_dtype = traces::Dtype::fp32;
  return heads;
}

}  // namespace espalier::costmodel

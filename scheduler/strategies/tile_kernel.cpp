#include "scheduler/strategies/tile_kernel.h"

#include <algorithm>

namespace espalier::scheduler::planning {

using costmodel::KernelConfig;

std::vector<TileKernel> tile_kernels(const PlanRequest& request, std::int32_t most_heads) {
  const costmodel::DeviceSpec& device = request.device;
  std::vector<TileKernel> kernels;
  std::int32_t heads = 0;
  const std::vector<const KernelConfig*> all = our_kernels(request);
  kernels.reserve(all.size());
  for (const KernelConfig* const fitting : all) {
    const KernelConfig& config = *fitting;
    costmodel::TaskShape shape;
    shape.heads = heads_per_copy(config, request.heads);
    if (shape.heads < heads || shape.heads > most_heads) continue;
    if (shape.heads > heads) kernels.clear();
    heads = shape.heads;
    shape.queries = queries_per_tile(config, request.heads);
    shape.kv_tokens = config.kv_tile;
    shape.visible_pairs = shape.kv_tokens * shape.queries;
    TileKernel kernel;
    kernel.config = &config;
    kernel.queries = shape.queries;
    kernel.residents = costmodel::ctas_per_sm(config, request.heads, device);
    kernel.tile_us = costmodel::tile_cycles(shape, config, request.heads, device).total / device.clocks_per_us();
    const double ring =
        static_cast<double>(std::max(config.stages - 1, 1) * config.kv_tile * request.heads.kv_bytes_per_token_head());
    kernel.ring_bytes = ring;
    kernel.query_bytes = static_cast<double>(shape.queries * shape.heads * request.heads.qk_dim *
                                             traces::dtype_bytes(request.heads.q_dtype));
    kernel.bytes_per_us =
        std::min(ring / (device.hbm_latency_ns * 1e-3), device.sm_port_bytes_per_clk * device.clocks_per_us());
    kernels.push_back(kernel);
  }
  return kernels;
}

double first_queries_us(const PlanRequest& request, const TileKernel& kernel, double ctas) {
  const traces::HeadConfig& heads = request.heads;
  const double row_bytes =
      static_cast<double>(heads.q_heads) * heads.qk_dim * static_cast<double>(traces::dtype_bytes(heads.q_dtype));
  const double all_bytes = static_cast<double>(request.forest.request_count()) * row_bytes;
  return std::min(all_bytes, ctas * kernel.query_bytes) / request.device.hbm_achievable_bytes_per_us();
}

}  // namespace espalier::scheduler::planning

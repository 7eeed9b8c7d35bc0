// Our attention kernels as a planner that weighs tile heights sees them: how many requests a tile takes, and what a KV
// tile costs.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "scheduler/strategies/common.h"

namespace espalier::scheduler::planning {

struct TileKernel {
  const costmodel::KernelConfig* config = nullptr;
  std::int32_t queries = 1;    ///< requests of a full tile
  std::int32_t residents = 1;  ///< CTAs an SM holds
  double tile_us = 0;          ///< one KV tile of a full query tile, alone on its SM
  double ring_bytes = 0;       ///< in flight
  double query_bytes = 0;      ///< of a full tile's queries
  double bytes_per_us = 0;     ///< most that one CTA reads: bytes in flight over latency, or the SM's port
};

/// Our kernels by rising query tile, those only that read each KV head as rarely as any does (a tile that can't hold a
/// whole group reads it several times). Refuses with class `kernel` when none fits. `most_heads`: of those whose copies
/// have no more heads; empty where there are none.
std::vector<TileKernel> tile_kernels(const PlanRequest& request,
                                     std::int32_t most_heads = std::numeric_limits<std::int32_t>::max());

/// HBM's time for the queries of `ctas` full tiles that begin together: whoever reads a request's queries later finds
/// them in L2.
double first_queries_us(const PlanRequest& request, const TileKernel& kernel, double ctas);

}  // namespace espalier::scheduler::planning

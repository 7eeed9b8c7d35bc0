// Cost tables made by the simulator: what CoDec's off-line profiling of a kernel gives, on a device that needn't exist.
//
// A point is the time of one CTA among as many equal ones as the device holds, each with KV of its own that comes from
// HBM: a fair share of the device, as the analytic model means it. Launch gaps don't count.
#pragma once

#include <cstdint>
#include <span>

#include "costmodel/cost_table.h"

namespace espalier::sim {

/// Kernels of the catalog that can be profiled (attend and reduce) and fit the device with these heads: ours, or all of
/// them.
std::vector<const costmodel::KernelConfig*> profiled_kernels(const costmodel::DeviceSpec& device,
                                                             const traces::HeadConfig& heads, bool ours_only);

/// Query rows: powers of two of a request's rows up to the fullest tile. KV tokens: 1 to 131,072. Merges: up to 256
/// partial rows.
costmodel::CostTable make_cost_table(const costmodel::DeviceSpec& device, const traces::HeadConfig& heads,
                                     std::span<const costmodel::KernelConfig* const> kernels);

}  // namespace espalier::sim

// L2 reuse by footprint: which share of each task's KV reads hits.
#pragma once

#include <vector>

#include "costmodel/device_spec.h"
#include "scheduler/plan.h"

namespace espalier::sim {

/// Soft capacity law: hit share of reads whose bytes were last touched `footprint_bytes` of distinct data ago.
double soft_capacity_hit(double footprint_bytes, const costmodel::DeviceSpec& device);

/// Hit share of a task's KV bytes (0 for the first reader of cold KV), by task id. Readers of the same tokens that run
/// at the same time merge their misses; later ones hit with 1/(1+(D/C)^q), D being the distinct bytes touched
/// device-wide in between.
core::Column<scheduler::TaskId, double> kv_hit_fractions(const scheduler::Plan& plan,
                                                         const costmodel::DeviceSpec& device, bool warm_l2);

}  // namespace espalier::sim

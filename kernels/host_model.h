// Plans as the simulator sees them when this machine runs them.
#pragma once

#include <cstdint>

#include "scheduler/plan.h"

namespace espalier::kernels {

/// The plan with every kernel replaced by what the host executor runs in its place: two rows share a read of a tile, a
/// tile is as many tokens as a core keeps requested from memory, one core one task.
scheduler::Plan as_host_plan(const scheduler::Plan& plan);
/// Tokens of that tile: a core's prefetches reach about 4 KiB ahead.
std::int32_t host_kv_tile(const traces::HeadConfig& heads);

}  // namespace espalier::kernels

// What a plan's kernels are on this machine's cores: tiles decide what a task is, the CPU how it computes it.
#pragma once

#include <cstdint>
#include <optional>

#include "costmodel/device_spec.h"
#include "scheduler/plan.h"

namespace espalier::scheduler {

/// Query rows that share one read of a tile.
inline constexpr std::int32_t kHostRowStep = 2;

/// The plan with every kernel replaced by what the host executor runs in its place: a tile is as many tokens as a core
/// keeps requested from memory, one core one task, queries and results in fp32.
Plan as_host_plan(const Plan& plan);
/// That, for a device that is a CPU and a plan that isn't in this form; else none.
std::optional<Plan> host_form(const Plan& plan, const costmodel::DeviceSpec& device);
/// Tokens of that tile: a core's prefetches reach about 4 KiB ahead.
std::int32_t host_kv_tile(const traces::HeadConfig& heads);

}  // namespace espalier::scheduler

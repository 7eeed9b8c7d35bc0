// What a kernel is on this machine's cores: tiles decide what a task is, the CPU how it computes it.
#pragma once

#include <cstdint>

#include "costmodel/kernel_config.h"
#include "traces/head_config.h"

namespace espalier::costmodel {

/// Query rows that share one read of a tile.
inline constexpr std::int32_t kHostRowStep = 2;

/// Tokens of a tile: a core's prefetches reach about 4 KiB ahead.
std::int32_t host_kv_tile(const traces::HeadConfig& heads);
/// What the host executor runs in the kernel's place: a tile is as many tokens as a core keeps requested from memory,
/// one core one task. Its own form stays as it is.
KernelConfig host_kernel(const KernelConfig& kernel, const traces::HeadConfig& heads);
/// Queries and results are fp32 there.
traces::HeadConfig host_heads(traces::HeadConfig heads);

}  // namespace espalier::costmodel

// The host as a device: microbenchmarks of this machine, and plans as the simulator sees them when this machine runs them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "costmodel/host_calibration.h"
#include "scheduler/plan.h"

namespace espalier::kernels {

/// The plan with every kernel replaced by what the host executor runs in its place: two rows share a read of a tile, a tile is as
/// many tokens as a core keeps requested from memory, one core one task.
scheduler::Plan as_host_plan(const scheduler::Plan& plan);
/// Tokens of that tile: a core's prefetches reach about 4 KiB ahead.
std::int32_t host_kv_tile(const traces::HeadConfig& heads);

struct HostBenchOptions {
  std::int32_t threads = 0;     ///< 0: all
  std::int32_t repeats = 7;     ///< of each point; the fastest counts
  std::int64_t memory_bytes = std::int64_t{256} << 20;  ///< streamed, beyond any cache
};
/// Bandwidth of memory and cache by threads, cost of a task and of a launch, throughput of the attention kernel by rows and
/// tokens. A few seconds.
costmodel::HostSamples measure_host_samples(const HostBenchOptions& options);

}  // namespace espalier::kernels

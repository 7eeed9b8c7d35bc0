// Microbenchmarks of this machine: what a device "host" is fitted from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "costmodel/host_calibration.h"

namespace espalier::kernels {

/// Bytes of the caches of the highest level that these CPUs reach, each counted once, as Linux describes them: a folder
/// cpuN/cache for each CPU in `folder`, in it one for each cache with files `level`, `size` and `shared_cpu_list`. 0
/// where there are none.
std::int64_t last_level_bytes(const std::filesystem::path& folder, std::span<const std::int32_t> cpus);

struct HostBenchOptions {
  std::int32_t threads = 0;                             ///< 0: all
  std::int64_t memory_bytes = std::int64_t{256} << 20;  ///< streamed, beyond any cache
};

/// Bandwidth of memory and cache by threads, cost of a task and of a launch, throughput of the attention kernel by rows
/// and tokens, measured in rounds: what changes the machine's pace for a while then slows all points alike, not the one
/// it happens to meet.
class HostBench {
 public:
  explicit HostBench(const HostBenchOptions& options);
  ~HostBench();
  HostBench(const HostBench&) = delete;
  HostBench& operator=(const HostBench&) = delete;

  /// Every point once a round: some tenths of a second.
  void run(std::int32_t rounds = 1);
  /// The fastest of each point's rounds. Throws Error (bad input) before the first.
  costmodel::HostSamples samples() const;
  /// Back to no rounds.
  void forget();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier::kernels

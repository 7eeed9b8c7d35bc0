// Runs plans on the threads of this machine: cores stand for SMs, the last-level cache for L2, DRAM for HBM.
//
// Attention tasks and merges run; plans that store scores (two-GEMM methods) are refused. Timestamps of every item give
// a Timeline in the same terms as the simulator's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/host_memory.h"
#include "scheduler/plan.h"
#include "scheduler/timeline.h"

namespace espalier::kernels {

/// Numbers of the CPUs that may be used here; empty where the system doesn't tell.
std::vector<std::int32_t> host_cpus();
/// Threads that the executor uses unless told otherwise: hardware threads that this process may run on.
std::int32_t host_threads();

struct HostRun {
  double makespan_us = 0;  ///< from the moment all threads stand ready to the end of the last item
  std::vector<scheduler::Span> spans;
};

class HostExecutor {
 public:
  /// `plan` and `tensors` outlive the executor. Of `threads`, one or more, the caller of run() is one. Throws Error
  /// (bad input) for plans with stored scores.
  HostExecutor(const scheduler::Plan& plan, const HostTensors& tensors, std::int32_t threads);
  ~HostExecutor();
  HostExecutor(const HostExecutor&) = delete;
  HostExecutor& operator=(const HostExecutor&) = delete;

  /// Every item once. The spans of a launch gap aren't among them. An exception of an item is thrown on when all
  /// threads have stopped.
  HostRun run();
  AttentionOutput output() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Overwrites the caches with other lines, so that the next run reads its KV from memory.
class CacheFlusher {
 public:
  explicit CacheFlusher(std::int64_t bytes);
  void flush();

 private:
  std::vector<float> data_;
  float sum_ = 0;
};

/// Processor, threads, instructions, compiler: what a measurement of this machine carries.
std::vector<std::string> host_environment();

/// `repeats` cold runs; the timeline is that of the fastest.
struct HostMeasureOptions {
  std::int32_t threads = 0;  ///< 0: host_threads()
  std::int32_t repeats = 5;
  std::int64_t flush_bytes = std::int64_t{128} << 20;  ///< 0: warm runs
};
struct HostMeasurement {
  scheduler::Measurement measurement;
  std::vector<HostRun> runs;
};
HostMeasurement measure_host(const scheduler::Plan& plan, const HostTensors& tensors,
                             const HostMeasureOptions& options);

}  // namespace espalier::kernels

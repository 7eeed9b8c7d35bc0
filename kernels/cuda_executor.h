// Runs plans on a CUDA device: uploads the plan as it is, launches what it lowers to, times it, brings the rows back.
//
// There are two of these: built with nvcc (cuda_executor.cpp), and without (cuda_executor_absent.cpp), which only says
// so.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/error.h"
#include "kernels/device_plan.h"
#include "kernels/oracle.h"
#include "scheduler/plan.h"
#include "scheduler/timeline.h"

namespace espalier::kernels {

struct KernelSet;
/// All kernels, compiled for GPUs. Only in builds that have them.
const KernelSet& cuda_kernels();

struct CudaOptions {
  traces::Dtype row_dtype = traces::Dtype::fp32;  ///< of final rows
  std::int32_t warm_ups = 5;
  std::int32_t repeats = 20;
  bool cold = true;  ///< the L2 cache is overwritten before each run
  /// Unset: bulk copies on devices of compute capability 9.x, where this build has code for them, else the plain
  /// kernels.
  std::optional<KernelPath> path;
  bool timeline = false;  ///< one more run, behind those that are timed, in which kernels record when they do what
  /// What the tensors hold; null: numbers that repeat, the same for all plans of an input and page layout.
  const TensorSource* source = nullptr;
  bool rows = true;  ///< read back after the timed runs
};

struct CudaRun {
  AttentionOutput output;  ///< of the last run
  scheduler::Measurement measurement;
  std::int64_t device_bytes = 0;  ///< allocated: plan, tensors, workspace
  std::string path;               ///< of the kernels that ran: names joined by +
};

/// After this error the device takes no more work from this process: whoever gets it can only say so and end.
class DeviceLost : public core::Error {
 public:
  explicit DeviceLost(const std::string& sentence) : Error(core::ErrorKind::check_failed, sentence) {}
};

/// Runs one plan after another, and keeps what they can share: the stream, numbers in the tensors, what empties the
/// cache.
class CudaRunner {
 public:
  /// Throws Error: no device.
  CudaRunner();
  ~CudaRunner();
  CudaRunner(const CudaRunner&) = delete;
  CudaRunner& operator=(const CudaRunner&) = delete;

  /// See run_on_cuda.
  CudaRun run(const scheduler::Plan& plan, const CudaOptions& options);

 private:
  class State;
  std::unique_ptr<State> state_;
};

/// Launches are captured in one CUDA graph, in the order of the lowered plan on one stream, and timed by events around
/// it. Throws Error: no device (and no such executor in this build); PlanRefused for plans that no kernel can run and
/// for too little memory; check failed for whatever CUDA complains about; DeviceLost where that ends all work. Nothing
/// is launched before all of the plan is known to fit.
CudaRun run_on_cuda(const scheduler::Plan& plan, const CudaOptions& options);

}  // namespace espalier::kernels

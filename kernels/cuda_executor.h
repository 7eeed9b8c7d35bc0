// Runs plans on a CUDA device: uploads the plan as it is, launches what it lowers to, times it, brings the rows back.
//
// There are two of these: built with nvcc (cuda_executor.cpp), and without (cuda_executor_absent.cpp), which only says so.
#pragma once

#include <cstdint>
#include <optional>

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
  /// Unset: bulk copies on devices of compute capability 9.x, where this build has code for them.
  std::optional<KernelPath> path;
  bool timeline = false;  ///< one more run, behind those that are timed, in which kernels record when they do what
  /// What the tensors hold; null: random numbers, made on the device's own terms. Rows are then of no use, times are.
  const TensorSource* source = nullptr;
};

struct CudaRun {
  AttentionOutput output;  ///< of the last run; empty without a source
  scheduler::Measurement measurement;
  std::int64_t device_bytes = 0;  ///< allocated: plan, tensors, workspace
};

/// Launches are captured in one CUDA graph, in the order of the lowered plan on one stream, and timed by events around it. Throws Error:
/// no device (and no such executor in this build); check failed for plans that no kernel can run, too little memory, and whatever CUDA
/// complains about. Nothing is launched before all of the plan is known to fit.
CudaRun run_on_cuda(const scheduler::Plan& plan, const CudaOptions& options);

}  // namespace espalier::kernels

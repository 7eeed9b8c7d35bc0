// Executes a plan with the CUDA kernels' own source, compiled for the host, in the emulator.
#pragma once

#include <limits>

#include "kernels/device_plan.h"
#include "kernels/emulator/machine.h"
#include "kernels/oracle.h"
#include "scheduler/timeline.h"

namespace espalier::kernels {

/// All kernels, compiled for the emulator.
const KernelSet& host_kernels();

struct EmulateOptions {
  emulator::EmulatorOptions machine;
  traces::Dtype row_dtype = traces::Dtype::fp32;  ///< of final rows: fp32, or the queries' type as in a model
  bool timeline = false;
  KernelPath path = KernelPath::plain;
  std::int64_t most_shared_bytes =
      std::numeric_limits<std::int64_t>::max();  ///< of a block: decides which kernels can run
};

struct Emulation {
  AttentionOutput output;
  emulator::Counters counters;
  scheduler::Timeline timeline;  ///< only where asked for; a microsecond is a thousand events
};

/// Throws Error (check failed) for plans that no kernel can run, for tensors that don't fit this machine's memory, and
/// for whatever the emulator finds wrong in a kernel.
Emulation emulate(const scheduler::Plan& plan, const TensorSource& source, const EmulateOptions& options = {});

/// One launch of a lowered plan.
void emulate_launch(emulator::Machine& machine, const DeviceLaunch& launch, const AttendParams& params);
void emulate_launch(emulator::Machine& machine, const DeviceLaunch& launch, const ReduceParams& params);

/// Matrix operations the kernels will execute: what an emulation's time goes by (about a microsecond each).
double emulation_cost(const scheduler::Plan& plan);

}  // namespace espalier::kernels

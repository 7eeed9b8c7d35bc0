// From measurements of a CPU to a DeviceSpec in which its cores are SMs, its last-level cache L2 and its DRAM HBM.
//
// Every term of the model that a CPU has is fitted from samples; terms it doesn't have (tensor cores, warps) are set so
// that they never bind, and say so. A parameter is called measured only when the samples identify it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "costmodel/device_spec.h"
#include "costmodel/kernel_config.h"
#include "costmodel/work_counts.h"

namespace espalier::costmodel {

struct HostSamples {
  std::int32_t threads = 1;
  double clock_ghz = 1;   ///< what cycles are counted in; only ratios to it matter
  double cache_mib = 32;  ///< last level, as the system reports it
  double memory_gib = 8;
  std::vector<double> memory_bytes_per_us;  ///< by threads - 1: streaming reads from memory
  std::vector<double> cache_bytes_per_us;   ///< by threads - 1: of a set that stays in the last-level cache
  /// One core, everything in its own cache.
  struct KernelPoint {
    TaskShape shape;
    double us = 0;
  };
  std::vector<KernelPoint> kernel;
  KernelConfig config;  ///< of those points
  traces::HeadConfig heads;
  double row_us = 0;   ///< one core, everything in its own cache: a query row of 128 columns set up and finished
  double task_us = 0;  ///< a task of one row and one token
  double launch_us =
      0;  ///< from a launch's end to the start of the one that waits for it; 0: not told from the tasks' own
  double spread = 0;  ///< relative, between the two halves of the repeats, worst point
  std::string environment;
};

/// DeviceSpec::calibrated of a host that says this of itself (HostSamples::environment).
MeasurementEnvironment host_calibrated_on(const std::string& environment);

struct HostFit {
  DeviceSpec device;
  std::vector<std::string> residuals;  ///< a line a family: what it fitted, how well
};
/// Throws Error (bad input) for samples that can't be: not finite, zero, too few.
HostFit fit_host(const HostSamples& samples);

}  // namespace espalier::costmodel

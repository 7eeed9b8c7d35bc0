// Runs calibration probes on a CUDA device: launches, times, repeats. Nothing here knows what the times mean.
//
// Built with nvcc (cuda_probes.cpp), or without (cuda_probes_absent.cpp), which only says so.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/probe_plan.h"

namespace espalier::kernels {

/// What a device says of itself.
struct ProbeTarget {
  std::string device, driver;
  std::map<std::string, double, std::less<>> query;  ///< device fields, as measurement/1 names them
  std::vector<std::string> method = {};              ///< how times are taken here
};

/// Throws Error: no device (or no CUDA in this build).
ProbeTarget cuda_target();

/// Time of one execution in each repeat; none where the device can't run the point, with the reason where there is more
/// to say than that.
struct ProbeTimes {
  std::vector<double> us;
  std::string why_not;
};

class CudaProbes {
 public:
  /// Throws Error: no device (or no CUDA in this build).
  CudaProbes();
  ~CudaProbes();

  const ProbeTarget& target() const;
  /// None when the device can't hold the point's blocks at once, or when this build has no code for it. Throws Error
  /// for whatever CUDA complains about; after that the device is of no more use to this process.
  ProbeTimes microseconds(const ProbePoint& point);

 private:
  class State;
  std::unique_ptr<State> state_;
};

/// "570.86.15" of what a driver says of itself in /proc/driver/nvidia/version; empty when it says nothing like it.
std::string driver_version(std::string_view text);

/// Word i: where line i's successor begins, in words of 128-byte lines. One cycle through all lines, in random order.
std::vector<std::uint32_t> random_cycle(std::int64_t lines, std::uint64_t seed);
/// The numbers below `count` in random order.
std::vector<std::uint32_t> random_order(std::int64_t count, std::uint64_t seed);

}  // namespace espalier::kernels

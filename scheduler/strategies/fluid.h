// CTAs as a fluid: how long the device takes to work off CTAs that share HBM, L2 and the SMs' pipes.
//
// Classes of equal CTAs are dispatched in order onto the free slots; those that wait take the slots of those that
// leave. The CTAs of a kernel progress at one rate, so only arrivals and departures are events. Waves drift apart on a
// device: what a CTA loses between its predecessor's last byte and its own first one others fill, so it bounds the rate
// of later CTAs and isn't a pause.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>

#include "costmodel/device_spec.h"

namespace espalier::scheduler::planning {

/// CTAs of one kernel, on KV of one reuse.
struct FluidKernel {
  double missed = 1;          ///< bytes that HBM moves for each byte of KV
  double cap = 0;             ///< bytes a microsecond of a CTA alone
  double unloaded = 0;        ///< bytes a microsecond that its bytes in flight could sustain
  double unloaded_hbm = 0;    ///< the same of HBM's
  double sm_us_per_byte = 0;  ///< of an SM's pipes
  double sms = 1;             ///< SMs a CTA takes: 1 over those resident
  double fixed_us = 0;        ///< of a CTA, before its first byte and after its last
  double ring_bytes = 0;      ///< that a CTA asks for at first, if it reads as many
  double opening_us = 0;      ///< HBM's time for these
  double alike = std::numeric_limits<double>::infinity();  ///< CTAs in a row that read as much from HBM
};
inline constexpr std::size_t kMaxFluidKernels = 4;

/// Left uninitialised: planners keep arrays of them.
struct FluidClass {
  std::size_t kernel;
  double ctas;
  double bytes;   ///< of KV, a CTA
  double end_us;  ///< after its last byte
};

/// Bytes a microsecond that CTAs draw from a memory of `peak`, when what they have in flight could sustain `unloaded`:
/// Little's law with the device's soft corner.
inline double soft_corner(const costmodel::DeviceSpec& device, double unloaded, double peak) {
  const double load = unloaded / peak, p = device.hbm_ramp_exponent;
  return p == 2 ? unloaded / std::sqrt(1 + load * load) : unloaded / std::pow(1 + std::pow(load, p), 1 / p);
}

/// Microseconds from the first CTA's first byte until the last one is through, end_us after its last, for classes in
/// the order of their dispatch. Gives up, with a time above `limit_us`, once it can't be below that. At most
/// kMaxFluidKernels kernels.
double fluid_us(const costmodel::DeviceSpec& device, std::span<const FluidKernel> kernels,
                std::span<const FluidClass> classes, double limit_us = std::numeric_limits<double>::infinity());

}  // namespace espalier::scheduler::planning

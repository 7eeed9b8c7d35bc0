// How far off a predicted time may be because the device's numbers are: each number has a width by its origin, each
// width an effect on the time (one simulation), and independent effects add up in quadrature.
//
// Two plans on one device share the device's errors. Whether one is faster is a question about their ratio, and what
// shifts both alike cancels in it. Errors of the model itself are no part of these intervals, until plans that ran on
// the device say how far off they were.
#pragma once

#include <span>
#include <vector>

#include "sim/simulator.h"

namespace espalier::sim {

inline constexpr double kAssumedHalfWidth = 0.25;

/// Relative half width of one number: 0 for sizes that are counted (SMs, registers, capacities) and for what a user has
/// set (a what-if is exact by intent), 2 % for rates of data sheets, 5 % for what was measured, 25 % for what was
/// assumed.
double parameter_half_width(const costmodel::DeviceSpec& device, const costmodel::DeviceField& field);

/// log(time with the number one half width up / time), by index of device_fields(); down where up is beyond the
/// number's range, 0 for numbers the plan doesn't depend on. `result` is the plan's simulation. At most some twenty
/// simulations.
std::vector<double> parameter_effects(const scheduler::Plan& plan, const costmodel::DeviceSpec& device,
                                      const SimResult& result, const SimOptions& options = {});

/// parameter_effects(), stretched or shrunk so that they add up to what plans of this regime that ran on the device
/// were off by, where the device has such an interval (its regime's, else that of all plans). What they say of a ratio
/// is scaled alike.
std::vector<double> time_effects(const scheduler::Plan& plan, const costmodel::DeviceSpec& device,
                                 const SimResult& result);

/// Half width of the logarithm of a time, and of the ratio of two.
double log_half_width(std::span<const double> effects);
double log_ratio_half_width(std::span<const double> a, std::span<const double> b);

/// time_us x e^-w … time_us x e^w
struct TimeInterval {
  double low_us = 0, high_us = 0;
};
TimeInterval interval_of(double time_us, std::span<const double> effects);

}  // namespace espalier::sim

// Device bandwidth: the bytes-in-flight law and max-min sharing among classes of identical CTAs.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/simulator.h"

namespace espalier::sim {

/// Little's law with a soft corner: rate (bytes/us) that `in_flight_bytes` sustain against latency and peak.
/// BW(n) = (n/L0) / (1 + (n/(L0 B))^p)^(1/p)
double supply_rate(double in_flight_bytes, double latency_us, double peak_bytes_per_us, double exponent);

/// Bytes requested at the mean by a loop that has `in_flight_bytes` requested, but asks for nothing for `between_us` of
/// every turn.
double mean_in_flight(double in_flight_bytes, double latency_us, double between_us);

/// Unloaded latency of a byte of which `hbm_fraction` misses L2.
double path_latency_us(double hbm_fraction, const costmodel::DeviceSpec& device);
struct FlowClass;
double path_latency_us(const FlowClass& flow, const costmodel::DeviceSpec& device);
double sm_port_bytes_per_us(const costmodel::DeviceSpec& device);

/// CTAs that behave alike: same bytes per unit of work, same limits.
struct FlowClass {
  double count = 0;             ///< CTAs active now
  double cap_bytes_per_us = 0;  ///< most one CTA can take: the least of its own limits
  Bound cap_bound = Bound::latency;
  double hbm_fraction = 1;  ///< share of its bytes that miss L2
  double l2_fraction =
      1;  ///< share of its bytes that L2 sends for it alone; a cluster's multicast serves several CTAs at once
  double sm_cycles_per_byte = 0;  ///< SM pipe time its work needs
  double in_flight_bytes = 0;     ///< bytes one CTA keeps requested
};

/// Sets the cap of one CTA of the class: its bytes in flight over the path's latency, its pipes, its SM's port,
/// whichever is least.
void limit_flow(FlowClass& flow, const costmodel::DeviceSpec& device);

/// Time (or shares) by bound.
struct BoundTimes {
  double us[kBounds] = {};
};

struct FlowRate {
  double bytes_per_us = 0;  ///< of one CTA
  Bound bound = Bound::latency;
};

/// Progressive filling (max-min): all classes' rates rise together until a cap or a shared resource binds. Resources
/// are HBM and L2, each as soft_min(sum of in-flight bytes / latency, peak), and the ports and pipes of min(SMs, active
/// CTAs) SMs, pooled over the device: a CTA may use its whole SM while its neighbours wait. A law below its corner (n <
/// L0 B) is reported as latency. Every class has count > 0 and cap > 0. O(classes) a round, at most one round a class
/// and resource, mostly one or two.
void share_bandwidth(std::span<const FlowClass> classes, const costmodel::DeviceSpec& device,
                     std::vector<FlowRate>& rates);

}  // namespace espalier::sim

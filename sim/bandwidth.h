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

/// CTAs that behave alike: same bytes per unit of work, same limits.
struct FlowClass {
  double count = 0;               ///< CTAs active now
  double cap_bytes_per_us = 0;    ///< most one CTA can take: the least of its own limits
  Bound cap_bound = Bound::latency;
  double hbm_fraction = 1;        ///< share of its bytes that miss L2
  double sm_cycles_per_byte = 0;  ///< SM pipe time its work needs
  double in_flight_bytes = 0;     ///< bytes one CTA keeps requested
};

struct FlowRate {
  double bytes_per_us = 0;  ///< of one CTA
  Bound bound = Bound::latency;
};

/// Progressive filling: all classes' rates rise together until a cap or a shared resource (HBM law, L2, pooled SM pipes) binds.
void share_bandwidth(std::span<const FlowClass> classes, const costmodel::DeviceSpec& device, std::vector<FlowRate>& rates);

}  // namespace espalier::sim

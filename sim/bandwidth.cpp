// Progressive filling over four shared resources: HBM and L2 (both by the bytes-in-flight law), SM ports and SM pipes.
#include "sim/bandwidth.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace espalier::sim {
namespace {

/// The soft corner of the law in the variable u = n / L0, the rate that the bytes in flight could sustain alone.
double soft_minimum(double u, double peak, double exponent) {
  if (u <= 0 || peak <= 0) return 0;
  const double x = u / peak;
  if (exponent == 2.0) return u / std::sqrt(1.0 + x * x);
  return u / std::pow(1.0 + std::pow(x, exponent), 1.0 / exponent);
}

enum Resource { kHbm, kL2, kPort, kPipe, kResources };

struct Pool {
  double capacity = 0;
  double used = 0;    ///< by classes whose rate is fixed already
  double weight = 0;  ///< use of the classes still rising, per unit of their common rate
  Bound bound = Bound::latency;
};

double weight_of(const FlowClass& flow, int resource) {
  switch (resource) {
    case kHbm:
      return flow.count * flow.hbm_fraction;
    case kL2:
      return flow.count * flow.l2_fraction;
    case kPipe:
      return flow.count * flow.sm_cycles_per_byte;
    default:
      return flow.count;
  }
}

std::array<Pool, kResources> make_pools(std::span<const FlowClass> classes, const costmodel::DeviceSpec& device) {
  double active = 0, unloaded = 0, unloaded_hbm = 0;
  for (const FlowClass& flow : classes) {
    const double rate = flow.count * flow.in_flight_bytes / path_latency_us(flow, device);
    active += flow.count;
    unloaded += rate * flow.l2_fraction;
    unloaded_hbm += rate * flow.hbm_fraction;
  }
  const double sms = std::min(device.sms, active);
  const double hbm = device.hbm_achievable_bytes_per_us(), l2 = device.l2_bytes_per_us();
  std::array<Pool, kResources> pools;
  pools[kHbm] = {soft_minimum(unloaded_hbm, hbm, device.hbm_ramp_exponent), 0, 0,
                 unloaded_hbm < hbm ? Bound::latency : Bound::hbm};
  pools[kL2] = {soft_minimum(unloaded, l2, device.hbm_ramp_exponent), 0, 0, unloaded < l2 ? Bound::latency : Bound::l2};
  pools[kPort] = {sms * sm_port_bytes_per_us(device), 0, 0, Bound::l2};
  pools[kPipe] = {sms * device.clocks_per_us(), 0, 0, Bound::compute};
  return pools;
}

}  // namespace

double supply_rate(double in_flight_bytes, double latency_us, double peak_bytes_per_us, double exponent) {
  return soft_minimum(in_flight_bytes / latency_us, peak_bytes_per_us, exponent);
}

double mean_in_flight(double in_flight_bytes, double latency_us, double between_us) {
  return between_us > 0 ? in_flight_bytes * (latency_us / (latency_us + between_us)) : in_flight_bytes;
}

double path_latency_us(double hbm_fraction, const costmodel::DeviceSpec& device) {
  return (hbm_fraction * device.hbm_latency_ns + (1.0 - hbm_fraction) * device.l2_latency_ns) * 1e-3;
}

double path_latency_us(const FlowClass& flow, const costmodel::DeviceSpec& device) {
  // Of what is loaded; that it arrives at several CTAs makes it no faster.
  return path_latency_us(std::min(1.0, flow.hbm_fraction / flow.l2_fraction), device);
}

double sm_port_bytes_per_us(const costmodel::DeviceSpec& device) {
  return device.sm_port_bytes_per_clk * device.clocks_per_us();
}

void limit_flow(FlowClass& flow, const costmodel::DeviceSpec& device) {
  flow.cap_bytes_per_us = flow.in_flight_bytes / path_latency_us(flow, device);
  flow.cap_bound = Bound::latency;
  const auto lower = [&](double cap, Bound bound) {
    if (cap > flow.cap_bytes_per_us * (1 + 1e-12)) return;
    flow.cap_bytes_per_us = cap;
    flow.cap_bound = bound;
  };
  if (flow.sm_cycles_per_byte > 0) lower(device.clocks_per_us() / flow.sm_cycles_per_byte, Bound::compute);
  lower(sm_port_bytes_per_us(device), Bound::l2);
}

void share_bandwidth(std::span<const FlowClass> classes, const costmodel::DeviceSpec& device,
                     std::vector<FlowRate>& rates) {
  constexpr double kRising = -1;
  std::array<Pool, kResources> pools = make_pools(classes, device);
  rates.assign(classes.size(), FlowRate{kRising, Bound::latency});
  for (std::size_t left = classes.size(); left > 0;) {
    for (Pool& pool : pools) pool.weight = 0;
    double level = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < classes.size(); ++i) {
      if (rates[i].bytes_per_us != kRising) continue;
      for (int r = 0; r < kResources; ++r) pools[static_cast<std::size_t>(r)].weight += weight_of(classes[i], r);
      level = std::min(level, classes[i].cap_bytes_per_us);
    }
    int binding = -1;
    for (int r = 0; r < kResources; ++r) {
      const Pool& pool = pools[static_cast<std::size_t>(r)];
      if (pool.weight <= 0) continue;
      const double at = std::max(0.0, pool.capacity - pool.used) / pool.weight;
      if (at < level) {
        level = at;
        binding = r;
      }
    }
    for (std::size_t i = 0; i < classes.size(); ++i) {
      if (rates[i].bytes_per_us != kRising) continue;
      const bool capped = classes[i].cap_bytes_per_us <= level;
      if (!capped && (binding < 0 || weight_of(classes[i], binding) <= 0)) continue;
      rates[i] = {level, capped ? classes[i].cap_bound : pools[static_cast<std::size_t>(binding)].bound};
      for (int r = 0; r < kResources; ++r) {
        pools[static_cast<std::size_t>(r)].used += level * weight_of(classes[i], r);
      }
      --left;
    }
  }
}

}  // namespace espalier::sim

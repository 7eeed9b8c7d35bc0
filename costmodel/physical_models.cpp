// Models in physical units: analytic (a fixed cost, then the greater of SM time and the share of the memory system) and
// roofline.
#include <algorithm>
#include <cmath>

#include "core/units.h"
#include "costmodel/models.h"

namespace espalier::costmodel {

namespace {

/// Every SM holds as many of these CTAs as fit, and all get equal shares of bandwidth and of the SM's pipes.
///
///     C = start + L0 + max(read bytes / share, ceil(tokens/tile) * c_tile * residents / clock)
///         + rows + written bytes / port + end
///
/// The share follows the bytes-in-flight law at the kernel's stages. Bytes are linear and tiles a ceiling, so C is
/// monotone and subadditive in tokens: cutting a task never lowers the total, as its fixed part is above zero.
class AnalyticCostModel final : public CostModel {
 public:
  AnalyticCostModel(DeviceSpec device, traces::HeadConfig heads) : device_(std::move(device)), heads_(heads) {}

  std::string_view name() const override { return "analytic"; }

  Cost task(const TaskShape& shape, const KernelConfig& kernel) const override {
    const WorkCounts counts = count_task(shape, kernel, heads_);
    const double residents = residents_of(kernel);
    const double tile_us = tile_cycles(shape, kernel, heads_, device_).total * residents / device_.clocks_per_us();
    const std::int64_t tiles =
        shape.role == KernelRole::softmax ? core::ceil_div(shape.folded_columns, kernel.kv_tile) : counts.kv_tiles;
    const double compute_us = static_cast<double>(tiles) * tile_us;
    const double memory_us = static_cast<double>(counts.read_bytes()) / read_share(kernel, residents);
    // One stage means load, wait, compute: nothing overlaps within the CTA.
    const double main_us = kernel.stages > 1 ? std::max(memory_us, compute_us) : memory_us + compute_us;
    return {fixed_us() + main_us + rows_us(shape, heads_, device_) +
            static_cast<double>(counts.write_bytes()) / port_share(residents)};
  }

  /// The whole shape in one CTA. Partial rows were just written, so they come from L2.
  Cost reduction(const ReductionShape& shape, const KernelConfig& kernel) const override {
    const WorkCounts counts = count_reduction(shape, kernel, heads_);
    const double residents = residents_of(kernel);
    const double l2_share = std::min(device_.l2_bytes_per_us() / (device_.sms * residents), port_share(residents));
    const double read_us = static_cast<double>(counts.read_bytes()) / l2_share;
    const double write_us = static_cast<double>(counts.write_bytes()) / port_share(residents);
    return {(device_.cta_start_ns + device_.cta_end_ns + device_.l2_latency_ns) * 1e-3 + read_us + write_us};
  }

 private:
  double residents_of(const KernelConfig& kernel) const { return std::max(1, ctas_per_sm(kernel, heads_, device_)); }
  double fixed_us() const { return (device_.cta_start_ns + device_.cta_end_ns + device_.hbm_latency_ns) * 1e-3; }
  double port_share(double residents) const {
    return device_.sm_port_bytes_per_clk * device_.clocks_per_us() / residents;
  }

  /// Bytes/us of one CTA: BW(n) = (n/L0) / (1 + (n/(L0 B))^p)^(1/p), n = bytes in flight on the device.
  double read_share(const KernelConfig& kernel, double residents) const {
    const double ctas = device_.sms * residents;
    const double ring = std::max(1, kernel.stages - 1);
    const double tile_bytes = static_cast<double>(kernel.kv_tile * heads_.kv_bytes_per_token_head());
    const double unloaded = ctas * ring * tile_bytes / (device_.hbm_latency_ns * 1e-3);
    const double saturation = unloaded / device_.hbm_achievable_bytes_per_us();
    const double p = device_.hbm_ramp_exponent;
    const double rate = unloaded / std::pow(1 + std::pow(saturation, p), 1 / p);
    return std::min(rate / ctas, port_share(residents));
  }

  DeviceSpec device_;
  traces::HeadConfig heads_;
};

/// What the data sheet promises and nothing else: no latency, no fixed cost, no other pipe than the engine's.
///
///     C = max(bytes / (achievable bandwidth / CTAs on the device),
///             tiles * engine cycles of a tile * residents / clock)
///
/// In microseconds. Source: Williams et al., Roofline (CACM 2009), for one CTA among as many as fit the device.
class RooflineModel final : public CostModel {
 public:
  RooflineModel(DeviceSpec device, const traces::HeadConfig& heads) : device_(std::move(device)), heads_(heads) {}

  std::string_view name() const override { return "roofline"; }

  Cost task(const TaskShape& shape, const KernelConfig& kernel) const override {
    const WorkCounts counts = count_task(shape, kernel, heads_);
    const TileCycles cycles = tile_cycles(shape, kernel, heads_, device_);
    const double engine = has_tensor_cores(kernel.engine) ? cycles.tensor : cycles.fma;
    const double residents = std::max(1, ctas_per_sm(kernel, heads_, device_));
    const double compute_us = static_cast<double>(counts.kv_tiles) * engine * residents / device_.clocks_per_us();
    return {std::max(memory_us(counts, residents), compute_us)};
  }

  Cost reduction(const ReductionShape& shape, const KernelConfig& kernel) const override {
    return {memory_us(count_reduction(shape, kernel, heads_), std::max(1, ctas_per_sm(kernel, heads_, device_)))};
  }

 private:
  double memory_us(const WorkCounts& counts, double residents) const {
    const auto bytes = static_cast<double>(counts.read_bytes() + counts.write_bytes());
    return bytes * device_.sms * residents / device_.hbm_achievable_bytes_per_us();
  }

  DeviceSpec device_;
  traces::HeadConfig heads_;
};

}  // namespace

std::unique_ptr<CostModel> make_analytic_model(const DeviceSpec& device, const traces::HeadConfig& heads) {
  return std::make_unique<AnalyticCostModel>(device, heads);
}

std::unique_ptr<CostModel> make_roofline_model(const DeviceSpec& device, const traces::HeadConfig& heads) {
  return std::make_unique<RooflineModel>(device, heads);
}

}  // namespace espalier::costmodel

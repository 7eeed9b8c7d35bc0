// The analytic cost model: a fixed cost of a CTA, then the greater of its SM time and its share of the memory system.
#include "costmodel/cost_model.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/text.h"
#include "core/units.h"

namespace espalier::costmodel {

namespace {

/// Every SM holds as many of these CTAs as fit, and all get equal shares of bandwidth and of the SM's pipes.
///
///     C = start + L0 + max(read bytes / share, ceil(tokens/tile) * c_tile * residents / clock) + written bytes / port + end
///
/// The share follows the bytes-in-flight law at the kernel's stages. Bytes are linear and tiles a ceiling, so C is monotone and
/// subadditive in tokens: cutting a task never lowers the total, as its fixed part is above zero.
class AnalyticCostModel final : public CostModel {
 public:
  AnalyticCostModel(DeviceSpec device, traces::HeadConfig heads) : device_(std::move(device)), heads_(heads) {}

  std::string_view name() const override { return "analytic"; }

  Cost task(const TaskShape& shape, const KernelConfig& kernel) const override {
    const WorkCounts counts = count_task(shape, kernel, heads_);
    const double residents = residents_of(kernel);
    const double tile_us = tile_cycles(shape, kernel, heads_, device_).total * residents / device_.clocks_per_us();
    const std::int64_t tiles = shape.role == KernelRole::softmax ? core::ceil_div(shape.folded_columns, kernel.kv_tile) : counts.kv_tiles;
    const double compute_us = static_cast<double>(tiles) * tile_us;
    const double memory_us = static_cast<double>(counts.read_bytes()) / read_share(kernel, residents);
    // One stage means load, wait, compute: nothing overlaps within the CTA.
    const double main_us = kernel.stages > 1 ? std::max(memory_us, compute_us) : memory_us + compute_us;
    return {fixed_us() + main_us + static_cast<double>(counts.write_bytes()) / port_share(residents)};
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
  double residents_of(const KernelConfig& kernel) const {
    return std::max(1, ctas_per_sm(kernel, heads_, device_));
  }
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

}  // namespace

const std::vector<std::string>& cost_model_names() {
  static const std::vector<std::string> names = {"analytic"};
  return names;
}

std::unique_ptr<CostModel> make_cost_model(std::string_view name, const DeviceSpec& device, const traces::HeadConfig& heads) {
  if (name == "analytic") return std::make_unique<AnalyticCostModel>(device, heads);
  throw core::usage_error(core::unknown_name("cost model", name, cost_model_names()));
}

}  // namespace espalier::costmodel

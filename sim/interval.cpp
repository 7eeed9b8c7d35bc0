// Widths by origin, effects by simulation, quadrature.
#include "sim/interval.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"

namespace espalier::sim {
namespace {

using costmodel::DeviceField;
using costmodel::DeviceSpec;
using costmodel::Engine;
using costmodel::Origin;
using scheduler::Plan;

/// What pages may cost where it is assumed that they cost nothing: some twenty clocks for an address.
constexpr double kSupposedPageNs = 10;
/// And rows on a CPU whose file is older than their cost.
constexpr double kSupposedRowNs = 20;
constexpr double kDatasheetWidth = 0.02, kMeasuredWidth = 0.05;

/// Sizes: there is nothing to be wrong about but a misprint.
constexpr std::array<std::string_view, 10> kCounted = {"sms",
                                                       "compute_capability",
                                                       "hbm_gib",
                                                       "l2_mib",
                                                       "smem_kib_per_sm",
                                                       "smem_kib_per_cta",
                                                       "registers_per_sm",
                                                       "warps_per_sm",
                                                       "ctas_per_sm",
                                                       "fp8_rate_factor"};

bool follows(const Plan& plan, scheduler::Follow how) {
  return std::any_of(plan.launches.begin(), plan.launches.end(),
                     [&](const scheduler::Launch& launch) { return launch.follow == how; });
}

bool runs_on(const Plan& plan, Engine engine) {
  return std::any_of(plan.kernels.begin(), plan.kernels.end(),
                     [&](const costmodel::KernelConfig& kernel) { return kernel.engine == engine; });
}

/// False when the number can't matter to the plan, which saves a simulation.
bool matters(std::string_view field, const Plan& plan, const SimResult& result) {
  if (field == "launch_stream_us") return follows(plan, scheduler::Follow::stream);
  if (field == "launch_pdl_us") return follows(plan, scheduler::Follow::programmatic);
  if (field == "grid_sync_us") {
    return std::any_of(plan.phases.begin(), plan.phases.end(),
                       [](const scheduler::Phase& p) { return p.start == scheduler::PhaseStart::barrier; });
  }
  if (field == "page_ns") return is_paged(plan.forest.pages);
  if (field == "wgmma_flop_per_clk") return runs_on(plan, Engine::wgmma);
  if (field == "mma_flop_per_clk") return runs_on(plan, Engine::mma_sync);
  if (field == "fp8_convert_per_clk") return result.counts.conversions > 0;
  if (field.starts_with("l2_knee") || field == "l2_merge_fraction") return result.l2_hit_fraction > 0;
  return true;
}

}  // namespace

double parameter_half_width(const DeviceSpec& device, const DeviceField& field) {
  if (std::find(kCounted.begin(), kCounted.end(), field.name) != kCounted.end()) return 0;
  const auto found = device.provenance.find(field.name);
  switch (found != device.provenance.end() ? found->second.origin : Origin::assumed) {
    case Origin::datasheet:
      return kDatasheetWidth;
    case Origin::measured:
      return kMeasuredWidth;
    case Origin::assumed:
      return kAssumedHalfWidth;
    case Origin::overridden:
      return 0;
  }
  ESPALIER_CHECK(false);
}

std::vector<double> parameter_effects(const Plan& plan, const DeviceSpec& device, const SimResult& result,
                                      const SimOptions& options) {
  const auto& fields = costmodel::device_fields();
  std::vector<double> effects(fields.size(), 0.0);
  if (result.makespan_us <= 0) return effects;
  SimOptions quick = options;
  quick.timeline = false;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const DeviceField& field = fields[i];
    double width = parameter_half_width(device, field);
    if (field.name == "hbm_gbps") {
      continue;  // acts through its product with the achievable share: one simulation for both
    }
    if (field.name == "hbm_read_fraction") {
      const auto peak =
          std::find_if(fields.begin(), fields.end(), [](const DeviceField& f) { return f.name == "hbm_gbps"; });
      width = std::hypot(width, parameter_half_width(device, *peak));
    }
    const double value = device.*field.member;
    if (width <= 0 || !matters(field.name, plan, result)) continue;
    DeviceSpec changed = device;
    if (value > 0) {
      changed.*field.member = value * (1 + width) <= field.high ? value * (1 + width) : value * (1 - width);
    } else if (width == kAssumedHalfWidth && field.name == "page_ns") {
      changed.page_ns = kSupposedPageNs;
    } else if (width == kAssumedHalfWidth && field.name == "row_ns" && device.is_cpu()) {
      changed.row_ns = kSupposedRowNs;
    } else {
      continue;
    }
    effects[i] = std::log(simulate(plan, changed, quick).makespan_us / result.makespan_us);
  }
  return effects;
}

std::vector<double> time_effects(const Plan& plan, const DeviceSpec& device, const SimResult& result) {
  std::vector<double> effects = parameter_effects(plan, device, result);
  auto measured = device.intervals.find(bound_name(result.bound_by));
  if (measured == device.intervals.end()) measured = device.intervals.find("all");
  const double width = log_half_width(effects);
  if (measured == device.intervals.end() || width <= 0) return effects;
  for (double& effect : effects) effect *= measured->second.log_half_width / width;
  return effects;
}

double log_half_width(std::span<const double> effects) {
  double sum = 0;
  for (const double effect : effects) sum += effect * effect;
  return std::sqrt(sum);
}

double log_ratio_half_width(std::span<const double> a, std::span<const double> b) {
  ESPALIER_CHECK_OP(a.size(), ==, b.size());
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum);
}

TimeInterval interval_of(double time_us, std::span<const double> effects) {
  const double factor = std::exp(log_half_width(effects));
  return {time_us / factor, time_us * factor};
}

}  // namespace espalier::sim

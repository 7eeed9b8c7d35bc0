// Two points fix the bytes-in-flight law of a memory, three non-negative coefficients the cost of the kernel.
#include "costmodel/host_calibration.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "costmodel/measurement_file.h"
#include "costmodel/regression.h"

namespace espalier::costmodel {
namespace {

/// Exponent of the bytes-in-flight law: with a handful of cores the samples can't tell it from the bandwidth.
constexpr double kRamp = 4;
/// A second core that brings more than this share of its own bandwidth says nothing about the limit of all.
constexpr double kScales = 0.97;
/// When all together bring at most this much more than one, one core alone reaches the limit, and what it asks for
/// isn't seen.
constexpr double kAlone = 1.03;
constexpr std::size_t kLeastKernelPoints = 6;

void require(bool good, std::string_view what, std::string_view expected, double got) {
  if (!good) throw core::bad_input(fmt::format("host samples: {}", what), expected, fmt::format("{}", got));
}

void check_positive(std::string_view what, double value) {
  require(std::isfinite(value) && value > 0, what, "a finite number above 0", value);
}

void check_samples(const HostSamples& s) {
  require(s.threads >= 1, "threads", "1 or more", s.threads);
  check_positive("clock_ghz", s.clock_ghz);
  check_positive("cache_mib", s.cache_mib);
  check_positive("task_us", s.task_us);
  check_positive("row_us", s.row_us);
  require(std::isfinite(s.launch_us) && s.launch_us >= 0, "launch_us", "a finite number, not negative", s.launch_us);
  for (const auto* rates : {&s.memory_bytes_per_us, &s.cache_bytes_per_us}) {
    require(rates->size() == static_cast<std::size_t>(s.threads), "bandwidths", "one for each number of threads",
            static_cast<double>(rates->size()));
    for (const double rate : *rates) check_positive("bandwidth", rate);
  }
  require(s.kernel.size() >= kLeastKernelPoints, "kernel points", fmt::format("at least {}", kLeastKernelPoints),
          static_cast<double>(s.kernel.size()));
  for (const HostSamples::KernelPoint& p : s.kernel) check_positive("kernel time", p.us);
}

double law(double unloaded, double limit) {
  return unloaded / std::pow(1 + std::pow(unloaded / limit, kRamp), 1 / kRamp);
}
/// The unloaded rate that the limit bends to `rate`.
double unbent(double rate, double limit) { return rate / std::pow(1 - std::pow(rate / limit, kRamp), 1 / kRamp); }

struct Memory {
  double core_rate = 0;  ///< bytes a us that one core asks for
  double limit = 0;      ///< of all cores
  bool rate_known = true, limit_known = true;
};

Memory fit_memory(const std::vector<double>& rates) {
  const auto cores = static_cast<double>(rates.size());
  const double one = rates.front(), all = *std::max_element(rates.begin(), rates.end());
  if (rates.size() == 1 || all >= kScales * cores * one) return {one, 4 * std::max(all, one), true, false};
  if (all <= one * kAlone) return {4 * one, one, false, true};
  // With a limit just above what all reach, one core alone is hardly bent; the further away it is, the more all get.
  double low = std::max(all, one) * (1 + 1e-9), high = 100 * all;
  for (int i = 0; i < 200; ++i) {
    const double middle = std::sqrt(low * high);
    (law(cores * unbent(one, middle), middle) < all ? low : high) = middle;
  }
  return {unbent(one, high), high, true, true};
}

/// What the kernel's time goes with: FLOPs, KV elements widened once a task, bytes of the widened tile read by each
/// pair of rows.
std::vector<double> kernel_terms(const HostSamples& s, const TaskShape& shape) {
  const WorkCounts counts = count_task(shape, s.config, s.heads);
  return {static_cast<double>(counts.fma_flops), static_cast<double>(counts.conversions),
          static_cast<double>(counts.smem_write_bytes + counts.smem_read_bytes - 2 * counts.query_bytes)};
}

/// Microseconds of each of them. Not negative, by relative error; points that a neighbour slowed down weigh less.
struct KernelCosts {
  double flop = 0, widened = 0, byte = 0;
  double us(const std::vector<double>& terms) const { return flop * terms[0] + widened * terms[1] + byte * terms[2]; }
};

KernelCosts fit_kernel(const HostSamples& s) {
  Rows rows;
  for (const HostSamples::KernelPoint& p : s.kernel) {
    rows.push_back(kernel_terms(s, p.shape));
    for (double& term : rows.back()) term /= p.us;
  }
  const std::vector<double> costs = robust_nonnegative(rows, std::vector<double>(rows.size(), 1));
  return {costs[0], costs[1], costs[2]};
}

class Builder {
 public:
  explicit Builder(DeviceSpec& device) : device_(device) {}
  void set(double DeviceSpec::*member, double value, Origin origin, std::string source) {
    for (const DeviceField& field : device_fields()) {
      if (field.member != member) continue;
      device_.*member = std::clamp(field.whole ? std::round(value) : value, field.low, field.high);
      device_.provenance.insert_or_assign(std::string(field.name), Provenance{origin, std::move(source)});
    }
  }

 private:
  DeviceSpec& device_;
};

void set_shape(Builder& b, const HostSamples& s) {
  using D = DeviceSpec;
  const auto none = [&](double D::*member, double value, const char* why) {
    b.set(member, value, Origin::assumed, why);
  };
  b.set(&D::sms, s.threads, Origin::measured, "threads that run tasks");
  b.set(&D::clock_ghz, s.clock_ghz, Origin::datasheet, "as the system reports it; only what cycles are counted in");
  b.set(&D::hbm_gib, s.memory_gib, Origin::datasheet, "as the system reports it");
  b.set(&D::l2_mib, s.cache_mib, Origin::datasheet, "last-level cache, as the system reports it");
  b.set(&D::l2_knee_mib, s.cache_mib, Origin::assumed, "the size of the last-level cache");
  none(&D::compute_capability, 1, "not a GPU");
  none(&D::l2_knee_exponent, 4, "our guess: shared caches of servers lose lines to others early");
  none(&D::l2_merge_fraction, 0.5, "our guess: cores share a line while it is fetched");
  none(&D::smem_kib_per_sm, 228, "a CPU has none, and is asked for none: a GPU's");
  none(&D::smem_kib_per_cta, 227, "a CPU has none, and is asked for none: a GPU's");
  none(&D::registers_per_sm, 65536, "a CPU has none, and is asked for none: a GPU's");
  none(&D::warps_per_sm, 64, "a CPU has none, and is asked for none: a GPU's");
  none(&D::ctas_per_sm, 1, "a core runs one task at a time");
  none(&D::ex2_per_clk, 4096, "contained in fma_flop_per_clk");
  none(&D::wgmma_flop_per_clk, 0, "not a GPU");
  none(&D::fp8_rate_factor, 0, "not a GPU");
}

void set_memory(Builder& b, const HostSamples& s, double in_flight, std::vector<std::string>& residuals) {
  using D = DeviceSpec;
  const Memory memory = fit_memory(s.memory_bytes_per_us), cache = fit_memory(s.cache_bytes_per_us);
  const auto origin = [](const Memory& m) { return m.limit_known ? Origin::measured : Origin::assumed; };
  const auto source = [](const Memory& m, const char* what) {
    return m.limit_known
               ? fmt::format("streaming reads {}, by threads", what)
               : fmt::format("not reached: bandwidth {} grows with every core, four times the most that was seen",
                             what);
  };
  // Noise may have measured the cache slower than what lies behind it.
  const double cache_limit = std::max(cache.limit, memory.limit),
               cache_rate = std::max(cache.core_rate, memory.core_rate);
  b.set(&D::hbm_gbps, memory.limit * 1e-3, origin(memory), source(memory, "from memory"));
  b.set(&D::hbm_read_fraction, 1, Origin::measured, "hbm_gbps is what was reached");
  const auto latency = [&](double D::*member, const Memory& m, double rate, const char* what) {
    b.set(
        member, in_flight / rate * 1e3, m.rate_known ? Origin::measured : Origin::assumed,
        m.rate_known
            ? fmt::format("one core's bandwidth {}", what)
            : fmt::format("one core alone reaches the bandwidth {}: it asks for four times as much, our guess", what));
  };
  latency(&D::hbm_latency_ns, memory, memory.core_rate, "from memory");
  b.set(&D::hbm_ramp_exponent, kRamp, Origin::assumed, "a few cores can't tell it from the bandwidth");
  b.set(&D::l2_bytes_per_clk, cache_limit / (s.clock_ghz * 1e3), origin(cache),
        source(cache, "from the last-level cache"));
  latency(&D::l2_latency_ns, cache, cache_rate, "from the last-level cache");
  b.set(&D::sm_port_bytes_per_clk, std::min(cache_rate, cache_limit) / (s.clock_ghz * 1e3), Origin::measured,
        "one core's bandwidth from the last-level cache");
  residuals.push_back(
      fmt::format("memory: one core {:.1f} GB/s, all {:.1f}; last-level cache: one core {:.1f}, all {:.1f}",
                  s.memory_bytes_per_us.front() * 1e-3, s.memory_bytes_per_us.back() * 1e-3,
                  s.cache_bytes_per_us.front() * 1e-3, s.cache_bytes_per_us.back() * 1e-3));
}

void set_kernel(Builder& b, const HostSamples& s, const KernelCosts& costs, std::vector<std::string>& residuals) {
  using D = DeviceSpec;
  constexpr double kFree = 1e9;  // what costs nothing gets the highest rate that the number may have
  const auto per_clock = [&](double us) { return 1 / (us * s.clock_ghz * 1e3); };
  const auto rate = [&](double D::*member, double us) {
    b.set(member, us > 0 ? per_clock(us) : kFree, us > 0 ? Origin::measured : Origin::assumed,
          us > 0 ? "throughput of the attention kernel by rows and tokens, data in the core's own cache"
                 : "no part of the kernel's time goes with it");
  };
  rate(&D::fma_flop_per_clk, costs.flop);
  rate(&D::fp8_convert_per_clk, costs.widened);
  rate(&D::smem_bytes_per_clk, costs.byte);
  b.set(&D::mma_flop_per_clk, costs.flop > 0 ? per_clock(costs.flop) : kFree,
        costs.flop > 0 ? Origin::measured : Origin::assumed,
        "a CPU has no tensor cores: the same as fma_flop_per_clk, for planners that ask");
  double worst = 0, sum = 0;
  for (const HostSamples::KernelPoint& p : s.kernel) {
    const double error = std::abs(costs.us(kernel_terms(s, p.shape)) / p.us - 1);
    worst = std::max(worst, error);
    sum += error;
  }
  residuals.push_back(fmt::format("kernel: {} points, mean error {:.1f} %, worst {:.1f} %", s.kernel.size(),
                                  100 * sum / static_cast<double>(s.kernel.size()), 100 * worst));
}

}  // namespace

MeasurementEnvironment host_calibrated_on(const std::string& environment) {
  return {environment, "none: a CPU", kernel_build_hash()};
}

HostFit fit_host(const HostSamples& s) {
  check_samples(s);
  HostFit fit;
  fit.device.name = "host";
  fit.device.label = s.environment.empty() ? "host CPU" : s.environment;
  fit.device.calibrated = host_calibrated_on(fit.device.label);
  Builder b(fit.device);
  set_shape(b, s);
  const double in_flight =
      std::max(1, s.config.stages - 1) * static_cast<double>(s.config.kv_tile * s.heads.kv_bytes_per_token_head());
  set_memory(b, s, in_flight, fit.residuals);
  const KernelCosts costs = fit_kernel(s);
  set_kernel(b, s, costs, fit.residuals);
  using D = DeviceSpec;
  const double token_us = costs.us(kernel_terms(s, {.queries = 1, .kv_tokens = 1, .visible_pairs = 1}));
  b.set(&D::cta_start_ns, std::max(0.0, s.task_us - s.row_us - token_us) * 1e3, Origin::measured,
        "tasks of one row and one token, without that row's and that token's own time");
  b.set(&D::cta_end_ns, 0, Origin::measured, "contained in cta_start_ns");
  b.set(&D::page_ns, 0, Origin::assumed, "tokens are found one by one, paged or not: part of what a tile takes");
  b.set(&D::row_ns, s.row_us * 1e3, Origin::measured,
        "rows of 128 columns set up and finished, data in the core's own cache");
  for (double D::*gap : {&D::launch_stream_us, &D::launch_graph_us, &D::launch_pdl_us, &D::grid_sync_us}) {
    b.set(gap, s.launch_us, s.launch_us > 0 ? Origin::measured : Origin::assumed,
          s.launch_us > 0 ? "launches of one task, one after another"
                          : "launches one after another take no longer than tasks of one launch");
  }
  fit.residuals.push_back(
      fmt::format("row {:.1f} ns, task {:.2f} us, launch {:.2f} us; halves of the repeats differ by up to {:.1f} %",
                  s.row_us * 1e3, s.task_us, s.launch_us, 100 * s.spread));
  return fit;
}

}  // namespace espalier::costmodel

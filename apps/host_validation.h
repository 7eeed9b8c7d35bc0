// Predicted against measured on this machine: every strategy's plan of every input is simulated on the calibrated host
// and run by the host executor, in turns, from cold caches.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apps/inputs.h"
#include "costmodel/device_spec.h"
#include "kernels/host_bench.h"

namespace espalier::apps {

struct HostValidationOptions {
  HeadChoice heads;
  costmodel::DeviceSpec device;  ///< that plans are made for
  /// Rounds of it take turns with the plans of an input, which are predicted for the machine as it was meanwhile; none:
  /// for `device`.
  kernels::HostBench* bench = nullptr;
  std::vector<scheduler::StrategyChoice> strategies;
  std::int32_t repeats = 9;
  std::int32_t threads = 0;
  std::int64_t most_kv_bytes = std::int64_t{2} << 30;
};

/// One plan. Measured: the fastest repeat, as others may use the machine; noise: how far the fastest of the even
/// repeats lies from that of the odd ones; disturbed: how much longer that repeat's tasks and merges took than each of
/// them does at its best, 0.1 being a tenth. A neighbour on the other half of a core takes a third of its pace for some
/// milliseconds: no plan of tens escapes, and no half of the repeats shows it.
struct HostPoint {
  std::string input, strategy;
  double predicted_us = 0, measured_us = 0, median_us = 0, noise = 0, disturbed = 0;
  double undisturbed_us = 0,
         undisturbed_noise =
             0;  ///< the same with the fastest repeats made shorter by what their items took beyond their best
  std::size_t tasks = 0;
  double task_error = 0;  ///< mean |predicted / measured - 1| of the plan's tasks, weighted by measured time
  double error() const { return predicted_us / measured_us - 1; }
};

struct HostSummary {
  std::size_t plans = 0, inputs = 0;
  double mape = 0, worst = 0, task_mape = 0;
  std::string worst_plan;
  double noise = 0, disturbance = 0;  ///< medians over the plans
  std::optional<double>
      tau;  ///< mean over the inputs, pairs further apart than twice the larger of noise and disturbance
  std::size_t pairs = 0;
  double regret_mean = 0, regret_p95 = 0;  ///< of running what was predicted to be fastest
  double interval = 0;             ///< 90 % of the plans of every second input lie within this of their prediction
  std::optional<double> coverage;  ///< share of the other inputs' plans that do
  bool conclusive = false;         ///< neither noise nor disturbance exceeds kMostNoise
};
inline constexpr double kMostNoise = 0.05;

/// Inputs or strategies that the host can't run (KV beyond the limit, stored scores) are left out and named in
/// `left_out`.
std::vector<HostPoint> validate_host(const std::vector<Input>& inputs, const HostValidationOptions& options,
                                     std::vector<std::string>& left_out);
HostSummary summarise(const std::vector<HostPoint>& points);
/// The points as measured without disturbance.
std::vector<HostPoint> undisturbed(std::vector<HostPoint> points);

std::string render_host(const std::vector<HostPoint>& points, const HostSummary& summary);
std::string write_host(const std::vector<HostPoint>& points, const HostSummary& summary,
                       const costmodel::DeviceSpec& device);
/// Predicted against measured, both axes logarithmic, one colour a strategy.
std::string scatter_svg(const std::vector<HostPoint>& points);

}  // namespace espalier::apps

// Simulates what was measured, and says how well it was foretold.
#include "apps/measured_plans.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "apps/terminal.h"
#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/text.h"
#include "costmodel/regression.h"
#include "scheduler/validate.h"

namespace espalier::apps {
namespace {

constexpr double kLevel = 0.9;

std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }

double log_error(const MeasuredPoint& p) { return std::log(p.times.predicted_us / p.times.measured_us); }

RegimeInterval interval_of(const std::string& name, const std::vector<const MeasuredPoint*>& made,
                           const std::vector<const MeasuredPoint*>& tried) {
  RegimeInterval out{.regime = name, .made_of = made.size(), .tried = tried.size()};
  if (made.empty()) return out;
  std::vector<double> errors, sizes;
  for (const MeasuredPoint* p : made) {
    errors.push_back(log_error(*p));
    sizes.push_back(std::abs(errors.back()));
  }
  out.bias = costmodel::quantile(errors, 0.5);
  // The rank that covers 90 % of exchangeable plans; fewer than nine have none.
  const auto rank = static_cast<std::size_t>(std::ceil(kLevel * static_cast<double>(sizes.size() + 1)));
  if (rank > sizes.size()) return out;
  std::sort(sizes.begin(), sizes.end());
  out.interval = sizes[rank - 1];
  if (tried.empty()) return out;
  const auto within = std::count_if(tried.begin(), tried.end(),
                                    [&](const MeasuredPoint* p) { return std::abs(log_error(*p)) <= *out.interval; });
  out.coverage = static_cast<double>(within) / static_cast<double>(tried.size());
  return out;
}

HostSummary summary_of(const std::vector<MeasuredPoint>& points) {
  std::vector<HostPoint> times;
  for (const MeasuredPoint& p : points) times.push_back(p.times);
  return summarise(times);
}

void write_optional(core::JsonWriter& out, std::string_view name, const std::optional<double>& value) {
  out.key(name);
  if (value) {
    out.value(*value);
  } else {
    out.null();
  }
}

}  // namespace

std::vector<RegimeInterval> regime_intervals(const std::vector<MeasuredPoint>& points) {
  std::set<std::string> inputs;
  for (const MeasuredPoint& p : points) inputs.insert(p.times.input);
  const auto makes = [&](const MeasuredPoint& p) {
    return std::distance(inputs.begin(), inputs.find(p.times.input)) % 2 == 0;
  };
  std::vector<RegimeInterval> out;
  for (int regime = 0; regime <= sim::kBounds; ++regime) {
    const bool all = regime == sim::kBounds;
    std::vector<const MeasuredPoint*> made, tried;
    for (const MeasuredPoint& p : points) {
      if (all || static_cast<int>(p.regime) == regime) (makes(p) ? made : tried).push_back(&p);
    }
    if (made.empty() && tried.empty()) continue;
    out.push_back(
        interval_of(all ? "all" : std::string(sim::bound_name(static_cast<sim::Bound>(regime))), made, tried));
  }
  return out;
}

costmodel::DeviceSpec with_intervals(costmodel::DeviceSpec device, const std::vector<MeasuredPoint>& points) {
  device.intervals.clear();
  for (const RegimeInterval& r : regime_intervals(points)) {
    // Times that agree to the last digit would leave no interval at all; no timer is that good.
    constexpr double kLeast = 1e-3;
    if (r.interval) device.intervals[r.regime] = {std::max(kLeast, *r.interval), static_cast<std::int64_t>(r.made_of)};
  }
  if (device.intervals.empty()) {
    throw core::bad_input("measured plans", "nine or more on every second input, for an interval that holds 90 %",
                          core::counted(static_cast<std::int64_t>(points.size()), "plan"));
  }
  return device;
}

std::vector<MeasuredPoint> simulate_measured(const costmodel::MeasurementFile& file, const std::string& path,
                                             const costmodel::DeviceSpec& device) {
  std::vector<MeasuredPoint> points;
  Progress progress("simulating", file.plans.size());
  for (const costmodel::MeasuredPlan& measured : file.plans) {
    const std::string plan_path = (std::filesystem::path(path).parent_path() / measured.file).string();
    const scheduler::Plan plan = scheduler::read_plan(core::read_file(plan_path), plan_path);
    const std::string hash = core::hash_text(plan.hash);
    if (hash != measured.hash) {
      throw core::bad_input(plan_path, fmt::format("the plan that {} measured, {}", path, measured.hash), hash);
    }
    const auto violations = scheduler::validate(plan, device);
    if (!violations.empty()) {
      throw core::bad_input(plan_path, "a valid plan for " + device.name, violations.front().sentence);
    }
    const sim::SimResult predicted = sim::simulate(plan, device);
    MeasuredPoint p;
    p.times.input = measured.input;
    p.times.strategy = measured.strategy;
    p.times.predicted_us = predicted.makespan_us;
    p.times.measured_us = p.times.median_us = measured.median_us;
    p.times.noise = measured.spread;
    p.times.tasks = plan.tasks.size();
    p.regime = predicted.bound_by;
    points.push_back(std::move(p));
    progress.step();
  }
  return points;
}

std::string render_measured(const std::vector<MeasuredPoint>& points, const std::string& device) {
  Table table({"input", "strategy", "predicted", "measured", "error", "spread", "bound by"},
              {Align::left, Align::left, Align::right, Align::right, Align::right, Align::right, Align::left});
  for (const MeasuredPoint& p : points) {
    table.row({p.times.input, p.times.strategy, core::time_text(p.times.predicted_us),
               core::time_text(p.times.measured_us), fmt::format("{:+.1f} %", 100 * p.times.error()),
               percent(p.times.noise), std::string(sim::bound_name(p.regime))});
  }
  const HostSummary s = summary_of(points);
  std::string text = table.finish();
  text += fmt::format("{} of {} on {}: mean error {}, worst {} ({}); repeats spread by {}\n",
                      core::counted(static_cast<std::int64_t>(s.plans), "plan"),
                      core::counted(static_cast<std::int64_t>(s.inputs), "input"), device, percent(s.mape),
                      percent(s.worst), s.worst_plan, percent(s.noise));
  text += fmt::format(
      "  order of strategies: tau {} over {} further apart than twice the spread; regret mean {}, 95th percentile {}\n",
      s.tau ? fmt::format("{:.2f}", *s.tau) : "-", core::counted(static_cast<std::int64_t>(s.pairs), "pair"),
      percent(s.regret_mean), percent(s.regret_p95));
  Table intervals({"regime", "plans", "bias", "90 % within", "held out", "covered"},
                  {Align::left, Align::right, Align::right, Align::right, Align::right, Align::right});
  for (const RegimeInterval& r : regime_intervals(points)) {
    intervals.row({r.regime, fmt::format("{}", r.made_of), fmt::format("{:+.1f} %", 100 * std::expm1(r.bias)),
                   r.interval ? fmt::format("{:.2f}x either way", std::exp(*r.interval)) : "too few plans",
                   fmt::format("{}", r.tried), r.coverage ? percent(*r.coverage) : "-"});
  }
  return text + "\n" + intervals.finish();
}

std::string write_measured(const std::vector<MeasuredPoint>& points, const std::string& device) {
  const HostSummary s = summary_of(points);
  core::JsonWriter out;
  out.begin_object().field("schema", "validation/1").field("device", device);
  out.field("plans", static_cast<std::int64_t>(s.plans)).field("inputs", static_cast<std::int64_t>(s.inputs));
  out.field("mape", s.mape).field("worst", s.worst).field("worst_plan", s.worst_plan).field("spread", s.noise);
  write_optional(out, "tau", s.tau);
  out.field("pairs", static_cast<std::int64_t>(s.pairs))
      .field("regret_mean", s.regret_mean)
      .field("regret_p95", s.regret_p95);
  out.key("regimes").begin_array();
  for (const RegimeInterval& r : regime_intervals(points)) {
    out.begin_object()
        .field("regime", r.regime)
        .field("made_of", static_cast<std::int64_t>(r.made_of))
        .field("tried", static_cast<std::int64_t>(r.tried));
    out.field("bias_log", r.bias);
    write_optional(out, "interval_log", r.interval);
    write_optional(out, "coverage", r.coverage);
    out.end_object();
  }
  out.end_array().key("rows").begin_array();
  for (const MeasuredPoint& p : points) {
    out.begin_object()
        .field("input", p.times.input)
        .field("strategy", p.times.strategy)
        .field("predicted_us", p.times.predicted_us);
    out.field("measured_us", p.times.measured_us)
        .field("spread", p.times.noise)
        .field("bound_by", sim::bound_name(p.regime))
        .end_object();
  }
  return out.end_array().end_object().finish();
}

}  // namespace espalier::apps

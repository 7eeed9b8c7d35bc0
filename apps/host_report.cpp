// Table, JSON and scatter plot of a host validation.

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "apps/host_validation.h"
#include "apps/terminal.h"
#include "core/json.h"
#include "core/text.h"
#include "kernels/host_executor.h"

namespace espalier::apps {
namespace {

std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }

struct Target {
  const char* what;
  double got, limit;
  bool at_most;
  bool met() const { return at_most ? got <= limit : got >= limit; }
};

std::vector<Target> targets(const HostSummary& s) {
  return {{"mean error of a plan's time", s.mape, 0.10, true},
          {"order of strategies (tau)", s.tau.value_or(0), 0.8, false},
          {"mean regret", s.regret_mean, 0.03, true}};
}

std::string targets_text(const HostSummary& s) {
  std::string text;
  for (const Target& t : targets(s)) {
    text +=
        fmt::format("{}{} {}", text.empty() ? "" : "; ", t.what, t.met() ? "within its target" : "misses its target");
  }
  return text;
}

std::string verdict(const HostSummary& s) {
  if (!s.conclusive) {
    return fmt::format(
        "inconclusive: {}, more than {}; the machine is busy",
        s.noise >= s.disturbance
            ? fmt::format("repeats differ by {}", percent(s.noise))
            : fmt::format("tasks of the fastest repeats take {} longer than at their best", percent(s.disturbance)),
        percent(kMostNoise));
  }
  return targets_text(s);
}

constexpr double kSize = 640, kMargin = 80;

/// Powers of ten that hold all values.
struct Axis {
  double low, high;  ///< logarithms
  double place(double value) const { return (std::log10(value) - low) / (high - low) * (kSize - 2 * kMargin); }
};

Axis axis_of(const std::vector<HostPoint>& points) {
  double low = 1e300, high = 0;
  for (const HostPoint& p : points) {
    low = std::min({low, p.predicted_us, p.measured_us});
    high = std::max({high, p.predicted_us, p.measured_us});
  }
  return points.empty() ? Axis{0, 1}
                        : Axis{std::floor(std::log10(low)),
                               std::max(std::floor(std::log10(low)) + 1, std::ceil(std::log10(high)))};
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '<' ? "&lt;" : c == '&' ? "&amp;" : c == '"' ? "&quot;" : std::string(1, c);
  return out;
}

std::string order_text(const HostSummary& s) {
  return fmt::format("tau {} over {} further apart than twice either; regret mean {}, 95th percentile {}",
                     s.tau ? fmt::format("{:.2f}", *s.tau) : "-",
                     core::counted(static_cast<std::int64_t>(s.pairs), "pair"), percent(s.regret_mean),
                     percent(s.regret_p95));
}

void write_figures(core::JsonWriter& out, const HostSummary& s) {
  out.field("mape", s.mape).field("worst", s.worst).field("worst_plan", s.worst_plan).field("task_mape", s.task_mape);
  out.field("noise", s.noise).field("disturbance", s.disturbance).key("tau");
  if (s.tau) {
    out.value(*s.tau);
  } else {
    out.null();
  }
  out.field("pairs", static_cast<std::int64_t>(s.pairs))
      .field("regret_mean", s.regret_mean)
      .field("regret_p95", s.regret_p95);
  out.field("interval_log", s.interval).key("coverage");
  if (s.coverage) {
    out.value(*s.coverage);
  } else {
    out.null();
  }
}

}  // namespace

std::string render_host(const std::vector<HostPoint>& points, const HostSummary& s) {
  Table table({"input", "strategy", "predicted", "measured", "error", "noise", "disturbed", "undisturbed", "error",
               "tasks", "error a task"},
              {Align::left, Align::left, Align::right, Align::right, Align::right, Align::right, Align::right,
               Align::right, Align::right, Align::right, Align::right});
  for (const HostPoint& p : points) {
    table.row({p.input, p.strategy, core::time_text(p.predicted_us), core::time_text(p.measured_us),
               fmt::format("{:+.1f} %", 100 * p.error()), percent(p.noise), percent(p.disturbed),
               core::time_text(p.undisturbed_us),
               fmt::format("{:+.1f} %", 100 * (p.predicted_us / p.undisturbed_us - 1)),
               core::count_text(static_cast<std::int64_t>(p.tasks)), percent(p.task_error)});
  }
  std::string text = table.finish();
  text += fmt::format("{} of {}: mean error {}, worst {} ({}), mean error of tasks {}\n",
                      core::counted(static_cast<std::int64_t>(s.plans), "plan"),
                      core::counted(static_cast<std::int64_t>(s.inputs), "input"), percent(s.mape), percent(s.worst),
                      s.worst_plan, percent(s.task_mape));
  text += fmt::format(
      "  noise between the halves of the repeats {}; tasks and merges of the fastest repeat, which counts, take {} "
      "longer than each at its best\n",
      percent(s.noise), percent(s.disturbance));
  text += fmt::format("  order of strategies: {}\n", order_text(s));
  const HostSummary quiet = summarise(undisturbed(points));
  text += fmt::format(
      "  undisturbed (the fastest made shorter by that): mean error {}, worst {} ({}), repeats differ by {}; {}\n",
      percent(quiet.mape), percent(quiet.worst), quiet.worst_plan, percent(quiet.noise), order_text(quiet));
  if (s.coverage) {
    text += fmt::format("  a 90 % interval of every second input, {:.2f}x either way, holds {} of the others\n",
                        std::exp(s.interval), percent(*s.coverage));
  }
  text += fmt::format("verdict: {}\n", verdict(s));
  if (!s.conclusive && quiet.conclusive) text += fmt::format("  undisturbed: {}\n", targets_text(quiet));
  return text;
}

std::string write_host(const std::vector<HostPoint>& points, const HostSummary& s,
                       const costmodel::DeviceSpec& device) {
  core::JsonWriter out;
  out.begin_object()
      .field("schema", "host_validation/1")
      .field("device", device.name)
      .field("environment", kernels::host_environment());
  out.field("plans", static_cast<std::int64_t>(s.plans)).field("inputs", static_cast<std::int64_t>(s.inputs));
  write_figures(out, s);
  out.field("conclusive", s.conclusive).field("verdict", verdict(s)).key("undisturbed").begin_object();
  write_figures(out, summarise(undisturbed(points)));
  out.end_object();
  out.key("rows").begin_array();
  for (const HostPoint& p : points) {
    out.begin_object().field("input", p.input).field("strategy", p.strategy).field("predicted_us", p.predicted_us);
    out.field("measured_us", p.measured_us).field("median_us", p.median_us).field("noise", p.noise);
    out.field("disturbed", p.disturbed).field("undisturbed_us", p.undisturbed_us);
    out.field("tasks", static_cast<std::int64_t>(p.tasks)).field("task_error", p.task_error).end_object();
  }
  return out.end_array().end_object().finish();
}

std::string scatter_svg(const std::vector<HostPoint>& points) {
  constexpr const char* kColours[] = {"#4477aa", "#ee6677", "#228833", "#ccbb44",
                                      "#66ccee", "#aa3377", "#777777", "#000000"};
  const Axis axis = axis_of(points);
  const auto x = [&](double us) { return kMargin + axis.place(us); };
  const auto y = [&](double us) { return kSize - kMargin - axis.place(us); };
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {0}\" font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"{0}\" height=\"{0}\" fill=\"#ffffff\"/>\n",
      kSize);
  const double low = std::pow(10, axis.low), high = std::pow(10, axis.high);
  for (double decade = axis.low; decade <= axis.high + 0.5; ++decade) {
    const double us = std::pow(10, decade);
    svg += fmt::format("<path d=\"M{0:.1f} {1:.1f}V{2:.1f}M{3:.1f} {4:.1f}H{5:.1f}\" stroke=\"#dddddd\"/>\n", x(us),
                       y(low), y(high), x(low), y(us), x(high));
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n", x(us), y(low) + 18,
                       core::time_text(us));
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n", x(low) - 6, y(us) + 4,
                       core::time_text(us));
  }
  svg +=
      fmt::format("<path d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\" stroke=\"#888888\"/>\n", x(low), y(low), x(high), y(high));
  svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">measured</text>\n", kSize / 2, kSize - 16);
  svg += fmt::format(
      "<text x=\"16\" y=\"{0:.1f}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {0:.1f})\">predicted</text>\n",
      kSize / 2);
  std::map<std::string, std::string> colours;
  for (const HostPoint& p : points) {
    const auto [at, fresh] = colours.emplace(p.strategy, kColours[colours.size() % std::size(kColours)]);
    svg += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"{}\" fill-opacity=\"0.8\"><title>{} {}: {} predicted, {} "
        "measured</title></circle>\n",
        x(p.measured_us), y(p.predicted_us), at->second, escaped(p.input), p.strategy, core::time_text(p.predicted_us),
        core::time_text(p.measured_us));
  }
  double line = y(high) + 16;
  for (const auto& [strategy, colour] : colours) {
    svg += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"{}\"/><text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
        kMargin + 14, line - 4, colour, kMargin + 24, line, escaped(strategy));
    line += 16;
  }
  return svg + "</svg>\n";
}

}  // namespace espalier::apps

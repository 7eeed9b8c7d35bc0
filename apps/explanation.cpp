#include "apps/explanation.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/text.h"
#include "scheduler/plan_statistics.h"

namespace espalier::apps {
namespace {

constexpr std::size_t kPathLines = 8;
constexpr int kBarColumns = 30;
constexpr std::size_t kLineColumns = 100;

std::string percent(double share) { return fmt::format("{:.1f} %", 100.0 * share); }

std::string heading(const sim::Explanation& e, const scheduler::Plan& plan, const costmodel::DeviceSpec& device) {
  const sim::SimResult& r = e.result;
  const scheduler::LowerBound bound = scheduler::lower_bound(plan.forest, plan.heads, device);
  const double us = std::max(r.makespan_us, 1e-300);
  const double hbm = static_cast<double>(r.hbm_bytes) / us, l2 = static_cast<double>(r.l2_bytes) / us;
  const std::string interval =
      r.high_us > 0 ? fmt::format(" ({}-{})", core::time_text(r.low_us), core::time_text(r.high_us)) : "";
  return fmt::format("{} on {}: {}{}, {:.0f} % of its bound {}, {} bound\n", plan.provenance.strategy, device.name,
                     core::time_text(r.makespan_us), interval, r.makespan_us > 0 ? 100.0 * bound.us / us : 100.0,
                     core::time_text(bound.us), sim::bound_name(r.bound_by)) +
         fmt::format("  HBM {} ({:.0f} % of its rate), L2 {} ({:.0f} % of its rate), {:.0f} % of KV reads hit L2\n",
                     core::bytes_text(r.hbm_bytes), 100.0 * hbm / device.hbm_achievable_bytes_per_us(),
                     core::bytes_text(r.l2_bytes), 100.0 * l2 / device.l2_bytes_per_us(), 100.0 * r.l2_hit_fraction);
}

std::string sm_time(const sim::Explanation& e, const costmodel::DeviceSpec& device) {
  const sim::SmTimeReasons& t = e.sm_time;
  const double all = std::max(t.total(), 1e-300);
  struct Line {
    const char* name;
    double us;
    std::string note;
  };
  const std::vector<Line> lines = {
      {"working", t.working(),
       fmt::format("compute {}, dispatch and epilogues {}", percent(t.compute / all), percent(t.fixed / all))},
      {"bandwidth", t.hbm + t.l2,
       fmt::format("waits for HBM {}, for L2 {}", percent(t.hbm / all), percent(t.l2 / all))},
      {"latency ramp", t.latency, "waits: too few bytes in flight"},
      {"launch", t.launch, "empty: between launches, at barriers"},
      {"too few CTAs", t.few, "empty: never a CTA for these SMs"},
      {"tail", t.tail, "empty: the last CTAs end"},
      {"imbalance", t.imbalance, "empty: longer CTAs or queues still run"},
      {"merge wait", t.merge, "empty: only merges run"},
  };
  std::string text = fmt::format("\nSM time, {:.0f} SMs x {}\n", device.sms, core::time_text(e.result.makespan_us));
  for (const Line& line : lines) {
    const auto columns = static_cast<std::size_t>(kBarColumns * line.us / all + 0.5);
    text += fmt::format("  {:<12} {:>7}  {:<{}}  {}\n", line.name, percent(line.us / all), std::string(columns, '#'),
                        kBarColumns, line.note);
  }
  return text;
}

/// One line: how many tasks each bound limits.
std::string task_bounds(const sim::SimResult& result) {
  std::vector<std::int64_t> tasks(sim::kBounds, 0);
  for (const sim::Bound bound : result.task_bound) ++tasks[static_cast<std::size_t>(bound)];
  std::vector<std::string> parts;
  for (int b = 0; b < sim::kBounds; ++b) {
    const std::int64_t n = tasks[static_cast<std::size_t>(b)];
    if (n > 0) parts.push_back(fmt::format("{} {}", core::count_text(n), sim::bound_name(static_cast<sim::Bound>(b))));
  }
  return parts.empty() ? "" : fmt::format("\nTasks by what limits them longest: {}\n", core::join(parts, ", "));
}

std::string path_text(const sim::PathPart& part) {
  using Kind = sim::PathPart::Kind;
  if (part.kind == Kind::launch_gap || part.kind == Kind::barrier || part.kind == Kind::idle_worker) {
    return fmt::format("{} of launch {}", sim::path_kind_name(part.kind), part.launch.value);
  }
  const double all = std::max(std::accumulate(std::begin(part.spent.us), std::end(part.spent.us), 0.0), 1e-300);
  std::vector<std::string> shares;
  for (int b = 0; b < sim::kBounds; ++b) {
    const double share = part.spent.us[b] / all;
    if (share >= 0.05) {
      shares.push_back(fmt::format("{} {:.0f} %", sim::bound_name(static_cast<sim::Bound>(b)), 100.0 * share));
    }
  }
  const char* what = part.kind == Kind::steps ? "merge" : "task";
  const std::string chain = part.ctas == 1 ? fmt::format("{} {}", what, part.longest)
                                           : fmt::format("{} {}s in turn, longest {} ({})", part.ctas, what,
                                                         part.longest, core::time_text(part.longest_us));
  return fmt::format("launch {}: {}; {}", part.launch.value, chain, core::join(shares, ", "));
}

std::string critical_path(const std::vector<sim::PathPart>& path) {
  std::vector<std::size_t> order(path.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto us = [&](std::size_t i) { return path[i].end_us - path[i].begin_us; };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return us(a) > us(b); });
  double rest_us = 0;
  const std::size_t shown = path.size() <= kPathLines ? path.size() : kPathLines - 1;
  for (std::size_t i = shown; i < order.size(); ++i) rest_us += us(order[i]);
  order.resize(shown);
  std::sort(order.begin(), order.end());
  std::string text = "\nCritical path, us\n";
  for (const std::size_t i : order) {
    const std::string line = fmt::format("  {:>8.2f}  {:>+9.2f}  {}", path[i].begin_us, us(i), path_text(path[i]));
    text += line.substr(0, kLineColumns) + "\n";
  }
  if (shown < path.size()) {
    text += fmt::format("            {:>+9.2f}  in {} shorter parts\n", rest_us, path.size() - shown);
  }
  return text;
}

std::string what_ifs(std::vector<sim::Sensitivity> all) {
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return a.why_not.empty() != b.why_not.empty() ? a.why_not.empty() : a.gain > b.gain;
  });
  std::string text = "\nWhat else would buy, this plan as it is\n";
  for (const sim::Sensitivity& s : all) {
    const std::string gain = std::abs(s.gain) < 0.0005 ? "the same" : fmt::format("{:+.1f} %", -100.0 * s.gain);
    const std::string line = s.why_not.empty()
                                 ? fmt::format("  {:<30} {:>9}  {:>8}", s.change, core::time_text(s.makespan_us), gain)
                                 : fmt::format("  {:<30} can't be: {}", s.change, s.why_not);
    text += line.substr(0, kLineColumns) + "\n";
  }
  return text;
}

}  // namespace

std::string render_explanation(const sim::Explanation& explanation, const scheduler::Plan& plan,
                               const costmodel::DeviceSpec& device) {
  return heading(explanation, plan, device) + sm_time(explanation, device) + task_bounds(explanation.result) +
         critical_path(explanation.path) + what_ifs(explanation.sensitivities);
}

}  // namespace espalier::apps

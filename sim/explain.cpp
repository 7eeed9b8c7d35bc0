// SM time by reason from a run's log, and the simulations of what-ifs.
#include "sim/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>

#include "scheduler/host_form.h"
#include "sim/critical_path.h"
#include "sim/run_log.h"

namespace espalier::sim {
namespace {

using costmodel::DeviceSpec;
using costmodel::KernelConfig;
using scheduler::LaunchId;
using scheduler::Plan;

constexpr double kMore = 1.1;

/// CTAs while they have had more than the mean of their launch; those of queues always, as any order of even queues
/// would end together.
struct Overdue {
  double from_us = 0, to_us = 0;
  double count = 0;
};

std::vector<Overdue> overdue_times(const Plan& plan, const RunLog& log) {
  std::vector<double> us(plan.launches.size(), 0.0), count(plan.launches.size(), 0.0);
  for (const CohortRecord& cohort : log.cohorts) {
    if (cohort.merging) continue;
    us[cohort.launch.index()] += cohort.count * (cohort.end_us - cohort.begin_us);
    count[cohort.launch.index()] += cohort.count;
  }
  std::vector<Overdue> overdue;
  for (const CohortRecord& cohort : log.cohorts) {
    if (cohort.merging && cohort.worker < 0) continue;
    const double mean_us = cohort.worker < 0 ? us[cohort.launch.index()] / count[cohort.launch.index()] : 0;
    const double from_us = cohort.begin_us + mean_us;
    if (from_us < cohort.end_us) overdue.push_back({from_us, cohort.end_us, static_cast<double>(cohort.count)});
  }
  return overdue;
}

/// Integral of the number of overdue CTAs from the start to each of `times` (ascending).
std::vector<double> integrate(const std::vector<Overdue>& overdue, const std::vector<double>& times) {
  std::vector<std::pair<double, double>> changes;
  for (const Overdue& o : overdue) {
    changes.emplace_back(o.from_us, o.count);
    changes.emplace_back(o.to_us, -o.count);
  }
  std::sort(changes.begin(), changes.end());
  std::vector<double> integral;
  double at_us = 0, level = 0, sum = 0;
  std::size_t next = 0;
  for (const double us : times) {
    for (; next < changes.size() && changes[next].first <= us; ++next) {
      sum += level * (changes[next].first - at_us);
      at_us = changes[next].first;
      level += changes[next].second;
    }
    sum += level * (us - at_us);
    at_us = us;
    integral.push_back(sum);
  }
  return integral;
}

SmTimeReasons sm_time_of(const Plan& plan, const DeviceSpec& device, const SimResult& result, const RunLog& log) {
  SmTimeReasons time;
  const auto busy = [&](Bound bound) { return result.split.busy[static_cast<int>(bound)]; };
  time.compute = busy(Bound::compute);
  time.fixed = busy(Bound::fixed);
  time.hbm = busy(Bound::hbm);
  time.l2 = busy(Bound::l2);
  time.latency = busy(Bound::latency);
  std::vector<double> times;
  for (const Moment& moment : log.moments) {
    times.push_back(moment.begin_us);
    times.push_back(moment.begin_us + moment.us);
  }
  const std::vector<double> overdue = integrate(overdue_times(plan, log), times);
  double most = 0;  // SMs that have had a CTA since the device last was empty
  for (std::size_t i = 0; i < log.moments.size(); ++i) {
    const Moment& moment = log.moments[i];
    const auto ctas = static_cast<double>(moment.resident);
    const double held = std::min(device.sms, ctas);
    if (moment.resident == 0) {
      time.launch += moment.us * device.sms;
      most = 0;
      continue;
    }
    most = std::max(most, held);
    if (moment.merging == moment.resident) {
      time.merge += moment.us * (device.sms - held);
      continue;
    }
    time.few += moment.us * (device.sms - most);
    const double late = std::clamp((overdue[2 * i + 1] - overdue[2 * i]) / ctas, 0.0, moment.us);
    time.imbalance += late * (most - held);
    time.tail += (moment.us - late) * (most - held);
  }
  return time;
}

struct Change {
  std::string_view key, text;
  void (*apply)(Plan&, DeviceSpec&);
};

/// One more tile in every copy ring of the kernels that read KV.
void add_stage(Plan& plan, DeviceSpec&) {
  for (KernelConfig& kernel : plan.kernels) {
    if (kernel.role == costmodel::KernelRole::reduce || kernel.role == costmodel::KernelRole::softmax) continue;
    KernelConfig derived = kernel;
    derived.smem_bytes = 0;
    const std::int64_t before = smem_bytes(derived, plan.heads);
    ++derived.stages;
    if (kernel.smem_bytes > 0) kernel.smem_bytes += static_cast<std::int32_t>(smem_bytes(derived, plan.heads) - before);
    ++kernel.stages;
  }
}

constexpr std::string_view kSms = "sms", kSharedMemory = "smem", kStage = "stage", kRows = "rows", kPages = "pages";

bool can_change(std::string_view key, const Plan& plan, const DeviceSpec& device) {
  if (key == kPages) return device.page_ns > 0 && is_paged(plan.forest.pages);
  if (key == kRows) return device.row_ns > 0;
  return !(device.is_cpu() && (key == kSharedMemory || key == kStage));
}

void halve_gaps(Plan&, DeviceSpec& d) {
  for (double* gap : {&d.launch_stream_us, &d.launch_graph_us, &d.launch_pdl_us, &d.grid_sync_us}) *gap /= 2;
}

const std::array<Change, 12>& changes() {
  static const std::array<Change, 12> kChanges = {{
      {"hbm", "HBM bandwidth +10 %", [](Plan&, DeviceSpec& d) { d.hbm_gbps *= kMore; }},
      {"l2_bandwidth", "L2 bandwidth +10 %", [](Plan&, DeviceSpec& d) { d.l2_bytes_per_clk *= kMore; }},
      {"l2_capacity", "L2 capacity +10 %", [](Plan&, DeviceSpec& d) { d.l2_mib *= kMore, d.l2_knee_mib *= kMore; }},
      {"latency", "memory latency -10 %",
       [](Plan&, DeviceSpec& d) { d.hbm_latency_ns /= kMore, d.l2_latency_ns /= kMore; }},
      {kSms, "SMs +10 %", [](Plan&, DeviceSpec& d) { d.sms = std::ceil(d.sms * kMore); }},
      {kSharedMemory, "shared memory +10 %",
       [](Plan&, DeviceSpec& d) { d.smem_kib_per_sm *= kMore, d.smem_kib_per_cta *= kMore; }},
      {"smem_bandwidth", "shared-memory bandwidth +10 %", [](Plan&, DeviceSpec& d) { d.smem_bytes_per_clk *= kMore; }},
      {"clock", "SM and L2 clock +10 %", [](Plan&, DeviceSpec& d) { d.clock_ghz *= kMore; }},
      {kStage, "kernels with a stage more", add_stage},
      {"launch_gap", "half the launch gaps", halve_gaps},
      {kRows, "rows that cost nothing", [](Plan&, DeviceSpec& d) { d.row_ns = 0; }},
      {kPages, "pages that cost nothing", [](Plan&, DeviceSpec& d) { d.page_ns = 0; }},
  }};
  return kChanges;
}

}  // namespace

double SmTimeReasons::total() const { return working() + hbm + l2 + latency + launch + few + tail + imbalance + merge; }

std::string_view path_kind_name(PathPart::Kind kind) {
  constexpr std::array<std::string_view, 5> kNames = {"launch gap", "barrier", "tasks", "merges", "idle worker"};
  return kNames.at(static_cast<std::size_t>(kind));
}

std::vector<Sensitivity> sensitivities(const Plan& plan, const DeviceSpec& device, double makespan_us,
                                       const SimOptions& options) {
  if (const std::optional<Plan> own = scheduler::host_form(plan, device)) {
    return sensitivities(*own, device, makespan_us, options);
  }
  SimOptions quick = options;
  quick.timeline = false;
  std::vector<Sensitivity> all;
  for (const Change& change : changes()) {
    if (!can_change(change.key, plan, device)) continue;
    const bool few = change.key == kSms && device.sms * (kMore - 1) < 1;
    Sensitivity& out = all.emplace_back(
        Sensitivity{std::string(change.key), few ? "one SM more" : std::string(change.text), 0, 0, ""});
    Plan other = plan;
    DeviceSpec changed = device;
    change.apply(other, changed);
    for (const KernelConfig& kernel : other.kernels) {
      if (out.why_not.empty()) out.why_not = unfit_reason(kernel, other.heads, changed);
    }
    if (!out.why_not.empty()) continue;
    out.makespan_us = simulate(other, changed, quick).makespan_us;
    out.gain = makespan_us > 0 ? 1.0 - out.makespan_us / makespan_us : 0;
  }
  return all;
}

Explanation explain_run(const Plan& plan, const DeviceSpec& device, const SimOptions& options) {
  Explanation explanation;
  RunLog log;
  explanation.result = simulate(plan, device, options, &log);
  explanation.sm_time = sm_time_of(plan, device, explanation.result, log);
  explanation.path = critical_path(log, explanation.result.makespan_us);
  return explanation;
}

Explanation explain(const Plan& plan, const DeviceSpec& device, const SimOptions& options) {
  Explanation explanation = explain_run(plan, device, options);
  explanation.sensitivities = sensitivities(plan, device, explanation.result.makespan_us, options);
  return explanation;
}

}  // namespace espalier::sim

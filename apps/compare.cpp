#include "apps/compare.h"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <exception>
#include <mutex>
#include <thread>

#include "apps/terminal.h"
#include "core/error.h"
#include "core/hash.h"
#include "core/text.h"
#include "scheduler/plan_statistics.h"
#include "scheduler/validate.h"

namespace espalier::apps {
namespace {

double elapsed_us(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - since).count();
}

/// What every row of one (input, device) shares.
struct Case {
  const Input& input;
  const costmodel::DeviceSpec& device;
  scheduler::LowerBound bound;
  double dedupe;
};

void fill_simulation(ReportRow& row, const scheduler::Plan& plan, const Case& c, const CompareOptions& options) {
  const sim::SimResult result = sim::simulate(plan, c.device);
  const scheduler::PlanStatistics statistics = scheduler::statistics(plan);
  row.time_us = result.makespan_us;
  row.share_of_bound = c.bound.us / result.makespan_us;
  row.share_of_datasheet_bound = c.bound.datasheet_us / result.makespan_us;
  row.hbm_bytes = result.hbm_bytes;
  row.l2_bytes = result.l2_bytes;
  row.tasks = statistics.tasks;
  row.partial_rows = statistics.partial_rows;
  row.launches = statistics.launches;
  row.workspace_bytes = plan.workspace_bytes;
  row.graph_safe = plan.provenance.graph_safe;
  row.bound_by = sim::bound_name(result.bound_by);
  row.plan_hash = core::hash_text(plan.hash);
  row.why = core::join(plan.provenance.why, "; ");
  if (options.heads.layers > 0) row.ms_per_token = result.makespan_us * options.heads.layers / 1e3;
  const double all = result.split.total();
  if (all > 0) {
    row.idle_launch = result.split.launch / all;
    row.idle_underfill = result.split.underfill / all;
    row.idle_tail = result.split.tail / all;
    row.idle_merge = result.split.merge / all;
  }
}

ReportRow run_row(const Case& c, const scheduler::StrategyChoice& choice, const CompareOptions& options) {
  ReportRow row;
  row.input = c.input.source;
  row.snapshot = c.input.snapshot;
  row.device = c.device.name;
  row.heads = options.heads.text;
  row.strategy = choice.strategy->info().name;
  for (const scheduler::StrategyOption& option : choice.strategy->info().options) {
    const auto given = choice.options.find(option.name);  // the name shows what differs from the defaults
    if (given == choice.options.end() || given->second == option.fallback) continue;
    row.strategy += fmt::format("{}{}={}", row.strategy.find(':') == std::string::npos ? ":" : ",", option.name, given->second);
  }
  row.kernels = options.kernels == scheduler::KernelSet::ours ? "ours" : "published";
  row.requests = static_cast<std::int64_t>(c.input.forest.request_count());
  row.dedupe = c.dedupe;
  row.lower_bound_us = c.bound.us;
  const auto begin = std::chrono::steady_clock::now();
  scheduler::PlanRequest request{c.input.forest, options.heads.heads, c.device,    options.kernels,
                                 options.cost_model, {},              options.seed};
  const scheduler::PlanResult result = scheduler::make_plan(choice, request);
  if (options.timing) row.plan_us = elapsed_us(begin);
  if (const auto* refusal = std::get_if<scheduler::Refusal>(&result)) {
    row.status = RowStatus::refused;
    row.why = fmt::format("{}: {}", scheduler::refusal_name(refusal->refusal), refusal->sentence);
    return row;
  }
  const auto& plan = std::get<scheduler::Plan>(result);
  const auto violations = scheduler::validate(plan, c.device);
  const bool memory_only = std::all_of(violations.begin(), violations.end(), [](const scheduler::Violation& v) {
    return v.violation == scheduler::ViolationClass::workspace_too_large;
  });
  if (!violations.empty()) {
    row.status = memory_only ? RowStatus::refused : RowStatus::invalid;
    row.why = memory_only ? "memory: " + violations.front().sentence : scheduler::violations_text(violations);
    return row;
  }
  fill_simulation(row, plan, c, options);
  return row;
}

std::vector<ReportRow> run_case(const Input& input, const costmodel::DeviceSpec& device, const CompareOptions& options) {
  const Case c{input, device, scheduler::lower_bound(input.forest, options.heads.heads, device),
               static_cast<double>(traces::logical_tokens(input.forest)) /
                   static_cast<double>(traces::unique_tokens(input.forest))};
  std::vector<ReportRow> rows;
  std::optional<double> flat_us;
  for (const scheduler::StrategyChoice& choice : options.strategies) {
    rows.push_back(run_row(c, choice, options));
    if (rows.back().strategy == "flash_decoding") flat_us = rows.back().time_us;
  }
  if (!flat_us) flat_us = run_row(c, scheduler::parse_strategy("flash_decoding"), options).time_us;
  for (ReportRow& row : rows) {
    if (row.time_us && flat_us) row.speedup_vs_flash_decoding = *flat_us / *row.time_us;
  }
  return rows;
}

}  // namespace

std::string status_name(RowStatus status) {
  switch (status) {
    case RowStatus::ok: return "ok";
    case RowStatus::refused: return "refused";
    case RowStatus::invalid: return "invalid";
  }
  return "";
}

scheduler::PlanResult plan_checked(const Input& input, const scheduler::StrategyChoice& choice, const CompareOptions& options,
                                   const costmodel::DeviceSpec& device) {
  scheduler::PlanRequest request{input.forest,       options.heads.heads, device,      options.kernels,
                                 options.cost_model, {},                  options.seed};
  scheduler::PlanResult result = scheduler::make_plan(choice, request);
  const auto* plan = std::get_if<scheduler::Plan>(&result);
  if (plan == nullptr) return result;
  const auto violations = scheduler::validate(*plan, device);
  for (const scheduler::Violation& violation : violations) {
    if (violation.violation != scheduler::ViolationClass::workspace_too_large) {
      throw core::Error(core::ErrorKind::check_failed, scheduler::violations_text(violations));
    }
  }
  if (!violations.empty()) return scheduler::Refusal{scheduler::RefusalClass::size, violations.front().sentence};
  return result;
}

std::vector<ReportRow> compare(const std::vector<Input>& inputs, const CompareOptions& options) {
  struct Job {
    const Input* input;
    const costmodel::DeviceSpec* device;
    std::vector<ReportRow> rows;
  };
  std::vector<Job> jobs;
  for (const Input& input : inputs) {
    for (const costmodel::DeviceSpec& device : options.devices) jobs.push_back({&input, &device, {}});
  }
  Progress progress("comparing", jobs.size());
  std::atomic<std::size_t> next = 0;
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto work = [&] {
    for (std::size_t j = next++; j < jobs.size(); j = next++) {
      try {
        jobs[j].rows = run_case(*jobs[j].input, *jobs[j].device, options);
      } catch (...) {
        const std::lock_guard lock(failure_mutex);
        if (!failure) failure = std::current_exception();
        next = jobs.size();
      }
      progress.step();
    }
  };
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  const std::size_t wanted = options.jobs > 0 ? static_cast<std::size_t>(options.jobs) : cores;
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 1; t < std::min(wanted, jobs.size()); ++t) threads.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
  std::vector<ReportRow> rows;
  for (Job& job : jobs) std::move(job.rows.begin(), job.rows.end(), std::back_inserter(rows));
  return rows;
}

}  // namespace espalier::apps

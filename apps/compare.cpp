#include "apps/compare.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <ctime>

#include "apps/cost_models.h"
#include "apps/parallel.h"
#include "core/error.h"
#include "core/hash.h"
#include "core/text.h"
#include "core/units.h"
#include "scheduler/plan_statistics.h"
#include "scheduler/validate.h"
#include "sim/interval.h"

namespace espalier::apps {

TimeShares& TimeShares::operator+=(const TimeShares& other) {
  for (int b = 0; b < sim::kBounds; ++b) busy[b] += other.busy[b];
  launch += other.launch;
  underfill += other.underfill;
  tail += other.tail;
  merge += other.merge;
  return *this;
}

TimeShares& TimeShares::operator/=(double n) {
  for (double& part : busy) part /= n;
  for (double* part : {&launch, &underfill, &tail, &merge}) *part /= n;
  return *this;
}

namespace {

/// CPU time of this thread: planning is timed while other threads plan too, on machines that may be busy.
double thread_us() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) * 1e-3;
}

/// What every row of one (input, device) shares.
struct Case {
  const Input& input;
  const costmodel::DeviceSpec& device;
  const ModelsBySpec& models;
  scheduler::LowerBound bound;
  double dedupe;
};

/// A row and what it came from, until the intervals of the fastest rows are known.
struct Candidate {
  ReportRow row;
  std::optional<scheduler::Plan> plan;
  sim::SimResult result;
};

void fill_simulation(Candidate& candidate, const Case& c, const CompareOptions& options) {
  ReportRow& row = candidate.row;
  const scheduler::Plan& plan = *candidate.plan;
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
  if (all <= 0) return;
  for (int b = 0; b < sim::kBounds; ++b) row.shares.busy[b] = result.split.busy[b] / all;
  row.shares.launch = result.split.launch / all;
  row.shares.underfill = result.split.underfill / all;
  row.shares.tail = result.split.tail / all;
  row.shares.merge = result.split.merge / all;
  candidate.result = result;
}

/// Plans, and how long planning takes: the best of a few for quick planners, whose first run is cold.
scheduler::PlanResult timed_plan(const scheduler::StrategyChoice& choice, const scheduler::PlanRequest& request,
                                 std::optional<double>& plan_us) {
  constexpr double kQuickUs = 2000;
  constexpr int kRuns = 3;
  for (int run = 0;; ++run) {
    const double begin_us = thread_us();
    scheduler::PlanResult result = scheduler::make_plan(choice, request);
    const double us = thread_us() - begin_us;
    plan_us = plan_us ? std::min(*plan_us, us) : us;
    if (run + 1 == kRuns || us > kQuickUs) return result;
  }
}

scheduler::PlanRequest request_of(const Input& input, const Contender& contender, const CompareOptions& options,
                                  const costmodel::DeviceSpec& device, const ModelsBySpec& models) {
  scheduler::PlanRequest request{input.forest, options.heads.heads, device, options.kernels, contender.cost_model,
                                 {},           options.seed};
  if (!contender.cost_model.empty()) request.model = models.at(contender.cost_model);
  request.only_kernels = contender.only_kernels;
  return request;
}

Candidate run_row(const Case& c, const Contender& contender, const CompareOptions& options) {
  Candidate candidate;
  ReportRow& row = candidate.row;
  row.input = c.input.source;
  row.snapshot = c.input.snapshot;
  row.device = c.device.name;
  row.heads = options.heads.text;
  row.strategy = contender_name(contender, options);
  row.cost_model = contender.cost_model;
  row.kernels = options.kernels == scheduler::KernelSet::ours ? "ours" : "published";
  row.requests = static_cast<std::int64_t>(c.input.forest.request_count());
  row.dedupe = c.dedupe;
  row.lower_bound_us = c.bound.us;
  row.unique_kv_bytes =
      core::checked_mul(traces::unique_tokens(c.input.forest), options.heads.heads.kv_bytes_per_token());
  const scheduler::PlanRequest request = request_of(c.input, contender, options, c.device, c.models);
  scheduler::PlanResult result = options.timing ? timed_plan(*contender.choice, request, row.plan_us)
                                                : scheduler::make_plan(*contender.choice, request);
  if (const auto* refusal = std::get_if<scheduler::Refusal>(&result)) {
    row.status = RowStatus::refused;
    row.why = fmt::format("{}: {}", scheduler::refusal_name(refusal->refusal), refusal->sentence);
    return candidate;
  }
  const auto violations = scheduler::validate(std::get<scheduler::Plan>(result), c.device);
  const bool memory_only = std::all_of(violations.begin(), violations.end(), [](const scheduler::Violation& v) {
    return v.violation == scheduler::ViolationClass::workspace_too_large;
  });
  if (!violations.empty()) {
    row.status = memory_only ? RowStatus::refused : RowStatus::invalid;
    row.why = memory_only ? "memory: " + violations.front().sentence : scheduler::violations_text(violations);
    return candidate;
  }
  candidate.plan = std::get<scheduler::Plan>(std::move(result));
  fill_simulation(candidate, c, options);
  return candidate;
}

/// Intervals for the fastest rows: each costs some twenty simulations.
void add_intervals(std::vector<Candidate>& candidates, const Case& c, const CompareOptions& options) {
  std::vector<Candidate*> ranked;
  for (Candidate& candidate : candidates) {
    if (candidate.row.time_us) ranked.push_back(&candidate);
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const Candidate* a, const Candidate* b) { return *a->row.time_us < *b->row.time_us; });
  ranked.resize(std::min(ranked.size(), static_cast<std::size_t>(std::max(0, options.intervals))));
  for (Candidate* candidate : ranked) {
    ReportRow& row = candidate->row;
    row.effects = sim::time_effects(*candidate->plan, c.device, candidate->result);
    const sim::TimeInterval interval = sim::interval_of(*row.time_us, row.effects);
    row.time_low_us = interval.low_us;
    row.time_high_us = interval.high_us;
  }
}

std::vector<ReportRow> run_case(const Input& input, const costmodel::DeviceSpec& device, const CompareOptions& options,
                                const ModelsBySpec& models) {
  const Case c{input, device, models, scheduler::lower_bound(input.forest, options.heads.heads, device),
               static_cast<double>(traces::logical_tokens(input.forest)) /
                   static_cast<double>(traces::unique_tokens(input.forest))};
  std::vector<Candidate> candidates;
  std::optional<double> flat_us;
  bool has_flat = false;
  for (const Contender& contender : contenders(options)) {
    candidates.push_back(run_row(c, contender, options));
    if (candidates.back().row.strategy != "flash_decoding") continue;
    flat_us = candidates.back().row.time_us;
    has_flat = true;
  }
  add_intervals(candidates, c, options);
  if (!has_flat) {
    const scheduler::StrategyChoice flat = scheduler::parse_strategy("flash_decoding");
    flat_us = run_row(c, {&flat, ""}, options).row.time_us;
  }
  std::vector<ReportRow> rows;
  for (Candidate& candidate : candidates) {
    ReportRow& row = candidate.row;
    if (row.time_us && flat_us) row.speedup_vs_flash_decoding = *flat_us / *row.time_us;
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

std::string status_name(RowStatus status) {
  switch (status) {
    case RowStatus::ok:
      return "ok";
    case RowStatus::refused:
      return "refused";
    case RowStatus::invalid:
      return "invalid";
  }
  return "";
}

std::vector<Contender> contenders(const CompareOptions& options) {
  std::vector<Contender> all;
  for (const scheduler::StrategyChoice& choice : options.strategies) {
    if (!choice.strategy->info().uses_cost_model) {
      all.push_back({&choice, ""});
      continue;
    }
    if (options.cost_models.empty()) all.push_back({&choice, std::string(choice.strategy->info().own_cost_model)});
    for (const std::string& spec : options.cost_models) all.push_back({&choice, spec});
  }
  return all;
}

void require_consumers(const CompareOptions& options) {
  const auto consumes = [](const scheduler::StrategyChoice& choice) { return choice.strategy->info().uses_cost_model; };
  if (options.cost_models.empty() || std::any_of(options.strategies.begin(), options.strategies.end(), consumes)) {
    return;
  }
  std::vector<std::string> names;
  for (const scheduler::Strategy* strategy : scheduler::strategies()) {
    if (strategy->info().uses_cost_model) names.emplace_back(strategy->info().name);
  }
  throw core::usage_error(fmt::format("{} plans by no cost model, leave --cost-model away (those that take one: {})",
                                      options.strategies.front().strategy->info().name, core::join(names, ", ")));
}

std::string contender_name(const Contender& contender, const CompareOptions& options) {
  const scheduler::StrategyInfo& info = contender.choice->strategy->info();
  std::string name(info.name);
  for (const scheduler::StrategyOption& option : scheduler::all_options(info)) {
    const auto given = contender.choice->options.find(option.name);  // the name shows what differs from the defaults
    if (given == contender.choice->options.end() || given->second == option.fallback) continue;
    name += fmt::format("{}{}={}", name.find(':') == std::string::npos ? ":" : ",", option.name, given->second);
  }
  if (contender.cost_model.empty() || options.cost_models.empty()) return name;
  const auto model_name = [](std::string_view spec) { return costmodel::cost_model_info(spec).name; };
  const auto namesakes =
      std::count_if(options.cost_models.begin(), options.cost_models.end(),
                    [&](const std::string& spec) { return model_name(spec) == model_name(contender.cost_model); });
  return fmt::format("{}[{}]", name,
                     namesakes > 1 ? std::string_view(contender.cost_model) : model_name(contender.cost_model));
}

ModelsBySpec make_models(const CompareOptions& options, const costmodel::DeviceSpec& device) {
  ModelsBySpec models;
  for (const Contender& contender : contenders(options)) {
    auto& model = models[contender.cost_model];
    if (!model && !contender.cost_model.empty()) {
      model = make_model(contender.cost_model, device, options.heads.heads, options.kernels);
    }
  }
  return models;
}

scheduler::PlanResult plan_checked(const Input& input, const Contender& contender, const CompareOptions& options,
                                   const costmodel::DeviceSpec& device, const ModelsBySpec& models) {
  scheduler::PlanResult result =
      scheduler::make_plan(*contender.choice, request_of(input, contender, options, device, models));
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

scheduler::Plan plan_again(const ReportRow& row, const std::vector<Input>& inputs, const CompareOptions& options) {
  ESPALIER_CHECK(row.status == RowStatus::ok);
  const auto input = std::find_if(inputs.begin(), inputs.end(),
                                  [&](const Input& i) { return i.source == row.input && i.snapshot == row.snapshot; });
  const auto device = std::find_if(options.devices.begin(), options.devices.end(),
                                   [&](const costmodel::DeviceSpec& d) { return d.name == row.device; });
  ESPALIER_CHECK(input != inputs.end() && device != options.devices.end());
  const scheduler::StrategyChoice choice = scheduler::parse_strategy(row.strategy.substr(0, row.strategy.find('[')));
  return std::get<scheduler::Plan>(
      plan_checked(*input, {&choice, row.cost_model}, options, *device, make_models(options, *device)));
}

std::vector<ReportRow> compare(const std::vector<Input>& inputs, const CompareOptions& options) {
  std::vector<ModelsBySpec> models;
  for (const costmodel::DeviceSpec& device : options.devices) models.push_back(make_models(options, device));
  std::vector<std::vector<ReportRow>> by_case(inputs.size() * options.devices.size());
  for_each_case("comparing", by_case.size(), options.jobs, [&](std::size_t i) {
    const std::size_t d = i % options.devices.size();
    by_case[i] = run_case(inputs[i / options.devices.size()], options.devices[d], options, models[d]);
  });
  std::vector<ReportRow> rows;
  for (std::vector<ReportRow>& some : by_case) std::move(some.begin(), some.end(), std::back_inserter(rows));
  return rows;
}

}  // namespace espalier::apps

// espalier plan, check, sim: one plan, step by step.

#include <fmt/core.h>

#include <algorithm>

#include "apps/commands.h"
#include "apps/cost_models.h"
#include "apps/explanation.h"
#include "apps/outputs.h"
#include "apps/plan_files.h"
#include "apps/terminal.h"
#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/text.h"
#include "scheduler/plan_statistics.h"
#include "scheduler/policy.h"
#include "scheduler/validate.h"
#include "sim/interval.h"

namespace espalier::apps {
namespace {

scheduler::PlanResult plan_one(const Input& input, const std::string& strategy, std::span<const std::string> kernels,
                               CompareOptions options, const costmodel::DeviceSpec& device) {
  options.strategies = choose_strategies(strategy);
  if (options.strategies.size() != 1) throw core::usage_error("plan takes one strategy");
  require_consumers(options);
  Contender contender = contenders(options).front();
  contender.only_kernels.assign(kernels.begin(), kernels.end());
  return plan_checked(input, contender, options, device, make_models(options, device));
}

[[noreturn]] void throw_refusal(const std::string& strategy, const scheduler::Refusal& refusal) {
  throw core::Error(
      core::ErrorKind::check_failed,
      fmt::format("{} refuses ({}): {}", strategy, scheduler::refusal_name(refusal.refusal), refusal.sentence));
}

int write(const scheduler::Plan& plan, const std::string& output) {
  core::write_file(output, scheduler::write_plan(plan));
  if (output != "-") print_statistics(plan);
  return 0;
}

/// By the nearest row of a policy whose strategy serves the forest; by our planner where none does, or none is near.
scheduler::Plan plan_by_policy(const PlanCommand& command, const Input& input, const CompareOptions& options,
                               const costmodel::DeviceSpec& device) {
  if (options.kernels != scheduler::KernelSet::ours) {
    throw core::usage_error("--policy chooses among plans in our kernels: leave --kernels away");
  }
  if (!options.cost_models.empty()) {
    throw core::usage_error("--policy: each strategy plans by its own cost model, leave --cost-model away");
  }
  const scheduler::Policy policy = scheduler::read_policy(core::read_file(command.policy), command.policy);
  scheduler::require_made_for(policy, device, options.heads.heads, command.policy);
  const scheduler::WorkloadFeatures features = scheduler::features_of(input.forest);
  std::vector<std::string> why;
  const auto keep = [&](scheduler::PlanResult result) {
    auto& plan = std::get<scheduler::Plan>(result);
    plan.provenance.why.insert(plan.provenance.why.begin(), why.begin(), why.end());
    seal(plan);
    return std::move(plan);
  };
  const std::string count = core::counted(static_cast<std::int64_t>(policy.rows.size()), "row");
  for (const scheduler::PolicyRow& row : scheduler::by_distance(policy, features)) {
    const double away = scheduler::distance(row.features, features);
    if (away > scheduler::kFarAway) {
      why.push_back(
          fmt::format("of the policy's {} {} is near: the next is {} (distance {:.2f}); planned anew by espalier",
                      count, why.empty() ? "none" : "no other", row.input, away));
      break;
    }
    scheduler::PlanResult result = plan_one(input, row.strategy, row.kernels, options, device);
    if (const auto* refusal = std::get_if<scheduler::Refusal>(&result)) {
      why.push_back(fmt::format("the policy's row {} asks for {}, which refuses ({})", row.input, row.strategy,
                                scheduler::refusal_name(refusal->refusal)));
      continue;
    }
    why.push_back(fmt::format("the policy's nearest of {} is {} (distance {:.2f}), where {} was fastest", count,
                              row.input, away, row.strategy));
    return keep(std::move(result));
  }
  scheduler::PlanResult result = plan_one(input, "espalier", {}, options, device);
  if (const auto* refusal = std::get_if<scheduler::Refusal>(&result)) throw_refusal("espalier", *refusal);
  return keep(std::move(result));
}

}  // namespace

int run_plan(const PlanCommand& command) {
  if (command.strategy.empty() == command.policy.empty()) throw core::usage_error("plan takes --strategy or --policy");
  const std::vector<Input> inputs = load_inputs(command.inputs);
  const Input& input = only_input(inputs, command.inputs, "plan");
  CompareOptions options;
  options.heads = choose_heads(command.heads);
  options.kernels = choose_kernels(command.kernels);
  if (!command.cost_model.empty()) options.cost_models = choose_cost_models(command.cost_model);
  if (options.cost_models.size() > 1) {
    throw core::usage_error(fmt::format("plan takes one cost model, got {}", options.cost_models.size()));
  }
  options.seed = command.inputs.seed;
  const auto devices = choose_devices(command.devices);
  if (devices.size() != 1) throw core::usage_error("plan takes one device");
  if (command.policy.empty()) {
    scheduler::PlanResult result = plan_one(input, command.strategy, {}, options, devices.front());
    if (const auto* refusal = std::get_if<scheduler::Refusal>(&result)) {
      throw_refusal(std::string(choose_strategies(command.strategy).front().strategy->info().name), *refusal);
    }
    return write(std::get<scheduler::Plan>(result), command.output);
  }
  return write(plan_by_policy(command, input, options, devices.front()), command.output);
}

int run_check(const PlanFileCommand& command) {
  const scheduler::Plan plan = load_plan(command.plan);
  const costmodel::DeviceSpec device = device_for(command, plan);
  const auto violations = scheduler::validate(plan, device);
  if (violations.empty()) {
    print_statistics(plan);
    fmt::print("valid on {}: every token of every request is read once per head, every partial row merged once\n",
               device.name);
    return 0;
  }
  for (const scheduler::Violation& v : violations) {
    fmt::print("  {}: {}\n", scheduler::violation_name(v.violation), v.sentence);
  }
  throw core::Error(core::ErrorKind::check_failed,
                    fmt::format("{} is not valid on {}: {} violation{}", command.plan, device.name, violations.size(),
                                violations.size() == 1 ? "" : "s"));
}

namespace {

void add_interval(sim::SimResult& result, const scheduler::Plan& plan, const costmodel::DeviceSpec& device) {
  const sim::TimeInterval interval = sim::interval_of(result.makespan_us, sim::time_effects(plan, device, result));
  result.low_us = interval.low_us;
  result.high_us = interval.high_us;
}

}  // namespace

int run_sim(const PlanFileCommand& command) {
  require_outputs({{"--json", command.json}, {"--perfetto", command.perfetto}});
  const scheduler::Plan plan = load_plan(command.plan);
  const costmodel::DeviceSpec device = device_for(command, plan);
  require_valid(plan, device);
  sim::SimOptions options;
  options.timeline = !command.perfetto.empty();
  const scheduler::LowerBound bound = scheduler::lower_bound(plan.forest, plan.heads, device);
  if (command.explain) {
    sim::Explanation explanation = sim::explain(plan, device, options);
    add_interval(explanation.result, plan, device);
    if (!command.json.empty()) core::write_file(command.json, sim::write_sim(explanation.result, plan, &explanation));
    if (!command.perfetto.empty()) {
      core::write_file(command.perfetto, scheduler::write_trace_events(explanation.result.timeline, plan));
    }
    if (command.json != "-" && command.perfetto != "-") fmt::print("{}", render_explanation(explanation, plan, device));
    return 0;
  }
  sim::SimResult result = sim::simulate(plan, device, options);
  add_interval(result, plan, device);
  if (!command.json.empty()) core::write_file(command.json, sim::write_sim(result, plan));
  if (!command.perfetto.empty()) {
    core::write_file(command.perfetto, scheduler::write_trace_events(result.timeline, plan));
  }
  if (command.json == "-" || command.perfetto == "-") return 0;
  print_statistics(plan);
  fmt::print("simulated on {}: {} ({:.0f} % of the lower bound {}, {} bound)\n", device.name,
             core::time_text(result.makespan_us),
             result.makespan_us > 0 ? 100.0 * bound.us / result.makespan_us : 100.0, core::time_text(bound.us),
             sim::bound_name(result.bound_by));
  fmt::print("  {} to {}, as far as {}\n", core::time_text(result.low_us), core::time_text(result.high_us),
             device.intervals.empty() ? "the device's numbers may be off"
                                      : "90 % of the plans that ran on the device were off");
  fmt::print("  HBM {}, L2 {}, {:.0f} % of KV reads hit L2\n", core::bytes_text(result.hbm_bytes),
             core::bytes_text(result.l2_bytes), result.l2_hit_fraction * 100.0);
  const double all = std::max(result.split.total(), 1e-300);
  std::string split;
  for (int b = 0; b < sim::kBounds; ++b) {
    split +=
        fmt::format("{:.1f} % {}, ", 100.0 * result.split.busy[b] / all, sim::bound_name(static_cast<sim::Bound>(b)));
  }
  fmt::print("  SM time: busy {}idle {:.1f} % launch, {:.1f} % too few CTAs, {:.1f} % tail, {:.1f} % merge\n", split,
             100.0 * result.split.launch / all, 100.0 * result.split.underfill / all, 100.0 * result.split.tail / all,
             100.0 * result.split.merge / all);
  return 0;
}

}  // namespace espalier::apps

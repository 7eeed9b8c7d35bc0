// Runs and simulates the plans, and sums up how well the one predicts the other.

#include "apps/host_validation.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "apps/agreement.h"
#include "apps/terminal.h"
#include "core/error.h"
#include "kernels/host_executor.h"
#include "kernels/host_model.h"
#include "scheduler/validate.h"
#include "sim/simulator.h"

namespace espalier::apps {
namespace {

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(values.size())));
  return values[std::clamp<std::size_t>(rank, 1, values.size()) - 1];
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

/// One strategy on one input, ready to run.
struct Contestant {
  HostPoint point;
  scheduler::Plan plan;
  sim::SimResult predicted;
  std::unique_ptr<kernels::HostExecutor> executor;
  std::vector<double> repeats_us;
  std::map<std::int32_t, double> task_us;  ///< least CPU time of all copies and repeats, by task
};

std::unique_ptr<Contestant> make_contestant(const Input& input, const scheduler::StrategyChoice& choice, const HostValidationOptions& o,
                                            std::vector<std::string>& left_out) {
  const std::string name(choice.strategy->info().name);
  const std::string what = fmt::format("{} by {}", input.source, name);
  scheduler::PlanResult made = scheduler::make_plan(choice, {.forest = input.forest, .heads = o.heads.heads, .device = o.device});
  if (const auto* refusal = std::get_if<scheduler::Refusal>(&made)) {
    left_out.push_back(fmt::format("{}: {}", what, refusal->sentence));
    return nullptr;
  }
  auto c = std::make_unique<Contestant>();
  c->plan = kernels::as_host_plan(std::get<scheduler::Plan>(made));
  const auto violations = scheduler::validate(c->plan, o.device);
  if (!violations.empty()) {
    left_out.push_back(fmt::format("{}: {}", what, violations.front().sentence));
    return nullptr;
  }
  c->point.input = input.source;
  c->point.strategy = name;
  sim::SimOptions options;
  options.timeline = true;
  c->predicted = sim::simulate(c->plan, o.device, options);
  c->point.predicted_us = c->predicted.makespan_us;
  return c;
}

void add_repeat(Contestant& c) {
  const kernels::HostRun run = c.executor->run();
  c.repeats_us.push_back(run.makespan_us);
  for (std::size_t i = 0; i < run.spans.size(); ++i) {
    if (run.spans[i].kind != scheduler::SpanKind::task) continue;
    const auto [at, fresh] = c.task_us.emplace(run.spans[i].item, run.cpu_us[i]);
    if (!fresh) at->second = std::min(at->second, run.cpu_us[i]);
  }
}

void finish(Contestant& c) {
  double halves[2] = {INFINITY, INFINITY};
  for (std::size_t i = 0; i < c.repeats_us.size(); ++i) halves[i % 2] = std::min(halves[i % 2], c.repeats_us[i]);
  c.point.measured_us = std::min(halves[0], halves[1]);
  c.point.median_us = quantile(c.repeats_us, 0.5);
  c.point.noise = c.repeats_us.size() > 1 ? std::abs(halves[0] - halves[1]) / c.point.measured_us : 1;
  c.point.tasks = c.task_us.size();
  std::map<std::int32_t, double> predicted;
  for (const scheduler::Span& span : c.predicted.timeline.spans) {
    if (span.kind != scheduler::SpanKind::task) continue;
    const auto [at, fresh] = predicted.emplace(span.item, span.end_us - span.begin_us);
    if (!fresh) at->second = std::min(at->second, span.end_us - span.begin_us);
  }
  double error = 0, time = 0;
  for (const auto& [task, us] : c.task_us) {
    const auto found = predicted.find(task);
    if (found == predicted.end()) continue;
    error += std::abs(found->second - us);
    time += us;
  }
  c.point.task_error = time > 0 ? error / time : 0;
}

std::vector<HostPoint> validate_input(const Input& input, const HostValidationOptions& o, kernels::CacheFlusher& flusher,
                                      std::vector<std::string>& left_out) {
  std::vector<HostPoint> points;
  std::optional<kernels::HostTensors> tensors;
  try {
    tensors.emplace(input.forest, o.heads.heads, nullptr, o.most_kv_bytes);
  } catch (const core::Error& e) {
    left_out.push_back(fmt::format("{}: {}", input.source, e.what()));
    return points;
  }
  std::vector<std::unique_ptr<Contestant>> contestants;
  for (const scheduler::StrategyChoice& choice : o.strategies) {
    auto c = make_contestant(input, choice, o, left_out);
    if (c == nullptr) continue;
    try {
      c->executor = std::make_unique<kernels::HostExecutor>(c->plan, *tensors, o.threads > 0 ? o.threads : kernels::host_threads());
    } catch (const core::Error& e) {
      left_out.push_back(fmt::format("{} by {}: {}", input.source, c->point.strategy, e.what()));
      continue;
    }
    c->executor->run();
    contestants.push_back(std::move(c));
  }
  // In turns, so that a disturbance hits all alike.
  for (std::int32_t i = 0; i < o.repeats; ++i) {
    for (auto& c : contestants) {
      flusher.flush();
      add_repeat(*c);
    }
  }
  for (auto& c : contestants) {
    finish(*c);
    points.push_back(c->point);
  }
  return points;
}

std::map<std::string, std::vector<const HostPoint*>> by_input(const std::vector<HostPoint>& points) {
  std::map<std::string, std::vector<const HostPoint*>> inputs;
  for (const HostPoint& p : points) inputs[p.input].push_back(&p);
  return inputs;
}

/// (agreeing - disagreeing) / all, over pairs further apart than `least`; no pairs: nothing.
std::optional<double> order_agreement(const std::vector<const HostPoint*>& points, double least, std::size_t& pairs) {
  double sum = 0, count = 0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const double measured = points[i]->measured_us / points[j]->measured_us;
      if (std::abs(std::log(measured)) <= least) continue;
      const double predicted = points[i]->predicted_us - points[j]->predicted_us;
      sum += predicted == 0 ? 0 : (predicted > 0) == (measured > 1) ? 1 : -1;
      ++count;
    }
  }
  pairs += static_cast<std::size_t>(count);
  return count == 0 ? std::nullopt : std::optional(sum / count);
}

}  // namespace

std::vector<HostPoint> validate_host(const std::vector<Input>& inputs, const HostValidationOptions& options, std::vector<std::string>& left_out) {
  kernels::CacheFlusher flusher(static_cast<std::int64_t>(2 * options.device.l2_mib * 1024 * 1024));
  std::vector<HostPoint> points;
  Progress progress("running", inputs.size());
  for (const Input& input : inputs) {
    const auto some = validate_input(input, options, flusher, left_out);
    points.insert(points.end(), some.begin(), some.end());
    progress.step();
  }
  return points;
}

HostSummary summarise(const std::vector<HostPoint>& points) {
  HostSummary s;
  s.plans = points.size();
  if (points.empty()) return s;
  std::vector<double> errors, task_errors, noises, disturbances, taus, regrets, of_even;
  const auto inputs = by_input(points);
  s.inputs = inputs.size();
  for (const HostPoint& p : points) {
    errors.push_back(std::abs(p.error()));
    task_errors.push_back(p.task_error);
    noises.push_back(p.noise);
    disturbances.push_back(p.median_us / p.measured_us - 1);
    if (errors.back() > s.worst) {
      s.worst = errors.back();
      s.worst_plan = fmt::format("{} by {}", p.input, p.strategy);
    }
  }
  s.mape = mean(errors);
  s.task_mape = mean(task_errors);
  s.noise = quantile(noises, 0.5);
  s.disturbance = quantile(disturbances, 0.5);
  std::size_t place = 0, covered = 0, others = 0;
  for (const auto& [name, some] : inputs) {
    if (const auto tau = order_agreement(some, 2 * s.noise, s.pairs)) taus.push_back(*tau);
    const auto less = [](auto member) { return [member](const HostPoint* a, const HostPoint* b) { return a->*member < b->*member; }; };
    const HostPoint* chosen = *std::min_element(some.begin(), some.end(), less(&HostPoint::predicted_us));
    const HostPoint* best = *std::min_element(some.begin(), some.end(), less(&HostPoint::measured_us));
    regrets.push_back(chosen->measured_us / best->measured_us - 1);
    if (place++ % 2 == 0) {
      for (const HostPoint* p : some) of_even.push_back(std::abs(std::log(p->predicted_us / p->measured_us)));
    }
  }
  if (!taus.empty()) s.tau = mean(taus);
  s.regret_mean = mean(regrets);
  s.regret_p95 = quantile(regrets, 0.95);
  // Split-conformal: the rank that covers 90 % of exchangeable plans.
  const auto n = static_cast<double>(of_even.size());
  s.interval = quantile(of_even, std::min(1.0, 0.9 * (n + 1) / n));
  place = 0;
  for (const auto& [name, some] : inputs) {
    if (place++ % 2 == 0) continue;
    for (const HostPoint* p : some) covered += std::abs(std::log(p->predicted_us / p->measured_us)) <= s.interval ? 1 : 0;
    others += some.size();
  }
  if (others > 0) s.coverage = static_cast<double>(covered) / static_cast<double>(others);
  s.conclusive = s.noise <= kMostNoise;
  return s;
}

}  // namespace espalier::apps

// Runs and simulates the plans, and sums up how well the one predicts the other.

#include "apps/host_validation.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <tuple>
#include <utility>

#include "apps/agreement.h"
#include "apps/terminal.h"
#include "core/error.h"
#include "kernels/host_executor.h"
#include "scheduler/host_form.h"
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
  std::unique_ptr<kernels::HostExecutor> executor;
  struct Repeat {
    double makespan_us = 0, busy_us = 0;  ///< busy: tasks and merges, over all threads
  };
  std::vector<Repeat> repeats;
  std::map<std::tuple<scheduler::SpanKind, std::int32_t, std::int32_t>, double>
      least_us;  ///< of all repeats, by kind, item and copy
};

std::unique_ptr<Contestant> make_contestant(const Input& input, const scheduler::StrategyChoice& choice,
                                            const HostValidationOptions& o, std::vector<std::string>& left_out) {
  const std::string name(choice.strategy->info().name);
  const std::string what = fmt::format("{} by {}", input.source, name);
  scheduler::PlanResult made =
      scheduler::make_plan(choice, {.forest = input.forest, .heads = o.heads.heads, .device = o.device});
  if (const auto* refusal = std::get_if<scheduler::Refusal>(&made)) {
    left_out.push_back(fmt::format("{}: {}", what, refusal->sentence));
    return nullptr;
  }
  auto c = std::make_unique<Contestant>();
  c->plan = scheduler::as_host_plan(std::get<scheduler::Plan>(made));
  const auto violations = scheduler::validate(c->plan, o.device);
  if (!violations.empty()) {
    left_out.push_back(fmt::format("{}: {}", what, violations.front().sentence));
    return nullptr;
  }
  c->point.input = input.source;
  c->point.strategy = name;
  return c;
}

void add_repeat(Contestant& c) {
  const kernels::HostRun run = c.executor->run();
  Contestant::Repeat repeat{run.makespan_us, 0};
  for (const scheduler::Span& span : run.spans) {
    const double us = span.end_us - span.begin_us;
    const auto [at, fresh] = c.least_us.emplace(std::tuple(span.kind, span.item, span.copy), us);
    if (!fresh) at->second = std::min(at->second, us);
    repeat.busy_us += us;
  }
  c.repeats.push_back(repeat);
}

void predict(Contestant& c, const costmodel::DeviceSpec& device) {
  sim::SimOptions options;
  options.timeline = true;
  const sim::SimResult predicted = sim::simulate(c.plan, device, options);
  c.point.predicted_us = predicted.makespan_us;
  // Copies of a task are alike; the fastest is what one takes.
  const auto keep = [](std::map<std::int32_t, double>& tasks, std::int32_t task, double us) {
    const auto [at, fresh] = tasks.emplace(task, us);
    if (!fresh) at->second = std::min(at->second, us);
  };
  std::map<std::int32_t, double> expected, got;
  for (const scheduler::Span& span : predicted.timeline.spans) {
    if (span.kind == scheduler::SpanKind::task) keep(expected, span.item, span.end_us - span.begin_us);
  }
  for (const auto& [name, us] : c.least_us) {
    if (std::get<0>(name) == scheduler::SpanKind::task) keep(got, std::get<1>(name), us);
  }
  double error = 0, time = 0;
  for (const auto& [task, us] : got) {
    const auto found = expected.find(task);
    if (found == expected.end()) continue;
    error += std::abs(found->second - us);
    time += us;
  }
  c.point.tasks = got.size();
  c.point.task_error = time > 0 ? error / time : 0;
}

void sum_up_repeats(Contestant& c) {
  HostPoint& p = c.point;
  double least_busy_us = 0;
  for (const auto& [name, us] : c.least_us) least_busy_us += us;
  // The fastest even and the fastest odd repeat. Only they are freed of what disturbed them: of all, the one to gain
  // most would be one whose tasks were held up where nobody waited for them.
  std::vector<double> all;
  const Contestant::Repeat* halves[2] = {nullptr, nullptr};
  for (const Contestant::Repeat& repeat : c.repeats) {
    const Contestant::Repeat*& half = halves[all.size() % 2];
    if (half == nullptr || repeat.makespan_us < half->makespan_us) half = &repeat;
    all.push_back(repeat.makespan_us);
  }
  p.median_us = quantile(all, 0.5);
  // The sums are of other orders: what was at its best may come out a rounding above it.
  const auto freed_us = [&](const Contestant::Repeat& repeat) {
    return repeat.busy_us > least_busy_us ? repeat.makespan_us * least_busy_us / repeat.busy_us : repeat.makespan_us;
  };
  const bool even_counts = halves[1] == nullptr || halves[0]->makespan_us <= halves[1]->makespan_us;
  const Contestant::Repeat &counted = *halves[even_counts ? 0 : 1], *other = halves[even_counts ? 1 : 0];
  p.measured_us = counted.makespan_us;
  p.undisturbed_us = freed_us(counted);
  p.disturbed = p.measured_us / p.undisturbed_us - 1;
  // One repeat says nothing of the noise.
  p.noise = other == nullptr ? 1 : other->makespan_us / p.measured_us - 1;
  p.undisturbed_noise = other == nullptr ? 1 : std::abs(freed_us(*other) / p.undisturbed_us - 1);
}

std::vector<HostPoint> validate_input(const Input& input, const HostValidationOptions& o,
                                      kernels::CacheFlusher& flusher, std::vector<std::string>& left_out) {
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
      c->executor = std::make_unique<kernels::HostExecutor>(c->plan, *tensors,
                                                            o.threads > 0 ? o.threads : kernels::host_threads());
    } catch (const core::Error& e) {
      left_out.push_back(fmt::format("{} by {}: {}", input.source, c->point.strategy, e.what()));
      continue;
    }
    c->executor->run();
    contestants.push_back(std::move(c));
  }
  // In turns, so that a disturbance hits all alike.
  if (o.bench != nullptr) o.bench->forget();
  for (std::int32_t i = 0; i < o.repeats; ++i) {
    if (o.bench != nullptr) o.bench->run();
    for (auto& c : contestants) {
      flusher.flush();
      add_repeat(*c);
    }
  }
  const costmodel::DeviceSpec device = o.bench != nullptr ? costmodel::fit_host(o.bench->samples()).device : o.device;
  for (auto& c : contestants) {
    sum_up_repeats(*c);
    predict(*c, device);
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

std::vector<HostPoint> validate_host(const std::vector<Input>& inputs, const HostValidationOptions& options,
                                     std::vector<std::string>& left_out) {
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
    disturbances.push_back(p.disturbed);
    if (errors.back() > s.worst) {
      s.worst = errors.back();
      s.worst_plan = fmt::format("{} by {}", p.input, p.strategy);
    }
  }
  s.mape = mean(errors);
  s.task_mape = mean(task_errors);
  s.noise = quantile(noises, 0.5);
  s.disturbance = quantile(disturbances, 0.5);
  const double apart = 2 * std::max(s.noise, s.disturbance);
  std::size_t place = 0, covered = 0, others = 0;
  for (const auto& [name, some] : inputs) {
    if (const auto tau = order_agreement(some, apart, s.pairs)) taus.push_back(*tau);
    const auto less = [](auto member) {
      return [member](const HostPoint* a, const HostPoint* b) { return a->*member < b->*member; };
    };
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
    for (const HostPoint* p : some) {
      covered += std::abs(std::log(p->predicted_us / p->measured_us)) <= s.interval ? 1 : 0;
    }
    others += some.size();
  }
  if (others > 0) s.coverage = static_cast<double>(covered) / static_cast<double>(others);
  s.conclusive = std::max(s.noise, s.disturbance) <= kMostNoise;
  return s;
}

std::vector<HostPoint> undisturbed(std::vector<HostPoint> points) {
  for (HostPoint& p : points) {
    p.measured_us = p.undisturbed_us;
    p.noise = p.undisturbed_noise;
    p.disturbed = 0;
  }
  return points;
}

}  // namespace espalier::apps

// Plans and timelines to draw: real ones by strategy, and made-up timelines of any size.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/rng.h"
#include "scheduler/strategy.h"
#include "sim/simulator.h"
#include "traces/import.h"

namespace espalier::viz {

inline scheduler::Plan plan_of(const std::string& strategy, const std::string& tree,
                               const traces::HeadConfig& heads = {}) {
  const traces::PrefixForest forest = traces::parse_tree(tree);
  const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  scheduler::PlanRequest request{forest, heads, device, scheduler::KernelSet::ours, {}, {}, 1};
  scheduler::PlanResult result = scheduler::make_plan(scheduler::parse_strategy(strategy), request);
  return std::get<scheduler::Plan>(std::move(result));
}

inline sim::SimResult timeline_of(const scheduler::Plan& plan) {
  sim::SimOptions options;
  options.timeline = true;
  return sim::simulate(plan, costmodel::find_device("h100-sxm"), options);
}

/// A plan of `tasks` tasks of one query each and a run of it: lanes filled one span after the other, of uneven length.
struct MadeUpRun {
  scheduler::Plan plan;
  sim::SimResult result;
};
inline MadeUpRun made_up_run(std::int32_t tasks, std::int32_t lanes, std::uint64_t seed) {
  core::Rng rng(seed);
  MadeUpRun run;
  run.plan.hash = 1;
  for (std::int32_t t = 0; t < tasks; ++t) {
    scheduler::Task task;
    task.queries = {0, 1 + static_cast<std::int32_t>(rng.integer(0, 40))};
    run.plan.tasks.push_back(task);
  }
  run.result.plan_hash = run.result.timeline.plan_hash = 1;
  run.result.task_bound.assign(static_cast<std::size_t>(tasks), sim::Bound::hbm);
  run.result.timeline.lanes = {"launches"};
  for (std::int32_t l = 0; l < lanes; ++l) {
    run.result.timeline.lanes.push_back(fmt::format("SM {} slot {}", l / 4, l % 4));
  }
  std::vector<double> now(static_cast<std::size_t>(lanes));
  for (std::int32_t t = 0; t < tasks; ++t) {
    const auto lane = static_cast<std::size_t>(t % lanes);
    scheduler::Span span;
    span.lane = static_cast<std::int32_t>(lane) + 1;
    span.launch = scheduler::LaunchId(0);
    span.item = t;
    span.begin_us = now[lane] + (rng.chance(0.2) ? rng.uniform() * 3 : 0);
    span.end_us = now[lane] = span.begin_us + rng.uniform() * rng.uniform() * 20;
    run.result.timeline.spans.push_back(span);
    run.result.makespan_us = std::max(run.result.makespan_us, span.end_us);
  }
  std::stable_sort(run.result.timeline.spans.begin(), run.result.timeline.spans.end(),
                   [](const auto& a, const auto& b) { return a.begin_us < b.begin_us; });
  return run;
}

}  // namespace espalier::viz

// Speed of the simulator: irregular plans by CTAs, and flattened plans whose CTAs are nearly all alike.
#include <benchmark/benchmark.h>

#include "core/rng.h"
#include "scheduler/plan_builder.h"
#include "sim/closed_form.h"
#include "sim/engine.h"
#include "sim/simulator.h"
#include "sim/work_list.h"

namespace {

using namespace espalier;

/// One request a task; `tokens` of each.
scheduler::Plan plan_of(const std::vector<std::int64_t>& tokens, const traces::HeadConfig& heads,
                        std::int32_t page_size = 1) {
  traces::ForestSource source;
  source.name = "bench";
  source.page_size = page_size;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    source.parent.push_back(-1);
    source.tokens.push_back(tokens[i]);
    source.leaf.push_back(static_cast<std::int64_t>(i));
  }
  const traces::PrefixForest forest = traces::make_forest(source);
  scheduler::PlanBuilder builder(forest, heads);
  const auto kernel = builder.kernel(costmodel::find_kernel("espalier_mma_m16"));
  builder.launch();
  for (std::int32_t i = 0; i < static_cast<std::int32_t>(tokens.size()); ++i) {
    const scheduler::Segment segment = builder.segment(traces::NodeId(i), 0, tokens[static_cast<std::size_t>(i)], 1);
    builder.attend(kernel, std::span(&segment, 1), builder.queries(traces::RequestId(i), traces::RequestId(i + 1)));
  }
  builder.task_phase(kernel, scheduler::TaskId(0));
  return std::move(builder).finish({});
}

std::vector<std::int64_t> log_normal_tokens(std::int64_t requests) {
  core::Rng rng(1);
  std::vector<std::int64_t> tokens;
  for (std::int64_t i = 0; i < requests; ++i) tokens.push_back(rng.log_normal(1000, 1.0));
  return tokens;
}

void run(benchmark::State& state, const scheduler::Plan& plan) {
  const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  const sim::SimResult first = sim::simulate(plan, device);
  const double parts = first.split.total() / (first.makespan_us * device.sms);
  if (!(parts > 1 - 1e-9 && parts < 1 + 1e-9)) state.SkipWithError("SM time doesn't add up");
  std::int64_t ctas = 0;
  for (const scheduler::Task& task : plan.tasks) ctas += task.copies;
  for (auto _ : state) benchmark::DoNotOptimize(sim::simulate(plan, device).makespan_us);
  state.SetItemsProcessed(state.iterations() * ctas);
}

void irregular(benchmark::State& state) {
  run(state, plan_of(log_normal_tokens(state.range(0)), {.q_heads = 4, .kv_heads = 1}));
}
BENCHMARK(irregular)->Arg(1'000)->Arg(10'000)->Arg(100'000)->Unit(benchmark::kMillisecond);

void run_events(benchmark::State& state, const scheduler::Plan& plan, const costmodel::DeviceSpec& device) {
  const sim::WorkList list = sim::make_work_list(plan, device);
  if (sim::run_events(plan, device, list, {}).makespan_us != sim::simulate(plan, device).makespan_us) {
    state.SkipWithError("not the same");
  }
  for (auto _ : state) benchmark::DoNotOptimize(sim::run_events(plan, device, list, {}).makespan_us);
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

/// The event engine alone: the work list is made once. Every task is a class of its own.
void events(benchmark::State& state) {
  run_events(state, plan_of(log_normal_tokens(state.range(0)), {.q_heads = 4, .kv_heads = 1}),
             costmodel::find_device("h100-sxm"));
}
BENCHMARK(events)->Arg(1'000)->Arg(10'000)->Arg(100'000)->Unit(benchmark::kMillisecond);

/// The same where every page costs something and hardly a request fills its last one.
void events_paged(benchmark::State& state) {
  run_events(state, plan_of(log_normal_tokens(state.range(0)), {.q_heads = 4, .kv_heads = 1}, 16),
             costmodel::find_device("h100-sxm:page_ns=5"));
}
BENCHMARK(events_paged)->Arg(10'000)->Arg(100'000)->Unit(benchmark::kMillisecond);

/// The closed form of the same plans, eight copies of each task.
void closed_form(benchmark::State& state) {
  const scheduler::Plan plan = plan_of(log_normal_tokens(state.range(0)), {.q_heads = 32, .kv_heads = 8});
  const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  const sim::WorkList list = sim::make_work_list(plan, device);
  const double ratio = sim::closed_form_us(plan, device, list) / sim::simulate(plan, device).makespan_us;
  if (!(ratio > 0.97 && ratio < 1.03)) state.SkipWithError("far from the events");
  for (auto _ : state) benchmark::DoNotOptimize(sim::closed_form_us(plan, device, list));
}
BENCHMARK(closed_form)->Arg(100)->Arg(1'000)->Arg(10'000)->Unit(benchmark::kMicrosecond);

void uniform(benchmark::State& state) {
  run(state, plan_of(std::vector<std::int64_t>(static_cast<std::size_t>(state.range(0)), 128),
                     {.q_heads = 32, .kv_heads = 32}));
}
BENCHMARK(uniform)->Arg(6'100)->Arg(61'000)->Unit(benchmark::kMillisecond);

}  // namespace

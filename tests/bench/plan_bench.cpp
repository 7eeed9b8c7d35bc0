// Planning, proving and reading: one thread, the four trees that peers' planners were timed on. A plan is validated
// before it is timed.

#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <stdexcept>

#include "scheduler/batch_update.h"
#include "scheduler/strategy.h"
#include "scheduler/validate.h"
#include "traces/import.h"

namespace {

using namespace espalier;

/// A process that has ever freed a megabyte keeps what it frees later: else the allocator may give the top of its heap
/// back to the system after each plan and fetch it again for the next, which takes longer than planning. Servers have.
const bool kKeepsItsHeap = [] {
  std::vector<char> megabyte(1 << 20);
  benchmark::DoNotOptimize(megabyte.data());
  return true;
}();

constexpr const char* kTrees[] = {"1,64|8192,256", "1,4,32,256|2048,512,256,128", "1,32,1024|2048,512,128"};

/// Spine segments of 128 tokens with a leaf of 128 on each.
traces::PrefixForest caterpillar(std::int64_t levels) {
  traces::ForestSource source;
  source.name = "caterpillar";
  for (std::int64_t i = 0; i < levels; ++i) {
    source.parent.push_back(i == 0 ? -1 : 2 * (i - 1));
    source.parent.push_back(2 * i);
    source.tokens.insert(source.tokens.end(), {128, 128});
    source.leaf.push_back(2 * i + 1);
  }
  return traces::make_forest(source);
}

/// S1 to S3 by notation, S4 a caterpillar.
traces::PrefixForest tree(std::int64_t which) {
  return which < 3 ? traces::parse_tree(kTrees[which]) : caterpillar(64);
}

const costmodel::DeviceSpec& device() {
  static const costmodel::DeviceSpec kDevice = costmodel::find_device("h100-sxm");
  return kDevice;
}

void plan_strategy(benchmark::State& state, const char* name, bool explain = false) {
  const auto forest = tree(state.range(0));
  const auto heads = traces::parse_heads("32/8/128");
  const auto choice = scheduler::parse_strategy(name);
  const auto first = scheduler::make_plan(choice, {forest, heads, device()});
  const auto* plan = std::get_if<scheduler::Plan>(&first);
  if (plan == nullptr || !scheduler::validate(*plan, device()).empty()) {
    throw std::runtime_error("no valid plan to time");
  }
  // Made once for a device and its heads, as a server would.
  scheduler::PlanRequest request{forest, heads, device()};
  request.cost_model = choice.strategy->info().own_cost_model;
  request.explain = explain;
  if (choice.strategy->info().uses_cost_model) {
    request.model = costmodel::make_cost_model(request.cost_model, device(), heads);
  }
  for (auto _ : state) benchmark::DoNotOptimize(scheduler::make_plan(choice, request));
  state.counters["nodes"] = static_cast<double>(forest.node_count());
  state.SetLabel(fmt::format("S{}", state.range(0) + 1));
}

/// The next decode step: every request is a token longer, the plan's structure stays.
void next_step(benchmark::State& state) {
  const auto forest = tree(state.range(0));
  const auto heads = traces::parse_heads("32/8/128");
  auto result = scheduler::make_plan(scheduler::parse_strategy("espalier"), {forest, heads, device()});
  auto& plan = std::get<scheduler::Plan>(result);
  auto tokens = plan.forest.tokens;
  const auto step = [&] {
    for (const traces::NodeId leaf : plan.forest.leaf) ++tokens[leaf];
    scheduler::grow(plan, tokens);
  };
  step();
  if (!scheduler::validate(plan, device()).empty()) throw std::runtime_error("invalid");
  for (auto _ : state) step();
  state.SetLabel(fmt::format("S{}", state.range(0) + 1));
}

/// A request that leaves, and one that joins its prefix: as long, so that the batch stays as large as it is. Both are
/// timed.
void leave_and_join(benchmark::State& state) {
  const auto heads = traces::parse_heads("32/8/128");
  auto result = scheduler::make_plan(scheduler::parse_strategy("espalier"), {tree(state.range(0)), heads, device()});
  const auto planned = std::get<scheduler::Plan>(result);
  scheduler::Plan plan = planned;
  const auto update = [&] {
    const traces::RequestId middle(plan.forest.request_count() / 2);
    const traces::NodeId leaf = plan.forest.leaf[middle];
    const std::int64_t tokens = plan.forest.tokens[leaf];
    const traces::NodeId prefix = plan.forest.parent[leaf];
    if (!scheduler::leave(plan, middle) || !scheduler::join(plan, {prefix, tokens, "new"})) {
      throw std::runtime_error("refused");
    }
  };
  update();
  if (!scheduler::validate(plan, device()).empty()) throw std::runtime_error("invalid");
  constexpr int kUpdates = 16;  // of each, between two plans: script/bench divides by both
  for (auto _ : state) {
    state.PauseTiming();
    plan = planned;
    state.ResumeTiming();
    for (int i = 0; i < kUpdates; ++i) update();
  }
  state.SetLabel(fmt::format("S{}", state.range(0) + 1));
}

/// From the flat arrays of an engine to a finished plan, as at every step that plans anew.
void table_to_plan(benchmark::State& state) {
  const auto source =
      traces::parse_block_table(traces::write_block_table(traces::floor_to_pages(tree(state.range(0)), 16)), "table");
  const std::vector<std::int32_t> pages(source.pages.begin(), source.pages.end()),
      begin(source.page_begin.begin(), source.page_begin.end()), tokens(source.tokens.begin(), source.tokens.end());
  const traces::BlockTableView table{16, tokens, begin, pages};
  const auto heads = traces::parse_heads("32/8/128");
  const auto choice = scheduler::parse_strategy("espalier");
  const std::shared_ptr<const costmodel::CostModel> model = costmodel::make_cost_model("analytic", device(), heads);
  const auto plan_now = [&] {
    const traces::PrefixForest forest = traces::make_forest(table, "table");
    scheduler::PlanRequest request{forest, heads, device()};
    request.model = model;
    request.explain = false;
    return scheduler::make_plan(choice, request);
  };
  const auto first = plan_now();
  if (!scheduler::validate(std::get<scheduler::Plan>(first), device()).empty()) throw std::runtime_error("invalid");
  for (auto _ : state) benchmark::DoNotOptimize(plan_now());
  state.SetLabel(fmt::format("S{}", state.range(0) + 1));
}

void prove_plan(benchmark::State& state, const traces::PrefixForest& forest, const char* strategy) {
  const auto heads = traces::parse_heads("32/8/128");
  const auto result = scheduler::make_plan(scheduler::parse_strategy(strategy), {forest, heads, device()});
  if (const auto* refusal = std::get_if<scheduler::Refusal>(&result)) {
    return state.SkipWithError(refusal->sentence.c_str());
  }
  const auto& plan = std::get<scheduler::Plan>(result);
  for (auto _ : state) {
    if (!scheduler::validate(plan, device()).empty()) throw std::runtime_error("invalid");
  }
}

/// Many launches, and many slots in the storage of a few.
void prove_deep(benchmark::State& state) {
  const auto forest = caterpillar(state.range(0));
  prove_plan(state, forest, "cascade");
  state.counters["nodes"] = static_cast<double>(forest.node_count());
}

void prove(benchmark::State& state) {
  prove_plan(state, tree(state.range(0)), "codec");
  state.SetLabel(fmt::format("S{}", state.range(0) + 1));
}

void block_table(benchmark::State& state) {
  const std::string text = traces::write_block_table(traces::floor_to_pages(tree(state.range(0)), 16));
  const auto table = traces::parse_block_table(text, "table");
  if (traces::make_forest(table, "table").request_count() == 0) throw std::runtime_error("no requests");
  for (auto _ : state) benchmark::DoNotOptimize(traces::make_forest(table, "table"));
  state.SetLabel(fmt::format("S{}", state.range(0) + 1));
}

BENCHMARK_CAPTURE(plan_strategy, flash_decoding, "flash_decoding")->DenseRange(0, 3)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(plan_strategy, cascade, "cascade")->DenseRange(0, 3)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(plan_strategy, deft_flatten, "deft_flatten")->DenseRange(0, 3)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(plan_strategy, fasttree, "fasttree")->DenseRange(0, 3)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(plan_strategy, pat, "pat:splits=4096")->DenseRange(0, 3)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(plan_strategy, codec, "codec")->DenseRange(0, 3)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(plan_strategy, espalier, "espalier")->DenseRange(0, 3)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(plan_strategy, espalier_explained, "espalier", true)->DenseRange(0, 3)->Unit(benchmark::kMicrosecond);
BENCHMARK(next_step)->DenseRange(0, 3)->Unit(benchmark::kMicrosecond);
BENCHMARK(prove)->DenseRange(0, 3)->Unit(benchmark::kMicrosecond);
BENCHMARK(prove_deep)->Arg(255)->Unit(benchmark::kMicrosecond);
BENCHMARK(leave_and_join)->DenseRange(0, 3)->Unit(benchmark::kMicrosecond);
BENCHMARK(table_to_plan)->DenseRange(0, 3)->Unit(benchmark::kMicrosecond);
BENCHMARK(block_table)->DenseRange(0, 3)->Unit(benchmark::kMicrosecond);

}  // namespace

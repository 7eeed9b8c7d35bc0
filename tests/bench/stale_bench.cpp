// What keeping a plan costs: every request decodes 512 tokens; a plan is made every k steps and grown in between. The
// loss is the time simulated over all steps, set against planning anew at each of them. Nothing is timed here but the
// simulated device.
#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <string>
#include <variant>

#include "scheduler/strategy.h"
#include "sim/simulator.h"
#include "traces/families.h"
#include "traces/import.h"

namespace {

using namespace espalier;

constexpr int kSteps = 512, kEvery = 8;  ///< steps, of which every eighth is simulated
const std::string kInputs[] = {"1,64|8192,256", "1,4,32,256|2048,512,256,128", "doc_qa", "few_shot", "chat"};

/// The input with a node of its own for every request, where it decodes.
traces::ForestSource input(std::int64_t which) {
  const std::string& name = kInputs[which];
  const traces::PrefixForest forest =
      name.find('|') != std::string::npos ? traces::parse_tree(name) : traces::generate_family(name, 1);
  traces::ForestSource source;
  source.name = name;
  for (const traces::NodeId parent : forest.parent) source.parent.push_back(parent.value);
  source.tokens = forest.tokens.raw();
  for (const traces::NodeId leaf : forest.leaf) {
    source.leaf.push_back(static_cast<std::int64_t>(source.parent.size()));
    source.parent.push_back(leaf.value);
    source.tokens.push_back(1);
  }
  return source;
}

class Decoding {
 public:
  explicit Decoding(std::int64_t which) : source_(input(which)) {}

  /// Microseconds of all simulated steps when a plan is made every `period` steps.
  double run(int period) {
    double us = 0;
    scheduler::Plan plan;
    for (int step = 0; step < kSteps; ++step) {
      const traces::PrefixForest forest = forest_at(step);
      if (step % period == 0) {
        plan = plan_of(forest);
      } else {
        scheduler::grow(plan, forest.tokens);
      }
      if (step % kEvery == kEvery - 1) us += sim::simulate(plan, device_).makespan_us;
    }
    return us;
  }

 private:
  traces::PrefixForest forest_at(int step) const {
    traces::ForestSource source = source_;
    for (const std::int64_t leaf : source.leaf) source.tokens[static_cast<std::size_t>(leaf)] += step;
    return traces::make_forest(source);
  }

  scheduler::Plan plan_of(const traces::PrefixForest& forest) const {
    return std::get<scheduler::Plan>(
        scheduler::make_plan(scheduler::parse_strategy("espalier"), {forest, heads_, device_}));
  }

  traces::ForestSource source_;
  traces::HeadConfig heads_ = traces::parse_heads("32/8/128");
  costmodel::DeviceSpec device_ = costmodel::find_device("h100-sxm");
};

void stale(benchmark::State& state) {
  Decoding decoding(state.range(0));
  const double fresh = decoding.run(1);
  double kept = fresh;
  for (auto _ : state) kept = decoding.run(static_cast<int>(state.range(1)));
  state.counters["simulated_us"] = kept * kEvery / kSteps;
  state.counters["loss_percent"] = 100 * (kept / fresh - 1);
  state.SetLabel(fmt::format("{}, planned every {} steps", kInputs[state.range(0)], state.range(1)));
}
BENCHMARK(stale)->ArgsProduct({{0, 1, 2, 3, 4}, {1, 8, 32, 128, 512}})->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace

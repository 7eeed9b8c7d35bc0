// Preparing views for drawing: a timeline of 100,000 tasks at several zooms, a forest and a plan's tiles of like size.
#include <benchmark/benchmark.h>

#include "../viz/viz_samples.h"
#include "viz/model/forest_layout.h"
#include "viz/model/timeline_layout.h"

namespace {

using namespace espalier;

constexpr double kWidth = 1280, kHeight = 800;

/// The whole device at a zoom into time; arguments: lanes, zoom.
void timeline(benchmark::State& state) {
  const viz::MadeUpRun run = viz::made_up_run(100'000, static_cast<std::int32_t>(state.range(0)), 1);
  const viz::TimelineIndex index = viz::index_timeline(run.result, run.plan);
  viz::TimelineWindow window;
  window.begin_us = index.makespan_us * 0.3;
  window.end_us = window.begin_us + index.makespan_us / static_cast<double>(state.range(1));
  if (state.range(1) == 1) window.begin_us = 0, window.end_us = index.makespan_us;
  window.lane_count = static_cast<std::int32_t>(index.lanes.size());
  window.width_px = kWidth;
  window.height_px = kHeight;
  const std::size_t boxes = viz::lay_out_timeline(index, window).boxes.size();
  if (boxes == 0 || boxes >= 60'000) state.SkipWithError("too many boxes, or none");
  for (auto _ : state) benchmark::DoNotOptimize(viz::lay_out_timeline(index, window).boxes.data());
  state.counters["boxes"] = static_cast<double>(boxes);
}
BENCHMARK(timeline)->ArgsProduct({{264, 1056}, {1, 4, 32, 1000}})->Unit(benchmark::kMillisecond);

/// About 100,000 nodes under one root.
void forest(benchmark::State& state) {
  const traces::PrefixForest tree = traces::parse_tree("1,200,5000,95000|4000,300,100,50");
  const viz::ForestIndex index = viz::index_forest(tree, 4096);
  viz::ForestWindow window = viz::whole_forest(tree, kWidth, kHeight);
  window.requests /= static_cast<double>(state.range(0));
  const std::size_t boxes = viz::lay_out_forest(tree, index, window).size();
  if (boxes == 0 || boxes >= 60'000) state.SkipWithError("too many boxes, or none");
  for (auto _ : state) benchmark::DoNotOptimize(viz::lay_out_forest(tree, index, window).data());
  state.counters["boxes"] = static_cast<double>(boxes);
}
BENCHMARK(forest)->Arg(1)->Arg(100)->Unit(benchmark::kMillisecond);

/// About 100,000 tasks of one request each.
void cover(benchmark::State& state) {
  const scheduler::Plan plan =
      viz::plan_of("flash_decoding", "1,200,5000,100000|4000,300,100,50", {.q_heads = 4, .kv_heads = 1});
  viz::ForestWindow window = viz::whole_forest(plan.forest, kWidth, kHeight);
  window.requests /= static_cast<double>(state.range(0));
  const viz::CoverIndex cover = viz::index_cover(plan);
  const std::size_t boxes = viz::lay_out_cover(cover, window).size();
  if (boxes == 0 || boxes >= 60'000) state.SkipWithError("too many boxes, or none");
  for (auto _ : state) benchmark::DoNotOptimize(viz::lay_out_cover(cover, window).data());
  state.counters["boxes"] = static_cast<double>(boxes);
  state.counters["tasks"] = static_cast<double>(plan.tasks.size());
}
BENCHMARK(cover)->Arg(1)->Arg(100)->Unit(benchmark::kMillisecond);

}  // namespace

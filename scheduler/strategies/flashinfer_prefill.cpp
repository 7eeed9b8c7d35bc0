// FlashInfer's decode on tensor cores: its prefill planner with every request one row of queries.
//
// Faithful: tile from the mean packed length (a group here), budget of two CTAs an SM over the KV heads, smallest chunk
// in pages by bisection, items (request, query tile, chunk) in that order, partials in the output's type, the padded
// grid when asked for.
// Deviates: a request in one piece writes its final row; a group larger than the tile is cut into equal head chunks.
#include <fmt/core.h>

#include "core/units.h"
#include "scheduler/strategies/flat_tasks.h"
#include "scheduler/strategies/split_rules.h"

namespace espalier::scheduler {
namespace planning {
namespace {

const costmodel::KernelConfig& prefill_kernel(const PlanRequest& request) {
  const std::int32_t group = request.heads.group();
  // FlashInfer's exceptions for wide heads are limits of its kernels, not of the method.
  if (request.kernels == KernelSet::ours) {
    return our_kernel(request, std::min(group, flashinfer_tile_rows(group, 128, 128)));
  }
  return published_kernel(request, fmt::format("flashinfer_prefill_m{}",
                                               flashinfer_tile_rows(group, request.heads.qk_dim, request.heads.v_dim)));
}

Plan prefill_plan(const PlanRequest& request, const StrategyInfo& info) {
  const costmodel::KernelConfig& kernel = prefill_kernel(request);
  const Contexts contexts = contexts_of(request.forest);
  const std::int64_t page = request.forest.pages.page_size;
  const std::int64_t budget = 2 * static_cast<std::int64_t>(request.device.sms) / request.heads.kv_heads;
  std::vector<LevelLoad> loads;
  for (const std::int64_t tokens : contexts.tokens) loads.push_back({request.heads.group(), tokens});
  const std::int64_t chunk = flashinfer_chunk_tokens(loads, kernel.query_tile, budget, page);
  std::vector<ContextCut> cuts;
  std::int64_t items = 0;
  for (std::size_t i = 0; i < contexts.requests.size(); ++i) {
    cuts.push_back({contexts.requests[i], chunk});
    items += core::ceil_div(contexts.tokens[i], chunk);
  }
  const std::int64_t tiles = core::ceil_div(request.heads.group(), kernel.query_tile);
  FlatRun run{.attend = kernel, .reduce = reduce_kernel(request, "flashinfer_merge")};
  // A grid of `budget` items a KV head: items here are counted a tile of rows.
  if (request.options.at("graph") > 0) run.grid_items = budget / tiles;
  const std::string why = chunk < contexts.longest
                              ? fmt::format("chunks of {} tokens: {} a KV head within a budget of {}, tiles of {} rows",
                                            chunk, counted(items * tiles, "item"), budget, kernel.query_tile)
                              : fmt::format("no split: {} a KV head against a budget of {}, tiles of {} rows",
                                            counted(items * tiles, "item"), budget, kernel.query_tile);
  return flat_cuts_plan(request, info, run, cuts, {why});
}

class FlashInferPrefill final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{
        "flashinfer_prefill",
        "decode on tensor cores: one chunk size that keeps to two CTAs an SM",
        "FlashInfer prefill plan (FA2 backend) as its tensor-core decode uses it",
        "serves every forest; refuses head configurations whose tile fits no kernel of the set",
        false,
        {{"graph", 0, 0, 1, "1: the grid is padded to the budget, as inside CUDA graphs"}}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] { return prefill_plan(request, info()); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& flashinfer_prefill_strategy() {
  static const planning::FlashInferPrefill kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler

// FlashAttention-3 with one split count for the batch (its heuristic on the longest context, static tile scheduler).
//
// Faithful: tile of the path that decoding takes (KV gathered from pages, so heads are packed); split count by its
// rule, one CTA an SM; each request's own blocks divided by that count; fp32 partials; combine launched
// programmatically when anything is split.
// Deviates: fp8 queries aren't required for fp8 KV; a request in one piece writes its final row; the 50 MB rule for
// query tiles beyond twice the SMs is left out (decoding never has them). With our kernels blocks are rounded up to
// whole KV tiles.
#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "core/units.h"
#include "scheduler/strategies/fa3.h"
#include "scheduler/strategies/flat_tasks.h"

namespace espalier::scheduler {
namespace planning {

using core::ceil_div;

Fa3Kernel fa3_kernel(const PlanRequest& request, std::int64_t rows) {
  Fa3Tile tile = fa3_tile(request.heads);
  if (request.kernels == KernelSet::ours) {
    if (tile.rows == 0) tile = {64, 64};  // the narrowest it has: wide heads that only our kernels serve
    const costmodel::KernelConfig& ours = our_kernel(request, std::min<std::int64_t>(rows, tile.rows));
    tile.tokens = static_cast<std::int32_t>(core::round_up(tile.tokens, ours.kv_tile));
    return {ours, tile};
  }
  if (tile.rows == 0) {
    refuse(RefusalClass::kernel,
           fmt::format("FlashAttention-3 needs head dims up to 256 or latent attention of 576 and 512, got {}",
                       traces::heads_text(request.heads)));
  }
  return {published_kernel(request, fmt::format("fa3_m{}_n{}", tile.rows, tile.tokens)), tile};
}

std::int64_t fa3_piece_tokens(std::int64_t tokens, std::int64_t block, std::int64_t splits) {
  return ceil_div(ceil_div(tokens, block), splits) * block;
}

Fa3Cut fa3_dynamic_cut(const PlanRequest& request, const Fa3Tile& tile, std::span<const std::int64_t> lengths,
                       std::int64_t packed_rows) {
  Fa3Cut cut;
  cut.blocks.reserve(lengths.size());
  std::int64_t longest = 1;
  for (const std::int64_t tokens : lengths) {
    cut.blocks.push_back(ceil_div(tokens, std::int64_t{tile.tokens}));
    longest = std::max(longest, cut.blocks.back());
  }
  const auto sms = static_cast<std::int64_t>(request.device.sms);
  const std::int64_t tiles = request.heads.kv_heads * ceil_div(packed_rows, std::int64_t{tile.rows});
  cut.bound = fa3_split_bound(tiles, sms, longest);
  cut.splits = fa3_dynamic_splits(cut.blocks, tiles, sms, cut.bound);
  return cut;
}

std::vector<std::size_t> fa3_longest_first(const Fa3Cut& cut) {
  std::vector<std::size_t> order(cut.blocks.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return ceil_div(cut.blocks[a], cut.splits.of[a]) > ceil_div(cut.blocks[b], cut.splits.of[b]);
  });
  return order;
}

namespace {

Plan static_plan(const PlanRequest& request, const StrategyInfo& info) {
  const Fa3Kernel kernel = fa3_kernel(request, request.heads.group());
  const Contexts contexts = contexts_of(request.forest);
  const std::int64_t tiles = static_cast<std::int64_t>(contexts.requests.size()) * request.heads.kv_heads *
                             ceil_div(request.heads.group(), kernel.tile.rows);
  const std::int64_t blocks = ceil_div(contexts.longest, std::int64_t{kernel.tile.tokens});
  const auto sms = static_cast<std::int64_t>(request.device.sms);
  const auto asked = static_cast<std::int64_t>(request.options.at("splits"));
  const std::int64_t splits = asked > 0 ? asked : fa3_split_bound(tiles, sms, blocks);
  std::vector<ContextCut> cuts;
  for (std::size_t i = 0; i < contexts.requests.size(); ++i) {
    cuts.push_back({contexts.requests[i], fa3_piece_tokens(contexts.tokens[i], kernel.tile.tokens, splits), splits});
  }
  const FlatRun run{.attend = kernel.config,
                    .reduce = reduce_kernel(request, "fa3_combine"),
                    .merge_follow = request.kernels == KernelSet::published ? Follow::programmatic : Follow::graph};
  return flat_cuts_plan(
      request, info, run, cuts,
      {fmt::format(
          "{} of each request's own blocks of {} tokens{}: {} tiles on {} SMs, the longest context has {} blocks",
          counted(splits, "split"), kernel.tile.tokens, asked > 0 ? " as asked for" : "", tiles, sms, blocks)});
}

class Fa3Static final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{
        "fa3_static",
        "one split count for the batch, each request's own blocks divided by it",
        "FlashAttention-3, static split heuristic",
        "published kernels need warp-group MMA and head dims up to 256 or latent attention of 576 and 512",
        false,
        {{"splits", 0, 0, 128, "splits of every request; 0: FlashAttention-3's rule"}}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] { return static_plan(request, info()); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& fa3_static_strategy() {
  static const planning::Fa3Static kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler

// FlashMLA's tile scheduler: SM parts of equal payload over the batch's 64-token blocks, beginning a piece of a request
// costs 5 blocks.
//
// Faithful: parts = SMs / KV heads / row tiles of 64; payload; requests in order, split where a part is full; a part's
// run may end one request and begin the next; fp32 partials; combine launched programmatically; at most 160 splits.
// Deviates: pages of any size; the planner kernel in front is left out unless asked for (planner=1), as its result
// serves all layers; a request in one piece writes its final row. The published kernel serves latent attention only
// (576 dims, 512 of them values); with ours the rule serves all heads, row tiles are counted as our tile makes them,
// and merges are done by the last CTA to arrive.
#include <fmt/core.h>

#include <algorithm>

#include "core/units.h"
#include "scheduler/strategies/flat_tasks.h"
#include "scheduler/strategies/split_rules.h"

namespace espalier::scheduler {
namespace planning {
namespace {

constexpr std::int64_t kBlockTokens = 64;
constexpr std::int64_t kMostSplits = 160;
constexpr std::int32_t kTileRows = 64;

const costmodel::KernelConfig& parts_kernel(const PlanRequest& request) {
  if (request.kernels == KernelSet::ours) return our_kernel(request, std::min(request.heads.group(), kTileRows));
  if (!request.heads.v_in_k || request.heads.qk_dim != 576 || request.heads.v_dim != 512) {
    refuse(RefusalClass::heads,
           fmt::format("FlashMLA's kernel serves latent attention of 576 dims with values of 512 inside, got {}",
                       traces::heads_text(request.heads)));
  }
  return published_kernel(request, "flashmla_m64");
}

/// Throws Refused unless the published combine kernel takes the splits and the plan isn't too large.
void check_parts(const PlanRequest& request, const std::vector<std::vector<PartPiece>>& parts) {
  std::vector<std::int64_t> splits(request.forest.request_count(), 0);
  std::int64_t pieces = 0;
  for (const auto& part : parts) {
    for (const PartPiece& piece : part) ++splits[static_cast<std::size_t>(piece.request)], ++pieces;
  }
  require_at_most("tasks", pieces, kMaxTasks);
  require_at_most("segments", path_rows(request.forest) + pieces, kMaxPlanRows);
  if (request.kernels == KernelSet::published) {
    require_at_most("splits of one request", *std::max_element(splits.begin(), splits.end()), kMostSplits);
  }
}

Plan parts_plan(const PlanRequest& request, const StrategyInfo& info) {
  const costmodel::KernelConfig& kernel = parts_kernel(request);
  const Contexts contexts = contexts_of(request.forest);
  const std::int64_t intervals = request.heads.q_heads / heads_per_copy(kernel, request.heads);
  const auto sms = static_cast<std::int64_t>(request.device.sms);
  // Every head interval has its own CTA in each part; more of them than SMs still need one part, in turns when the
  // device can't hold them.
  const std::int64_t parts = std::max<std::int64_t>(1, sms / intervals);
  const std::int64_t side_by_side = std::min(intervals, resident_ctas(kernel, request));
  std::vector<std::int64_t> blocks;
  for (const std::int64_t tokens : contexts.tokens) blocks.push_back(core::ceil_div(tokens, kBlockTokens));
  const std::vector<std::vector<PartPiece>> shares = flashmla_parts(blocks, parts);
  check_parts(request, shares);

  QueuePlan plan(request, kernel, parts * side_by_side);
  if (request.options.at("planner") > 0) plan.plan_first(1);
  std::int64_t longest = 0;
  for (std::size_t p = 0; p < shares.size(); ++p) {
    std::int64_t load = 0;
    for (const PartPiece& piece : shares[p]) {
      const auto i = static_cast<std::size_t>(piece.request);
      const TaskId task = plan.tasks().add(contexts.requests[i], piece.begin * kBlockTokens,
                                           std::min(piece.end * kBlockTokens, contexts.tokens[i]));
      for (std::int64_t c = 0; c < intervals; ++c) {
        plan.give(static_cast<std::int64_t>(p) * side_by_side + c % side_by_side, task, static_cast<std::int32_t>(c));
      }
      load += piece.end - piece.begin + kFlashMlaOverheadBlocks;
    }
    longest = std::max(longest, load);
  }
  if (request.kernels == KernelSet::ours) {
    plan.close(reduce_kernel(request, ""), PhaseStart::on_arrival);
  } else {
    plan.close_apart(published_kernel(request, "flashmla_combine"), Follow::programmatic);
  }

  Provenance from = provenance(info, request);
  from.why.push_back(fmt::format(
      "{} for each of {}, at most {} blocks of {} tokens in one, {} of them for beginning a piece",
      counted(parts, "part"), counted(intervals, "head interval"), longest, kBlockTokens, kFlashMlaOverheadBlocks));
  add_no_sharing(request.forest, from.why);
  return std::move(plan).finish(std::move(from));
}

class FlashMla final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{
        "flashmla",
        "SM parts of equal payload, 5 blocks for beginning a piece of a request",
        "FlashMLA tile scheduler and dense decode kernel",
        "the published kernel serves latent attention of 576 dims with values of 512 only, needs warp-group MMA, at "
        "most 160 splits",
        false,
        {{"planner", 0, 0, 1, "1: the metadata kernel runs in front of the layer; 0: once a step for all layers"}}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] { return parts_plan(request, info()); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& flashmla_strategy() {
  static const planning::FlashMla kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler

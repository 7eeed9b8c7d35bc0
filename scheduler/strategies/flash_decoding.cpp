// FlashDecoding as FlashAttention-2 ships it (split-KV decode with its num_splits heuristic): the baseline that shares
// nothing.
//
// Faithful: one split count for the batch, from the longest context; splits are whole N-blocks counted from position 0
// of each request; the query heads of a group are rows of one tile; splits that a short request doesn't reach are empty
// CTAs of the same launch, in request order; partials in fp32 and a combine launch when there is more than one split.
// Deviates: pages of any size (FA2 wants 256-token pages); a request whose context fits its first split writes its
// final row at once instead of passing through the combine kernel; heads above 64 a group are cut in head chunks (FA2:
// row tiles); with our kernels the smallest tile that holds the group runs, the rule still counts 64-row tiles.
#include <fmt/core.h>

#include <algorithm>

#include "core/units.h"
#include "scheduler/strategies/flat.h"
#include "scheduler/strategies/flat_tasks.h"
#include "scheduler/strategies/split_rules.h"

namespace espalier::scheduler {
namespace planning {

FlatCut flat_cut(const PlanRequest& request, std::int64_t splits) {
  const traces::PrefixForest& forest = request.forest;
  FlatCut cut{};
  for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
    cut.longest = std::max(cut.longest, forest.context_tokens(r));
  }
  const std::int64_t block = fa2_block_tokens(request.heads.qk_dim);
  const std::int64_t blocks = core::ceil_div(cut.longest, block);
  const std::int64_t tiles = core::ceil_div(request.heads.group(), kFa2TileRows);
  cut.work = static_cast<std::int64_t>(forest.request_count()) * request.heads.kv_heads * tiles;
  cut.slots = 2 * static_cast<std::int64_t>(request.device.sms);
  cut.splits = splits > 0 ? splits : fa2_splits(cut.work, cut.slots, blocks);
  cut.split_tokens = core::ceil_div(blocks, cut.splits) * block;
  return cut;
}

namespace {

std::vector<std::string> flat_why(const PlanRequest& request, const FlatCut& cut, std::int64_t splits_asked) {
  std::vector<std::string> why;
  if (splits_asked > 0) {
    why.push_back(fmt::format("{} as asked for, of {} tokens", counted(cut.splits, "split"), cut.split_tokens));
  } else if (cut.work * 10 >= cut.slots * 8) {
    why.push_back(
        fmt::format("no split: {} without splits, which is at least 80 % of the {} the device is taken to hold",
                    counted(cut.work, "CTA"), cut.slots));
  } else {
    why.push_back(fmt::format(
        "{} of {} tokens for the longest context ({}): {} without splits, less than 80 % of the {} the device "
        "is taken to hold",
        counted(cut.splits, "split"), cut.split_tokens, cut.longest, counted(cut.work, "CTA"), cut.slots));
  }
  add_no_sharing(request.forest, why);
  return why;
}

}  // namespace

Plan flat_plan(const PlanRequest& request, const StrategyInfo& info, std::int64_t splits, const std::string& why) {
  const traces::PrefixForest& forest = request.forest;
  const bool ours = request.kernels == KernelSet::ours;
  const FlatCut cut = flat_cut(request, splits);
  const auto requests = static_cast<std::int64_t>(forest.request_count());
  require_at_most("tasks", core::checked_mul(requests, cut.splits + 1), kMaxTasks);
  require_at_most("segments", path_rows(forest) + requests * cut.splits, kMaxPlanRows);

  PlanBuilder builder(forest, request.heads);
  const KernelId attend =
      builder.kernel(ours ? our_kernel(request, request.heads.group()) : published_kernel_by_dim(request, "fa2_split"));
  const KernelId combine = builder.kernel(reduce_kernel(request, "fa2_combine"));
  const std::int32_t copies = request.heads.q_heads / heads_per_copy(builder.plan().kernels[attend], request.heads);
  builder.launch();
  std::vector<Segment> segments;
  // In batch order, as engines launch it: how far apart relatives stand decides what the L2 catches.
  for (const RequestId r : traces::batch_order(forest)) {
    const Route route(forest, traces::path_of(forest, forest.leaf[r]));
    const Interval group = builder.queries(r, RequestId(r.value + 1));
    std::int64_t filled = 0;
    for (std::int64_t begin = 0; begin < route.tokens(); begin += cut.split_tokens, ++filled) {
      segments.clear();
      route.cut(builder, begin, std::min(begin + cut.split_tokens, route.tokens()), 1, segments);
      builder.attend(attend, segments, group);
    }
    builder.padding(static_cast<std::int32_t>((cut.splits - filled) * copies));
  }
  builder.task_phase(attend, TaskId(0));
  merge_rows(request, builder, {combine, builder.plan().kernels[attend].partial_dtype, Follow::graph});

  Provenance from = provenance(info, request);
  if (!why.empty()) from.why.push_back(why);
  for (std::string& sentence : flat_why(request, cut, splits)) from.why.push_back(std::move(sentence));
  return std::move(builder).finish(std::move(from));
}

namespace {

class FlashDecoding final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{
        "flash_decoding",
        "every request reads its whole context; one split count for the batch",
        "FlashAttention-2 split-KV decode (num_splits heuristic)",
        "serves every forest; refuses head configurations whose tile fits no kernel of the set, and more than 4000000 "
        "tasks",
        false,
        {{"splits", 0, 0, 128, "splits of the longest context; 0: FlashAttention-2's rule"}}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable(
        [&] { return flat_plan(request, info(), static_cast<std::int64_t>(request.options.at("splits")), ""); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& flash_decoding_strategy() {
  static const planning::FlashDecoding kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler

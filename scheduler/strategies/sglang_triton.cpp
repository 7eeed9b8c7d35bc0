// SGLang's Triton decode backend: each request's splits from its length and from how full the grid is, at most 8.
//
// Faithful: both split rules and their hack that takes the device for larger when contexts are long; splits in whole
// blocks of 32 tokens; 16 packed heads a program, one head a program without groups; a grid always as large as the cap;
// the second stage merges every request, also those in one piece; the deterministic mode (splits of 256 tokens).
// Deviates: head chunks divide the group evenly. With our kernels a request in one piece writes its final row.
#include <fmt/core.h>

#include <algorithm>

#include "core/units.h"
#include "scheduler/strategies/flat_tasks.h"
#include "scheduler/strategies/split_rules.h"

namespace espalier::scheduler {
namespace planning {
namespace {

constexpr std::int64_t kBlockTokens = 32;
constexpr std::int64_t kDeterministicTokens = 256;
constexpr std::int32_t kProgramHeads = 16;

Plan triton_plan(const PlanRequest& request, const StrategyInfo& info) {
  const std::int32_t group = request.heads.group();
  const bool ours = request.kernels == KernelSet::ours, fixed = request.options.at("deterministic") > 0;
  const costmodel::KernelConfig& kernel =
      ours ? our_kernel(request, std::min(group, kProgramHeads))
           : published_kernel(request, group == 1 ? "sglang_decode" : "sglang_decode_grouped");
  const Contexts contexts = contexts_of(request.forest);
  const auto requests = static_cast<std::int64_t>(contexts.requests.size());
  const SglangGrid grid{requests * core::ceil_div(request.heads.q_heads, std::min(kProgramHeads, group)),
                        static_cast<std::int64_t>(request.device.sms),
                        static_cast<std::int64_t>(request.options.at("cap"))};
  std::vector<std::int64_t> splits = sglang_splits(contexts.tokens, grid);
  std::vector<ContextCut> cuts;
  for (std::size_t i = 0; i < contexts.requests.size(); ++i) {
    if (fixed) splits[i] = core::ceil_div(contexts.tokens[i], kDeterministicTokens);
    const std::int64_t chunk =
        fixed ? kDeterministicTokens : core::round_up(core::ceil_div(contexts.tokens[i], splits[i]), kBlockTokens);
    cuts.push_back(
        {contexts.requests[i], chunk, fixed ? core::ceil_div(contexts.longest, kDeterministicTokens) : grid.cap});
  }
  require_at_most("tasks", core::checked_mul(requests, cuts.front().grid), kMaxTasks);
  const FlatRun run{.attend = kernel, .reduce = reduce_kernel(request, "sglang_reduce"), .merge_single = !ours};
  const auto [least, most] = std::minmax_element(splits.begin(), splits.end());
  return flat_cuts_plan(
      request, info, run, cuts,
      {fixed ? fmt::format("splits of {} tokens whatever the batch", kDeterministicTokens)
             : fmt::format("{} to {} a request of at most {}: {} CTAs a split on {} SMs, contexts up to {} tokens",
                           *least, counted(*most, "split"), grid.cap, grid.ctas, grid.sms, contexts.longest)});
}

class SglangTriton final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{
        "sglang_triton",
        "each request's splits from its length and the fill of the grid, at most 8",
        "SGLang Triton attention backend, decode",
        "serves every forest; refuses head configurations whose tile fits no kernel of the set",
        false,
        {{"cap", 8, 1, 64, "most splits of a request (triton_attention_num_kv_splits)"},
         {"deterministic", 0, 0, 1, "1: splits of 256 tokens, whatever else is in the batch"}}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] { return triton_plan(request, info()); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& sglang_triton_strategy() {
  static const planning::SglangTriton kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler

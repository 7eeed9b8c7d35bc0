// FlashInfer's batch decode on CUDA cores: one chunk size for the batch, the smallest that fits the device at once.
//
// Faithful: capacity from the occupancy of the kernel; no split when requests x KV heads fill it; else bisection of the
// chunk in pages, at least 128 tokens; items in request order, each for the heads of one KV head; partials in the
// output's type; the grid padded to the capacity when asked for (graph=1), as under CUDA graphs.
// Deviates: any group whose threads fit a CTA (the original compiles some); a request in one piece writes its final row
// instead of passing through the merge. With our kernels capacity is that of our tile for the group.
#include <fmt/core.h>

#include <algorithm>

#include "core/units.h"
#include "scheduler/strategies/flat_tasks.h"
#include "scheduler/strategies/split_rules.h"

namespace espalier::scheduler {
namespace planning {
namespace {

constexpr std::int32_t kThreadsPerWarp = 32;
constexpr std::int32_t kMostThreads = 1024;

/// The catalog's kernel (4 heads of 128 dims) in the shape it is compiled to for these heads.
costmodel::KernelConfig decode_kernel(const PlanRequest& request) {
  const DecodeShape shape = flashinfer_decode_shape(request.heads);
  if (request.heads.v_in_k || request.heads.qk_dim > 256) {
    refuse(RefusalClass::kernel,
           fmt::format("FlashInfer's decode kernel needs separate keys and values of up to 256 dims, got {}",
                       traces::heads_text(request.heads)));
  }
  if (shape.threads > kMostThreads) {
    refuse(RefusalClass::kernel,
           fmt::format("FlashInfer's decode kernel needs {} threads a CTA for a group of {}, a CTA has at most {}",
                       shape.threads, request.heads.group(), kMostThreads));
  }
  costmodel::KernelConfig kernel = costmodel::find_kernel("flashinfer_decode");
  kernel.name = fmt::format("{}_g{}_n{}", kernel.name, request.heads.group(), shape.kv_tile);
  kernel.query_tile = request.heads.group();
  kernel.kv_tile = shape.kv_tile;
  kernel.rows_per_warp = shape.heads_per_warp;
  kernel.warps = static_cast<std::int32_t>(core::ceil_div(shape.threads, kThreadsPerWarp));
  // Many threads get fewer registers each, as the compiler is told.
  kernel.registers = std::min(kernel.registers, 65536 / (kernel.warps * kThreadsPerWarp));
  const std::string reason = costmodel::unfit_reason(kernel, request.heads, request.device);
  if (!reason.empty()) refuse(RefusalClass::kernel, reason);
  return kernel;
}

Plan decode_plan(const PlanRequest& request, const StrategyInfo& info) {
  const costmodel::KernelConfig kernel =
      request.kernels == KernelSet::ours ? our_kernel(request, request.heads.group()) : decode_kernel(request);
  const Contexts contexts = contexts_of(request.forest);
  const auto requests = static_cast<std::int64_t>(contexts.requests.size());
  const std::int64_t heads = request.heads.q_heads / heads_per_copy(kernel, request.heads);
  const std::int64_t capacity = resident_ctas(kernel, request), page = request.forest.pages.page_size;
  const bool full = requests * heads >= capacity;
  std::int64_t chunk = core::round_up(contexts.longest, page);
  if (!full) {
    std::vector<LevelLoad> loads;
    for (const std::int64_t tokens : contexts.tokens) loads.push_back({1, tokens});
    chunk = flashinfer_chunk_tokens(loads, 1, capacity / heads, page);
  }
  std::vector<ContextCut> cuts;
  std::int64_t items = 0;
  for (std::size_t i = 0; i < contexts.requests.size(); ++i) {
    cuts.push_back({contexts.requests[i], chunk});
    items += core::ceil_div(contexts.tokens[i], chunk);
  }
  FlatRun run{.attend = kernel, .reduce = reduce_kernel(request, "flashinfer_merge")};
  if (request.options.at("graph") > 0 && !full) run.grid_items = capacity / heads;
  const std::string why =
      full ? fmt::format("no split: {} CTAs fill the {} that fit the device", requests * heads, capacity)
           : fmt::format("chunks of {} tokens: {} for each of {} head intervals, {} CTAs fit the device", chunk,
                         counted(items, "item"), heads, capacity);
  return flat_cuts_plan(request, info, run, cuts, {why});
}

class FlashInferDecode final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{
        "flashinfer_decode",
        "one chunk size for the batch, the smallest whose work items the device holds at once",
        "FlashInfer batch decode plan, CUDA-core kernel",
        "published kernels need separate keys and values of up to 256 dims and a group whose threads fit a CTA",
        false,
        {{"graph", 0, 0, 1, "1: the grid is padded to the device's capacity, as inside CUDA graphs"}}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] { return decode_plan(request, info()); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& flashinfer_decode_strategy() {
  static const planning::FlashInferDecode kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler

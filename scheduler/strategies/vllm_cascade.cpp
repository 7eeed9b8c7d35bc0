// vLLM's cascade attention: one prefix that all requests share, when its rule says so; else its FlashAttention path.
//
// Faithful: the common prefix in whole pages, shorter than every context; the rule (256 tokens, 8 requests, always
// without groups, else CTA waves in tiles of 128); prefix as one sequence of all queries, then the suffixes, both cut
// by FlashAttention-3's dynamic rule (no split of FlashAttention-2's entry for pages, which runs where there is no
// warp-group MMA), then a merge of two states.
// Deviates: rows of prefix and suffixes wait in fp32 (vLLM: the output's type); tiles of the prefix hold requests in
// tree order; planner kernels run once a step for all layers. With our kernels FlashAttention-3's rule cuts on every
// device.
#include "scheduler/strategies/vllm_cascade.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "core/units.h"
#include "scheduler/strategies/fa3.h"
#include "scheduler/strategies/flat.h"
#include "scheduler/strategies/flat_tasks.h"
#include "scheduler/strategies/level_merge.h"

namespace espalier::scheduler {
namespace planning {

using core::ceil_div;

std::int64_t vllm_common_prefix(const traces::PrefixForest& forest) {
  std::int64_t shared = 0, shortest = std::numeric_limits<std::int64_t>::max();
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    if (static_cast<std::size_t>(forest.readers(n)) == forest.request_count()) shared += forest.tokens[n];
  }
  for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
    shortest = std::min(shortest, forest.context_tokens(r));
  }
  const std::int64_t tokens = std::min(shared, shortest - 1), page = forest.pages.page_size;
  return tokens / page * page;
}

VllmRule vllm_rule(std::int64_t prefix, std::int64_t requests, const traces::HeadConfig& heads, std::int64_t sms) {
  constexpr std::int64_t kLeastPrefix = 256, kLeastRequests = 8, kTile = 128;
  const auto decided = [](bool on, std::string why) { return VllmRule{on, 0, 0, std::move(why)}; };
  if (heads.v_in_k) return decided(false, "no cascade: backends for latent attention have none");
  if (prefix < kLeastPrefix) {
    return decided(false, fmt::format("no cascade: {} tokens are shared by all, fewer than {}", prefix, kLeastPrefix));
  }
  if (requests < kLeastRequests) {
    return decided(false, fmt::format("no cascade: {}, fewer than {}", counted(requests, "request"), kLeastRequests));
  }
  if (heads.group() == 1) {
    return decided(true, fmt::format("cascade over {} shared tokens: always without groups of heads", prefix));
  }
  const std::int64_t tiles = ceil_div(prefix, kTile);
  VllmRule rule;
  rule.cascade_units = ceil_div(heads.q_heads * ceil_div(requests, kTile), sms) * tiles;
  rule.flash_units = ceil_div(requests * heads.kv_heads * ceil_div(std::int64_t{heads.group()}, kTile) * tiles, sms);
  rule.on = rule.cascade_units < rule.flash_units;
  rule.why = fmt::format("{} over {} shared tokens: {} against {} units of time by the rule",
                         rule.on ? "cascade" : "no cascade", prefix, rule.cascade_units, rule.flash_units);
  return rule;
}

namespace {

bool has_fa3(const PlanRequest& request) {
  return request.kernels == KernelSet::ours || request.device.wgmma_flop_per_clk > 0;
}

class VllmBuild {
 public:
  VllmBuild(const PlanRequest& request, const StrategyInfo& info, std::int64_t prefix)
      : request_(request), info_(info), forest_(request.forest), prefix_(prefix),
        builder_(request.forest, request.heads), levels_(request.forest.request_count(), 2),
        combine_(builder_.kernel(reduce_kernel(request, has_fa3(request) ? "fa3_combine" : "fa2_combine"))) {
    require_at_most("segments", path_rows(forest_), kMaxPlanRows);
  }

  Plan run(std::string why) {
    const std::vector<LevelRow> prefix = attend_prefix(), suffixes = attend_suffixes();
    const StepId merges = builder_.next_step();
    RunningRows running(builder_, levels_, traces::Dtype::fp32);
    running.join(prefix);
    running.join(suffixes);
    merge_launch(builder_, builder_.kernel(reduce_kernel(request_, "vllm_merge")), merges, Follow::graph);
    Provenance from = provenance(info_, request_);
    from.why = {std::move(why),
                fmt::format("{} of the prefix by {}, {} of the suffixes", counted(prefix_pieces_, "piece"),
                            counted(prefix_tiles_, "query tile"), counted(suffix_pieces_, "piece"))};
    return std::move(builder_).finish(std::move(from));
  }

 private:
  std::vector<LevelRow> attend_prefix() {
    const auto requests = static_cast<std::int32_t>(forest_.request_count());
    const std::int64_t rows = std::int64_t{requests} * request_.heads.group();
    std::vector<NodeId> shared;
    for (const NodeId n : core::ids<NodeId>(forest_.node_count())) {
      if (forest_.readers(n) == requests) shared.push_back(n);
    }
    const std::vector<Route> routes = {Route(forest_, shared)};
    std::int64_t piece = prefix_;
    const costmodel::KernelConfig* config = nullptr;
    if (has_fa3(request_)) {
      const Fa3Kernel kernel = fa3_kernel(request_, rows);
      config = &kernel.config;
      const Fa3Cut cut = fa3_dynamic_cut(request_, kernel.tile, std::span(&prefix_, 1), rows);
      piece = fa3_piece_tokens(prefix_, kernel.tile.tokens, cut.splits.of[0]);
    } else {
      config = &published_kernel(request_, "fa2_prefix");
    }
    const std::int32_t per_tile = queries_per_tile(*config, request_.heads);
    std::vector<QueryTile> tiles;
    std::vector<Piece> pieces;
    for (std::int32_t q = 0; q < requests; q += per_tile) {
      tiles.push_back({RequestId(q), RequestId(std::min(q + per_tile, requests)), {}});
      for (std::int64_t at = 0; at < prefix_; at += piece) {
        pieces.push_back({0, tiles.size() - 1, at, std::min(at + piece, prefix_)});
      }
    }
    prefix_tiles_ = static_cast<std::int64_t>(tiles.size());
    prefix_pieces_ = static_cast<std::int64_t>(pieces.size());
    return attend(*config, routes, pieces, tiles);
  }

  std::vector<LevelRow> attend_suffixes() {
    std::vector<std::int64_t> lengths;
    std::vector<Route> routes;
    std::vector<QueryTile> tiles;
    for (const RequestId r : core::ids<RequestId>(forest_.request_count())) {
      lengths.push_back(forest_.context_tokens(r) - prefix_);
      routes.emplace_back(forest_, traces::path_of(forest_, forest_.leaf[r]));
      tiles.push_back({r, RequestId(r.value + 1), {}});
    }
    std::vector<Piece> pieces;
    const auto cut = [&](std::size_t i, std::int64_t piece) {
      for (std::int64_t at = 0; at < lengths[i]; at += piece) {
        pieces.push_back({i, i, prefix_ + at, prefix_ + std::min(at + piece, lengths[i])});
      }
    };
    const costmodel::KernelConfig* config = nullptr;
    if (has_fa3(request_)) {
      const Fa3Kernel kernel = fa3_kernel(request_, request_.heads.group());
      config = &kernel.config;
      const Fa3Cut by_length = fa3_dynamic_cut(request_, kernel.tile, lengths, request_.heads.group());
      for (const std::size_t i : fa3_longest_first(by_length)) {
        cut(i, fa3_piece_tokens(lengths[i], kernel.tile.tokens, by_length.splits.of[i]));
      }
    } else {
      config = &published_kernel_by_dim(request_, "fa2_split");
      for (const RequestId r : traces::batch_order(forest_)) cut(r.index(), lengths[r.index()]);
    }
    suffix_pieces_ = static_cast<std::int64_t>(pieces.size());
    return attend(*config, routes, pieces, tiles);
  }

  /// One call of the library: attention, and a combine launch when anything is split.
  std::vector<LevelRow> attend(const costmodel::KernelConfig& config, std::span<const Route> routes,
                               std::span<const Piece> pieces, std::span<QueryTile> tiles) {
    require_at_most("tasks", static_cast<std::int64_t>(pieces.size()), kMaxTasks);
    const KernelId kernel = builder_.kernel(config);
    builder_.launch();
    const TaskId first = builder_.next_task();
    emit_pieces(builder_, kernel, routes, pieces, tiles);
    builder_.task_phase(kernel, first);
    const StepId combines = builder_.next_step();
    std::vector<LevelRow> rows = settle_level(builder_, tiles, levels_, traces::Dtype::fp32);
    const bool overlaps = request_.kernels == KernelSet::published && has_fa3(request_);
    merge_launch(builder_, combine_, combines, overlaps ? Follow::programmatic : Follow::graph);
    return rows;
  }

  const PlanRequest& request_;
  const StrategyInfo& info_;
  const traces::PrefixForest& forest_;
  std::int64_t prefix_;
  PlanBuilder builder_;
  core::Column<RequestId, std::int32_t> levels_;
  KernelId combine_;
  std::int64_t prefix_tiles_ = 0, prefix_pieces_ = 0, suffix_pieces_ = 0;
};

Plan vllm_plan(const PlanRequest& request, const StrategyInfo& info) {
  const std::int64_t prefix = vllm_common_prefix(request.forest);
  const VllmRule rule = vllm_rule(prefix, static_cast<std::int64_t>(request.forest.request_count()), request.heads,
                                  static_cast<std::int64_t>(request.device.sms));
  if (rule.on) return VllmBuild(request, info, prefix).run(rule.why);
  if (has_fa3(request)) return fa3_dynamic_plan(request, info, false, {rule.why});
  return flat_plan(request, info, 1, rule.why);
}

class VllmCascade final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{
        "vllm_cascade",
        "the prefix that all requests share apart from the rest when a rule says so, else FlashAttention",
        "vLLM cascade attention and its use_cascade rule",
        "one prefix of all requests; refuses head configurations whose tile fits no kernel of the set",
        false,
        {}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] { return vllm_plan(request, info()); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& vllm_cascade_strategy() {
  static const planning::VllmCascade kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler

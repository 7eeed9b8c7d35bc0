// FastTree: a greedy walk over the tree's edges decides which nodes read their parent's KV themselves, by a cost of
// padding; two launches of Triton kernels, for groups of many and of few queries.
//
// Faithful: both costs with their constants (0.66 for padded query rows, 0.33 for padded KV, 0.1 a query kept apart);
// tiles of 64 and 16 rows (requests x group), KV tiles of 32 in the cost; chunks of 1024 tokens, 128 for a phase with
// too few CTAs (132 and 528); at most three rounds, in which the tiles of both phases may become the small or the large
// one (below 132); queries are cut by the first tile, chunks follow the phase of the whole group; the merge is a third
// launch. Thresholds are the constants of the artifact, whatever the device.
// Deviates: each round begins with the published tiles (the artifact keeps changed ones between calls); a group
// launched on a changed tile gets that tile's kernel (the artifact's benchmark launches the original one and would drop
// rows); several roots are planned as below an empty root, which changes no decision. With another cost model than its
// own, that model's times of whole tiles and of merged rows take the place of the padding and of the 0.1. With our
// kernels: our tiles of the same height, longest chunks first, launches side by side.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <optional>

#include "core/units.h"
#include "scheduler/strategies/packing.h"

namespace espalier::scheduler {
namespace planning {
namespace {

using core::ceil_div;

constexpr double kQueryWeight = 0.66, kKvWeight = 0.33, kKeepWeight = 0.1;  // alpha, beta, gamma
constexpr std::array<std::int64_t, 2> kTileRows{64, 16};
constexpr std::int64_t kKvTile = 32;
constexpr std::int64_t kChunk = 1024, kSmallChunk = 128;
constexpr std::array<std::int64_t, 2> kEnoughCtas{132, 528};  // of each phase, before its chunk shrinks
constexpr std::int64_t kEnoughTiles = 132;                    // of each phase, before the tiles change

/// Phase 0 is for groups of many queries, phase 1 for few. Tiles in requests.
struct Tuning {
  std::array<std::int64_t, 2> tile;
  std::array<std::int64_t, 2> chunk{kChunk, kChunk};
  std::size_t phase(std::int64_t queries) const { return queries > tile[1] ? 0 : 1; }
};

/// Padding of one group's rows and tokens: the published cost.
double group_cost(std::int64_t queries, std::int64_t tokens, const Tuning& tuning, std::int64_t group) {
  const std::int64_t tile = tuning.tile[tuning.phase(queries)];
  const std::int64_t padded = queries == 0 ? 0 : tile - ((queries - 1) % tile + 1);
  const std::int64_t short_tokens = std::max<std::int64_t>(0, kKvTile - tokens);
  return kQueryWeight * static_cast<double>(padded * group * tokens) +
         kKvWeight * static_cast<double>(short_tokens * queries * group);
}

class FastTreeBuild {
 public:
  FastTreeBuild(const PlanRequest& request, const StrategyInfo& info)
      : request_(request), info_(info), forest_(request.forest), builder_(request.forest, request.heads),
        published_(request.kernels == KernelSet::published), greedy_(request.options.at("greedy") > 0),
        group_(request.heads.group()) {
    for (std::size_t phase = 0; phase < 2; ++phase) {
      tuning_.tile[phase] = std::max<std::int64_t>(1, kTileRows[phase] / group_);
    }
  }

  Plan run() {
    settle();
    choose_kernels();
    std::vector<Box> boxes;
    const auto cut = static_cast<std::int32_t>(
        std::min<std::int64_t>(tuning_.tile[0], queries_per_tile(*kernels_[0], request_.heads)));
    const std::vector<Pack> packs = packing_->packs(builder_);
    for (const Pack& pack : packs) {
      const std::size_t first = boxes.size();
      cut_boxes(pack.chain, pack.queries, {tuning_.chunk[tuning_.phase(pack.queries.size())], cut}, boxes);
      for (std::size_t i = first; i < boxes.size(); ++i) boxes[i].kernel = tuning_.phase(boxes[i].queries.size());
    }
    const Follow follow = published_ ? Follow::stream : Follow::graph;
    const KernelId reduce = builder_.kernel(reduce_kernel(request_, "fasttree_reduce"));
    const auto launches = launch_boxes(builder_, kernels_, boxes, {follow, !published_, 0, !published_});
    merge_rows(request_, builder_, {reduce, kernels_[0]->partial_dtype, follow, launches});
    Provenance from = provenance(info_, request_);
    from.graph_safe = !published_;
    from.why = why(packs.size(), boxes.size());
    return std::move(builder_).finish(std::move(from));
  }

 private:
  void settle() {
    std::array<std::int64_t, 2> ctas = round();
    bool changed = false;
    for (std::size_t phase = 0; phase < 2; ++phase) {
      if (ctas[phase] == 0 || ctas[phase] >= kEnoughCtas[phase]) continue;
      tuning_.chunk[phase] = kSmallChunk;
      changed = true;
    }
    if (!changed) return;
    ctas = round();
    const auto short_of = [&](std::size_t phase) { return ctas[phase] > 0 && ctas[phase] < kEnoughTiles; };
    if (short_of(0)) {
      tuning_.tile[0] = tuning_.tile[1];
    } else if (short_of(1)) {
      tuning_.tile[1] = tuning_.tile[0];
    } else {
      return;
    }
    round();
  }

  /// Decides all edges; CTAs of each phase.
  std::array<std::int64_t, 2> round() {
    ++rounds_;
    packing_.emplace(forest_);
    packing_->decide([&](const Edge& edge) {
      if (!greedy_) return false;
      const auto cost = [&](std::int64_t queries, std::int64_t tokens) { return this->cost(queries, tokens); };
      const double keep = cost(edge.parent_queries, edge.parent_tokens) + cost(edge.child_queries, edge.child_tokens) +
                          kept_cost(edge.child_queries);
      const double absorb = cost(edge.parent_queries - edge.child_queries, edge.parent_tokens) +
                            cost(edge.child_queries, edge.child_tokens + edge.parent_tokens);
      return keep > absorb;
    });
    std::array<std::int64_t, 2> ctas{0, 0};
    packing_->each([&](std::int64_t queries, std::int64_t tokens) {
      const std::size_t phase = tuning_.phase(queries);
      ctas[phase] +=
          request_.heads.kv_heads * ceil_div(queries, tuning_.tile[phase]) * ceil_div(tokens, tuning_.chunk[phase]);
    });
    return ctas;
  }

  bool own_cost() const { return request_.cost_model == info_.own_cost_model; }

  /// One group's tasks: by the model, whole tiles and the rest, each in a CTA of its own.
  double cost(std::int64_t queries, std::int64_t tokens) const {
    if (own_cost()) return group_cost(queries, tokens, tuning_, group_);
    const std::size_t phase = tuning_.phase(queries);
    const costmodel::KernelConfig& kernel = phase_kernel(phase);
    const std::int64_t tile = std::min<std::int64_t>(tuning_.tile[phase], queries_per_tile(kernel, request_.heads));
    costmodel::TaskShape shape;
    shape.heads = heads_per_copy(kernel, request_.heads);
    shape.kv_tokens = tokens;
    shape.writes_partial = true;
    const auto task_us = [&](std::int64_t n) {
      shape.queries = static_cast<std::int32_t>(n);
      shape.visible_pairs = n * tokens;
      return n == 0 ? 0.0 : request_.model->task(shape, kernel).us;
    };
    return static_cast<double>(queries / tile) * task_us(tile) + task_us(queries % tile);
  }

  /// Price of the partial rows that queries kept apart from their parent's task add to the merge.
  double kept_cost(std::int64_t queries) const {
    if (own_cost()) return kKeepWeight * static_cast<double>(queries);
    const costmodel::KernelConfig& kernel = reduce_kernel(request_, "fasttree_reduce");
    const auto heads = static_cast<std::int32_t>(group_);
    const double two = request_.model->reduction({1, heads, 2, false}, kernel).us;
    return static_cast<double>(queries) * (two - request_.model->reduction({1, heads, 1, false}, kernel).us);
  }

  /// The kernel of a phase, for its tile.
  const costmodel::KernelConfig& phase_kernel(std::size_t phase) const {
    const bool large = tuning_.tile[phase] * group_ > kTileRows[1];
    return published_ ? published_kernel(request_, large ? "fasttree_m64" : "fasttree_m16")
                      : our_kernel(request_, kTileRows[large ? 0 : 1]);
  }

  /// One kernel a phase, for the tiles that the rounds left.
  void choose_kernels() {
    for (std::size_t phase = 0; phase < 2; ++phase) kernels_[phase] = &phase_kernel(phase);
  }

  std::vector<std::string> why(std::size_t packs, std::size_t boxes) const {
    std::vector<std::string> sentences = {
        fmt::format("{} of {} read their parents' KV themselves: {}", packing_->absorbed(),
                    counted(static_cast<std::int64_t>(forest_.node_count()), "node"),
                    !greedy_     ? "every node is kept apart, as asked"
                    : own_cost() ? "less padding, by FastTree's cost"
                                 : "cheaper, by cost model " + request_.cost_model),
        fmt::format("{} cut into {}, query tiles of {} and {}, chunks of {} and {} tokens",
                    counted(static_cast<std::int64_t>(packs), "group"),
                    counted(static_cast<std::int64_t>(boxes), "task"), tuning_.tile[0], tuning_.tile[1],
                    tuning_.chunk[0], tuning_.chunk[1])};
    if (rounds_ > 1) {
      sentences.push_back(fmt::format("{} rounds: the first left a launch below {} or {} CTAs", rounds_, kEnoughCtas[0],
                                      kEnoughCtas[1]));
    }
    return sentences;
  }

  const PlanRequest& request_;
  const StrategyInfo& info_;
  const traces::PrefixForest& forest_;
  PlanBuilder builder_;
  bool published_;
  bool greedy_;
  std::int64_t group_;
  Tuning tuning_{};
  std::optional<Packing> packing_;
  std::array<const costmodel::KernelConfig*, 2> kernels_{};
  int rounds_ = 0;
};

class FastTree final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{
        "fasttree",
        "greedy choice an edge: read the parent's KV with it or again; two tile classes",
        "FastTree (MLSys 2025)",
        "at most 4000000 tasks and 16777216 partial rows; refuses head configurations whose tile fits no kernel of the "
        "set",
        true,
        {{"greedy", 1, 0, 1, "0: every node keeps its own queries (the published ablation)"}},
        "padding"};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] { return FastTreeBuild(request, info()).run(); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& fasttree_strategy() {
  static const planning::FastTree kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler

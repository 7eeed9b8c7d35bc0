// FlashInfer's multi-level cascade: one attention launch a tree level, states merged in place from the last level up.
//
// Faithful: level l holds the nodes at depth l; each level is planned alone by FlashInfer's prefill planner (tile from
// the integer mean of the packed lengths, budget of two CTAs an SM, smallest chunk by bisection, items node x query
// tile x chunk); split chunks are merged a level, then levels pairwise, last level first; partials in the output dtype
// with the published kernels; nothing asks whether a level is worth its launches.
// Deviates: tokens instead of pages; tiles hold whole requests (a group of 7 puts 63 rows into a tile of 64); a request
// without a node at a level has no item there (FlashInfer is given an empty segment); rows that need no merge are not
// copied; the last merge writes the output itself. With our kernels: the smallest tile that holds the level's rows,
// longest items first, and when nothing is shared there are no levels to cascade over, so the flat plan is used, as a
// caller would.
#include <fmt/core.h>

#include <algorithm>

#include "scheduler/strategies/flat.h"
#include "scheduler/strategies/level_merge.h"
#include "scheduler/strategies/split_rules.h"

namespace espalier::scheduler {
namespace planning {
namespace {

/// One attention and one merge launch a level; a deeper tree is beyond any use of the method.
constexpr std::int64_t kMostLevels = 256;

struct Level {
  std::vector<NodeId> nodes;
  std::int32_t tile_rows = 0;
  std::int64_t chunk = 0;
  std::int64_t items = 0;
  bool split = false;
};

class CascadeBuild {
 public:
  CascadeBuild(const PlanRequest& request, const StrategyInfo& info)
      : request_(request), info_(info), forest_(request.forest), builder_(request.forest, request.heads) {}

  Plan run() {
    const core::Column<NodeId, std::int32_t> depth = traces::depths(forest_);
    std::int64_t deepest = 0;
    for (const std::int32_t d : depth) deepest = std::max<std::int64_t>(deepest, d);
    require_at_most("levels", deepest + 1, kMostLevels);
    require_at_most("partial rows", path_rows(forest_), kMaxPlanRows);
    levels_.resize(static_cast<std::size_t>(deepest) + 1);
    for (const NodeId n : core::ids<NodeId>(forest_.node_count())) {
      levels_[static_cast<std::size_t>(depth[n])].nodes.push_back(n);
    }
    core::Column<RequestId, std::int32_t> levels_of(forest_.request_count(), 0);
    for (const RequestId r : core::ids<RequestId>(forest_.request_count())) levels_of[r] = depth[forest_.leaf[r]] + 1;

    merge_ = builder_.kernel(reduce_kernel(request_, "flashinfer_merge"));
    const traces::Dtype dtype = level_kernel(levels_.back().nodes).partial_dtype;
    RunningRows running(builder_, levels_of, dtype);
    for (std::size_t l = levels_.size(); l-- > 0;) {
      const std::vector<QueryTile> tiles = attend(levels_[l]);
      const StepId merges = builder_.next_step();
      const std::vector<LevelRow> rows = settle_level(builder_, tiles, levels_of, dtype);
      merge_launch(builder_, merge_, merges, Follow::graph);
      const StepId joins = builder_.next_step();
      running.join(rows);
      merge_launch(builder_, merge_, joins, Follow::graph);
    }
    Provenance from = provenance(info_, request_);
    from.why = why();
    return std::move(builder_).finish(std::move(from));
  }

 private:
  const costmodel::KernelConfig& level_kernel(const std::vector<NodeId>& nodes) const {
    std::int64_t packed = 0, most = 0;
    for (const NodeId n : nodes) {
      const std::int64_t rows = std::int64_t{forest_.readers(n)} * request_.heads.group();
      packed += rows;
      most = std::max(most, rows);
    }
    const std::int64_t mean = packed / static_cast<std::int64_t>(nodes.size());
    if (request_.kernels == KernelSet::ours) {
      // FlashInfer's exceptions for wide heads are limits of its kernels, not of the method.
      return our_kernel(request_, std::min<std::int64_t>(most, flashinfer_tile_rows(mean, 128, 128)));
    }
    const std::int32_t rows = flashinfer_tile_rows(mean, request_.heads.qk_dim, request_.heads.v_dim);
    return published_kernel(request_, fmt::format("flashinfer_prefill_m{}", rows));
  }

  /// One launch: all items of a level. Tiles come back in request order.
  std::vector<QueryTile> attend(Level& level) {
    const costmodel::KernelConfig& config = level_kernel(level.nodes);
    const KernelId kernel = builder_.kernel(config);
    level.tile_rows = config.query_tile;
    std::vector<LevelLoad> loads;
    std::int64_t longest = 0;
    for (const NodeId n : level.nodes) {
      loads.push_back({std::int64_t{forest_.readers(n)} * request_.heads.group(), forest_.tokens[n]});
      longest = std::max(longest, forest_.tokens[n]);
    }
    const std::int64_t budget = 2 * static_cast<std::int64_t>(request_.device.sms) / request_.heads.kv_heads;
    level.chunk = flashinfer_chunk_tokens(loads, level.tile_rows, budget);
    level.split = level.chunk < longest;

    const std::int32_t per_tile = queries_per_tile(config, request_.heads);
    std::vector<Route> routes;
    std::vector<QueryTile> tiles;
    std::vector<Piece> pieces;
    for (const NodeId n : level.nodes) {
      routes.emplace_back(forest_, std::vector<NodeId>{n});
      for (RequestId q = forest_.request_begin[n]; q < forest_.request_end[n]; q.value += per_tile) {
        tiles.push_back({q, RequestId(std::min(q.value + per_tile, forest_.request_end[n].value)), {}});
        for (std::int64_t at = 0; at < forest_.tokens[n]; at += level.chunk) {
          pieces.push_back({routes.size() - 1, tiles.size() - 1, at, std::min(at + level.chunk, forest_.tokens[n])});
        }
      }
    }
    level.items = static_cast<std::int64_t>(pieces.size());
    require_at_most("tasks", static_cast<std::int64_t>(builder_.next_task().value) + level.items, kMaxTasks);
    if (request_.kernels == KernelSet::ours) {
      std::stable_sort(pieces.begin(), pieces.end(),
                       [](const Piece& a, const Piece& b) { return a.end - a.begin > b.end - b.begin; });
    }
    builder_.launch();
    const TaskId first = builder_.next_task();
    emit_pieces(builder_, kernel, routes, pieces, tiles);
    builder_.task_phase(kernel, first);
    return tiles;
  }

  std::vector<std::string> why() const {
    constexpr std::size_t kMostNamed = 4;
    std::string text = fmt::format("{}, one launch each:", counted(static_cast<std::int64_t>(levels_.size()), "level"));
    for (std::size_t l = 0; l < std::min(levels_.size(), kMostNamed); ++l) {
      const Level& level = levels_[l];
      text += fmt::format("{} level {} {} of {} rows, {}", l == 0 ? "" : ";", l, counted(level.items, "item"),
                          level.tile_rows, level.split ? fmt::format("chunks of {} tokens", level.chunk) : "KV whole");
    }
    if (levels_.size() > kMostNamed) text += "; …";
    std::vector<std::string> sentences = {text};
    if (levels_.size() > 1) {
      sentences.push_back(fmt::format("{} between levels, each a launch",
                                      counted(static_cast<std::int64_t>(levels_.size()) - 1, "merge")));
    }
    return sentences;
  }

  const PlanRequest& request_;
  const StrategyInfo& info_;
  const traces::PrefixForest& forest_;
  PlanBuilder builder_;
  KernelId merge_;
  std::vector<Level> levels_;
};

class Cascade final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{
        "cascade",
        "one attention launch a tree level, levels merged in place",
        "FlashInfer MultiLevelCascadeAttentionWrapper with its prefill planner a level",
        "at most 256 levels; refuses head configurations whose tile fits no kernel of the set",
        false,
        {}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] {
      if (request.kernels == KernelSet::ours && !shares_anything(request.forest)) {
        return flat_plan(request, info(), 0, "nothing is shared: no levels, the flat plan");
      }
      return CascadeBuild(request, info()).run();
    });
  }
};

}  // namespace
}  // namespace planning

const Strategy& cascade_strategy() {
  static const planning::Cascade kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler

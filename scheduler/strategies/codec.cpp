// CoDec (first published as FlashForge): nodes are divided by a cost estimate so that all CTA slots finish together.
//
// Faithful: one read of a node's KV a query tile, the heads of a group as rows; divisions from the lower bound cost_l
// (see division.h) and a few multiples of it, each judged by a longest-first schedule over SMs x occupancy slots; the
// best kept; tasks are launched longest first; nothing shared gives FlashDecoding's plan. KV is cut at KV tiles, not at
// pages.
// Deviates: the body of the paper wasn't available, the planner is reconstructed from what is known of it. The released
// code has no planner at all (one task a 1024-token page); `published` here is this planner on the released kernel (16
// queries a task) with its rounds of reduction: within a node, then a launch a depth. With our kernels all partial rows
// of a request are merged in one launch (option rounds), the estimate of that merge is part of the judgement, and tasks
// with few rows may run on a smaller tile in a launch beside. Consecutive nodes read by the same requests are one run:
// the same reads, fewer partial rows.
#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <tuple>

#include "core/error.h"
#include "core/units.h"
#include "scheduler/strategies/boxes.h"
#include "scheduler/strategies/division.h"
#include "scheduler/strategies/flat.h"
#include "scheduler/strategies/level_merge.h"

namespace espalier::scheduler {
namespace planning {
namespace {

using costmodel::KernelConfig;

/// Multiples of cost_l whose divisions are tried; the last leaves every run whole.
constexpr double kFactors[] = {1, 1.25, 1.5, 2, 3, 4, 6, std::numeric_limits<double>::infinity()};
/// Queries of one task in the released kernel.
constexpr std::int32_t kReleasedQueries = 16;
/// A run and its nodes from the top down.
struct DividedRun {
  std::vector<NodeId> nodes;
  RequestId begin, end;
  std::int64_t tokens = 0;
  std::int32_t level = 0;  ///< runs above it
};

/// Kernels by rising query tile, the query tiles of all runs, and the division problem they make.
struct Setting {
  std::vector<const KernelConfig*> kernels;
  std::vector<QueryTile> tiles;     ///< one an item
  std::vector<std::size_t> run;     ///< of each item
  std::vector<std::size_t> kernel;  ///< of each item, in `kernels`
  DivisionProblem problem;
  double bound_us = 0;  ///< cost_l
};

struct Division {
  std::vector<std::int32_t> splits;
  double makespan_us = 0, merge_us = 0;
  double total_us() const { return makespan_us + merge_us; }
};

class CodecBuild {
 public:
  CodecBuild(const PlanRequest& request, const StrategyInfo& info)
      : request_(request), info_(info), forest_(request.forest), builder_(request.forest, request.heads),
        model_(request.model), reduce_(&reduce_kernel(request, "codec_por")) {
    const double rounds = request.options.at("rounds");
    rounds_ = rounds < 0 ? request.kernels == KernelSet::published : rounds > 0;
  }

  Plan run() {
    make_runs();
    choose_kernels();
    division_ = divide(*setting_);
    emit();
    Provenance from = provenance(info_, request_);
    from.why = why();
    return std::move(builder_).finish(std::move(from));
  }

 private:
  void make_runs() {
    const Runs found = runs_of(forest_);
    for (const planning::Run& run : found.runs) runs_.push_back({{}, run.begin, run.end, run.chain.tokens, run.level});
    for (const NodeId n : core::ids<NodeId>(forest_.node_count())) runs_[found.run_of[n]].nodes.push_back(n);
    levels_ = found.levels;
    std::int64_t rows = 0;
    for (const std::int32_t n : levels_) rows += n;
    require_at_most("partial rows", rows, kMaxPlanRows);
  }

  /// Ours: the smallest tile that holds one request's rows, in each of its variants, alone or beside one larger tile
  /// for runs with more readers. The usual variant alone comes first.
  std::vector<std::vector<const KernelConfig*>> kernel_sets() const {
    if (request_.kernels == KernelSet::published) return {{&published_kernel_by_dim(request_, "codec_pac")}};
    const KernelConfig& usual = our_kernel(request_, request_.heads.group());
    const std::vector<const KernelConfig*> smalls = our_variants(request_, usual);
    std::vector<std::vector<const KernelConfig*>> sets;
    for (const KernelConfig* small : smalls) sets.push_back({small});
    std::int64_t readers = 1;
    for (const DividedRun& run : runs_) readers = std::max<std::int64_t>(readers, run.end.value - run.begin.value);
    for (const KernelConfig* last = smalls.front(); last->query_tile < readers * request_.heads.group();) {
      const KernelConfig* next = &our_kernel(request_, last->query_tile + 1);
      if (next->query_tile <= last->query_tile) break;
      for (const KernelConfig* small : smalls) sets.push_back({small, next});
      last = next;
    }
    return sets;
  }

  /// The setting with the least lower bound: it costs no schedule to find.
  void choose_kernels() {
    double least = std::numeric_limits<double>::infinity();
    for (const std::vector<const KernelConfig*>& kernels : kernel_sets()) {
      Setting setting = make_setting(kernels);
      if (setting_ && !work_fits(setting.problem, least)) continue;  // its bound is higher: no need to know it
      setting.bound_us = cost_lower_bound(setting.problem);
      if (setting.bound_us >= least) continue;
      least = setting.bound_us;
      setting_ = std::move(setting);
    }
  }

  const TileCost& table(const KernelConfig& kernel, std::int32_t queries) {
    std::unique_ptr<TileCost>& entry = tables_[{kernel.name, queries}];
    if (!entry) {
      std::int64_t longest = 1;
      for (const DividedRun& run : runs_) longest = std::max(longest, run.tokens);
      costmodel::TaskShape shape;
      shape.queries = queries;
      shape.heads = heads_per_copy(kernel, request_.heads);
      shape.writes_partial = true;
      entry = std::make_unique<TileCost>(*model_, kernel, shape, core::ceil_div(longest, kernel.kv_tile));
    }
    return *entry;
  }

  Setting make_setting(const std::vector<const KernelConfig*>& kernels) {
    Setting setting;
    setting.kernels = kernels;
    std::vector<std::int32_t> queries, residents;
    for (const KernelConfig* kernel : kernels) {
      queries.push_back(queries_per_tile(*kernel, request_.heads));
      residents.push_back(costmodel::ctas_per_sm(*kernel, request_.heads, request_.device));
    }
    if (request_.kernels == KernelSet::published) queries[0] = std::min(queries[0], kReleasedQueries);
    const std::int32_t fewest = *std::min_element(residents.begin(), residents.end());
    setting.problem.copies = request_.heads.q_heads / heads_per_copy(*kernels[0], request_.heads);
    setting.problem.slots = static_cast<std::int64_t>(request_.device.sms) * fewest;
    for (std::size_t i = 0; i < runs_.size(); ++i) {
      const DividedRun& run = runs_[i];
      for (RequestId q = run.begin; q < run.end; q.value += queries.back()) {
        const std::int32_t count = std::min(queries.back(), run.end.value - q.value);
        const std::size_t k = count <= queries[0] ? 0 : kernels.size() - 1;
        setting.tiles.push_back({q, RequestId(q.value + count), {}});
        setting.run.push_back(i);
        setting.kernel.push_back(k);
        setting.problem.items.push_back({core::ceil_div(run.tokens, kernels[k]->kv_tile), &table(*kernels[k], count),
                                         static_cast<double>(fewest) / residents[k]});
      }
    }
    return setting;
  }

  Division divide(const Setting& setting) {
    Division best;
    std::vector<std::int32_t> last;
    for (const double factor : kFactors) {
      std::vector<std::int32_t> splits = splits_within(setting.problem, setting.bound_us * factor);
      if (splits == last) continue;
      last = splits;
      Division division = judge(setting, std::move(splits));
      if (best.splits.empty() || division.total_us() < best.total_us()) best = std::move(division);
    }
    return best;
  }

  Division judge(const Setting& setting, std::vector<std::int32_t> splits) {
    Division division;
    division.makespan_us = longest_first_makespan(setting.problem, splits);
    division.merge_us = merge_us(partial_rows(setting, splits));
    division.splits = std::move(splits);
    return division;
  }

  std::vector<std::int32_t> partial_rows(const Setting& setting, const std::vector<std::int32_t>& splits) const {
    std::vector<std::int32_t> rows(forest_.request_count() + 1, 0);
    for (std::size_t i = 0; i < splits.size(); ++i) {
      rows[setting.tiles[i].begin.index()] += splits[i];
      rows[setting.tiles[i].end.index()] -= splits[i];
    }
    for (std::size_t r = 1; r < rows.size(); ++r) rows[r] += rows[r - 1];
    rows.pop_back();
    return rows;
  }

  /// Estimate of the merge: CTAs of the reduction kernel, each a few heads of one request, at the device's occupancy,
  /// and the launches.
  double merge_us(const std::vector<std::int32_t>& rows) {
    const std::int32_t heads = std::min(reduce_->query_tile, request_.heads.q_heads);
    const double slots =
        request_.device.sms * std::max(1, costmodel::ctas_per_sm(*reduce_, request_.heads, request_.device));
    const auto ctas = static_cast<double>(core::ceil_div(request_.heads.q_heads, heads));
    double total = 0, longest = 0;
    std::int32_t launches = 0;
    for (const RequestId r : core::ids<RequestId>(rows.size())) {
      const std::int32_t count = rows[r.index()];
      if (count == 1) continue;
      double& us = merge_cost_[count];
      if (us == 0) us = model_->reduction({1, heads, count, false}, *reduce_).us;
      total += us * ctas;
      longest = std::max(longest, us);
      launches = std::max(launches, rounds_ ? levels_[r] - 1 + (count > levels_[r] ? 1 : 0) : 1);
    }
    return launches == 0 ? 0 : launches * request_.device.launch_graph_us + std::max(longest, total / slots);
  }

  /// A launch a kernel, on streams side by side, tasks by falling estimate; then the merges.
  void emit() {
    Setting& setting = *setting_;
    std::int64_t tasks = 0, rows = 0;
    for (const std::int32_t n : division_.splits) tasks += n;
    for (const std::int32_t n : partial_rows(setting, division_.splits)) rows += n;
    require_at_most("tasks", tasks, kMaxTasks);
    require_at_most("partial rows", rows, kMaxPlanRows);
    std::vector<Route> routes;
    for (const DividedRun& run : runs_) routes.emplace_back(forest_, run.nodes);
    std::vector<LaunchId> launches;
    for (std::size_t k = setting.kernels.size(); k-- > 0;) {
      const std::vector<Piece> pieces = pieces_of(k);
      if (pieces.empty()) continue;
      const KernelId kernel = builder_.kernel(*setting.kernels[k]);
      launches.push_back(builder_.launch(Follow::graph, static_cast<std::int32_t>(launches.size())));
      const TaskId first = builder_.next_task();
      emit_pieces(builder_, kernel, routes, pieces, setting.tiles);
      builder_.task_phase(kernel, first);
    }
    const traces::Dtype dtype = setting.kernels[0]->partial_dtype;
    const KernelId reduce = builder_.kernel(*reduce_);
    if (rounds_) {
      merge_in_rounds(reduce, dtype, launches);
    } else {
      merge_rows(request_, builder_, {reduce, dtype, Follow::graph, launches});
    }
  }

  std::vector<Piece> pieces_of(std::size_t kernel) const {
    struct Estimated {
      Piece piece;
      double us;
    };
    std::vector<Estimated> estimated;
    const std::int64_t kv_tile = setting_->kernels[kernel]->kv_tile;
    for (std::size_t i = 0; i < setting_->tiles.size(); ++i) {
      if (setting_->kernel[i] != kernel) continue;
      const DivisionItem& item = setting_->problem.items[i];
      const std::int64_t tokens = runs_[setting_->run[i]].tokens;
      const PieceSizes sizes = piece_sizes(item.tiles, division_.splits[i]);
      std::int64_t at = 0;
      for (std::int64_t s = 0; s < sizes.larges + sizes.smalls; ++s) {
        const std::int64_t tiles = s < sizes.larges ? sizes.large : sizes.small;
        const std::int64_t end = std::min(tokens, (at + tiles) * kv_tile);
        estimated.push_back({{setting_->run[i], i, at * kv_tile, end}, item.cost->us(tiles)});
        at += tiles;
      }
    }
    // Equal estimates: the query tiles of the same tokens side by side, so that the later ones find them in L2.
    std::stable_sort(estimated.begin(), estimated.end(), [](const Estimated& a, const Estimated& b) {
      if (a.us != b.us) return a.us > b.us;
      return std::tie(a.piece.route, a.piece.begin) < std::tie(b.piece.route, b.piece.begin);
    });
    std::vector<Piece> pieces;
    for (const Estimated& e : estimated) pieces.push_back(e.piece);
    return pieces;
  }

  /// The released order: splits of a node first, then one launch a depth from the roots down.
  void merge_in_rounds(KernelId reduce, traces::Dtype dtype, const std::vector<LaunchId>& after) {
    std::int32_t levels = 0;
    for (const std::int32_t n : levels_) levels = std::max(levels, n);
    std::vector<std::vector<QueryTile>> tiles(static_cast<std::size_t>(levels));
    for (std::size_t i = 0; i < setting_->tiles.size(); ++i) {
      tiles[static_cast<std::size_t>(runs_[setting_->run[i]].level)].push_back(setting_->tiles[i]);
    }
    planning::merge_in_rounds(builder_, reduce, tiles, levels_, {dtype, Follow::graph, after});
  }

  std::vector<std::string> why() const {
    const Setting& setting = *setting_;
    std::int64_t tasks = 0, split = 0, most = 0;
    for (const std::int32_t n : division_.splits) {
      tasks += n;
      split += n > 1 ? 1 : 0;
    }
    for (const std::int32_t n : partial_rows(setting, division_.splits)) most = std::max<std::int64_t>(most, n);
    std::vector<std::string> sentences = {
        fmt::format(
            "by the planner's cost model the tasks take {:.1f} us, {:.2f} x cost_l, the least any division could take",
            division_.makespan_us, division_.makespan_us / setting.bound_us),
        fmt::format("{} of {} of KV in {} are split, giving {}", split,
                    counted(static_cast<std::int64_t>(setting.tiles.size()), "query tile"),
                    counted(static_cast<std::int64_t>(runs_.size()), "run"), counted(tasks, "task"))};
    std::string tiles;
    for (const KernelConfig* kernel : setting.kernels) {
      tiles += fmt::format("{}{}", tiles.empty() ? "" : " and ", kernel->query_tile);
    }
    sentences.push_back(fmt::format("query tiles of {} rows; at most {} a request, merged in an estimated {:.1f} us",
                                    tiles, counted(most, "partial row"), division_.merge_us));
    return sentences;
  }

  const PlanRequest& request_;
  const StrategyInfo& info_;
  const traces::PrefixForest& forest_;
  PlanBuilder builder_;
  std::shared_ptr<const costmodel::CostModel> model_;
  const KernelConfig* reduce_;
  bool rounds_ = false;
  std::vector<DividedRun> runs_;                  ///< in preorder
  core::Column<RequestId, std::int32_t> levels_;  ///< runs on each request's path
  std::map<std::pair<std::string, std::int32_t>, std::unique_ptr<TileCost>> tables_;
  std::map<std::int32_t, double> merge_cost_;  ///< by partial rows
  std::optional<Setting> setting_;
  Division division_;
};

class Codec final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{
        "codec",
        "nodes divided by a cost estimate so that all CTA slots finish together",
        "CoDec / FlashForge (arXiv 2505.17694)",
        "at most 16777216 partial rows; refuses head configurations whose tile fits no kernel of the set",
        true,
        {{"rounds", -1, -1, 1,
          "reduction: 0 all partial rows in one launch, 1 within nodes and then a launch a depth, -1 as the kernel set "
          "does (ours 0, published 1)"}}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] {
      // As published: without sharing the method degenerates to FlashDecoding.
      const bool flat = !shares_anything(request.forest) && request.kernels == KernelSet::ours;
      return flat ? flat_plan(request, info(), 0, "nothing is shared: FlashDecoding's plan")
                  : CodecBuild(request, info()).run();
    });
  }
};

}  // namespace
}  // namespace planning

const Strategy& codec_strategy() {
  static const planning::Codec kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler

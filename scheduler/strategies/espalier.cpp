// Our planner: cover the forest with query tiles of a few heights, cut the tiles to fill the device, forecast several
// such plans, write the best.
//
// A tile is an interval of requests in depth-first order that reads all nodes of its height that any of them needs,
// rows masked by segment. So depth costs nothing: a request has one partial row for each height on its path (and cut),
// and where one height serves all nodes there is nothing to merge. Covers: every tile height alone, mixtures found by
// dynamic programming (cover.h), and each node by itself (node_boxes.h). Each is priced by a closed form of the device
// (forecast.h); with another cost model than "analytic", tiles and pieces are priced by that model. Pieces are launched
// longest first, pieces of the same tokens side by side; kernels in launches beside each other, merges after.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "core/error.h"
#include "core/units.h"
#include "scheduler/strategies/candidate.h"
#include "scheduler/strategies/cut_search.h"
#include "scheduler/strategies/forecast.h"
#include "scheduler/strategies/node_boxes.h"
#include "scheduler/strategies/piece_prices.h"
#include "scheduler/strategies/rounds.h"

namespace espalier::scheduler {
namespace planning {
namespace {

/// Covers of long plans are tried where they could save so many microseconds, mixtures and boxes twice that: a plan
/// serves all layers of a step, and each cover takes about as long to lay out as all of them would gain.
constexpr double kWorthUs = 0.7;
/// Covers miss their bounds about as far as the best one so far misses its own: hardly by less than this share of that,
/// or 4 % of the plan.
constexpr double kMissedAgain = 0.6, kMostMissed = 0.04;
/// In short plans boxes are tried, and heights mixed, where that could be faster than the best so far by this.
constexpr double kWorthBoxes = 0.98, kWorthMixing = 0.93;
/// KV tokens whose reading costs about as much as starting one more tile.
constexpr double kTileTokens = 64;

class EspalierBuild {
 public:
  EspalierBuild(const PlanRequest& request, const StrategyInfo& info, std::vector<TileKernel>&& kernels)
      : request_(request), info_(info), forest_(request.forest), kernels_(std::move(kernels)),
        copies_(request.heads.q_heads / heads_of_copy()),
        fresh_copies_(static_cast<double>(request.heads.kv_heads) / copies_), prices_(request),
        cuts_(request, prices_, copies_, fresh_copies_) {
    choose();
    cuts_.taper(*best_);
  }

  // Candidates point to kernels, and cuts_ to prices.
  EspalierBuild(const EspalierBuild&) = delete;
  EspalierBuild& operator=(const EspalierBuild&) = delete;

  double forecast_us() const { return best_->forecast.total_us; }
  std::int32_t heads_of_copy() const { return heads_per_copy(*kernels_[0].config, request_.heads); }

  /// Its covers count among those that were tried.
  void add_rejected(const EspalierBuild& other) {
    considered_ += other.considered_;
    rule_out(std::min(other.forecast_us(), other.others_us_));
  }

  Plan write() {
    PlanBuilder builder(forest_, request_.heads);
    write_candidate(builder, *best_, runs_, copies_);
    Provenance from = provenance(info_, request_);
    if (request_.explain) from.why = why(builder.plan());
    return std::move(builder).finish(std::move(from));
  }

 private:
  void choose() {
    all_ = path_tokens(forest_);
    shares_ = shares_anything(forest_);
    const std::size_t heights = shares_ ? kernels_.size() : 1;
    considered_ = heights;
    // The most promising first, by what each height reads at least: most of the others then can't be faster.
    std::vector<std::int32_t> queries;
    queries.reserve(heights);
    for (std::size_t k = 0; k < heights; ++k) queries.push_back(kernels_[k].queries);
    groups_ = group_nodes(forest_);
    least_tokens_ = least_tokens(groups_, queries);
    std::vector<std::pair<double, std::size_t>> order;
    order.reserve(heights);
    for (std::size_t k = 0; k < heights; ++k) {
      const HeightSet set{k};
      HeightChoice choice;
      choice.least_tokens[0] = least_tokens_[k];
      order.emplace_back(least_us(set, choice), k);
    }
    std::sort(order.begin(), order.end());
    for (const auto& [least, k] : order) {
      const HeightSet set{k};
      consider(set, k, least, {});
    }
    const std::size_t height = best_rank_;
    consider_alone(heights);
    if (heights == 1) return;
    HeightSet ends{0, heights - 1}, lower;
    for (std::size_t k = 0; k + 1 < heights && k < kMaxHeights; ++k) lower.add(k);
    consider_mixture(ends, heights + 1);
    if (const HeightSet rest = ends_and_rest(); rest.count > 2) consider_mixture(rest, heights + 2);
    if (lower.count > 1 && best_->forecast.total_us >= kLongUs) consider_mixture(lower, heights + 3);
    consider_boxes(height, heights + 4);
  }

  /// Each request by itself, where all find a slot: the shortest plans have CTAs to spare, and nothing to merge.
  void consider_alone(std::size_t rank) {
    const TileKernel& lowest = kernels_[0];
    const double ctas = static_cast<double>(forest_.request_count()) * copies_;
    if (lowest.queries == 1 || ctas > request_.device.sms * lowest.residents) return;
    ++considered_;
    const HeightSet set{0};
    double tokens = 0;
    for (const std::int64_t own : all_.own) tokens += static_cast<double>(own);
    const double least = least_us({.tokens = tokens * copies_}, set);
    if (least > best_->forecast.total_us) return rule_out(least);
    alone_ = lowest;
    alone_.queries = 1;
    Candidate candidate;
    candidate.set = set;
    candidate.kernels = {&alone_};
    CoverPrices prices = prices_of(set);
    height_costs_[0].queries = 1;  // which is what the prices refer to
    candidate.cover = cover_forest(forest_, prices, all_, {});
    cut(std::move(candidate), rank, least);
  }

  /// Nodes by themselves, in tiles as high as the best of one height; if they are better, also in the next: boxes
  /// aren't cut as often.
  void consider_boxes(std::size_t height, std::size_t rank) {
    for (std::size_t k = height; k < std::min(height + 2, kernels_.size()); ++k) {
      ++considered_;
      const HeightSet set{k};
      HeightChoice choice;
      choice.least_tokens[0] = least_tokens_[k];
      choice.partial_rows = least_rows();
      // Where they read no less than a short plan does, they will miss their bound as it does.
      const bool alike = best_->forecast.total_us < kLongUs && tokens_read(best_->cover) <= least_tokens_[k];
      if (!boxes_worth_trying(least_us(set, choice) + late_us(request_), alike ? missed_again() : 0)) continue;
      choice.partial_rows = box_rows(groups_);
      const double least = least_us(set, choice) + late_us(request_);
      if (boxes_worth_trying(least, 0)) {
        if (runs_.runs.empty()) runs_ = runs_of(forest_);
        consider(set, rank + k, least, std::move(choice), true);
      }
      if (best_rank_ != rank + k) return;
    }
  }

  /// The lowest and the highest kernel; and of those between the one that what is over behind full tiles of the highest
  /// needs most.
  HeightSet ends_and_rest() const {
    const std::size_t top = kernels_.size() - 1;
    std::array<std::int64_t, 8> needed{};  // tokens, by kernel
    ESPALIER_CHECK_OP(top, <, needed.size());
    for (const NodeGroup& group : groups_) {
      const std::int32_t over = group.readers > kernels_[top].queries ? group.readers % kernels_[top].queries : 0;
      if (over == 0) continue;
      std::size_t k = 0;
      while (kernels_[k].queries < over) ++k;
      needed[k] += group.count * group.tokens;
    }
    HeightSet set{0};
    const auto between = std::max_element(needed.begin() + 1,
                                          needed.begin() + static_cast<std::ptrdiff_t>(std::max<std::size_t>(top, 1)));
    if (top > 1 && *between > 0) set.add(static_cast<std::size_t>(between - needed.begin()));
    set.add(top);
    return set;
  }

  static std::int64_t tokens_read(const Cover& cover) {
    std::int64_t tokens = 0;
    for (const TileLayer& layer : cover.layers) {
      for (const TileRun& run : layer.runs) tokens += run.tokens * run.tiles;
    }
    return tokens;
  }

  bool boxes_worth_trying(double least, double missed) {
    const double best = best_->forecast.total_us, enough = std::max(kWorthBoxes * best, best - 2 * kWorthUs);
    if (least + missed > enough) rule_out(least);
    return least + missed <= enough;
  }

  /// Under a single root some request has partial rows of two kinds: often that alone is too much.
  std::int64_t least_rows() const { return forest_.request_end[NodeId(0)].index() == forest_.request_count() ? 2 : 0; }

  void consider_mixture(const HeightSet& set, std::size_t rank) {
    ++considered_;
    // No cover reads fewer tokens than the highest tiles.
    const double tokens = static_cast<double>(least_tokens_.back()) * copies_;
    const double at_best = least_us({.tokens = tokens, .partial_rows = static_cast<double>(least_rows())}, set);
    if (at_best > best_->forecast.total_us) return rule_out(at_best);
    HeightChoice choice = choose_heights(groups_, prices_of(set));
    // That height alone has been considered, and can merge in place; but not what is over of its tiles, in lower ones.
    if (one_height(choice) &&
        std::count(choice.least_tokens.begin(), choice.least_tokens.end(), 0) + 1 == kMaxHeights) {
      return;
    }
    const double least = least_us(set, choice), best = best_->forecast.total_us;
    if (least > (best < kLongUs ? kWorthMixing * best : best - 2 * kWorthUs)) return rule_out(least);
    consider(set, rank, least, std::move(choice));
  }

  /// Keeps the candidate that is forecast to be fastest; of equals the one of lowest rank.
  void consider(const HeightSet& set, std::size_t rank, double least, HeightChoice&& choice, bool boxes = false) {
    if (best_ && least > best_->forecast.total_us - worth_us()) return rule_out(least);
    cut(lay_out(set, std::move(choice), boxes), rank, least);
  }

  void cut(Candidate&& candidate, std::size_t rank, double least) {
    cuts_.cut(candidate, best_ ? best_->rated_us() : std::numeric_limits<double>::infinity());
    const double us = candidate.rated_us();
    if (best_) {
      const double best = best_->rated_us();
      if (us > best || (us == best && rank > best_rank_)) return rule_out(us);
      rule_out(best);
    }
    best_ = std::move(candidate);
    best_rank_ = rank;
    best_least_us_ = least;
  }

  /// What a cover must promise to gain.
  double worth_us() const {
    const double best = best_->forecast.total_us;
    return std::max(best < kLongUs ? 0 : kWorthUs, std::min(kMostMissed * best, missed_again()));
  }
  /// What others miss their bounds by, too.
  double missed_again() const { return kMissedAgain * (best_->forecast.total_us - best_least_us_); }

  /// A cover that isn't taken: no plan of it is forecast below `us`.
  void rule_out(double us) { others_us_ = std::min(others_us_, us); }

  CoverPrices prices_of(const HeightSet& set) {
    for (std::size_t h = 0; h < set.count; ++h) {
      const TileKernel& kernel = kernels_[set.kernel[h]];
      height_costs_[h] = {kernel.queries, copies_ * prices_.token_us(kernel)};
    }
    CoverPrices prices;
    prices.heights = std::span(height_costs_).first(set.count);
    // Written once and read once, in fp32 with a log-sum-exp; doubled, as merging is more than its traffic.
    const double row_bytes = 4.0 * request_.heads.q_heads * (request_.heads.v_dim + 1);
    prices.partial_us = 2 * 2 * row_bytes * request_.device.sms / request_.device.l2_bytes_per_us();
    prices.tile_tokens = kTileTokens;
    const double ctas = request_.device.sms * kernels_[set.kernel[0]].residents;
    prices.kept_tokens =
        request_.device.l2_knee_mib * 0x1p20 / ctas / static_cast<double>(request_.heads.kv_bytes_per_token_head());
    return prices;
  }

  double least_us(const HeightSet& set, const HeightChoice& choice) const {
    LeastLoad load;
    for (std::size_t h = 0; h < set.count; ++h) {
      const TileKernel& kernel = kernels_[set.kernel[h]];
      const double tokens = static_cast<double>(choice.least_tokens[h]) * copies_;
      load.tokens += tokens;
      load.compute_us += tokens / kernel.config->kv_tile * kernel.tile_us / request_.device.sms;
    }
    load.partial_rows = static_cast<double>(choice.partial_rows);
    return least_us(load, set);
  }

  double least_us(LeastLoad load, const HeightSet& set) const {
    for (std::size_t h = 0; h < set.count; ++h) {
      const TileKernel& kernel = kernels_[set.kernel[h]];
      load.bytes_per_us = std::max(load.bytes_per_us, kernel.residents * kernel.bytes_per_us);
    }
    load.cold_tokens = fresh_copies_ * copies_ * static_cast<double>(all_.unique);
    load.requests = static_cast<double>(forest_.request_count());
    load.merges_in_place = set.count == 1;
    return least_forecast(request_, load).total_us;
  }

  Candidate lay_out(const HeightSet& set, HeightChoice&& choice, bool boxes) {
    Candidate candidate;
    candidate.set = set;
    for (std::size_t h = 0; h < set.count; ++h) candidate.kernels.push_back(&kernels_[set.kernel[h]]);
    candidate.boxes = boxes;
    if (boxes) {
      candidate.cover = box_cover(groups_, runs_, candidate.kernels[0]->queries);
    } else {
      candidate.cover = cover_forest(forest_, prices_of(set), all_, std::move(choice));
    }
    return candidate;
  }

  std::vector<std::string> why(const Plan& plan) const {
    std::vector<std::string> sentences{said_of_tiles(*best_, plan)};
    if (!prices_.of_device()) return sentences;
    const Forecast& f = best_->forecast;
    if (!best_->shares.empty()) sentences.push_back(said_of_shares(*best_, copies_));
    sentences.push_back(fmt::format("forecast {:.1f} us: HBM {:.1f}, L2 {:.1f}, computing {:.1f}, merging {:.1f}",
                                    f.total_us, f.hbm_us, f.l2_us, f.compute_us, f.merge_us));
    if (considered_ > 1) {
      sentences.push_back(
          others_us_ < f.total_us
              ? fmt::format("best of those tried of {} covers; no plan of the others can be forecast below {:.1f} us",
                            considered_, others_us_)
              : fmt::format("best of {} covers; no plan tried of the others is forecast below {:.1f} us", considered_,
                            others_us_));
    }
    if (!shares_) sentences.push_back("nothing is shared: requests are cut by their own lengths");
    return sentences;
  }

  const PlanRequest& request_;
  const StrategyInfo& info_;
  const traces::PrefixForest& forest_;
  std::vector<TileKernel> kernels_;
  std::int32_t copies_;
  double fresh_copies_;  ///< share of the copies that read a KV head first: groups larger than a tile read it several
                         ///< times
  PiecePrices prices_;
  CutSearch cuts_;
  std::optional<Candidate> best_;
  std::size_t best_rank_ = 0;
  double best_least_us_ = 0;  ///< what its cover could promise before it was laid out
  double others_us_ = std::numeric_limits<double>::infinity();
  std::size_t considered_ = 0;
  bool shares_ = false;
  PathTokens all_;
  std::vector<NodeGroup> groups_;
  std::vector<std::int64_t> least_tokens_;  ///< that tiles of each height read
  Runs runs_;                               ///< empty: not looked for yet
  std::array<HeightCost, kMaxHeights> height_costs_;
  TileKernel alone_;  ///< the lowest, for one request
};

/// Where more heads share KV than the lowest tile has rows, tiles of fewer heads read it more often, but are as many
/// CTAs more: what short plans of few requests lack.
Plan best_plan(const PlanRequest& request, const StrategyInfo& info) {
  auto best = std::make_unique<EspalierBuild>(request, info, tile_kernels(request));
  while (best->forecast_us() < kLongUs && best->heads_of_copy() > our_kernel(request, 1).query_tile) {
    std::vector<TileKernel> narrower = tile_kernels(request, best->heads_of_copy() - 1);
    if (narrower.empty()) break;
    auto other = std::make_unique<EspalierBuild>(request, info, std::move(narrower));
    const bool better = other->forecast_us() < best->forecast_us();
    if (better) best.swap(other);
    best->add_rejected(*other);
    if (!better) break;
  }
  return best->write();
}

class Espalier final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{
        "espalier",
        "query tiles of a few heights over the whole forest, cut to fill the device; the best of several by forecast",
        "this project",
        "serves every forest; refuses heads that fit none of our kernels, and more than 4000000 tasks",
        true,
        {}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] { return best_plan(request, info()); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& espalier_strategy() {
  static const planning::Espalier kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler

#include "scheduler/strategies/shares.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/error.h"
#include "core/units.h"

namespace espalier::scheduler::planning {
namespace {

/// One query tile after the other goes to the lane that is being filled.
class Dealer {
 public:
  Dealer(double share, std::int64_t lanes, const PieceCost& cost) : share_(share), lanes_(lanes), cost_(cost) {}

  void deal(std::int32_t tile, std::int64_t kv_tiles) {
    for (std::int64_t at = 0; at < kv_tiles;) {
      const std::int64_t left = kv_tiles - at;
      const double whole = cost_.begin + (at > 0 ? cost_.partial : 0) + static_cast<double>(left),
                   room = share_ - load_;
      // To cut here leaves one more partial result on either side.
      if (whole <= room + cost_.partial || lane_ + 1 == lanes_) {
        give({tile, at, kv_tiles, static_cast<std::int32_t>(lane_)}, whole, at > 0);
        return;
      }
      const auto some = static_cast<std::int64_t>(room - cost_.begin - cost_.partial);
      if (some >= least_cut()) {
        give({tile, at, at + some, static_cast<std::int32_t>(lane_)},
             cost_.begin + cost_.partial + static_cast<double>(some), true);
        at += some;
      }
      ++lane_;
      load_ = 0;
    }
  }

  Shares shares;

 private:
  /// Less isn't worth its partial rows.
  std::int64_t least_cut() const {
    return load_ > 0 ? std::max<std::int64_t>(1, static_cast<std::int64_t>(cost_.partial)) : 1;
  }

  void give(const Share& share, double cost, bool partial) {
    shares.list.push_back(share);
    shares.partials += partial ? 1 : 0;
    load_ += cost;
  }

  double share_;
  std::int64_t lanes_;
  PieceCost cost_;
  std::int64_t lane_ = 0;
  double load_ = 0;
};

/// Of a piece on a device full of such CTAs; rows left partial are written, read and merged.
PieceCost piece_cost(const PlanRequest& request, const TileKernel& kernel, double slots, double tile_us) {
  const costmodel::DeviceSpec& device = request.device;
  const double rows = kernel.queries * heads_per_copy(*kernel.config, request.heads);
  const double bytes = rows * (request.heads.v_dim + 1) * 4;
  const double rate = device.l2_bytes_per_us() / slots;
  return {(device.cta_end_ns * 1e-3 + kernel.tile_us) / tile_us, 2 * bytes / rate / tile_us};
}

/// Share of a tile's KV that a later reader still finds in L2. Tiles as long as their lanes are read beside each other;
/// of shorter ones, each CTA reads one after the other.
double kept_share(const PlanRequest& request, const ShareTask& task, double ctas, double mean_tokens,
                  double tiles_of_lane) {
  const double beside = std::clamp(2 / tiles_of_lane - 1, 0.0, 1.0);
  const double token_bytes = static_cast<double>(request.heads.kv_bytes_per_token_head());
  const double all = task.fresh_copies * task.copies * static_cast<double>(task.layer->unique) * token_bytes;
  const double fits =
      std::min(1.0, request.device.l2_knee_mib * 0x1p20 / std::min(all, ctas * mean_tokens * token_bytes));
  return beside + (1 - beside) * fits;
}

class Sharing {
 public:
  Sharing(const PlanRequest& request, const ShareTask& task, std::int64_t lanes)
      : request_(request), task_(task), kernel_(*task.kernel), lanes_(lanes),
        slots_(static_cast<double>(lanes * task.copies)) {
    std::int64_t shortest = std::numeric_limits<std::int64_t>::max();
    for (const TileRun& run : task.layer->runs) {
      if (run.tokens == 0) continue;
      tokens_ += run.tiles * run.tokens;
      tiles_ += run.tiles;
      visible_ += static_cast<double>(run.logical) * run.tiles;
      shortest = std::min(shortest, run.tokens);
      longest_ = std::max(longest_, run.tokens);
    }
    alike_ = longest_ <= shortest + shortest / 8;
    tile_us_ = kernel_.tile_us * std::min<double>(kernel_.residents, std::ceil(slots_ / request.device.sms));
    cost_ = piece_cost(request, kernel_, slots_, tile_us_);
  }

  std::int64_t tokens() const { return tokens_; }

  /// No trial is forecast below this.
  double least_us() const {
    LeastLoad load;
    load.tokens = static_cast<double>(tokens_ * task_.copies);
    load.cold_tokens = task_.fresh_copies * task_.copies * static_cast<double>(task_.layer->unique);
    load.compute_us = load.tokens / kernel_.config->kv_tile * kernel_.tile_us / request_.device.sms;
    load.requests = static_cast<double>(request_.forest.request_count());
    load.bytes_per_us = kernel_.residents * kernel_.bytes_per_us;
    return least_shares_us(request_, load);
  }

  ShareTrial trial(bool anywhere, double limit_us) const {
    ShareTrial out;
    out.shares =
        anywhere ? cut_anywhere() : deal_shares(*task_.layer, kernel_.config->kv_tile, lanes_, share(cost_), cost_);
    const std::vector<Share>& list = out.shares.list;
    const double lanes = list.back().lane + 1, tokens = static_cast<double>(tokens_),
                 partials = static_cast<double>(out.shares.partials);
    ShareLoad load;
    load.kernel = &kernel_;
    load.ctas = lanes * task_.copies;
    load.tokens = tokens * task_.copies;
    load.busy_us =
        std::max(1.0, std::ceil(static_cast<double>(tiles_) / lanes) * in_step(list) / lanes) * queries_us(load.ctas);
    const double cold = task_.fresh_copies * static_cast<double>(task_.layer->unique) / tokens;
    load.cold = 1 - (1 - cold) * kept_share(request_, task_, load.ctas, tokens / static_cast<double>(tiles_),
                                            static_cast<double>(tiles_) / lanes);
    load.requests = static_cast<double>(request_.forest.request_count());
    load.partial_rows = partials * visible_ / tokens;
    // Reading them is of merging. All lanes end at about the same time, so HBM writes what the L2 can't hold in one go.
    const PieceCost written{cost_.begin, cost_.partial / 2};
    load.busy_us += longest_lane(*task_.layer, kernel_.config->kv_tile, list, written) * tile_us_;
    load.busy_us += std::max(0.0, partial_spill_us(request_, load.partial_rows) - written.partial * tile_us_);
    out.forecast = forecast_shares(request_, load, limit_us);
    return out;
  }

 private:
  double share(const PieceCost& cost) const { return even_share(*task_.layer, kernel_.config->kv_tile, lanes_, cost); }

  /// Whole KV tiles, so that the lanes' borders wander through tiles of one length.
  Shares cut_anywhere() const {
    double tiles = std::ceil(share({}));
    if (alike_ &&
        std::fmod(tiles, static_cast<double>(core::ceil_div(longest_, std::int64_t{kernel_.config->kv_tile}))) == 0) {
      ++tiles;
    }
    return deal_shares(*task_.layer, kernel_.config->kv_tile, lanes_, tiles, {});
  }

  /// Lanes that begin with a whole tile, and so all their tiles when they are equally long.
  double in_step(const std::vector<Share>& list) const {
    double count = alike_ ? 1 : 0;
    for (std::size_t i = 1; alike_ && i < list.size(); ++i) {
      count += list[i].lane != list[i - 1].lane && list[i].begin == 0 ? 1 : 0;
    }
    return count;
  }

  /// CTAs that begin their tiles at the same time wait for one another's queries.
  double queries_us(double ctas) const { return first_queries_us(request_, kernel_, ctas); }

  const PlanRequest& request_;
  const ShareTask& task_;
  const TileKernel& kernel_;
  std::int64_t lanes_;
  double slots_;  ///< CTAs of all copies
  std::int64_t tokens_ = 0, tiles_ = 0, longest_ = 0;
  double visible_ = 0;  ///< tokens x requests that see them
  bool alike_ = false;  ///< tiles are about equally long
  double tile_us_ = 0;  ///< a KV tile on a full device
  PieceCost cost_;
};

}  // namespace

double even_share(const TileLayer& layer, std::int32_t kv_tile, std::int64_t lanes, const PieceCost& cost) {
  double all = static_cast<double>(lanes - 1) * (cost.begin + 2 * cost.partial);
  for (const TileRun& run : layer.runs) {
    if (run.tokens > 0) {
      all += run.tiles * (static_cast<double>(core::ceil_div(run.tokens, std::int64_t{kv_tile})) + cost.begin);
    }
  }
  return std::max(all / static_cast<double>(lanes), cost.begin + cost.partial + 1);
}

Shares deal_shares(const TileLayer& layer, std::int32_t kv_tile, std::int64_t lanes, double share,
                   const PieceCost& cost) {
  ESPALIER_CHECK(lanes > 0 && share >= cost.begin + cost.partial + 1);
  Dealer dealer(share, lanes, cost);
  std::int64_t tiles = 0;
  for (const TileRun& run : layer.runs) tiles += run.tiles;
  dealer.shares.list.reserve(
      static_cast<std::size_t>(tiles + lanes));  // one a tile, and one more where a lane ends within a tile
  std::int32_t tile = 0;
  for (const TileRun& run : layer.runs) {
    for (std::int32_t i = 0; i < run.tiles; ++i) dealer.deal(tile++, core::ceil_div(run.tokens, std::int64_t{kv_tile}));
  }
  return std::move(dealer.shares);
}

double longest_lane(const TileLayer& layer, std::int32_t kv_tile, std::span<const Share> list, const PieceCost& cost) {
  double longest = 0, lane = 0;
  std::int32_t current = -1, tiles = 0;  // of the runs so far
  auto run = layer.runs.begin();
  for (const Share& share : list) {
    for (; share.tile >= tiles + run->tiles; ++run) tiles += run->tiles;
    if (std::exchange(current, share.lane) != share.lane) lane = 0;
    lane += cost.begin + static_cast<double>(share.end - share.begin);
    const bool whole = share.begin == 0 && share.end == core::ceil_div(run->tokens, std::int64_t{kv_tile});
    longest = std::max(longest, lane + (whole ? 0 : cost.partial));
  }
  return longest;
}

ShareTrial try_equal_shares(const PlanRequest& request, const ShareTask& task, double limit_us) {
  ShareTrial best;
  const std::int64_t lanes = static_cast<std::int64_t>(request.device.sms) * task.kernel->residents / task.copies;
  if (lanes == 0) return best;
  const Sharing sharing(request, task, lanes);
  if (sharing.tokens() == 0) return best;
  best.forecast.total_us = limit_us;
  if (sharing.least_us() >= limit_us) return best;
  // As few cuts as even shares need, or a cut wherever a share is full, so that lanes don't begin their tiles at the
  // same time.
  for (const bool anywhere : {false, true}) {
    ShareTrial trial = sharing.trial(anywhere, best.forecast.total_us);
    if (trial.forecast.total_us < best.forecast.total_us) best = std::move(trial);
  }
  return best;
}

}  // namespace espalier::scheduler::planning

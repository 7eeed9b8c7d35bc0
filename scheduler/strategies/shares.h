// Equal shares: the KV tiles of a cover of one height, dealt to persistent CTAs so that all of them end at about the
// same time.
//
// FlashMLA's payload rule, on trees and with prices of the device: what beginning a piece and leaving partial rows cost
// is counted in KV tiles, and a query tile isn't cut where finishing it is cheaper than two partial results.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "scheduler/strategies/forecast.h"
#include "scheduler/strategies/tiling.h"

namespace espalier::scheduler::planning {

/// What a piece costs besides its KV tiles, in KV tiles.
struct PieceCost {
  double begin = 0;    ///< its start and its end
  double partial = 0;  ///< rows left partial
};

struct Shares {
  std::vector<Share> list;
  std::int64_t partials = 0;  ///< pieces that leave partial rows
};

/// KV tiles of a lane, costs included, when all lanes have as much.
double even_share(const TileLayer& layer, std::int32_t kv_tile, std::int64_t lanes, const PieceCost& cost);

/// Deals the query tiles, in order, to at most `lanes` lanes of `share` each; the last takes what is left.
Shares deal_shares(const TileLayer& layer, std::int32_t kv_tile, std::int64_t lanes, double share,
                   const PieceCost& cost);

/// Until the last lane is done, in KV tiles. What begins costs in every piece, but rows left partial only at the end of
/// a lane: what was left before is written while the next piece runs. `list` as dealt from `layer`.
double longest_lane(const TileLayer& layer, std::int32_t kv_tile, std::span<const Share> list, const PieceCost& cost);

/// What the planner knows when it weighs shares against pieces.
struct ShareTask {
  const TileKernel* kernel = nullptr;
  const TileLayer* layer = nullptr;
  std::int32_t copies = 1;
  double fresh_copies = 1;  ///< share of the copies that read a KV head first
};

struct ShareTrial {
  Shares shares;  ///< empty: the device holds fewer CTAs than there are copies
  Forecast forecast;
};
ShareTrial try_equal_shares(const PlanRequest& request, const ShareTask& task, double limit_us);

}  // namespace espalier::scheduler::planning

// A plan that our planner weighs: which tiles, cut how, forecast to take how long. And how the one it takes is written
// down.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scheduler/strategies/boxes.h"
#include "scheduler/strategies/cover.h"
#include "scheduler/strategies/forecast.h"
#include "scheduler/strategies/tiling.h"

namespace espalier::scheduler::planning {

/// What cutting the last wave alone must promise to gain, as a share: forecasts of plans so unlike differ by that.
inline constexpr double kWorthLast = 0.01;

struct Candidate {
  HeightSet set;
  std::vector<const TileKernel*> kernels;  ///< by height
  Cover cover;
  std::vector<PieceCut> cuts;  ///< by height
  double goal_us = 0;          ///< of its pieces
  std::vector<Share> shares;   ///< not empty: persistent CTAs with equal shares, instead of pieces
  bool boxes = false;          ///< of nodes by themselves (node_boxes.h)
  bool is_long = false;        ///< a full device works off its tiles in kLongUs or more
  bool even = false;           ///< its tiles are cut evenly
  Forecast forecast;

  /// Cuts only the tiles that don't fill a wave.
  bool cuts_last() const { return !cuts.empty() && cuts[0].whole > 0; }
  /// What it is compared by.
  double rated_us() const { return forecast.total_us / (cuts_last() ? 1 - kWorthLast : 1); }
};

/// Appends its tasks, launches and merges. `runs` are those its boxes were made of; each task is made in `copies` of
/// heads. Throws Refused where there would be too many tasks.
void write_candidate(PlanBuilder& builder, const Candidate& candidate, const Runs& runs, std::int32_t copies);

/// What its plan reads, in a sentence; and by whom, if by equal shares.
std::string said_of_tiles(const Candidate& candidate, const Plan& plan);
std::string said_of_shares(const Candidate& candidate, std::int32_t copies);

}  // namespace espalier::scheduler::planning

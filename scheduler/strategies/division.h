// CoDec's division problem: how many splits each piece of shared work gets so that the longest-loaded CTA slot finishes
// early. Numbers only; the strategy translates. Cost estimates are tabulated on a grid of KV lengths and interpolated,
// as profiled ones are.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "costmodel/cost_model.h"

namespace espalier::scheduler::planning {

/// C_est(queries, n) for one kernel and one query count, n in KV tiles. Non-decreasing.
class TileCost {
 public:
  TileCost(const costmodel::CostModel& model, const costmodel::KernelConfig& kernel, costmodel::TaskShape shape,
           std::int64_t most_tiles);
  double us(std::int64_t tiles) const;
  /// Most tiles whose estimate is within `us`, at least 1.
  std::int64_t tiles_within(double us) const;

 private:
  std::vector<std::int64_t> tiles_;
  std::vector<double> us_;
};

/// One query tile of one run of KV.
struct DivisionItem {
  std::int64_t tiles;  ///< KV tiles
  const TileCost* cost;
  double share;  ///< of a slot that its CTA takes, <= 1: kernels of which more fit an SM take less
};

struct DivisionProblem {
  std::vector<DivisionItem> items;
  std::int64_t copies = 1;  ///< each item runs once a KV head (or head chunk)
  std::int64_t slots = 1;   ///< CTAs the device holds at once
};

/// b_i(c): least splits of each item whose pieces are estimated within c.
std::vector<std::int32_t> splits_within(const DivisionProblem& problem, double us);

/// Whether the pieces that are estimated within `us` fit the slots in that time: true from cost_l on.
bool work_fits(const DivisionProblem& problem, double us);

/// cost_l: no division into equal pieces can finish sooner. Binary search for the least c at which the total work of
/// the splits b_i(c) fits slots x c; the value returned is from below, within 0.1 %.
double cost_lower_bound(const DivisionProblem& problem);

/// Estimated time of the longest-loaded slot when pieces go, longest first, to the least loaded slot.
double longest_first_makespan(const DivisionProblem& problem, std::span<const std::int32_t> splits);

/// Pieces of an item of `tiles` cut in `splits`: the first tiles % splits have one tile more.
struct PieceSizes {
  std::int64_t large, larges, small, smalls;
};
PieceSizes piece_sizes(std::int64_t tiles, std::int64_t splits);

}  // namespace espalier::scheduler::planning

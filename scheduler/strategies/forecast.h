// When would a set of CTAs be done? A closed form, for choosing between plans that haven't been written yet.
//
// It knows what the planner knows before it writes a plan: how many CTAs of which length run on which kernel, how many
// partial rows they leave, how much of the KV is read for the first time. Nothing in it is fitted to the simulator; it
// may differ from it by several percent and serves to rank plans of one forest.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include "scheduler/strategies/tile_kernel.h"

namespace espalier::scheduler::planning {

/// CTAs of about one length.
struct CtaClass {
  const TileKernel* kernel = nullptr;
  double tokens = 0;   ///< mean KV tokens of a CTA
  double ctas = 0;     ///< all head copies
  double cold = 1;     ///< share of their tokens that nobody has read before
  double longest = 0;  ///< KV tokens of the longest; 0: all are equal
};

struct Workload {
  /// Kernels by rising tile, the classes of each by rising length; at most 4 pairs of a kernel and a share of first
  /// readers.
  std::span<const CtaClass> classes;
  bool merges_in_place = true;  ///< on arrival, in the launch of the tasks; else in a launch after them
  double copies = 1;            ///< CTAs of a tile
  double requests = 0;
  double partial_rows = 0;  ///< of one head, over all requests
  bool unlike = false;      ///< lengths differ much: somebody is late, and the longest takes its own time
  double most_rows = 0;     ///< of the partial rows, those of the request that has most; 0: all have as many
};

struct Forecast {
  double total_us = 0;
  double hbm_us = 0, l2_us = 0, compute_us = 0;  ///< the device busy with nothing else
  double merge_us = 0;                           ///< what merging adds
};
/// Or nearly: computing takes about as long as HBM does.
inline bool is_compute_bound(const Forecast& f) { return f.compute_us >= 0.8 * f.hbm_us; }

/// Persistent CTAs with shares of all KV tiles.
struct ShareLoad {
  const TileKernel* kernel = nullptr;
  double ctas = 0;     ///< all head copies
  double tokens = 0;   ///< that all of them read
  double busy_us = 0;  ///< of the fullest, with all its pieces
  double cold = 1;     ///< share of the tokens that come from HBM
  double requests = 0;
  double partial_rows = 0;  ///< of one head, over all requests
};
Forecast forecast_shares(const PlanRequest& request, const ShareLoad& load, double limit_us);

/// HBM's time for so many partial rows of one head, of all its heads, that L2 can't hold; 0 where it can.
double partial_spill_us(const PlanRequest& request, double partial_rows);

/// What a plan of unlike CTAs takes longer: somebody is late, whose first bytes others hide in part.
double late_us(const PlanRequest& request);

/// What is known of a cover before its tiles are laid out and cut.
struct LeastLoad {
  double tokens = 0;       ///< KV tokens that all CTAs read at least
  double cold_tokens = 0;  ///< of these, read for the first time
  double compute_us = 0;   ///< the device's time for computing on them
  double requests = 0;
  double partial_rows = 0;  ///< of one head, at least
  double bytes_per_us = 0;  ///< most that an SM full of CTAs of any of its kernels reads
  bool merges_in_place = true;
};
/// Neither forecast() nor forecast_shares() of any plan of such a cover is below this in total.
Forecast least_forecast(const PlanRequest& request, const LeastLoad& load);
/// What forecast_shares() isn't below.
double least_shares_us(const PlanRequest& request, const LeastLoad& load);

/// Kernels run side by side. A forecast that can't be below `limit_us` may stop at any total from there on that it is
/// not below either.
Forecast forecast(const PlanRequest& request, const Workload& work,
                  double limit_us = std::numeric_limits<double>::infinity());

}  // namespace espalier::scheduler::planning

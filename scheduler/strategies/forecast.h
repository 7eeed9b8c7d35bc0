// When would a set of CTAs be done? A closed form, for choosing between plans that haven't been written yet.
//
// It knows what the planner knows before it writes a plan: how many CTAs of which length run on which kernel, how many partial rows they
// leave, how much of the KV is read for the first time. Nothing in it is fitted to the simulator; it may differ from it by several
// percent and serves to rank plans of one forest.
#pragma once

#include <cstdint>
#include <span>

#include "scheduler/strategies/tile_kernel.h"

namespace espalier::scheduler::planning {

/// CTAs of about one length.
struct CtaClass {
  const TileKernel* kernel = nullptr;
  double tokens = 0;  ///< mean KV tokens of a CTA
  double ctas = 0;    ///< all head copies
};

struct Workload {
  std::span<const CtaClass> classes;
  double unique_tokens = 0;  ///< of the forest
  double requests = 0;
  double partial_rows = 0;  ///< of one head, over all requests
};

struct Forecast {
  double total_us = 0;
  double hbm_us = 0, l2_us = 0, compute_us = 0;  ///< the device busy with nothing else
  double merge_us = 0;                           ///< what merging adds
};

/// All in one launch, merged on arrival.
Forecast forecast(const PlanRequest& request, const Workload& work);

}  // namespace espalier::scheduler::planning

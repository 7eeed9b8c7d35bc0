// The event engine: launches, phases, dispatch, cohorts of CTAs, until nobody is left.
#pragma once

#include <vector>

#include "sim/run_log.h"
#include "sim/simulator.h"
#include "sim/work_list.h"

namespace espalier::sim {

/// What events add to a SimResult.
struct EngineResult {
  double makespan_us = 0;
  TimeSplit split;
  std::vector<PhaseTime> phases;
  std::vector<Bound> task_bound;
  scheduler::Timeline timeline;
};

/// Throws Error (bad input) when the plan can't come to an end: a launch or step waits for what never happens. Appends
/// to `log` unless it is null.
EngineResult run_events(const scheduler::Plan& plan, const costmodel::DeviceSpec& device, const WorkList& list,
                        const SimOptions& options, RunLog* log = nullptr);

}  // namespace espalier::sim

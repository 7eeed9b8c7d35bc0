// Several runs in one trace, beside each other: two plans, or a simulated and a measured run of one.
#pragma once

#include <span>
#include <string>

#include "scheduler/timeline.h"

namespace espalier::scheduler {

struct TracedRun {
  std::string name;  ///< in front of its processes' names; empty: nothing
  const Timeline* timeline = nullptr;
  const Plan* plan = nullptr;  ///< that the timeline is of
};
/// write_trace_events() of each, as processes of their own.
std::string write_trace_events(std::span<const TracedRun> runs);

}  // namespace espalier::scheduler

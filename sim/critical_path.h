// The chain of gaps, barriers and CTAs that decides the makespan, read off a run's log.
#pragma once

#include <vector>

#include "sim/explain.h"
#include "sim/run_log.h"

namespace espalier::sim {

/// Parts from 0 to `makespan_us`, each beginning where the one before ends; neighbours of one phase are one part. What
/// a CTA waited for is what ended when it began: the gap that opened its launch, else its worker's item before, else a
/// CTA of its launch, else any.
std::vector<PathPart> critical_path(const RunLog& log, double makespan_us);

}  // namespace espalier::sim

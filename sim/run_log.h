// What happened in a run, cohort by cohort: the raw material of an explanation. Only recorded when somebody asks.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/plan.h"
#include "sim/bandwidth.h"

namespace espalier::sim {

/// Equal CTAs that started and ended together.
struct CohortRecord {
  scheduler::LaunchId launch;
  std::int32_t phase = -1;  ///< -1: a worker without work
  std::int32_t item = -1;   ///< task or step of the first CTA
  std::int32_t count = 0;
  std::int32_t worker = -1;  ///< persistent worker, or -1
  bool merging = false;
  double begin_us = 0, end_us = 0;
  BoundTimes spent;  ///< adds up to end - begin
};

/// A launch gap or a barrier.
struct GapRecord {
  scheduler::LaunchId launch;
  bool barrier = false;
  double begin_us = 0, end_us = 0;
};

/// An interval in which nobody came or left.
struct Moment {
  double begin_us = 0, us = 0;
  std::int64_t resident = 0, merging = 0;  ///< CTAs on the device, and those of them in reduction phases
};

struct RunLog {
  std::vector<CohortRecord> cohorts;  ///< by end
  std::vector<GapRecord> gaps;        ///< by begin
  std::vector<Moment> moments;
};

}  // namespace espalier::sim

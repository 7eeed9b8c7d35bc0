// What a run shows to those who look: cohorts, gaps and moments to a log, CTAs and counters to a timeline.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sim/flow_state.h"
#include "sim/occupancy.h"
#include "sim/recorder.h"
#include "sim/run_log.h"
#include "sim/simulator.h"
#include "sim/work_list.h"

namespace espalier::sim {

class RunObserver {
 public:
  /// Appends to `log` unless it is null; keeps a timeline if the options ask for one.
  RunObserver(const WorkList& list, double sms, const SimOptions& options, RunLog* log);

  /// Cohort `index` of `count` CTAs begins, on persistent worker `lane` of its launch if that isn't negative.
  void begins(std::int32_t index, std::int32_t count, std::int32_t lane, double now_us);
  /// It ends as `cohort` says, but for its begin; its first CTA is copy `copy` of work `work`, unless that is negative.
  void ends(std::int32_t index, CohortRecord cohort, std::int32_t work, std::int32_t copy);
  /// A gap before a launch, or a barrier inside it.
  void gap(const GapRecord& gap);
  /// Nobody comes or leaves until `next_us`.
  void moment(double now_us, double next_us, const SmTime& sm_time, const FlowState& flows);
  scheduler::Timeline finish(double makespan_us) &&;

 private:
  struct Observed {
    double begin_us = 0;
    std::vector<std::int32_t> lanes;
  };
  void record_ctas(const Observed& observed, const CohortRecord& cohort, std::int32_t work, std::int32_t copy);

  const WorkList& list_;
  RunLog* log_;
  std::unique_ptr<Recorder> recorder_;
  std::vector<Observed> observed_;  ///< by cohort
};

}  // namespace espalier::sim

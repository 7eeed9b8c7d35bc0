// Logs and timelines of a run.
#include "sim/run_observer.h"

#include <utility>

namespace espalier::sim {

RunObserver::RunObserver(const WorkList& list, double sms, const SimOptions& options, RunLog* log)
    : list_(list), log_(log) {
  if (options.timeline) recorder_ = std::make_unique<Recorder>(sms, options.max_spans);
}

void RunObserver::begins(std::int32_t index, std::int32_t count, std::int32_t lane, double now_us) {
  const auto at = static_cast<std::size_t>(index);
  if (observed_.size() <= at) observed_.resize(at + 1);
  observed_[at].begin_us = now_us;
  if (!recorder_) return;
  lane >= 0 ? recorder_->take_worker(lane, observed_[at].lanes) : recorder_->take(count, observed_[at].lanes);
}

void RunObserver::ends(std::int32_t index, CohortRecord cohort, std::int32_t work, std::int32_t copy) {
  Observed& observed = observed_[static_cast<std::size_t>(index)];
  cohort.begin_us = observed.begin_us;
  if (work >= 0) cohort.item = list_.works[static_cast<std::size_t>(work)].item;
  if (log_ != nullptr) log_->cohorts.push_back(cohort);
  if (!recorder_) return;
  recorder_->release(observed.lanes);
  if (work >= 0) record_ctas(observed, cohort, work, copy);
  observed.lanes.clear();
}

/// A span for every CTA of the cohort.
void RunObserver::record_ctas(const Observed& observed, const CohortRecord& cohort, std::int32_t work,
                              std::int32_t copy) {
  const auto kind = cohort.merging ? scheduler::SpanKind::step : scheduler::SpanKind::task;
  const Work* at = list_.works.data() + work;
  for (const std::int32_t lane : observed.lanes) {
    recorder_->cta({0, kind, cohort.launch, at->item, copy, cohort.begin_us, cohort.end_us}, lane);
    if (++copy < at->copies) continue;
    ++at;
    copy = 0;
  }
}

void RunObserver::gap(const GapRecord& gap) {
  const auto kind = gap.barrier ? scheduler::SpanKind::barrier : scheduler::SpanKind::launch_gap;
  if (recorder_) recorder_->gap(kind, gap.launch, gap.begin_us, gap.end_us);
  if (log_ != nullptr) log_->gaps.push_back(gap);
}

void RunObserver::moment(double now_us, double next_us, const SmTime& sm_time, const FlowState& flows) {
  if (recorder_) recorder_->sample(now_us, sm_time.resident(), flows);
  if (log_ != nullptr) log_->moments.push_back({now_us, next_us - now_us, sm_time.resident(), sm_time.merging()});
}

scheduler::Timeline RunObserver::finish(double makespan_us) && {
  return recorder_ ? std::move(*recorder_).finish(makespan_us) : scheduler::Timeline{};
}

}  // namespace espalier::sim

// The simulator's timeline: one span a CTA on a lane an SM slot, launch gaps and barriers, counters of bandwidth and
// residency.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/timeline.h"
#include "sim/flow_state.h"

namespace espalier::sim {

/// Lanes are given out most-room first (the SM with the fewest CTAs of ours, then the lowest index), which is what
/// hardware does; the fluid model itself pools the SMs and doesn't need them. CTAs of unlike size may thus overfill a
/// lane's SM by a slot.
class Recorder {
 public:
  Recorder(double sms, std::int64_t max_spans);

  /// Lanes for `count` CTAs that start together, appended to `lanes`.
  void take(std::int64_t count, std::vector<std::int32_t>& lanes);
  /// The lane of persistent worker `worker`: SM worker % SMs.
  void take_worker(std::int32_t worker, std::vector<std::int32_t>& lanes);
  void release(const std::vector<std::int32_t>& lanes);

  void cta(scheduler::Span span, std::int32_t lane);
  /// A gap before a launch, or a barrier inside it, on lane 0.
  void gap(scheduler::SpanKind kind, scheduler::LaunchId launch, double begin_us, double end_us);
  void sample(double now_us, std::int64_t resident, const FlowState& flows);

  /// Spans beyond `max_spans` are left out; a counter "spans left out" then says how many.
  scheduler::Timeline finish(double makespan_us) &&;

 private:
  struct Sm {
    std::vector<bool> taken;  ///< by slot
    std::int32_t ctas = 0;
  };
  std::int32_t take_slot(std::int32_t sm);
  void put(std::size_t series, double now_us, double value);

  std::vector<Sm> sms_;
  std::vector<std::vector<std::int32_t>>
      by_load_;  ///< heaps of SM indices by number of CTAs, lowest index first; may hold stale entries
  std::int64_t max_spans_, left_out_ = 0;
  std::vector<std::pair<std::int32_t, std::int32_t>> lane_slots_;  ///< (SM, slot) of lane i + 1
  std::vector<std::vector<std::int32_t>> lane_of_;                 ///< by SM and slot
  scheduler::Timeline timeline_;
};

}  // namespace espalier::sim

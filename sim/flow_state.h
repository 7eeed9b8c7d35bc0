// The fluid part of the event engine: cohorts of equal CTAs draining through flow classes.
//
// All CTAs of a class progress at one rate, so a class needs one virtual clock: V(t), the bytes a CTA of it would have moved
// since the class last was empty. A cohort that enters at V0 with w bytes a CTA leaves when V = V0 + w, whatever the
// rates do in between; only the head of each class's queue can be next. An event costs O(active classes).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "sim/bandwidth.h"
#include "sim/event_queue.h"

namespace espalier::sim {

/// A class that CTAs are in now: what every event reads and moves.
struct ActiveFlow {
  double clock = 0;
  double through = 0;       ///< clock at which its next cohort is through
  FlowRate rate;            ///< since the last next_us()
  double count = 0;         ///< CTAs
  std::uint64_t key = 0;    ///< class and count
  BoundTimes* times = nullptr;

  std::int32_t id() const { return static_cast<std::int32_t>(key >> 32); }
};

class FlowState {
 public:
  FlowState(const std::vector<FlowClass>& classes, const costmodel::DeviceSpec& device);

  /// `count` CTAs with `bytes` each enter class `id`; `cohort` comes back from pop() when they are through.
  void enter(std::int32_t id, std::int32_t cohort, std::int32_t count, double bytes);
  /// Time until the next cohort is through, infinite when none is under way. Updates the rates when classes have changed.
  double next_us() {
    if (stale_) refresh_rates();
    double next = std::numeric_limits<double>::infinity();
    for (const ActiveFlow& flow : active_) next = std::min(next, (flow.through - flow.clock) / flow.rate.bytes_per_us);
    return std::max(0.0, next);
  }
  /// Everyone progresses for `us` at the current rates: those that next_us() has made. Each CTA's `share` is added to `busy`, by bound.
  void advance(double us, double share, double* busy) {
    for (ActiveFlow& flow : active_) {
      const int bound = static_cast<int>(flow.rate.bound);
      flow.clock += flow.rate.bytes_per_us * us;
      flow.times->us[bound] += us;
      busy[bound] += share * flow.count;
    }
  }
  /// Takes out the cohorts that are through, within `slack_us` of now, and appends them to `through`, class by class.
  void pop(double slack_us, std::vector<std::int32_t>& through) {
    for (std::size_t i = 0; i < active_.size();) {
      const double slack_bytes = active_[i].rate.bytes_per_us * slack_us;
      i += active_[i].through - active_[i].clock > slack_bytes || take(i, slack_bytes, through) ? 1 : 0;
    }
  }

  /// Time CTAs of a class have spent by bound, since the start: differences of two readings are one cohort's.
  const BoundTimes& bound_times(std::int32_t id) const { return states_[static_cast<std::size_t>(id)].times; }
  const std::vector<ActiveFlow>& active() const { return active_; }
  const std::vector<FlowClass>& classes() const { return classes_; }

 private:
  struct State {
    std::int32_t position = -1;  ///< in active_, -1: nobody here
    EventQueue queue;            ///< by virtual time at which a cohort is through
    BoundTimes times;
  };

  /// Rates by the counts of up to kRemembered classes: a class that one CTA leaves and another enters has the rates it had before.
  static constexpr std::size_t kRemembered = 3;
  struct Known {
    std::array<std::uint64_t, kRemembered> key{};  ///< class and count, 0: none
    std::array<FlowRate, kRemembered> rates;
  };
  void refresh_rates();
  void share();
  /// pop() for one class; false if nobody is left there.
  bool take(std::size_t position, double slack_bytes, std::vector<std::int32_t>& through);
  void leave(std::size_t position);

  const std::vector<FlowClass>& classes_;
  const costmodel::DeviceSpec& device_;
  std::vector<State> states_;
  std::vector<ActiveFlow> active_;
  std::vector<FlowClass> flows_;   ///< of active_, for sharing
  std::vector<FlowRate> rates_;
  bool stale_ = false;
  std::vector<Known> known_;
};

}  // namespace espalier::sim

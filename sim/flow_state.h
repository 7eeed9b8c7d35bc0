// The fluid part of the event engine: cohorts of equal CTAs draining through flow classes.
//
// All CTAs of a class progress at one rate, so a class needs one virtual clock: V(t), the bytes a CTA of it would have moved
// since the class last was empty. A cohort that enters at V0 with w bytes a CTA leaves when V = V0 + w, whatever the
// rates do in between; only the head of each class's heap can be next. An event costs O(active classes + log cohorts).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "sim/bandwidth.h"

namespace espalier::sim {

class FlowState {
 public:
  FlowState(const std::vector<FlowClass>& classes, const costmodel::DeviceSpec& device);

  /// `count` CTAs with `bytes` each enter class `id`; `cohort` comes back from pop() when they are through.
  void enter(std::int32_t id, std::int32_t cohort, std::int32_t count, double bytes);
  /// Time until the next cohort is through, infinite when none is under way. Updates the rates when classes have changed.
  double next_us() {
    if (stale_) refresh_rates();
    double next = std::numeric_limits<double>::infinity();
    const std::size_t flows = ids_.size();
    for (std::size_t i = 0; i < flows; ++i) {
      const State& state = states_[static_cast<std::size_t>(ids_[i])];
      next = std::min(next, (state.heap.front().through - state.clock) / rates_[i].bytes_per_us);
    }
    return std::max(0.0, next);
  }
  /// Everyone progresses for `us` at the current rates: those that next_us() has made.
  void advance(double us) {
    const std::size_t flows = ids_.size();
    for (std::size_t i = 0; i < flows; ++i) {
      State& state = states_[static_cast<std::size_t>(ids_[i])];
      state.clock += rates_[i].bytes_per_us * us;
      state.times.us[static_cast<int>(rates_[i].bound)] += us;
    }
  }
  /// Takes out the cohorts that are through, within `slack_us` of now, and appends them to `through`, class by class.
  void pop(double slack_us, std::vector<std::int32_t>& through);

  /// Time CTAs of a class have spent by bound, since the start: differences of two readings are one cohort's.
  const BoundTimes& bound_times(std::int32_t id) const { return states_[static_cast<std::size_t>(id)].times; }
  /// Active classes with their counts, and their rates since the last next_us().
  const std::vector<FlowClass>& active() const { return flows_; }
  const std::vector<FlowRate>& rates() const { return rates_; }

 private:
  struct Entry {
    double through = 0;  ///< virtual time at which the cohort is through
    std::int32_t cohort = -1;
    std::int32_t count = 0;
    /// Heap order: later is "less".
    friend bool operator<(const Entry& a, const Entry& b) {
      return a.through != b.through ? a.through > b.through : a.cohort > b.cohort;
    }
  };
  struct State {
    double clock = 0;
    std::int32_t position = -1;  ///< in flows_, -1: nobody here
    std::vector<Entry> heap;
    BoundTimes times;
  };

  /// Rates by the counts of up to kRemembered classes: a class that one CTA leaves and another enters has the rates it had before.
  static constexpr std::size_t kRemembered = 3;
  struct Known {
    std::array<std::uint64_t, kRemembered> key{};  ///< class and count, 0: none
    std::array<FlowRate, kRemembered> rates;
  };
  void refresh_rates();
  void leave(std::size_t position);

  const std::vector<FlowClass>& classes_;
  const costmodel::DeviceSpec& device_;
  std::vector<State> states_;
  std::vector<FlowClass> flows_;
  std::vector<std::int32_t> ids_;  ///< class of each of flows_
  std::vector<FlowRate> rates_;
  bool stale_ = false;
  std::vector<Known> known_;
};

}  // namespace espalier::sim

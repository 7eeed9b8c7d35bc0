// Who is on the device now, and where the SM time of each interval goes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "sim/flow_state.h"

namespace espalier::sim {

class SmTime {
 public:
  explicit SmTime(double sms) : sms_(sms) {}

  /// CTAs that come to (or leave, negative) the device; `merging` ones belong to reduction phases.
  void resident(std::int64_t count, bool merging) {
    resident_ += count;
    if (merging) merging_ += count;
    if (static_cast<double>(resident_) >= sms_) filled_ = true;
  }
  /// CTAs that begin (or end) a stage of fixed length, of which `shares` (sum 1) are due to each bound.
  void enter_fixed(std::int64_t count, const BoundTimes& shares) {
    in_fixed_ += count;
    for (int b = 0; b < kBounds; ++b) fixed_.us[b] += static_cast<double>(count) * shares.us[b];
  }
  void leave_fixed(std::int64_t count, const BoundTimes& shares) {
    in_fixed_ -= count;
    for (int b = 0; b < kBounds; ++b) fixed_.us[b] -= static_cast<double>(count) * shares.us[b];
    if (in_fixed_ == 0) fixed_ = {};  // rounding doesn't add up over the run
  }
  /// The same for stages that are due to Bound::fixed alone.
  void enter_fixed(std::int64_t count) {
    in_fixed_ += count;
    fixed_.us[static_cast<int>(Bound::fixed)] += static_cast<double>(count);
  }
  void leave_fixed(std::int64_t count) {
    in_fixed_ -= count;
    fixed_.us[static_cast<int>(Bound::fixed)] -= static_cast<double>(count);
    if (in_fixed_ == 0) fixed_ = {};
  }
  std::int64_t resident() const { return resident_; }
  std::int64_t merging() const { return merging_; }
  /// Books an interval in which nothing changed, and moves the flows on. CTAs spread over as many SMs as there are; SMs that stay empty
  /// are idle for the first reason that holds: nobody anywhere, only merges, the device was full since it last was empty (tail), it never was.
  void pass(double us, FlowState& flows) {
    if (resident_ == 0) {
      split_.launch += us * sms_;
      filled_ = false;
      return;
    }
    const double ctas = static_cast<double>(resident_);
    const double busy = std::min(sms_, ctas);
    const double share = us * busy / ctas;
    if (in_fixed_ > 0) {
      for (int b = 0; b < kBounds; ++b) split_.busy[b] += share * std::max(0.0, fixed_.us[b]);
    }
    flows.advance(us, share, split_.busy);
    double& idle = merging_ == resident_ ? split_.merge : filled_ ? split_.tail : split_.underfill;
    idle += us * (sms_ - busy);
  }
  const TimeSplit& split() const { return split_; }

 private:
  double sms_;
  std::int64_t resident_ = 0, merging_ = 0, in_fixed_ = 0;
  BoundTimes fixed_;  ///< CTAs in fixed stages, by what they are due to
  bool filled_ = false;
  TimeSplit split_;
};

}  // namespace espalier::sim

// Who is on the device now, and where the SM time of each interval goes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "sim/bandwidth.h"

namespace espalier::sim {

/// CTAs spread over as many SMs as there are, so each CTA has an equal share of SM time. That share is one running
/// integral: what a CTA has between two events is the difference of two readings, whoever else came or left in between.
class SmTime {
 public:
  explicit SmTime(double sms) : sms_(sms) {}

  /// CTAs that come to (or leave, negative) the device at `now_us`; `merging` ones belong to reduction phases.
  void resident(double now_us, std::int64_t count, bool merging) {
    settle(now_us);
    resident_ += count;
    if (merging) merging_ += count;
    if (static_cast<double>(resident_) >= sms_) filled_ = true;
  }
  /// A gap begins, however short: nobody is there.
  void rest() { filled_ = false; }
  std::int64_t resident() const { return resident_; }
  std::int64_t merging() const { return merging_; }

  /// SM time that a CTA which is always there has had until `now_us`, in SM x us.
  double share_us(double now_us) {
    settle(now_us);
    return share_us_;
  }
  /// Books SM time of CTAs.
  void busy(Bound bound, double sm_us) { split_.busy[static_cast<int>(bound)] += sm_us; }
  void busy(const BoundTimes& parts, double sms) {
    for (int b = 0; b < kBounds; ++b) split_.busy[b] += parts.us[b] * sms;
  }
  const TimeSplit& split(double now_us) {
    settle(now_us);
    return split_;
  }

 private:
  /// Nobody has come or left since the last call. SMs that stay empty are idle for the first reason that holds: nobody
  /// anywhere, only merges, the device was full since it last was empty (tail), it never was.
  void settle(double now_us) {
    const double us = now_us - settled_us_;
    if (us <= 0) return;
    settled_us_ = now_us;
    if (resident_ == 0) {
      split_.launch += us * sms_;
      filled_ = false;
      return;
    }
    if (resident_ != shared_by_) {
      shared_by_ = resident_;
      const double ctas = static_cast<double>(resident_);
      busy_sms_ = std::min(sms_, ctas);
      share_ = busy_sms_ / ctas;
    }
    share_us_ += us * share_;
    if (busy_sms_ == sms_) return;
    double& idle = merging_ == resident_ ? split_.merge : filled_ ? split_.tail : split_.underfill;
    idle += us * (sms_ - busy_sms_);
  }

  double sms_;
  std::int64_t resident_ = 0, merging_ = 0;
  bool filled_ = false;
  double settled_us_ = 0;
  double share_us_ = 0;
  std::int64_t shared_by_ = 0;  ///< CTAs that the next two are for
  double busy_sms_ = 0, share_ = 0;
  TimeSplit split_;
};

}  // namespace espalier::sim

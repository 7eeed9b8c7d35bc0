// The fluid part of the event engine: cohorts of equal CTAs draining through flow classes.
//
// All CTAs of a class progress at one rate, so a class needs one virtual clock: V(t), the bytes a CTA of it would have
// moved since the class last was empty. A cohort that enters at V0 with w bytes a CTA leaves when V = V0 + w, whatever
// the rates do in between; only the head of each class's queue can be next. An event costs O(active classes).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "sim/bandwidth.h"
#include "sim/event_queue.h"
#include "sim/occupancy.h"

namespace espalier::sim {

/// A class: its rates and clocks while CTAs are in it, and who they are.
struct alignas(64) Flow {
  double clock = 0;
  FlowRate rate;             ///< since the last next_at()
  double count = 0;          ///< CTAs
  bool listed = false;       ///< among the active
  std::uint64_t key = 0;     ///< class and count
  std::uint64_t spread = 0;  ///< the class, its bits spread: what each of its CTAs adds to FlowState::mixed_
  EventQueue queue;          ///< by virtual time at which a cohort is through
  BoundTimes times;          ///< that a CTA which is always there has spent, by bound

  std::int32_t id() const { return static_cast<std::int32_t>(key >> 32); }
};

class FlowState {
 public:
  FlowState(const std::vector<FlowClass>& classes, const costmodel::DeviceSpec& device, SmTime& sm_time);

  /// `count` CTAs with `bytes` each enter class `id` at the time of the last advance(); `cohort` comes back from
  /// for_due() when they are through. Returns the class's times by bound, as now.
  const BoundTimes& enter(std::int32_t id, std::int32_t cohort, std::int32_t count, double bytes) {
    Flow& flow = flows_[static_cast<std::size_t>(id)];
    if (!flow.listed) {
      flow.clock = 0;
      active_.push_back(&flow);
      flow.listed = true;
    }
    flow.count += count;
    flow.key += static_cast<std::uint32_t>(count);
    mixed_ += flow.spread * static_cast<std::uint32_t>(count);
    flow.queue.push({flow.clock + bytes, static_cast<std::uint32_t>(cohort), count});
    stale_ = true;
    return flow.times;
  }
  /// When the next cohort is through, infinite when none is under way. Updates the rates when classes have changed.
  double next_at() {
    if (!stale_) return next_at_;
    stale_ = false;
    if (emptied_) drop_empty();
    const std::size_t flows = active_.size();
    double us = kNever;
    if (flows > kRemembered) {
      us = shared_left();
    } else {
      Flow* const* const first = active_.data();
      Known& known = known_[static_cast<std::size_t>(mixed_ >> (64 - kPlaceBits))];
      if (!known.is(first, flows)) remember(known);
      Flow* next = next_;
      for (std::size_t i = 0; i < flows; ++i) {
        Flow& flow = *first[i];
        flow.rate = known.rates[i];
        const double left = (flow.queue.next_at() - flow.clock) * known.us_per_byte[i];
        next = left < us ? &flow : next;
        us = left < us ? left : us;
      }
      next_ = next;
    }
    return next_at_ = now_us_ + us;
  }
  /// Everyone progresses until `now_us` at the rates that next_at() has made; their SM time is booked.
  void advance(double now_us) {
    const double us = now_us - now_us_;
    if (us <= 0) return;
    now_us_ = now_us;
    const double share_us = sm_time_.share_us(now_us);
    const double share = share_us - share_us_;
    share_us_ = share_us;
    for (Flow* const flow : active_) {
      flow->clock += flow->rate.bytes_per_us * us;
      flow->times.us[static_cast<int>(flow->rate.bound)] += us;
      sm_time_.busy(flow->rate.bound, share * flow->count);
    }
  }
  /// Takes out the cohorts that are through, within `slack_us` of the last advance(), class by class: visit(cohort,
  /// times that CTAs of the class have spent by bound since the start). A visit may enter cohorts.
  template <class Visit>
  void for_due(double slack_us, Visit visit) {
    // What next_at() said is due when it said so, however coarse clocks have become in a run of hours. Its class is
    // known before the clocks are.
    const Flow* const next = now_us_ >= next_at_ ? next_ : nullptr;
    if (next != nullptr) next_->clock = std::max(next_->clock, next_->queue.next_at());
    for (std::size_t i = 0; i < active_.size(); ++i) {
      Flow& flow = *active_[i];
      const double due = flow.clock + flow.rate.bytes_per_us * slack_us;
      for (bool is_next = &flow == next; is_next || flow.queue.next_at() <= due; is_next = false) {
        const Event head = flow.queue.front();
        flow.queue.pop();
        flow.count -= head.count;
        flow.key -= static_cast<std::uint32_t>(head.count);
        mixed_ -= flow.spread * static_cast<std::uint32_t>(head.count);
        stale_ = true;
        emptied_ |= flow.count == 0;
        visit(static_cast<std::int32_t>(head.order), flow.times);
      }
    }
  }

  /// Classes that CTAs are in, in order of entry; as of the last next_at().
  const std::vector<Flow*>& active() const { return active_; }
  const std::vector<FlowClass>& classes() const { return classes_; }

 private:
  /// Rates by the counts of up to kRemembered classes: a class that one CTA leaves and another enters has the rates it
  /// had before.
  static constexpr std::size_t kRemembered = 3;
  struct Known {
    std::size_t flows = 0;
    std::array<std::uint64_t, kRemembered> key{};  ///< class and count
    std::array<FlowRate, kRemembered> rates;
    std::array<double, kRemembered> us_per_byte{};

    bool is(Flow* const* first, std::size_t count) const {
      std::uint64_t unlike = flows ^ count;
      for (std::size_t i = 0; i < count; ++i) unlike |= key[i] ^ first[i]->key;
      return unlike == 0;
    }
  };
  static constexpr double kNever = std::numeric_limits<double>::infinity();
  /// Places for remembered rates; a power of two, 52 KiB in all.
  static constexpr int kPlaceBits = 9;

  /// Time until the next cohort is through, of more flows than are remembered.
  double shared_left();
  void drop_empty();
  void remember(Known& known);
  void share();

  const std::vector<FlowClass>& classes_;
  const costmodel::DeviceSpec& device_;
  SmTime& sm_time_;
  std::vector<Flow> flows_;  ///< by class
  std::vector<Flow*> active_;
  Flow* next_ = nullptr;            ///< whose cohort next_at() is about
  std::vector<FlowClass> sharing_;  ///< of active_
  std::vector<FlowRate> rates_;
  bool stale_ = false, emptied_ = false;
  double now_us_ = 0, share_us_ = 0;  ///< of the last advance()
  double next_at_ = kNever;
  std::uint64_t mixed_ = 0;  ///< a sum over all CTAs: its first bits are the place of their rates in known_
  std::vector<Known> known_;
};

}  // namespace espalier::sim

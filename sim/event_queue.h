// The soonest of a few hundred events, for queues whose time only moves on.
//
// A heap compares at every level, though most events come last or are far from being next. Here the next few stand in order, and if there
// are many, later ones in a bag that is looked through only when the next few have gone: one pass picks new ones. Push and pop take O(1) at
// the mean; a pass over n events takes O(n) and brings n/8 of them at the mean.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <vector>

namespace espalier::sim {

struct Event {
  double at = 0;
  std::uint32_t order = 0;  ///< among events of one time: the lowest first
  std::int32_t count = 0;   ///< of the owner's choice
};

class EventQueue {
 public:
  bool empty() const { return near_.empty(); }
  const Event& front() const { return near_[static_cast<std::size_t>(next_)]; }  ///< not empty

  void push(const Event& event) {
    if (!far_.empty() && event.at > limit_) {
      far_.push_back(event);
      return;
    }
    near_.push_back(event);
    Event* at = &near_.back();
    for (const Event* first = near_.data() + next_; at > first && before(event, at[-1]); --at) *at = at[-1];
    *at = event;
    if (std::ssize(near_) - next_ > kMostNear) spill();
  }

  void pop() {
    if (++next_ == std::ssize(near_)) {
      near_.clear();
      next_ = 0;
      if (!far_.empty()) refill();
    } else if (next_ == kMostNear) {
      near_.erase(near_.begin(), near_.begin() + kMostNear);
      next_ = 0;
    }
  }

 private:
  /// More than these in order, and the later half goes to the bag.
  static constexpr std::ptrdiff_t kMostNear = 64;

  static bool before(const Event& a, const Event& b) { return a.at != b.at ? a.at < b.at : a.order < b.order; }
  void spill();
  void refill();

  std::vector<Event> near_;  ///< in order from next_ on; empty only if nothing is queued
  std::ptrdiff_t next_ = 0;
  double limit_ = 0;         ///< whatever is in far_ is later; with somebody there, whatever is in near_ is not
  std::vector<Event> far_;   ///< in no order
};

}  // namespace espalier::sim

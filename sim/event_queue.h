// The soonest of a few hundred events, for queues whose time only moves on.
//
// A heap compares at every level, though most events come last or are far from being next. Here the next few stand in
// order; if there are many, later ones lie in a calendar: days of equal length, each an unordered list, and those
// beyond the last day in one more. When the next few have gone, the next day's are put in order. Push and pop take O(1)
// at the mean, unless very many events of one time come with falling orders.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace espalier::sim {

struct Event {
  double at = 0;            ///< finite
  std::uint32_t order = 0;  ///< among events of one time: the lowest first
  std::int32_t count = 0;   ///< of the owner's choice
};

class EventQueue {
 public:
  const Event& front() const { return near_[begin_]; }  ///< not empty
  double next_at() const { return next_at_; }           ///< of the front; infinite when empty

  void push(Event event) {
    if (far_count_ > 0) {
      if (const double day = day_of(event); day >= today_) return put_far(event, day);
    }
    put_near(event);
    next_at_ = near_[begin_].at;
    if (end_ - begin_ > most_near_) [[unlikely]]
      spill();
  }

  void pop() {
    ++begin_;
    // Of most queues nobody is ever far, but who can say when the last of the near goes?
    if (far_count_ > 0 && begin_ == end_) next_day();
    next_at_ = near_[begin_].at;
  }

 private:
  /// More than these in order, and the later half goes to the calendar.
  static constexpr std::size_t kMostNear = 64;
  /// So many that hardly two events share one: whom the next day brings needs no order then.
  static constexpr std::int32_t kDays = 1024;
  static constexpr std::size_t kDaysAWord = 64, kWords = kDays / kDaysAWord;
  static constexpr double kNever = std::numeric_limits<double>::infinity();

  struct Entry {
    Event event;
    std::int32_t next = -1;
  };

  static bool before(Event a, Event b) { return a.at != b.at ? a.at < b.at : a.order < b.order; }
  /// Rises with time, so that days never disagree with the order; kDays or more for what is later than the calendar.
  double day_of(Event event) const { return (event.at - first_at_) * days_per_us_; }
  void put_near(Event event) {
    if (end_ + 1 >= near_.size()) [[unlikely]]
      make_room();
    Event* at = near_.data() + end_++;
    at[1].at = kNever;
    for (const Event* first = near_.data() + begin_; at > first && before(event, at[-1]); --at) *at = at[-1];
    *at = event;
  }
  void put_far(Event event, double day);
  void link(std::int32_t entry, double day) {
    const auto index = static_cast<std::size_t>(std::min(day, static_cast<double>(kDays)));
    far_[static_cast<std::size_t>(entry)].next = lists_[index];
    lists_[index] = entry;
    taken_[index / kDaysAWord] |= std::uint64_t{1} << index % kDaysAWord;
  }
  template <class Day>
  void relink(std::size_t list, Day day);
  std::int32_t take_list(std::size_t list);
  std::size_t first_list(std::size_t word) const;
  void make_room();
  void spill();
  void next_day();
  void make_calendar();

  double next_at_ = kNever;  ///< first, as what most often is asked for
  std::vector<Event> near_;  ///< in order from begin_ to end_, where one stands who never comes
  std::size_t begin_ = 0, end_ = 0;
  std::size_t most_near_ = kMostNear;
  std::size_t far_count_ = 0;
  std::int32_t today_ = 0;  ///< days before it are in order already
  double first_at_ = 0, days_per_us_ = 0;
  std::vector<Entry> far_;
  std::vector<std::uint64_t> taken_;  ///< a bit for each list that isn't empty, so that empty days cost nothing
  std::vector<std::int32_t>
      lists_;  ///< by day, then of those after the last day, then of free entries: into far_, -1: nobody
};

}  // namespace espalier::sim

// Days of the calendar, and who lies where.
#include "sim/event_queue.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace espalier::sim {
namespace {

/// The calendar ends where events of even spread would, seen from the second earliest of so many: far ones, however far, are left for the next.
constexpr std::size_t kSeen = 16;
/// Of events at one time, who all lie in the first day.
constexpr double kLeastSpan = 1e-200;

}  // namespace

void EventQueue::put_far(const Event& event, double day) {
  std::int32_t& free = lists_[kDays + 1];
  std::int32_t entry = free;
  if (entry < 0) {
    entry = static_cast<std::int32_t>(far_.size());
    far_.emplace_back();
  } else {
    free = far_[static_cast<std::size_t>(entry)].next;
  }
  far_[static_cast<std::size_t>(entry)].event = event;
  link(entry, day);
  ++far_count_;
}

void EventQueue::link(std::int32_t entry, double day) {
  std::int32_t& list = lists_[day < kDays ? static_cast<std::size_t>(day) : kDays];
  far_[static_cast<std::size_t>(entry)].next = std::exchange(list, entry);
}

/// Everybody in a list goes to the day that `day` says.
template <class Day>
void EventQueue::relink(std::int32_t list, Day day) {
  for (std::int32_t entry = std::exchange(lists_[static_cast<std::size_t>(list)], -1); entry >= 0;) {
    const std::int32_t next = far_[static_cast<std::size_t>(entry)].next;
    link(entry, day(far_[static_cast<std::size_t>(entry)].event));
    entry = next;
  }
}

void EventQueue::make_room() {
  if (begin_ == 0) return near_.resize(std::max<std::size_t>(16, 2 * near_.size()));
  std::copy(near_.begin() + static_cast<std::ptrdiff_t>(begin_), near_.begin() + static_cast<std::ptrdiff_t>(end_), near_.begin());
  end_ -= std::exchange(begin_, 0);
}

void EventQueue::spill() {
  // Events of one time stay together.
  std::size_t cut = begin_ + kMostNear / 2;
  while (cut < end_ && near_[cut].at == near_[cut - 1].at) ++cut;
  if (cut == end_) {
    most_near_ = 2 * (end_ - begin_);  // not to look again at every push
    return;
  }
  most_near_ = kMostNear;
  lists_.resize(kDays + 2, -1);
  // Whoever is in the calendar waits for the next one.
  for (; far_count_ > 0 && today_ < kDays; ++today_) relink(today_, [](const Event&) { return kDays; });
  for (std::size_t i = cut; i < end_; ++i) put_far(near_[i], kDays);
  end_ = cut;
  make_calendar();
}

void EventQueue::next_day() {
  for (;;) {
    for (; today_ < kDays; ++today_) {
      std::int32_t& list = lists_[static_cast<std::size_t>(today_)];
      if (list < 0) continue;
      std::int32_t& free = lists_[kDays + 1];
      while (list >= 0) {
        Entry& entry = far_[static_cast<std::size_t>(list)];
        put_near(entry.event);
        --far_count_;
        const std::int32_t next = std::exchange(entry.next, free);
        free = std::exchange(list, next);
      }
      ++today_;
      return;
    }
    make_calendar();
  }
}

/// Of those after the last day.
void EventQueue::make_calendar() {
  double first = kNever, earliest = kNever, second = kNever;
  const std::size_t step = far_count_ / kSeen + 1;
  std::size_t i = 0;
  for (std::int32_t entry = lists_[kDays]; entry >= 0; entry = far_[static_cast<std::size_t>(entry)].next, ++i) {
    const double at = far_[static_cast<std::size_t>(entry)].event.at;
    first = std::min(first, at);
    if (i % step != 0) continue;
    second = std::min(second, std::max(earliest, at));
    earliest = std::min(earliest, at);
  }
  ESPALIER_CHECK(first < kNever);
  if (second == kNever) second = earliest;
  first_at_ = first;
  days_per_us_ = kDays / std::max(kLeastSpan, static_cast<double>(kSeen) / 2 * (second - first));
  today_ = 0;
  relink(kDays, [this](const Event& event) { return day_of(event); });
}

}  // namespace espalier::sim

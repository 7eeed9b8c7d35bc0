// Days of the calendar, and who lies where.
#include "sim/event_queue.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "core/error.h"

namespace espalier::sim {
namespace {

/// The calendar ends twice as far as events of even spread would, seen from the second earliest of so many: those
/// beyond, however far, are left for the next.
constexpr std::size_t kSeen = 16;
/// Of events at one time, who all lie in the first day.
constexpr double kLeastSpan = 1e-200;

}  // namespace

void EventQueue::put_far(Event event, double day) {
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

/// The first of a list, which is empty then.
std::int32_t EventQueue::take_list(std::size_t list) {
  taken_[list / kDaysAWord] &= ~(std::uint64_t{1} << list % kDaysAWord);
  return std::exchange(lists_[list], -1);
}

/// Everybody in a list goes to the day that `day` says.
template <class Day>
void EventQueue::relink(std::size_t list, Day day) {
  for (std::int32_t entry = take_list(list); entry >= 0;) {
    const std::int32_t next = far_[static_cast<std::size_t>(entry)].next;
    link(entry, day(far_[static_cast<std::size_t>(entry)].event));
    entry = next;
  }
}

void EventQueue::make_room() {
  if (2 * begin_ <= near_.size()) return near_.resize(std::max<std::size_t>(16, 2 * near_.size()));
  std::copy(near_.begin() + static_cast<std::ptrdiff_t>(begin_), near_.begin() + static_cast<std::ptrdiff_t>(end_),
            near_.begin());
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
  taken_.resize(kWords + 1);
  // Whoever is in the calendar waits for the next one.
  for (std::size_t word = 0; word < kWords; ++word) {
    while (taken_[word] != 0) relink(first_list(word), [](const Event&) { return kDays; });
  }
  for (std::size_t i = cut; i < end_; ++i) put_far(near_[i], kDays);
  end_ = cut;
  near_[end_].at = kNever;
  make_calendar();
}

/// Of a word that isn't 0.
std::size_t EventQueue::first_list(std::size_t word) const {
  return word * kDaysAWord + static_cast<std::size_t>(std::countr_zero(taken_[word]));
}

/// Nobody is left in order, but somebody is in the calendar.
void EventQueue::next_day() {
  begin_ = end_ = 0;
  auto word = static_cast<std::size_t>(today_) / kDaysAWord;
  while (word == kWords || taken_[word] == 0) {
    if (word++ < kWords) continue;
    make_calendar();
    word = 0;
  }
  const std::size_t day = first_list(word);  // days that are over have been emptied
  today_ = static_cast<std::int32_t>(day) + 1;
  std::int32_t& free = lists_[kDays + 1];
  for (std::int32_t entry = take_list(day); entry >= 0; --far_count_) {
    Entry& taken = far_[static_cast<std::size_t>(entry)];
    put_near(taken.event);
    entry = std::exchange(taken.next, std::exchange(free, entry));
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
  days_per_us_ = kDays / std::max(kLeastSpan, static_cast<double>(kSeen) * (second - first));
  today_ = 0;
  relink(kDays, [this](Event event) { return day_of(event); });
}

}  // namespace espalier::sim

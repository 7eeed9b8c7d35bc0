// Order among the next few, and who they are.
#include "sim/event_queue.h"

#include <algorithm>

namespace espalier::sim {
namespace {

/// So many or fewer in the bag are put in order together.
constexpr std::size_t kFew = 16;

/// The second earliest of kFew events at equal distances: an eighth of all is at or before it, at the mean, and at least two are.
double early_time(const std::vector<Event>& events) {
  const std::size_t step = events.size() / kFew;
  double first = events[0].at, second = events[step].at;
  if (second < first) std::swap(first, second);
  for (std::size_t i = 2; i < kFew; ++i) {
    const double at = events[i * step].at;
    second = std::min(second, std::max(first, at));
    first = std::min(first, at);
  }
  return second;
}

}  // namespace

void EventQueue::spill() {
  // Events of one time stay together.
  const auto size = std::ssize(near_);
  std::ptrdiff_t cut = next_ + kMostNear / 2;
  const auto at = [&](std::ptrdiff_t i) { return near_[static_cast<std::size_t>(i)].at; };
  while (cut < size && at(cut) == at(cut - 1)) ++cut;
  if (cut == size) return;
  limit_ = at(cut - 1);
  far_.insert(far_.end(), near_.begin() + cut, near_.end());
  near_.resize(static_cast<std::size_t>(cut));
}

void EventQueue::refill() {
  if (far_.size() <= kFew) {
    near_.swap(far_);
  } else {
    limit_ = early_time(far_);
    Event* end = far_.data() + far_.size();
    for (Event* event = far_.data(); event < end;) {
      if (event->at > limit_) {
        ++event;
        continue;
      }
      near_.push_back(*event);
      *event = *--end;
    }
    far_.resize(static_cast<std::size_t>(end - far_.data()));
  }
  std::sort(near_.begin(), near_.end(), before);
}

}  // namespace espalier::sim

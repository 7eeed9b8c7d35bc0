// When CTAs of two lengths are through, by how the device hands them to its slots: the two ends of what the dispatch
// benchmark (C17) can show.
#pragma once

#include <cstdint>

namespace espalier::sim {

/// CTAs `first`, `first` + `step`, … of which the even-numbered take `even` and the others `odd`.
struct UnequalCtas {
  std::int64_t first = 0, step = 1, count = 0;
  double even = 0, odd = 0;
};

/// Each goes, in order, to the slot that is free first. Time until the last has ended.
double dispatch_by_room(const UnequalCtas& ctas, std::int64_t slots);

/// CTA i waits for a slot of SM i modulo `sms`, whatever is free elsewhere. `ctas.first` is 0 and its step 1.
double dispatch_round_robin(const UnequalCtas& ctas, std::int64_t sms, std::int64_t slots_per_sm);

}  // namespace espalier::sim

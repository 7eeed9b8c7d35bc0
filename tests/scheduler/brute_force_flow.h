// What brute force has learnt of a plan's data flow, and the two questions that only time decides: are writers always
// done before their readers, and may slots share bytes?
#pragma once

#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "scheduler/plan.h"

namespace espalier::scheduler::samples {

using Cell = std::tuple<int, int, int>;  // slot, row, head

/// A task or a step.
struct Event {
  bool step;
  int item;
  friend auto operator<=>(const Event&, const Event&) = default;
};

struct Flow {
  const Plan& plan;
  std::map<int, std::set<int>> after_launch = {};      ///< launches that end before it begins
  std::map<Event, std::pair<int, int>> phase_of = {};  ///< launch, phase
  std::map<Cell, int> written = {};
  std::map<Cell, Event> writer = {}, reader = {};        ///< the reader that takes a cell
  std::map<Cell, int> written_row = {}, taken_row = {};  ///< row within the step
  std::vector<std::pair<Cell, Event>> scans = {};        ///< further readers, which leave it
};

/// Every reader waits for its writers, and nothing waits for itself.
bool ordered(const Flow& flow);
/// Two elements that share bytes: one is done with before the other is written, or the writer is the step that takes
/// it. After ordered().
bool storage_sound(const Flow& flow);

}  // namespace espalier::scheduler::samples

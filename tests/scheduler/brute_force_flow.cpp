// Written from the comments of scheduler/plan.h alone, sharing no code with the validator.
#include "tests/scheduler/brute_force_flow.h"

namespace espalier::scheduler::samples {
namespace {

class Ordering {
 public:
  explicit Ordering(const Flow& flow) : flow_(flow) {}

  bool ordered() {
    for (const auto& [cell, reader] : flow_.reader) {
      if (!waits(flow_.writer.at(cell), reader)) return false;
    }
    for (const auto& [cell, task] : flow_.scans) {
      if (!waits(flow_.writer.at(cell), task) || !waits(flow_.reader.at(cell), task)) return false;
    }
    std::map<Event, int> colour;
    for (const auto& [event, next] : edges_) {
      if (circle(event, colour)) return false;
    }
    return true;
  }

  bool storage() const {
    struct Element {
      Cell cell;
      std::int64_t begin, end;
    };
    std::vector<Element> elements;
    for (const auto& [cell, count] : flow_.written) {
      const auto [s, row, h] = cell;
      const Slot& slot = flow_.plan.slots[SlotId(s)];
      const std::int64_t bytes = traces::dtype_bytes(slot.dtype) * slot.columns;
      const std::int64_t before = std::int64_t{row} * slot.head_count + (h - slot.head_begin);
      const std::int64_t begin = slot.offset + bytes * before;
      if (begin < 0 || begin + bytes > flow_.plan.workspace_bytes || slot.offset % 16 != 0) return false;
      elements.push_back({cell, begin, begin + bytes});
      if (slot.kind != SlotKind::partial) continue;
      const std::int64_t lse = slot.offset + bytes * slot.queries.size() * slot.head_count + 4 * before;
      if (lse + 4 > flow_.plan.workspace_bytes) return false;
      elements.push_back({cell, lse, lse + 4});
    }
    for (const Element& a : elements) {
      for (const Element& b : elements) {
        if (std::get<0>(a.cell) == std::get<0>(b.cell) || a.begin >= b.end || b.begin >= a.end) continue;
        if (!done_before(a.cell, b.cell) && !done_before(b.cell, a.cell)) return false;
      }
    }
    return true;
  }

 private:
  bool done_before(const Cell& first, const Cell& second) const {
    const Event writer = flow_.writer.at(second), reader = flow_.reader.at(first);
    if (writer.step && writer == reader && flow_.taken_row.at(first) == flow_.written_row.at(second) &&
        std::get<2>(first) == std::get<2>(second)) {
      return true;
    }
    if (!finished_before(flow_.writer.at(first), writer) || !finished_before(reader, writer)) return false;
    for (const auto& [cell, task] : flow_.scans) {
      if (cell == first && !finished_before(task, writer)) return false;
    }
    return true;
  }

  bool finished_before(Event a, Event b) const {
    const auto [launch_a, phase_a] = flow_.phase_of.at(a);
    const auto [launch_b, phase_b] = flow_.phase_of.at(b);
    if (launch_a != launch_b) {
      return flow_.after_launch.count(launch_b) > 0 && flow_.after_launch.at(launch_b).count(launch_a) > 0;
    }
    for (int p = phase_a + 1; p <= phase_b; ++p) {
      if (flow_.plan.phases[static_cast<std::size_t>(p)].start == PhaseStart::barrier) return true;
    }
    return false;
  }

  bool waits(Event before, Event after) {
    if (finished_before(before, after)) return true;
    const auto [launch_a, phase_a] = flow_.phase_of.at(before);
    const auto [launch_b, phase_b] = flow_.phase_of.at(after);
    if (!after.step || launch_a != launch_b || phase_a > phase_b) return false;
    if (flow_.plan.phases[static_cast<std::size_t>(phase_b)].start != PhaseStart::on_arrival) return false;
    edges_[before].insert(after);
    return true;
  }

  bool circle(Event event, std::map<Event, int>& colour) const {
    if (colour[event] != 0) return colour[event] == 1;
    colour[event] = 1;
    if (const auto at = edges_.find(event); at != edges_.end()) {
      for (const Event& next : at->second) {
        if (circle(next, colour)) return true;
      }
    }
    colour[event] = 2;
    return false;
  }

  const Flow& flow_;
  std::map<Event, std::set<Event>> edges_;
};

}  // namespace

bool ordered(const Flow& flow) { return Ordering(flow).ordered(); }
bool storage_sound(const Flow& flow) { return Ordering(flow).storage(); }

}  // namespace espalier::scheduler::samples

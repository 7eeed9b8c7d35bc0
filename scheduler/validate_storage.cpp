// Storage: slots that share bytes must not be alive together, and a merge may write in place only over the very rows it
// reads.
//
// "Alive" is decided by order that the plan enforces (dependencies, streams, barriers), never by position. Slots of one
// layout at one offset are compared row by row, so that in-place merges of some of the rows are possible.
#include <algorithm>
#include <tuple>

#include "core/error.h"
#include "core/units.h"
#include "scheduler/plan_builder.h"
#include "scheduler/validate_internal.h"

namespace espalier::scheduler::validation {
namespace {

using enum ViolationClass;

/// One past the slot's last byte; INT64_MAX when it doesn't fit 63 bits.
std::int64_t storage_end(const Slot& slot) {
  try {
    return core::checked_add(slot.offset, slot_bytes(slot));
  } catch (const core::Error&) {
    return INT64_MAX;
  }
}

/// Slots that agree in this have equal rows in equal bytes, and as many of them: the log-sum-exps stand behind all
/// rows.
auto layout_of(const Slot& slot) {
  return std::tuple(slot.offset, slot.kind, slot.dtype, slot.columns, slot.queries.size(), slot.head_begin,
                    slot.head_count);
}

class Storage {
 public:
  Storage(const Facts& facts, const SlotAccesses& accesses, Report& report)
      : facts_(facts), accesses_(accesses), report_(report), order_(facts) {}

  void run() {
    std::vector<Extent> extents;
    for (const SlotId id : core::ids<SlotId>(facts_.plan.slots.size())) {
      const Slot& slot = facts_.plan.slots[id];
      if (!facts_.slot_good[id.index()] || slot.columns < 0 || slot.columns == INT64_MAX) continue;
      const std::int64_t end = storage_end(slot);
      if (slot.offset < 0 || end > facts_.plan.workspace_bytes || end == INT64_MAX) {
        report_.add(storage_overlap, "slot {} takes bytes [{}, {}) of a workspace of {}", id.value, slot.offset, end,
                    facts_.plan.workspace_bytes);
        continue;
      }
      if (slot.offset % kSlotAlignment != 0) {
        report_.add(storage_overlap, "slot {} begins at byte {}, which is no multiple of {}", id.value, slot.offset,
                    kSlotAlignment);
      }
      extents.push_back({slot.offset, end, id});
    }
    if (facts_.plan.workspace_bytes < 0) {
      report_.add(storage_overlap, "the workspace has {} bytes", facts_.plan.workspace_bytes);
    }
    std::sort(extents.begin(), extents.end(), [&](const Extent& a, const Extent& b) {
      return std::pair(layout_of(slot(a)), first_write(a.slot)) < std::pair(layout_of(slot(b)), first_write(b.slot));
    });
    std::vector<std::span<const Extent>> groups;  // of one layout; by offset
    for (auto from = extents.begin(); from != extents.end();) {
      const auto to = std::find_if(from, extents.end(),
                                   [&](const Extent& e) { return layout_of(slot(e)) != layout_of(slot(*from)); });
      groups.emplace_back(from, to);
      from = to;
    }
    for (std::size_t i = 0; i < groups.size(); ++i) {
      check_group(groups[i]);
      for (std::size_t j = i + 1; j < groups.size() && groups[j][0].begin < groups[i][0].end; ++j) {
        check_groups(groups[i], groups[j]);
      }
      if (!report_.room(storage_overlap)) return;
    }
  }

 private:
  struct Extent {
    std::int64_t begin, end;
    SlotId slot;
  };
  const Slot& slot(const Extent& extent) const { return facts_.plan.slots[extent.slot]; }

  /// Phase and item of the earliest write; the slot makes the order total.
  std::tuple<std::int32_t, bool, std::int32_t, SlotId> first_write(SlotId slot) const {
    std::tuple first(INT32_MAX, true, INT32_MAX, slot);
    for (const Access& write : accesses_.writes.of(slot)) {
      first = std::min(first, std::tuple(write.phase, write.by_step, write.item, slot));
    }
    return first;
  }

  /// Each row of a slot is written once (check_flow), so what is dead before its successor in a chain is dead before
  /// all that follow: neighbours in the order of their writes are enough, and all pairs are looked at only where that
  /// order is no such chain.
  void check_group(std::span<const Extent> group) {
    bool chain = true;
    for (std::size_t i = 1; i < group.size() && chain; ++i) chain = dies_before(group[i - 1].slot, group[i].slot);
    if (chain) return;
    for (std::size_t i = 0; i < group.size(); ++i) {
      for (std::size_t j = i + 1; j < group.size() && report_.room(storage_overlap); ++j) {
        check_pair(group[i].slot, group[j].slot);
      }
    }
  }

  void check_groups(std::span<const Extent> first, std::span<const Extent> second) {
    for (const Extent& a : first) {
      for (const Extent& b : second) {
        if (!report_.room(storage_overlap)) return;
        check_pair(a.slot, b.slot);
      }
    }
  }

  void check_pair(SlotId a, SlotId b) {
    if (dies_before(a, b) || dies_before(b, a)) return;
    report_.add(
        storage_overlap, "slots {} and {} share bytes from {} on, and neither is dead before the other is written",
        std::min(a, b).value, std::max(a, b).value, std::max(facts_.plan.slots[a].offset, facts_.plan.slots[b].offset));
  }

  /// Everything that touches a byte of `first` is over when `second` is written there.
  bool dies_before(SlotId first, SlotId second) {
    const bool rows = layout_of(facts_.plan.slots[first]) == layout_of(facts_.plan.slots[second]);
    for (const Access& write : accesses_.writes.of(second)) {
      if (rows && merges_in_place(write, first)) continue;
      for (const AccessTable* table : {&accesses_.writes, &accesses_.reads, &accesses_.scans}) {
        for (const Access& access : table->of(first)) {
          const bool meets = !rows || (access.row_begin < write.row_end && write.row_begin < access.row_end &&
                                       access.head_begin < write.head_end && write.head_begin < access.head_end);
          if (meets && !order_.ordered(access.phase, write.phase)) return false;
        }
      }
    }
    return true;
  }

  /// The step that writes is the one that takes the very same rows and heads; a row is taken once, so nobody else needs
  /// them later, and the step waits for whoever wrote them.
  bool merges_in_place(const Access& write, SlotId first) const {
    if (!write.by_step) return false;
    const std::span<const Access> reads = accesses_.reads.of(first);
    return std::any_of(reads.begin(), reads.end(), [&](const Access& read) {
      return read.by_step && read.item == write.item && read.row_begin == write.row_begin &&
             read.row_end == write.row_end && read.head_begin == write.head_begin && read.head_end == write.head_end;
    });
  }

  const Facts& facts_;
  const SlotAccesses& accesses_;
  Report& report_;
  PhaseOrder order_;
};

}  // namespace

void check_storage(const Facts& facts, const SlotAccesses& accesses, Report& report) {
  Storage(facts, accesses, report).run();
}

}  // namespace espalier::scheduler::validation

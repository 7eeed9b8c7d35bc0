// Storage: slots that share bytes must not be alive together, and a merge may write in place only over the very rows it reads.
//
// "Alive" is decided by order that the plan enforces (dependencies, barriers), never by position. Slots of one layout at one offset are
// compared row by row, so that in-place merges of some of the rows are possible.
#include <algorithm>

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

/// Equal rows of these slots lie in equal bytes.
bool same_layout(const Slot& a, const Slot& b) {
  return a.offset == b.offset && a.kind == b.kind && a.head_begin == b.head_begin && a.head_count == b.head_count &&
         a.columns == b.columns && a.dtype == b.dtype;
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
      extents.push_back({slot.offset, end, id});
    }
    if (facts_.plan.workspace_bytes < 0) report_.add(storage_overlap, "the workspace has {} bytes", facts_.plan.workspace_bytes);
    std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
      return std::pair(a.begin, a.slot) < std::pair(b.begin, b.slot);
    });
    for (std::size_t i = 0; i < extents.size(); ++i) {
      for (std::size_t j = i + 1; j < extents.size() && extents[j].begin < extents[i].end; ++j) {
        check_pair(extents[i].slot, extents[j].slot);
        if (!report_.room(storage_overlap)) return;
      }
    }
  }

 private:
  struct Extent {
    std::int64_t begin, end;
    SlotId slot;
  };

  void check_pair(SlotId a, SlotId b) {
    if (dies_before(a, b) || dies_before(b, a)) return;
    report_.add(storage_overlap, "slots {} and {} share bytes from {} on, and neither is dead before the other is written", a.value, b.value,
                std::max(facts_.plan.slots[a].offset, facts_.plan.slots[b].offset));
  }

  /// Everything that touches a byte of `first` is over when `second` is written there.
  bool dies_before(SlotId first, SlotId second) {
    const bool rows = same_layout(facts_.plan.slots[first], facts_.plan.slots[second]);
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

  /// The step that writes is the one that takes the very same rows and heads; a row is taken once, so nobody else needs them later,
  /// and the step waits for whoever wrote them.
  bool merges_in_place(const Access& write, SlotId first) const {
    if (!write.by_step) return false;
    const std::span<const Access> reads = accesses_.reads.of(first);
    return std::any_of(reads.begin(), reads.end(), [&](const Access& read) {
      return read.by_step && read.item == write.item && read.row_begin == write.row_begin && read.row_end == write.row_end &&
             read.head_begin == write.head_begin && read.head_end == write.head_end;
    });
  }

  const Facts& facts_;
  const SlotAccesses& accesses_;
  Report& report_;
  PhaseOrder order_;
};

}  // namespace

void check_storage(const Facts& facts, const SlotAccesses& accesses, Report& report) { Storage(facts, accesses, report).run(); }

}  // namespace espalier::scheduler::validation

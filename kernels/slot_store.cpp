// Where each element of each slot lives: its own memory, or cells addressed by its bytes of the workspace.
#include "kernels/slot_store.h"

#include <algorithm>
#include <limits>

#include "core/units.h"
#include "kernels/plan_access.h"

namespace espalier::kernels {
namespace {

using scheduler::Plan;
using scheduler::Slot;
using scheduler::SlotId;
using scheduler::SlotKind;

constexpr double kPoison = std::numeric_limits<double>::quiet_NaN();
constexpr std::int64_t kMaxCells = std::int64_t{1} << 31;  // 16 GiB: beyond any plan that one would interpret

constexpr std::int64_t kLseBytes = 4;  // whatever the dtype of the columns

void check_cells(std::int64_t cells) {
  if (cells < 0 || cells > kMaxCells) {
    throw core::bad_input("plan: slots", fmt::format("at most {} elements to interpret", kMaxCells),
                          std::to_string(cells));
  }
}

void check_slot(const Plan& plan, const Slot& slot) {
  slice("slot queries", plan.query_rows, slot.queries);
  check_interval("slot columns", 0, slot.columns, kMaxCells);
  check_interval("slot heads", slot.head_begin, std::int64_t{slot.head_begin} + slot.head_count, plan.heads.q_heads);
}

/// Cells that stand for `cell_bytes` bytes each; 0: one cell an element.
RowLayout layout_of(const Slot& slot, std::int64_t cell_bytes) {
  const bool partial = slot.kind == SlotKind::partial;
  if (cell_bytes == 0) return {slot.columns, 1, partial ? 1 : 0};
  return {slot.columns, traces::dtype_bytes(slot.dtype) / cell_bytes, partial ? kLseBytes / cell_bytes : 0};
}

}  // namespace

void SlotRow::write(double* at, std::int64_t cells, double value) {
  *at = value;
  // The element's other bytes: whoever thinks that a value of its own begins there finds poison.
  for (std::int64_t i = 1; i < cells; ++i) at[i] = kPoison;
}

SlotStore::SlotStore(const Plan& plan, bool shared) : plan_(plan), places_(plan.slots.size()) {
  std::int64_t cell_bytes = kLseBytes, cells = 0;
  for (const Slot& slot : plan.slots) {
    check_slot(plan, slot);
    cell_bytes = std::min<std::int64_t>(cell_bytes, traces::dtype_bytes(slot.dtype));
  }
  for (const SlotId id : core::ids<SlotId>(plan.slots.size())) {
    const Slot& slot = plan.slots[id];
    Place& place = places_[id];
    place.layout = layout_of(slot, shared ? cell_bytes : 0);
    const std::int64_t rows = core::checked_mul(slot.queries.size(), slot.head_count);
    const std::int64_t needed = core::checked_mul(rows, place.layout.cells());
    place.first_lse = needed - rows * place.layout.lse_cells;
    if (shared) {
      if (slot.offset % scheduler::kSlotAlignment != 0) {
        throw core::bad_input("plan: slot offset", fmt::format("a multiple of {} bytes", scheduler::kSlotAlignment),
                              std::to_string(slot.offset));
      }
      check_interval("slot storage", slot.offset, core::checked_add(slot.offset, core::checked_mul(needed, cell_bytes)),
                     plan.workspace_bytes);
      place.first_cell = slot.offset / cell_bytes;
    } else {
      place.first_cell = cells;
      cells += needed;
      check_cells(cells);
    }
  }
  if (shared) cells = core::ceil_div(plan.workspace_bytes, cell_bytes);
  check_cells(cells);
  cells_.assign(static_cast<std::size_t>(cells), kPoison);
}

SlotRow SlotStore::partial(SlotId slot, std::int64_t row, std::int32_t head) {
  return this->row(SlotKind::partial, slot, row, head);
}
SlotRow SlotStore::scores(SlotId slot, std::int64_t row, std::int32_t head) {
  return this->row(SlotKind::scores, slot, row, head);
}

SlotRow SlotStore::row(SlotKind kind, SlotId slot, std::int64_t row, std::int32_t head) {
  const Slot& shape = row_of("slot", plan_.slots, slot);
  if (shape.kind != kind) {
    throw core::bad_input(fmt::format("plan: slot {}", slot.value),
                          kind == SlotKind::partial ? "a slot of partial rows" : "a slot of scores", "the other kind");
  }
  check_interval("row of a slot", row, row + 1, shape.queries.size());
  check_interval("head of a slot", head - shape.head_begin, head - shape.head_begin + 1, shape.head_count);
  const Place& place = places_[slot];
  const std::int64_t before = row * shape.head_count + head - shape.head_begin;
  const RowLayout& layout = place.layout;
  double* cells = cells_.data() + place.first_cell;
  return {cells + before * layout.columns * layout.column_cells, cells + place.first_lse + before * layout.lse_cells,
          layout};
}

std::int64_t SlotStore::find_row(SlotId slot, traces::RequestId request, std::int64_t hint) const {
  const Slot& shape = row_of("slot", plan_.slots, slot);
  const auto rows = slice("slot queries", plan_.query_rows, shape.queries);
  if (hint >= 0 && hint < static_cast<std::int64_t>(rows.size()) && rows[static_cast<std::size_t>(hint)] == request) {
    return hint;
  }
  const auto found = std::find(rows.begin(), rows.end(), request);
  return found == rows.end() ? -1 : found - rows.begin();
}

}  // namespace espalier::kernels

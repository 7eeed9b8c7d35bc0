// Memory of a plan's slots while the interpreter runs it: fp64 cells, NaN until written.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/plan.h"

namespace espalier::kernels {

/// Cells of the elements of a slot: all columns of all rows and heads, then the log-sum-exps of partial rows.
struct RowLayout {
  std::int64_t columns = 0;
  std::int64_t column_cells = 1;  ///< cells of one column
  std::int64_t lse_cells = 0;     ///< cells of one log-sum-exp
  std::int64_t cells() const { return columns * column_cells + lse_cells; }
};

/// The numbers of one (row, head) of a slot.
class SlotRow {
 public:
  /// `lse` is not touched for slots without log-sum-exps.
  SlotRow(double* cells, double* lse, const RowLayout& layout) : cells_(cells), lse_(lse), layout_(&layout) {}
  std::int64_t columns() const { return layout_->columns; }
  double operator[](std::int64_t column) const { return cells_[column * layout_->column_cells]; }
  void set(std::int64_t column, double value) const {
    write(cells_ + column * layout_->column_cells, layout_->column_cells, value);
  }
  double lse() const { return *lse_; }
  void set_lse(double value) const { write(lse_, layout_->lse_cells, value); }

 private:
  static void write(double* at, std::int64_t cells, double value);

  double* cells_;
  double* lse_;
  const RowLayout* layout_;
};

class SlotStore {
 public:
  /// `shared`: a cell stands for some bytes of the workspace, so slots that overlap there overlap here. Throws Error
  /// (bad input) for slots outside the workspace or off their alignment, or more cells than any sane run needs.
  SlotStore(const scheduler::Plan& plan, bool shared);

  /// Throws Error (bad input) when the slot is of the other kind or has no such row or head (of the whole
  /// configuration).
  SlotRow partial(scheduler::SlotId slot, std::int64_t row, std::int32_t head);
  SlotRow scores(scheduler::SlotId slot, std::int64_t row, std::int32_t head);
  /// Row that belongs to `request`, -1 if none does; looks at `hint` first.
  std::int64_t find_row(scheduler::SlotId slot, traces::RequestId request, std::int64_t hint = 0) const;

 private:
  struct Place {
    std::int64_t first_cell = 0;
    std::int64_t first_lse = 0;  ///< from first_cell on
    RowLayout layout;
  };
  SlotRow row(scheduler::SlotKind kind, scheduler::SlotId slot, std::int64_t row, std::int32_t head);

  const scheduler::Plan& plan_;
  core::Column<scheduler::SlotId, Place> places_;
  std::vector<double> cells_;
};

}  // namespace espalier::kernels

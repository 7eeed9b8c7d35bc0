// Folding by cells: what is too small to draw alone is summed up in cells, which are drawn as runs of alike ones.
#pragma once

#include <cstdint>
#include <vector>

#include "viz/scene/palette.h"

namespace espalier::viz {

/// A run of cells of one row: columns [begin, end).
struct CellRun {
  std::int32_t row = 0, begin = 0, end = 0;
  Paint paint = Paint::none;
  std::uint8_t level = 0;  ///< 1..kLevels: how full the cells are
};

class CellGrid {
 public:
  static constexpr int kLevels = 4;
  CellGrid(std::int32_t columns, std::int32_t rows);

  /// Adds `weight` a cell to the cells of a rectangle, to cut ones by their share; clipped. O(1).
  struct Box {
    double column_begin, column_end, row_begin, row_end;
  };
  void add(Box box, Paint paint, double weight = 1);
  /// Runs by row; a cell shows the paint with the largest sum, and how full all paints together make it (1 is full).
  /// Cells less than an eighth of the lowest level full stay empty.
  std::vector<CellRun> runs() const;

 private:
  std::int32_t columns_, rows_;
  std::vector<std::vector<double>> change_;  ///< by paint, made on first use: second differences along rows and columns
};

/// The same for one row of cells at a time, which stays in the processor's cache.
class CellRow {
 public:
  explicit CellRow(std::int32_t columns);
  /// Adds `weight` a cell to columns [begin, end), to cut ones by their share; clipped. O(1).
  void add(double begin, double end, Paint paint, double weight);
  /// Appends the row's runs and begins an empty row. O(columns x paints used).
  void finish(std::int32_t row, std::vector<CellRun>& out);

 private:
  struct Layer {
    std::vector<double> change;  ///< differences along the row; empty until the paint is used
    double running = 0;
    bool used = false;  ///< in this row
  };
  std::int32_t columns_;
  std::vector<Layer> layers_;      ///< by paint
  std::vector<std::size_t> used_;  ///< of the layers, in this row
};

/// Share of opacity that shows a level: cells that are hardly full must stay visible.
std::uint8_t level_alpha(std::uint8_t level);

}  // namespace espalier::viz

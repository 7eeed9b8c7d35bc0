#include "viz/model/cell_grid.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace espalier::viz {
namespace {

/// The overlap of an interval with the cells 0, 1, 2, …, as at most four steps.
struct Steps {
  std::size_t at[4];
  double by[4];
  std::size_t count;
};

Steps steps_of(double begin, double end) {
  const auto first = static_cast<std::size_t>(begin), last = static_cast<std::size_t>(end);
  if (first == last) return {{first, first + 1, 0, 0}, {end - begin, begin - end, 0, 0}, 2};
  const double head = static_cast<double>(first) + 1 - begin, rest = end - static_cast<double>(last);
  return {{first, first + 1, last, last + 1}, {head, 1 - head, rest - 1, -rest}, 4};
}

/// Adds a cell to the last run or begins one; cells that are hardly full are left out.
void append_cell(std::vector<CellRun>& out, std::int32_t row, std::int32_t column, Paint paint, double sum) {
  const double full = std::min(1.0, sum) * CellGrid::kLevels;
  if (full < 0.125) return;
  const auto level = static_cast<std::uint8_t>(std::clamp(static_cast<int>(full + 0.5), 1, CellGrid::kLevels));
  const bool goes_on = !out.empty() && out.back().row == row && out.back().end == column && out.back().paint == paint &&
                       out.back().level == level;
  if (goes_on) {
    ++out.back().end;
  } else {
    out.push_back({row, column, column + 1, paint, level});
  }
}

}  // namespace

CellGrid::CellGrid(std::int32_t columns, std::int32_t rows)
    : columns_(std::max(1, columns)), rows_(std::max(1, rows)), change_(kPaints) {}

void CellGrid::add(Box box, Paint paint, double weight) {
  const double left = std::max(0.0, box.column_begin), right = std::min(box.column_end, static_cast<double>(columns_));
  const double top = std::max(0.0, box.row_begin), bottom = std::min(box.row_end, static_cast<double>(rows_));
  if (!(right > left && bottom > top)) return;
  auto& change = change_[static_cast<std::size_t>(paint)];
  const std::size_t stride = static_cast<std::size_t>(columns_) + 2;
  if (change.empty()) change.resize(stride * (static_cast<std::size_t>(rows_) + 2));
  const Steps across = steps_of(left, right), down = steps_of(top, bottom);
  for (std::size_t r = 0; r < down.count; ++r) {
    if (down.by[r] == 0) continue;
    for (std::size_t c = 0; c < across.count; ++c) {
      change[stride * down.at[r] + across.at[c]] += weight * down.by[r] * across.by[c];
    }
  }
}

std::vector<CellRun> CellGrid::runs() const {
  std::vector<std::size_t> used;
  for (std::size_t p = 0; p < change_.size(); ++p) {
    if (!change_[p].empty()) used.push_back(p);
  }
  const std::size_t stride = static_cast<std::size_t>(columns_) + 2;
  std::vector<std::vector<double>> above(used.size(), std::vector<double>(stride));  // column-wise sums so far
  std::vector<double> running(used.size());
  std::vector<CellRun> out;
  for (std::int32_t row = 0; row < rows_; ++row) {
    std::fill(running.begin(), running.end(), 0.0);
    for (std::int32_t column = 0; column < columns_; ++column) {
      const std::size_t at = stride * static_cast<std::size_t>(row) + static_cast<std::size_t>(column);
      double sum = 0, largest = 0;
      std::size_t best = 0;
      for (std::size_t u = 0; u < used.size(); ++u) {
        running[u] += above[u][static_cast<std::size_t>(column)] += change_[used[u]][at];
        sum += running[u];
        if (running[u] <= largest) continue;
        largest = running[u];
        best = used[u];
      }
      append_cell(out, row, column, static_cast<Paint>(best), sum);
    }
  }
  return out;
}

CellRow::CellRow(std::int32_t columns) : columns_(std::max(1, columns)), layers_(kPaints) {}

void CellRow::add(double begin, double end, Paint paint, double weight) {
  begin = std::max(0.0, begin);
  end = std::min(end, static_cast<double>(columns_));
  if (!(end > begin)) return;
  const auto at = static_cast<std::size_t>(paint);
  Layer& layer = layers_[at];
  if (!layer.used) {
    if (layer.change.empty()) layer.change.resize(static_cast<std::size_t>(columns_) + 2);
    layer.used = true;
    layer.running = 0;
    used_.push_back(at);
  }
  const Steps steps = steps_of(begin, end);
  for (std::size_t i = 0; i < steps.count; ++i) layer.change[steps.at[i]] += weight * steps.by[i];
}

void CellRow::finish(std::int32_t row, std::vector<CellRun>& out) {
  std::sort(used_.begin(), used_.end());
  for (std::int32_t column = 0; column < columns_; ++column) {
    double sum = 0, largest = 0;
    std::size_t best = 0;
    for (const std::size_t u : used_) {
      Layer& layer = layers_[u];
      layer.running += layer.change[static_cast<std::size_t>(column)];
      sum += layer.running;
      if (layer.running <= largest) continue;
      largest = layer.running;
      best = u;
    }
    append_cell(out, row, column, static_cast<Paint>(best), sum);
  }
  for (const std::size_t u : used_) {
    std::fill(layers_[u].change.begin(), layers_[u].change.end(), 0.0);
    layers_[u].used = false;
  }
  used_.clear();
}

std::uint8_t level_alpha(std::uint8_t level) {
  static constexpr std::uint8_t kAlpha[] = {0, 115, 175, 220, 255};
  return kAlpha[std::min<std::size_t>(level, 4)];
}

}  // namespace espalier::viz

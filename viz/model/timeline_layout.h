// A timeline as boxes: lanes by SM and slot, culled by binary search, folded where boxes would be too small to see.
//
// Index once a timeline, lay out once a view. A row is a lane where there is room, else one or more whole SMs, drawn as
// cells.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "scheduler/timeline.h"
#include "sim/simulator.h"
#include "viz/model/colouring.h"
#include "viz/scene/scene.h"

namespace espalier::viz {

struct TimelineIndex {
  std::vector<std::int32_t> lanes;  ///< lanes of the timeline in the order shown: SM, then slot
  std::vector<std::int32_t> sm;     ///< of each shown lane; -1 for lanes of another name
  std::vector<std::int32_t>
      lane_begin;                  ///< shown lane i has spans [lane_begin[i], lane_begin[i + 1]) of the columns below
  std::vector<std::int32_t> span;  ///< index into Timeline::spans, by begin within a lane
  std::vector<double> begin_us, end_us;
  std::vector<double> latest_end_us;  ///< of this and all earlier spans of the lane
  std::array<std::vector<Paint>, kColourings> paint;
  std::vector<Item> item;
  std::vector<std::int32_t> gaps;  ///< spans that are launch gaps or barriers
  double makespan_us = 0;
  std::int64_t left_out = 0;  ///< CTAs that weren't recorded, as there were too many
  double recorded_us = 0;     ///< when that began; else the makespan
  const std::vector<Paint>& paint_by(ColourBy colour_by) const { return paint[static_cast<std::size_t>(colour_by)]; }
};
/// CTAs that pictures show at most; what comes after is simulated, but not recorded.
inline constexpr std::int64_t kMostSpans = 1'000'000;

/// By colouring, then by task id.
using TaskPaints = std::array<std::vector<Paint>, kColourings>;
/// `result` must be of `plan` and hold a timeline. Colourings that `paints` leaves empty can't be drawn.
TimelineIndex index_timeline(const sim::SimResult& result, const TaskPaints& paints);
/// Coloured by queries only.
TimelineIndex index_timeline(const sim::SimResult& result, const scheduler::Plan& plan);

struct TimelineWindow {
  double begin_us = 0, end_us = 1;
  std::int32_t first_lane = 0, lane_count = 0;
  double width_px = 1, height_px = 1;
  double min_px = 3;                ///< narrower boxes are folded, flatter rows share lanes
  std::int64_t max_boxes = 50'000;  ///< never more; cells grow instead
  ColourBy colour_by = ColourBy::queries;
};

struct TimelineBox {
  float x = 0, w = 0;
  std::int32_t row = 0;
  std::int32_t entry = -1;  ///< of the index's columns; -1: folded
  std::int32_t folded = 1;  ///< spans in the box; 0 where rows hold several lanes
  Paint paint = Paint::none;
  std::uint8_t level = 4;  ///< how full, in quarters
};

struct TimelineLayout {
  std::vector<std::int32_t> row_begin;  ///< row r shows lanes [row_begin[r], row_begin[r + 1]) of the window
  double row_px = 1;
  std::vector<TimelineBox> boxes;  ///< by row, then x
  std::int32_t rows() const { return row_begin.empty() ? 0 : static_cast<std::int32_t>(row_begin.size()) - 1; }
};
TimelineLayout lay_out_timeline(const TimelineIndex& index, const TimelineWindow& window);

/// Entry of the index under a point of the window, -1 for none. O(lanes of the row x log spans).
std::int32_t entry_at(const TimelineIndex& index, const TimelineWindow& window, const TimelineLayout& layout, double x,
                      double y);

/// A counter as steps: the time-weighted mean of each of `columns` equal parts of [begin, end).
std::vector<double> counter_columns(const scheduler::CounterSeries& series, double begin_us, double end_us,
                                    std::int32_t columns);

}  // namespace espalier::viz

#include "viz/model/timeline_layout.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <tuple>

#include "core/error.h"
#include "core/text.h"
#include "viz/model/cell_grid.h"

namespace espalier::viz {
namespace {

using scheduler::Span;
using scheduler::SpanKind;

/// "SM 17 slot 0" → (17, 0), "core 3" → (3, 0); anything else → (-1, its place).
std::pair<std::int32_t, std::int32_t> sm_and_slot(const std::string& name, std::int32_t place) {
  const std::vector<std::string> words = core::split(name, ' ');
  if (words.size() == 2 && words[0] == "core") {
    const auto core = core::parse_integer(words[1]);
    return {core ? static_cast<std::int32_t>(*core) : -1, core ? 0 : place};
  }
  if (words.size() != 4 || words[0] != "SM" || words[2] != "slot") return {-1, place};
  const auto sm = core::parse_integer(words[1]), slot = core::parse_integer(words[3]);
  if (!sm || !slot) return {-1, place};
  return {static_cast<std::int32_t>(*sm), static_cast<std::int32_t>(*slot)};
}

/// First entry of a lane that ends after `us`.
std::int32_t first_after(const TimelineIndex& index, std::int32_t lane, double us) {
  const auto begin = index.latest_end_us.begin() + index.lane_begin[static_cast<std::size_t>(lane)];
  const auto end = index.latest_end_us.begin() + index.lane_begin[static_cast<std::size_t>(lane) + 1];
  return static_cast<std::int32_t>(std::upper_bound(begin, end, us) - index.latest_end_us.begin());
}

/// One lane a row: boxes of their own from `cell` pixels on, smaller neighbours folded.
class LaneRow {
 public:
  LaneRow(const TimelineIndex& index, const TimelineWindow& window, double cell, std::vector<TimelineBox>& out)
      : index_(index), window_(window), paints_(index.paint_by(window.colour_by)), cell_(cell), out_(out) {}

  void run(std::int32_t lane, std::int32_t row) {
    row_ = row;
    const double scale = window_.width_px / (window_.end_us - window_.begin_us);
    const std::int32_t past = index_.lane_begin[static_cast<std::size_t>(lane) + 1];
    for (std::int32_t i = first_after(index_, lane, window_.begin_us); i < past; ++i) {
      const auto at = static_cast<std::size_t>(i);
      if (index_.begin_us[at] >= window_.end_us) break;
      const double x0 = std::max(0.0, (index_.begin_us[at] - window_.begin_us) * scale);
      const double x1 = std::min(window_.width_px, (index_.end_us[at] - window_.begin_us) * scale);
      if (count_ > 0 && (x0 >= from_ + cell_ || x1 - x0 >= cell_)) flush();
      if (x1 - x0 >= cell_) {
        out_.push_back({static_cast<float>(x0), static_cast<float>(x1 - x0), row_, i, 1, paints_[at], 4});
      } else {
        absorb(i, x0, x1);
      }
    }
    flush();
  }

 private:
  void absorb(std::int32_t entry, double x0, double x1) {
    if (count_ == 0) {
      from_ = x0;
      covered_ = largest_ = 0;
      only_ = entry;
    }
    const Paint paint = paints_[static_cast<std::size_t>(entry)];
    if (x1 - x0 >= largest_) {
      largest_ = x1 - x0;
      paint_ = paint;
    }
    covered_ += x1 - x0;
    to_ = x1;
    ++count_;
  }

  void flush() {
    if (count_ == 0) return;
    const double width = std::max(to_ - from_, 1e-9);
    const auto level = static_cast<std::uint8_t>(std::clamp(static_cast<int>(std::lround(4 * covered_ / width)), 1, 4));
    out_.push_back({static_cast<float>(from_), static_cast<float>(to_ - from_), row_, count_ == 1 ? only_ : -1, count_,
                    paint_, level});
    count_ = 0;
  }

  const TimelineIndex& index_;
  const TimelineWindow& window_;
  const std::vector<Paint>& paints_;
  double cell_;
  std::vector<TimelineBox>& out_;
  std::int32_t row_ = 0, count_ = 0, only_ = -1;
  double from_ = 0, to_ = 0, covered_ = 0, largest_ = 0;
  Paint paint_ = Paint::none;
};

/// Rows of one lane each if they are high enough, else of as many whole SMs as it takes.
std::vector<std::int32_t> choose_rows(const TimelineIndex& index, const TimelineWindow& window) {
  const auto most = std::max(1, static_cast<std::int32_t>(window.height_px / window.min_px));
  const auto sm = [&](std::int32_t i) { return index.sm[static_cast<std::size_t>(window.first_lane + i)]; };
  const bool single = window.lane_count <= most;
  std::vector<std::int32_t> begins;  // of lanes or SMs
  for (std::int32_t i = 0; i < window.lane_count; ++i) {
    if (single || i == 0 || sm(i) != sm(i - 1)) begins.push_back(i);
  }
  const auto groups = static_cast<std::int32_t>(begins.size());
  const std::int32_t together = (groups + most - 1) / most;
  std::vector<std::int32_t> rows;
  for (std::int32_t g = 0; g < groups; g += together) rows.push_back(begins[static_cast<std::size_t>(g)]);
  rows.push_back(window.lane_count);
  return rows;
}

void lay_out_cells(const TimelineIndex& index, const TimelineWindow& window, double cell, TimelineLayout& layout) {
  const auto columns = static_cast<std::int32_t>(std::ceil(window.width_px / cell));
  CellRow cells(columns);
  std::vector<CellRun> runs;
  const std::vector<Paint>& paint = index.paint_by(window.colour_by);
  const double scale = window.width_px / (window.end_us - window.begin_us) / cell;
  for (std::int32_t row = 0; row < layout.rows(); ++row) {
    const std::int32_t first = layout.row_begin[static_cast<std::size_t>(row)],
                       end = layout.row_begin[static_cast<std::size_t>(row) + 1];
    for (std::int32_t lane = window.first_lane + first; lane < window.first_lane + end; ++lane) {
      const std::int32_t past = index.lane_begin[static_cast<std::size_t>(lane) + 1];
      for (std::int32_t e = first_after(index, lane, window.begin_us); e < past; ++e) {
        const auto at = static_cast<std::size_t>(e);
        if (index.begin_us[at] >= window.end_us) break;
        cells.add((index.begin_us[at] - window.begin_us) * scale, (index.end_us[at] - window.begin_us) * scale,
                  paint[at], 1.0 / (end - first));
      }
    }
    cells.finish(row, runs);
  }
  for (const CellRun& run : runs) {
    const double x = run.begin * cell, w = std::min(window.width_px, run.end * cell) - x;
    layout.boxes.push_back({static_cast<float>(x), static_cast<float>(w), run.row, -1, 0, run.paint, run.level});
  }
}

/// What is drawn of each span, lane after lane.
void add_entries(const scheduler::Timeline& timeline, const TaskPaints& paints, TimelineIndex& index) {
  for (std::size_t lane = 0; lane < index.lanes.size(); ++lane) {
    double latest = 0;
    for (auto e = static_cast<std::size_t>(index.lane_begin[lane]);
         e < static_cast<std::size_t>(index.lane_begin[lane + 1]); ++e) {
      const Span& span = timeline.spans[static_cast<std::size_t>(index.span[e])];
      latest = std::max(latest, span.end_us);
      index.begin_us.push_back(span.begin_us);
      index.end_us.push_back(span.end_us);
      index.latest_end_us.push_back(latest);
      for (std::size_t c = 0; c < paints.size(); ++c) {
        if (!paints[c].empty()) {
          index.paint[c].push_back(span.kind == SpanKind::step ? Paint::merge
                                                               : paints[c][static_cast<std::size_t>(span.item)]);
        }
      }
      index.item.push_back({span.kind == SpanKind::step ? ItemKind::merge : ItemKind::task, span.item});
    }
  }
}

}  // namespace

TimelineIndex index_timeline(const sim::SimResult& result, const TaskPaints& paints) {
  const scheduler::Timeline& timeline = result.timeline;
  TimelineIndex index;
  index.makespan_us = index.recorded_us = result.makespan_us;
  const auto left_out = std::find_if(timeline.counters.begin(), timeline.counters.end(),
                                     [](const auto& c) { return c.name == "spans left out"; });
  if (left_out != timeline.counters.end() && !left_out->value.empty()) {
    index.left_out = static_cast<std::int64_t>(left_out->value.back());
    index.recorded_us = 0;  // spans are recorded as they end
    for (const Span& span : timeline.spans) index.recorded_us = std::max(index.recorded_us, span.end_us);
  }
  std::vector<std::tuple<bool, std::int32_t, std::int32_t, std::int32_t>> order;
  for (std::size_t i = 0; i < timeline.lanes.size(); ++i) {
    const auto lane = static_cast<std::int32_t>(i);
    const auto [sm, slot] = sm_and_slot(timeline.lanes[i], lane);
    if (sm >= 0) order.emplace_back(sm < 0, sm, slot, lane);
  }
  std::sort(order.begin(), order.end());
  std::vector<std::int32_t> place(timeline.lanes.size(), -1);
  for (const auto& [other, sm, slot, lane] : order) {
    place[static_cast<std::size_t>(lane)] = static_cast<std::int32_t>(index.lanes.size());
    index.lanes.push_back(lane);
    index.sm.push_back(sm);
  }
  index.lane_begin.assign(index.lanes.size() + 1, 0);
  for (std::size_t s = 0; s < timeline.spans.size(); ++s) {
    const Span& span = timeline.spans[s];
    const bool gap = span.kind == SpanKind::launch_gap || span.kind == SpanKind::barrier;
    const std::int32_t lane = gap ? -1 : place[static_cast<std::size_t>(span.lane)];
    if (gap) index.gaps.push_back(static_cast<std::int32_t>(s));
    if (lane >= 0) ++index.lane_begin[static_cast<std::size_t>(lane) + 1];
  }
  for (std::size_t i = 0; i < index.lanes.size(); ++i) index.lane_begin[i + 1] += index.lane_begin[i];
  index.span.resize(static_cast<std::size_t>(index.lane_begin.back()));
  std::vector<std::int32_t> next(index.lane_begin.begin(), index.lane_begin.end() - 1);
  for (std::size_t s = 0; s < timeline.spans.size(); ++s) {  // by begin: they stay so within a lane
    const Span& span = timeline.spans[s];
    if (span.kind == SpanKind::launch_gap || span.kind == SpanKind::barrier) continue;
    const std::int32_t lane = place[static_cast<std::size_t>(span.lane)];
    if (lane >= 0) {
      index.span[static_cast<std::size_t>(next[static_cast<std::size_t>(lane)]++)] = static_cast<std::int32_t>(s);
    }
  }
  add_entries(timeline, paints, index);
  return index;
}

TimelineIndex index_timeline(const sim::SimResult& result, const scheduler::Plan& plan) {
  ESPALIER_CHECK_OP(result.timeline.plan_hash, ==, plan.hash);
  TaskPaints paints;
  paints.front() = task_paints(plan, result, ColourBy::queries);
  return index_timeline(result, paints);
}

TimelineLayout lay_out_timeline(const TimelineIndex& index, const TimelineWindow& window) {
  ESPALIER_CHECK(window.end_us > window.begin_us);
  ESPALIER_CHECK(window.first_lane >= 0 && window.lane_count >= 0);
  ESPALIER_CHECK_OP(static_cast<std::size_t>(window.first_lane + window.lane_count), <=, index.lanes.size());
  TimelineLayout layout;
  if (window.lane_count == 0) return layout;
  layout.row_begin = choose_rows(index, window);
  layout.row_px = window.height_px / layout.rows();
  const bool single = layout.rows() == window.lane_count;
  for (double cell = window.min_px;; cell *= 2) {
    layout.boxes.clear();
    if (single) {
      LaneRow row(index, window, cell, layout.boxes);
      for (std::int32_t i = 0; i < window.lane_count; ++i) row.run(window.first_lane + i, i);
    } else {
      lay_out_cells(index, window, cell, layout);
    }
    if (static_cast<std::int64_t>(layout.boxes.size()) <= window.max_boxes || cell > window.width_px) return layout;
  }
}

std::int32_t entry_at(const TimelineIndex& index, const TimelineWindow& window, const TimelineLayout& layout, double x,
                      double y) {
  if (layout.rows() == 0 || !(x >= 0 && x < window.width_px && y >= 0 && y < window.height_px)) return -1;
  const auto row = std::min(layout.rows() - 1, static_cast<std::int32_t>(y / layout.row_px));
  const double us = window.begin_us + x / window.width_px * (window.end_us - window.begin_us);
  for (std::int32_t i = layout.row_begin[static_cast<std::size_t>(row)];
       i < layout.row_begin[static_cast<std::size_t>(row) + 1]; ++i) {
    const std::int32_t lane = window.first_lane + i;
    const std::int32_t entry = first_after(index, lane, us);
    if (entry < index.lane_begin[static_cast<std::size_t>(lane) + 1] &&
        index.begin_us[static_cast<std::size_t>(entry)] <= us) {
      return entry;
    }
  }
  return -1;
}

std::vector<double> counter_columns(const scheduler::CounterSeries& series, double begin_us, double end_us,
                                    std::int32_t columns) {
  ESPALIER_CHECK(end_us > begin_us && columns > 0);
  std::vector<double> sums(static_cast<std::size_t>(columns));
  const double column_us = (end_us - begin_us) / columns;
  for (std::size_t i = 0; i < series.time_us.size(); ++i) {
    const double from = std::max(begin_us, series.time_us[i]);
    const double to = std::min(end_us, i + 1 < series.time_us.size() ? series.time_us[i + 1] : end_us);
    if (!(to > from)) continue;
    const auto first = static_cast<std::int32_t>((from - begin_us) / column_us);
    const auto last = std::min(columns - 1, static_cast<std::int32_t>((to - begin_us) / column_us));
    for (std::int32_t c = first; c <= last; ++c) {
      const double low = std::max(from, begin_us + c * column_us), high = std::min(to, begin_us + (c + 1) * column_us);
      sums[static_cast<std::size_t>(c)] += std::max(0.0, high - low) / column_us * series.value[i];
    }
  }
  return sums;
}

}  // namespace espalier::viz

// What the SMs do over time: spans, bandwidth, and the sum of it.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "viz/model/cell_grid.h"
#include "viz/model/time_split.h"
#include "viz/picture/drawing.h"
#include "viz/picture/pictures.h"

namespace espalier::viz {
namespace {

std::string span_title(const scheduler::Span& span, const scheduler::Plan& plan, const sim::SimResult& result) {
  const std::string when = fmt::format("{:.2f}–{:.2f} µs ({})", span.begin_us, span.end_us,
                                       value_text(span.end_us - span.begin_us, Unit::time_us));
  if (span.kind == scheduler::SpanKind::step) {
    return fmt::format("merge {}: {}, launch {}", span.item, when, span.launch.value);
  }
  const scheduler::Task& task = plan.tasks[scheduler::TaskId(span.item)];
  const std::string queries = task.queries.size() == 1 ? "one query" : fmt::format("{} queries", task.queries.size());
  return fmt::format("task {} copy {}: {}, launch {}, {}, {} bound", span.item, span.copy, when, span.launch.value,
                     queries, sim::bound_name(result.task_bound[static_cast<std::size_t>(span.item)]));
}

/// Boxes of their own with titles come after the plain ones, which a sink joins by paint.
void add_boxes(Scene& scene, const std::vector<TimelineBox>& boxes, const std::vector<Rect>& rects) {
  std::vector<std::size_t> order(boxes.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto key = [&](std::size_t i) {
    return std::tuple(!rects[i].title.empty() || rects[i].item.kind != ItemKind::none, rects[i].fill, rects[i].alpha);
  };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return key(a) < key(b); });
  for (const std::size_t i : order) scene.shapes.push_back(rects[i]);
}

void add_gaps(Scene& scene, const TimelineIndex& index, const scheduler::Timeline& timeline, const Axis& axis,
              double height) {
  for (const std::int32_t g : index.gaps) {
    const scheduler::Span& span = timeline.spans[static_cast<std::size_t>(g)];
    const double x0 = axis.to_pixel(span.begin_us), x1 = axis.to_pixel(span.end_us);
    Rect rect{x0, 0, std::max(0.5, x1 - x0), height, Paint::few};
    rect.alpha = 96;
    rect.title = fmt::format("{} of launch {}: {}", span.kind == scheduler::SpanKind::barrier ? "barrier" : "gap",
                             span.launch.value, value_text(span.end_us - span.begin_us, Unit::time_us));
    scene.shapes.push_back(rect);
  }
}

/// Labels of SMs at the left of rows, as many as there is room for.
void label_lanes(Scene& scene, const TimelineIndex& index, const TimelineLayout& layout, double height) {
  constexpr double kRoom = 40;
  const std::int32_t every = std::max(1, static_cast<std::int32_t>(std::ceil(kRoom / std::max(1e-6, layout.row_px))));
  for (std::int32_t row = 0; row < layout.rows(); row += every) {
    const std::int32_t sm = index.sm[static_cast<std::size_t>(layout.row_begin[static_cast<std::size_t>(row)])];
    const double y = std::min(height - 2, row * layout.row_px + 9);
    scene.shapes.push_back(Text{kLeftMargin - 6, y, fmt::format("SM {}", sm), Paint::muted, 11, Anchor::end});
  }
}

}  // namespace

Scene timeline_picture(const scheduler::Plan& plan, const sim::SimResult& result, double end_us,
                       const PictureSize& size) {
  const double left = size.axes ? kLeftMargin : 0, height = size.height - kBottomMargin;
  Scene scene{
      size.width,
      size.height,
      fmt::format("Timeline of {}: {}", plan.provenance.strategy, value_text(result.makespan_us, Unit::time_us)),
      {}};
  const Axis axis{0, std::max(end_us, 1e-9), left, size.width, false, Unit::time_us};
  scene.shapes.push_back(Rect{left, 0, size.width - left, height, Paint::panel});
  bottom_axis(scene, axis, height, 0);
  const TimelineIndex index = index_timeline(result, plan);
  TimelineWindow window;
  window.end_us = axis.high;
  window.lane_count = static_cast<std::int32_t>(index.lanes.size());
  window.width_px = size.width - left;
  window.height_px = height;
  window.max_boxes = size.max_boxes;
  const TimelineLayout layout = lay_out_timeline(index, window);
  add_gaps(scene, index, result.timeline, axis, height);
  std::vector<Rect> rects;
  rects.reserve(layout.boxes.size());
  const double gap = layout.row_px > 3 ? 0.5 : 0;
  for (const TimelineBox& box : layout.boxes) {
    Rect rect{left + static_cast<double>(box.x), box.row * layout.row_px + gap / 2,
              std::max(0.5, static_cast<double>(box.w) - (box.w > 3 ? 0.5 : 0)), layout.row_px - gap, box.paint};
    rect.alpha = level_alpha(box.level);
    if (box.entry >= 0) {
      rect.item = index.item[static_cast<std::size_t>(box.entry)];
      const auto span = static_cast<std::size_t>(index.span[static_cast<std::size_t>(box.entry)]);
      if (size.titles) rect.title = span_title(result.timeline.spans[span], plan, result);
    }
    rects.push_back(std::move(rect));
  }
  add_boxes(scene, layout.boxes, rects);
  if (size.axes) label_lanes(scene, index, layout, height);
  const double end = axis.to_pixel(result.makespan_us);
  if (index.left_out > 0) draw_unrecorded(scene, index.left_out, axis.to_pixel(index.recorded_us), end, 0, height);
  if (plan.tasks.empty()) {
    scene.shapes.push_back(Text{(left + size.width) / 2, height / 2, "The plan has no tasks: nothing runs.",
                                Paint::muted, 13, Anchor::middle});
  }
  scene.shapes.push_back(Line{end, 0, end, height, Paint::select, 1.5});
  return scene;
}

Scene bandwidth_picture(const sim::SimResult& result, double end_us, const costmodel::DeviceSpec& device,
                        const PictureSize& size) {
  constexpr double kColumn = 2, kHead = 18;  // room for the label above the line
  const double left = size.axes ? kLeftMargin : 0, width = size.width - left;
  Scene scene{size.width, size.height, "HBM bandwidth over time", {}};
  scene.shapes.push_back(Rect{left, 0, width, size.height, Paint::panel});
  const auto series = std::find_if(result.timeline.counters.begin(), result.timeline.counters.end(),
                                   [](const auto& c) { return c.name == "HBM"; });
  const double achievable = device.hbm_gbps * device.hbm_read_fraction;
  const double most = achievable * size.height / std::max(1.0, size.height - kHead);
  if (series != result.timeline.counters.end() && end_us > 0) {
    const auto columns = std::max(1, static_cast<std::int32_t>(width / kColumn));
    const std::vector<double> values = counter_columns(*series, 0, end_us, columns);
    for (std::size_t c = 0; c < values.size();) {  // runs of the same height to a quarter pixel
      const double h = std::round(std::min(1.0, values[c] / most) * size.height * 4) / 4;
      std::size_t past = c + 1;
      while (past < values.size() && std::round(std::min(1.0, values[past] / most) * size.height * 4) / 4 == h) ++past;
      if (h > 0) {
        Rect rect{left + static_cast<double>(c) * width / columns, size.height - h,
                  static_cast<double>(past - c) * width / columns, h, Paint::hbm};
        rect.alpha = 190;
        scene.shapes.push_back(rect);
      }
      c = past;
    }
  }
  const double y = size.height * (1 - achievable / most);
  scene.shapes.push_back(Line{left, y, size.width, y, Paint::muted, 1, true});
  scene.shapes.push_back(Text{
      left + 4, y - 5, fmt::format("HBM: {} can be had", value_text(achievable, Unit::gb_per_s)), Paint::muted, 11});
  return scene;
}

Scene split_picture(const sim::SmTimeReasons& reasons, const PictureSize& size) {
  const std::vector<SplitPart> parts = time_split(reasons);
  const double bar = 22;
  Scene scene{size.width, bar, "SM time by reason", {}};
  scene.shapes.push_back(Rect{0, 0, size.width, bar, Paint::panel});
  double x = 0;
  std::vector<LegendEntry> legend;
  for (const SplitPart& part : parts) {
    const double w = part.share * size.width;
    if (w <= 0) continue;
    const std::string share = fmt::format("{:.1f} %", 100 * part.share);
    Rect rect{x, 0, w > 2 ? w - 1 : w, bar, part.paint};
    if (size.titles) rect.title = fmt::format("{}: {} of SM time ({})", part.name, share, part.note);
    scene.shapes.push_back(rect);
    if (text_width(share, 11.5) + 10 < w) {
      scene.shapes.push_back(
          Text{x + w / 2, bar / 2 + 4, share, text_on(part.paint), 11.5, Anchor::middle, false, w < 160});
    }
    x += w;
    if (part.share >= 0.0005) legend.push_back({part.paint, fmt::format("{} {}", part.name, share)});
  }
  if (size.axes) place(scene, legend_picture("", legend, size.width), 0, bar + 4);
  return scene;
}

std::vector<LegendEntry> timeline_legend(const scheduler::Plan& plan, const sim::SimResult& result) {
  return colour_legend(plan, result, ColourBy::queries);
}

Scene legend_picture(const std::string& name, const std::vector<LegendEntry>& entries, double width) {
  constexpr double kSize = 11.5, kSwatch = 11, kRow = 19;
  Scene scene{width, kRow, "Legend", {}};
  double x = 0, y = 0;
  if (!name.empty()) {
    scene.shapes.push_back(Text{0, 13, name, Paint::muted, kSize});
    x = text_width(name, kSize) + 8;
  }
  for (const LegendEntry& entry : entries) {
    const double w = kSwatch + 5 + text_width(entry.label, kSize) + 14;
    if (x > 0 && x + w > width) {
      x = 0;
      y += kRow;
    }
    scene.shapes.push_back(Rect{x, y + 3, kSwatch, kSwatch, entry.paint});
    scene.shapes.push_back(Text{x + kSwatch + 5, y + 13, entry.label, Paint::ink, kSize});
    x += w;
  }
  scene.height = y + kRow;
  return scene;
}

}  // namespace espalier::viz

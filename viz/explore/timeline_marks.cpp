#include "viz/explore/timeline_marks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/text.h"
#include "viz/explore/view_parts.h"
#include "viz/model/time_split.h"

namespace espalier::viz {
namespace {

struct CounterLook {
  const char* name;  ///< of the series
  const char* label;
  Paint paint;
};
constexpr CounterLook kCounters[] = {
    {"HBM", "HBM", Paint::hbm}, {"L2", "L2", Paint::l2}, {"resident CTAs", "CTAs", Paint::fixed}};

/// Bandwidth goes up to what can be had, others to their largest value.
double top_of(const SideOutcome& side, const scheduler::CounterSeries& series) {
  if (series.name == "HBM") return side.device.hbm_gbps * side.device.hbm_read_fraction;
  return series.value.empty() ? 1 : std::max(1e-9, *std::max_element(series.value.begin(), series.value.end()));
}

void draw_counter(Scene& scene, const SideOutcome& side, const Axis& axis, const CounterLook& look, const Area& area) {
  const std::vector<scheduler::CounterSeries>& all = side.explanation.result.timeline.counters;
  const auto series = std::find_if(all.begin(), all.end(), [&](const auto& c) { return c.name == look.name; });
  scene.shapes.push_back(Rect{area.x, area.y, area.w, area.h, Paint::panel});
  scene.shapes.push_back(Text{area.x - 6, area.y + area.h / 2 + 4, look.label, Paint::muted, kSmall, Anchor::end});
  if (series == all.end()) return;
  const double most = top_of(side, *series);
  const auto columns = std::max(1, static_cast<std::int32_t>(area.w / 2));
  const std::vector<double> values = counter_columns(*series, axis.low, axis.high, columns);
  const auto height = [&](std::size_t c) { return std::round(std::min(1.0, values[c] / most) * area.h * 4) / 4; };
  for (std::size_t c = 0; c < values.size();) {
    std::size_t past = c + 1;
    while (past < values.size() && height(past) == height(c)) ++past;
    if (height(c) > 0) {
      Rect rect{area.x + static_cast<double>(c) * area.w / columns, area.y + area.h - height(c),
                static_cast<double>(past - c) * area.w / columns, height(c), look.paint};
      rect.alpha = 150;
      scene.shapes.push_back(std::move(rect));
    }
    c = past;
  }
}

Paint path_paint(const sim::PathPart& part) {
  switch (part.kind) {
    case sim::PathPart::Kind::launch_gap:
    case sim::PathPart::Kind::barrier:
      return Paint::launch;
    case sim::PathPart::Kind::steps:
      return Paint::merge;
    case sim::PathPart::Kind::idle_worker:
      return Paint::imbalance;
    case sim::PathPart::Kind::tasks:
      break;
  }
  const auto* largest = std::max_element(part.spent.us, part.spent.us + sim::kBounds);
  return bound_paint(static_cast<sim::Bound>(largest - part.spent.us));
}

}  // namespace

void draw_counters(Scene& scene, const SideOutcome& side, const Axis& axis, const Track& track) {
  for (std::size_t i = 0; i < track.counters.size() && i < std::size(kCounters); ++i) {
    draw_counter(scene, side, axis, kCounters[i], track.counters[i]);
  }
}

void draw_path(Scene& scene, const SideOutcome& side, const Axis& axis, const Track& track) {
  const Area& lanes = track.lanes;
  for (const sim::PathPart& part : side.explanation.path) {
    const double x0 = std::max(lanes.x, axis.to_pixel(part.begin_us)),
                 x1 = std::min(lanes.x + lanes.w, axis.to_pixel(part.end_us));
    if (x1 <= x0) continue;
    scene.shapes.push_back(
        Rect{x0, track.path_y, x1 - x0 > 3 ? x1 - x0 - 1 : std::max(0.5, x1 - x0), kPathHeight, path_paint(part)});
  }
}

const sim::PathPart* path_part_at(const SideOutcome& side, const Axis& axis, const Track& track, double x, double y) {
  constexpr double kSlack = 3;
  if (!Area{track.lanes.x, track.path_y - kSlack, track.lanes.w, kPathHeight + 2 * kSlack}.has(x, y)) return nullptr;
  const double us = axis.to_value(x);
  for (const sim::PathPart& part : side.explanation.path) {
    if (us >= part.begin_us && us < part.end_us) return &part;
  }
  return nullptr;
}

Facts path_facts(const sim::PathPart& part) {
  Facts facts{"Critical path", {}};
  facts.facts.push_back({"part", std::string(sim::path_kind_name(part.kind))});
  facts.facts.push_back({"from, to", fmt::format("{:.2f}–{:.2f} µs", part.begin_us, part.end_us)});
  facts.facts.push_back({"takes", value_text(part.end_us - part.begin_us, Unit::time_us)});
  if (part.ctas > 0) facts.facts.push_back({"in a row", core::counted(part.ctas, "CTA")});
  if (part.longest >= 0) {
    facts.facts.push_back(
        {"longest", fmt::format("{} {}, {}", part.kind == sim::PathPart::Kind::steps ? "merge" : "task", part.longest,
                                value_text(part.longest_us, Unit::time_us))});
  }
  return facts;
}

void draw_range(Scene& scene, Span1 range, const Axis& axis, const TimelinePlaces& places) {
  for (const Track& track : places.tracks) {
    const Area& lanes = track.lanes;
    const double x0 = std::max(lanes.x, axis.to_pixel(range.begin * places.end_us)),
                 x1 = std::min(lanes.x + lanes.w, axis.to_pixel(range.end * places.end_us));
    if (x1 <= x0) continue;
    const double bottom =
        track.counters.empty() ? lanes.y + lanes.h : track.counters.back().y + track.counters.back().h;
    Rect band{x0, lanes.y, x1 - x0, bottom - lanes.y, Paint::select};
    band.alpha = 44;
    scene.shapes.push_back(band);
    for (const double x : {x0, x1}) scene.shapes.push_back(Line{x, lanes.y, x, bottom, Paint::select, 1});
  }
}

}  // namespace espalier::viz

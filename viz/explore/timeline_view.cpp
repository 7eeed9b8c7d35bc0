// Both sides' SMs on one time axis, with counters below, SM time and the critical path above each.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/text.h"
#include "viz/explore/timeline_marks.h"
#include "viz/explore/view_parts.h"
#include "viz/model/cell_grid.h"
#include "viz/model/time_split.h"
#include "viz/picture/drawing.h"

namespace espalier::viz {
namespace {

using scheduler::Span;
using scheduler::SpanKind;

constexpr double kLeft = 52, kRight = 2, kAxis = 20, kTitle = 20, kSplit = 12, kCounter = 24, kBetween = 10, kGap = 4,
                 kPathGap = 3;
/// Room for all counters, and what each then takes.
constexpr double kRoomForAll = 190, kLowCounter = 18;

Axis time_axis(const Session& session, const TimelinePlaces& places, const Area& lanes) {
  const Span1& shown = session.look.time;
  return {shown.begin * places.end_us, shown.end * places.end_us, lanes.x, lanes.x + lanes.w, false, Unit::time_us};
}

TimelineWindow window_of(const Session& session, const TimelinePlaces& places, const Track& track,
                         const TimelineIndex& index) {
  TimelineWindow window;
  window.begin_us = session.look.time.begin * places.end_us;
  window.end_us = session.look.time.end * places.end_us;
  window.lane_count = static_cast<std::int32_t>(index.lanes.size());
  window.width_px = track.lanes.w;
  window.height_px = track.lanes.h;
  window.max_boxes = 25'000;
  window.colour_by = session.look.colour_by;
  return window;
}

/// `dimmed`: all; else those that aren't of an isolated colour.
void draw_boxes(Scene& scene, const TimelineLayout& layout, const TimelineIndex& index, const Area& area, bool dimmed,
                Paint isolated) {
  const double gap = layout.row_px >= 6 ? 1 : 0;  // a pixel, where rows have several
  for (const TimelineBox& box : layout.boxes) {
    Rect rect{area.x + static_cast<double>(box.x), area.y + box.row * layout.row_px + gap / 2,
              std::max(0.5, static_cast<double>(box.w) - (box.w > 3 ? 0.5 : 0)), layout.row_px - gap, box.paint};
    rect.alpha = dimmed || (isolated != Paint::none && box.paint != isolated) ? kDimmed : level_alpha(box.level);
    if (box.entry >= 0) rect.item = index.item[static_cast<std::size_t>(box.entry)];
    scene.shapes.push_back(std::move(rect));
  }
}

/// Where the first copy of a lit task or merge stands.
struct LitPlace {
  Item item;
  double begin = 0, end = 0, y = 0;
};

struct Lit {
  const Linked& linked;
  const std::vector<Paint>& paint;
  const Axis& axis;
  const Area& area;
};
/// What is selected, over the dimmed rest: never folded away, at least a pixel and a half wide.
std::vector<LitPlace> draw_lit(Scene& scene, const TimelineLayout& layout, const TimelineIndex& index, const Lit& lit) {
  const auto& [linked, paint, axis, area] = lit;
  std::vector<LitPlace> places;
  constexpr std::int64_t kMost = 20'000;
  std::int64_t drawn = 0;
  for (std::int32_t row = 0; row < layout.rows(); ++row) {
    for (std::int32_t lane = layout.row_begin[static_cast<std::size_t>(row)];
         lane < layout.row_begin[static_cast<std::size_t>(row) + 1]; ++lane) {
      for (std::int32_t e = index.lane_begin[static_cast<std::size_t>(lane)];
           e < index.lane_begin[static_cast<std::size_t>(lane) + 1]; ++e) {
        const auto at = static_cast<std::size_t>(e);
        if (!linked.has(index.item[at]) || drawn >= kMost) continue;
        const double x0 = std::max(area.x, axis.to_pixel(index.begin_us[at])),
                     x1 = std::min(area.x + area.w, axis.to_pixel(index.end_us[at]));
        if (x1 <= area.x || x0 >= area.x + area.w) continue;
        Rect rect{x0, area.y + row * layout.row_px, std::max(1.5, x1 - x0 - 0.5), std::max(1.5, layout.row_px - 0.5),
                  paint[at]};
        rect.item = index.item[at];
        if (layout.row_px >= 4 && rect.w >= 4) rect.stroke = Paint::select;
        places.push_back({rect.item, rect.x, rect.x + rect.w, rect.y + rect.h / 2});
        scene.shapes.push_back(std::move(rect));
        ++drawn;
      }
    }
  }
  return places;
}

/// From where partial rows are written to where they are merged, of the first copies in view.
void draw_merges(Scene& scene, const SideOutcome& side, const Linked& linked, const std::vector<LitPlace>& places) {
  constexpr std::size_t kMost = 24;  // merges: more lines than can be told apart
  if (linked.merges.empty() || linked.merges.size() > kMost) return;
  const auto find = [&](Item item) {
    return std::find_if(places.begin(), places.end(), [&](const LitPlace& p) { return p.item == item; });
  };
  const scheduler::Plan& plan = *side.plan;
  for (const std::int32_t merge : linked.merges) {
    const auto to = find({ItemKind::merge, merge});
    if (to == places.end()) continue;
    const scheduler::Interval inputs = plan.steps[scheduler::StepId(merge)].inputs;
    for (std::int32_t i = inputs.begin; i < inputs.end; ++i) {
      const std::int32_t writer =
          side.links.writer_of_slot[plan.reduction_inputs[static_cast<std::size_t>(i)].slot.index()];
      const auto from = find({ItemKind::task, writer});
      if (writer >= 0 && from != places.end()) {
        scene.shapes.push_back(Line{from->end, from->y, to->begin, to->y, Paint::select, 1});
      }
    }
  }
}

void draw_gaps(Scene& scene, const TimelineIndex& index, const scheduler::Timeline& timeline, const Axis& axis,
               const Area& area) {
  for (const std::int32_t g : index.gaps) {
    const Span& span = timeline.spans[static_cast<std::size_t>(g)];
    const double x0 = std::max(area.x, axis.to_pixel(span.begin_us)),
                 x1 = std::min(area.x + area.w, axis.to_pixel(span.end_us));
    if (x1 <= x0) continue;
    Rect rect{x0, area.y, std::max(0.5, x1 - x0), area.h, Paint::few};
    rect.alpha = 96;
    scene.shapes.push_back(std::move(rect));
  }
}

void draw_lane_names(Scene& scene, const TimelineIndex& index, const TimelineLayout& layout, const Area& area) {
  constexpr double kRoom = 34;
  const std::int32_t every = std::max(1, static_cast<std::int32_t>(std::ceil(kRoom / std::max(1e-6, layout.row_px))));
  for (std::int32_t row = 0; row < layout.rows(); row += every) {
    const std::int32_t sm = index.sm[static_cast<std::size_t>(layout.row_begin[static_cast<std::size_t>(row)])];
    if (row * layout.row_px + 9 > area.h) break;
    scene.shapes.push_back(Text{area.x - 6, area.y + row * layout.row_px + 9, fmt::format("SM {}", sm), Paint::muted,
                                kSmall, Anchor::end});
  }
}

/// SM time as one bar, as long as the side takes on the whole axis.
void draw_split(Scene& scene, const SideOutcome& side, const Track& track, double length) {
  double x = track.lanes.x;
  if (side.measurement != nullptr) {  // why isn't known
    const double busy = figures_in(side, 0, side.us()).busy * length;
    scene.shapes.push_back(Rect{x, track.split_y, std::max(1.0, busy - 1), kSplit, Paint::step3});
    scene.shapes.push_back(Rect{x + busy, track.split_y, std::max(0.0, length - busy), kSplit, Paint::few});
    return;
  }
  for (const SplitPart& part : time_split(side.explanation.sm_time)) {
    const double w = part.share * length;
    if (w <= 0) continue;
    scene.shapes.push_back(Rect{x, track.split_y, w > 2 ? w - 1 : w, kSplit, part.paint});
    x += w;
  }
}

void draw_title(Scene& scene, const SideOutcome& side, const Track& track, bool badge) {
  double x = track.lanes.x;
  if (badge) {
    side_badge(scene, track.side, x, track.title_y + kTitle / 2 - 1);
    x += 22;
  }
  const double y = track.title_y + kTitle / 2 + 3, right = track.lanes.x + track.lanes.w;
  const std::string time = value_text(side.us(), Unit::time_us);
  const std::string name = fitted(side.title, kBody, right - x - 200);
  scene.shapes.push_back(Text{x, y, name, Paint::ink, kBody, Anchor::start, true});
  std::string remark = side.measurement != nullptr ? std::string("busy and idle; counters aren't measured")
                                                   : fmt::format("on {}", side.device.name);
  if (side.timeline.left_out > 0) {
    remark += fmt::format(", {} CTAs not recorded", core::count_text(side.timeline.left_out));
  }
  scene.shapes.push_back(Text{x + text_width(name, kBody) + 14, y, remark, Paint::muted, kBody});
  scene.shapes.push_back(Text{right, y, time, Paint::ink, kBody, Anchor::end, true});
}

void draw_track(Scene& scene, const Session& session, const Outcome& outcome, const TimelinePlaces& places,
                const Track& track) {
  const SideOutcome& side = outcome.side(track.side);
  const Area& area = track.lanes;
  const Axis axis = time_axis(session, places, area);
  draw_title(scene, side, track, places.tracks.size() > 1);
  draw_split(scene, side, track, side.us() / places.end_us * area.w);
  scene.shapes.push_back(Rect{area.x, area.y, area.w, area.h, Paint::panel});
  const TimelineIndex& index = side.timeline;
  const TimelineWindow window = window_of(session, places, track, index);
  const TimelineLayout layout = lay_out_timeline(index, window);
  const Linked linked = linked_of(session, outcome, track.side);
  const bool any = lights(session);
  draw_gaps(scene, index, side.explanation.result.timeline, axis, area);
  draw_boxes(scene, layout, index, area, any, session.look.isolated);
  if (any) {
    draw_merges(scene, side, linked,
                draw_lit(scene, layout, index, {linked, index.paint_by(session.look.colour_by), axis, area}));
  }
  const auto pixel = [&](double us) { return std::clamp(axis.to_pixel(us), area.x, area.x + area.w); };
  if (index.left_out > 0) {
    draw_unrecorded(scene, index.left_out, pixel(index.recorded_us), pixel(side.us()), area.y, area.h);
  }
  draw_lane_names(scene, index, layout, area);
  draw_path(scene, side, axis, track);
  draw_counters(scene, side, axis, track);
  const double end = axis.to_pixel(side.us());
  if (end > area.x && end <= area.x + area.w + 1) {
    const Area& last = track.counters.back();
    scene.shapes.push_back(Line{end, area.y, end, last.y + last.h, side_paint(track.side), 1.5});
  }
}

}  // namespace

double axis_us(const Outcome& outcome) {
  double us = 1e-3;
  for (const SideOutcome& side : outcome.sides) {
    if (side.shown()) us = std::max(us, side.us());
  }
  return us;
}

TimelinePlaces timeline_places(const Outcome& outcome, ViewSize size) {
  TimelinePlaces places;
  places.axis_y = size.height - kAxis;
  places.end_us = axis_us(outcome);
  for (const SideId id : kSides) {
    if (outcome.side(id).shown()) places.tracks.push_back({id, 0, 0, 0, {}, {}});
  }
  const auto n = static_cast<double>(places.tracks.size());
  const double each = (places.axis_y - kBetween * (n - 1)) / std::max(1.0, n),
               width = std::max(1.0, size.width - kLeft - kRight);
  const int counters = each >= kRoomForAll ? 3 : 1;
  const double counter = counters > 1 ? kLowCounter : kCounter;
  double y = 0;
  for (Track& track : places.tracks) {
    const double above = kTitle + kSplit + kPathGap + kPathHeight + kGap;
    track.title_y = y;
    track.split_y = y + kTitle;
    track.path_y = track.split_y + kSplit + kPathGap;
    track.lanes = {kLeft, y + above, width, std::max(8.0, each - above - counters * (kGap + counter))};
    for (int i = 0; i < counters; ++i) {
      track.counters.push_back({kLeft, track.lanes.y + track.lanes.h + kGap + i * (kGap + counter), width, counter});
    }
    y += each + kBetween;
  }
  return places;
}

Scene timeline_view(const Session& session, const Outcome& outcome, ViewSize size) {
  Scene scene{size.width, size.height, "Timeline", {}};
  const TimelinePlaces places = timeline_places(outcome, size);
  if (places.tracks.empty()) {
    const bool waiting = outcome.problem.empty() && outcome.sides[0].refusal.empty();
    message(scene,
            waiting                   ? "Planning …"
            : outcome.problem.empty() ? outcome.sides[0].refusal
                                      : outcome.problem,
            {0, 0, size.width, size.height});
    return scene;
  }
  if (std::all_of(places.tracks.begin(), places.tracks.end(),
                  [&](const Track& track) { return outcome.side(track.side).plan->tasks.empty(); })) {
    message(scene, "There are no tasks: nothing runs.", {0, 0, size.width, size.height});
    return scene;
  }
  bottom_axis(scene, time_axis(session, places, places.tracks.front().lanes), places.axis_y, places.axis_y);
  for (const Track& track : places.tracks) draw_track(scene, session, outcome, places, track);
  if (session.look.range) {
    draw_range(scene, *session.look.range, time_axis(session, places, places.tracks.front().lanes), places);
  }
  return scene;
}

TimelineHit timeline_item_at(const Session& session, const Outcome& outcome, ViewSize size, double x, double y) {
  const TimelinePlaces places = timeline_places(outcome, size);
  for (const Track& track : places.tracks) {
    if (const auto* part =
            path_part_at(outcome.side(track.side), time_axis(session, places, track.lanes), track, x, y)) {
      const bool merges = part->kind == sim::PathPart::Kind::steps;
      const Item longest = part->longest < 0 ? Item{} : Item{merges ? ItemKind::merge : ItemKind::task, part->longest};
      return {longest, track.side, -1, part};
    }
    if (!track.lanes.has(x, y)) continue;
    const TimelineIndex& index = outcome.side(track.side).timeline;
    const TimelineWindow window = window_of(session, places, track, index);
    const std::int32_t entry =
        entry_at(index, window, lay_out_timeline(index, window), x - track.lanes.x, y - track.lanes.y);
    if (entry < 0) return {{}, track.side, -1, nullptr};
    return {index.item[static_cast<std::size_t>(entry)], track.side, index.span[static_cast<std::size_t>(entry)],
            nullptr};
  }
  return {};
}

}  // namespace espalier::viz

// Tasks under the roofs of their SM: how much each computes for a byte of KV, and how fast.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <set>
#include <variant>
#include <vector>

#include "viz/explore/view_parts.h"
#include "viz/picture/drawing.h"

namespace espalier::viz {
namespace {

constexpr double kLeft = 46, kBottom = 38, kTop = 22, kPoint = 4;

/// Roofs of one SM, in GFLOP/s and GB/s.
struct Roofs {
  double compute = 0, hbm = 0, port = 0;
};
Roofs roofs_of(const costmodel::DeviceSpec& d) {
  return {std::max({d.mma_flop_per_clk, d.wgmma_flop_per_clk, d.fma_flop_per_clk}) * d.clock_ghz,
          d.hbm_gbps * d.hbm_read_fraction / d.sms, d.sm_port_bytes_per_clk * d.clock_ghz};
}

double power_below(double value) { return std::pow(10, std::floor(std::log10(value))); }

std::vector<Rect> rects_of(const Scene& points) {
  std::vector<Rect> rects;
  for (const auto& shape : points.shapes) rects.push_back(std::get<Rect>(shape));
  return rects;
}

struct Roof {
  double slope;
  const char* name;
  Paint paint;
  bool above;  ///< where its name stands
};

/// Its name stands where it hides the fewest points.
void draw_roof(Scene& scene, const Axis& x, const Axis& y, const Roofs& roofs, const Roof& roof,
               const std::vector<Rect>& points) {
  constexpr double kPlaces[] = {0.08, 0.3, 0.5, 0.7, 0.85};
  const double corner = std::min(roofs.compute / roof.slope, x.high), left = std::max(x.low, y.low / roof.slope);
  if (corner <= left) return;
  const double x0 = x.to_pixel(left), y0 = y.to_pixel(left * roof.slope), x1 = x.to_pixel(corner),
               y1 = y.to_pixel(corner * roof.slope);
  scene.shapes.push_back(Line{x0, y0, x1, y1, roof.paint, 1.5});
  const double width = text_width(roof.name, kSmall);
  std::optional<Area> best;
  std::ptrdiff_t fewest = 0;
  for (const double place : kPlaces) {
    const double px = x0 + place * (x1 - x0), py = y0 + place * (y1 - y0);
    const Area box = roof.above ? Area{px - 8 - width, py - 5 - kSmall, width, kSmall}
                                : Area{px + 10, py + 13 - kSmall, width, kSmall};
    if (box.x < x.from_px || box.x + box.w > x.to_px || box.y < y.to_px || box.y + box.h > y.from_px) continue;
    const auto hidden = std::count_if(points.begin(), points.end(), [&](const Rect& p) {
      return p.x < box.x + box.w && p.x + p.w > box.x && p.y < box.y + box.h + 2 && p.y + p.h > box.y;
    });
    if (best && hidden >= fewest) continue;
    best = box;
    fewest = hidden;
  }
  if (best) scene.shapes.push_back(Text{best->x, best->y + best->h, roof.name, roof.paint, kSmall});
}

void draw_points(Scene& scene, const std::vector<RooflinePoint>& points, const Axis& x, const Axis& y,
                 const Linked& linked, bool any) {
  std::set<std::pair<int, int>> taken;  // one point a place is enough
  std::vector<Rect> lit;
  for (const RooflinePoint& p : points) {
    const double px = x.to_pixel(p.intensity), py = y.to_pixel(p.rate);
    const Item item{ItemKind::task, p.task};
    const bool on = any && linked.has(item);
    if (!on && !taken.emplace(static_cast<int>(px), static_cast<int>(py)).second) continue;
    Rect rect{px - kPoint / 2, py - kPoint / 2, kPoint, kPoint, on ? Paint::select : Paint::step4};
    rect.item = item;
    rect.alpha = any && !on ? kDimmed : 200;
    if (on) {
      lit.push_back(rect);
    } else {
      scene.shapes.push_back(rect);
    }
  }
  scene.shapes.insert(scene.shapes.end(), lit.begin(), lit.end());
}

/// Where what stands.
struct Plot {
  Area area;
  Roofs roofs;
  Axis x, y;
};
Plot plot_of(const SideOutcome& side, ViewSize size) {
  const Area area{kLeft, kTop, std::max(1.0, size.width - kLeft - 4), std::max(1.0, size.height - kTop - kBottom)};
  if (!side.shown()) return {area, {}, {}, {}};
  const Roofs roofs = roofs_of(side.device);
  double low_x = 1, low_y = roofs.compute / 1e3, high_x = 4 * roofs.compute / roofs.hbm;
  for (const RooflinePoint& p : side.points) {
    low_x = std::min(low_x, p.intensity);
    high_x = std::max(high_x, p.intensity * 1.5);
    low_y = std::min(low_y, p.rate);
  }
  return {area,
          roofs,
          {power_below(low_x), high_x, area.x, area.x + area.w, true, Unit::plain},
          {power_below(low_y), roofs.compute * 2, area.y + area.h, area.y, true, Unit::plain}};
}

void draw_brush(Scene& scene, const Brush& brush, const Plot& plot) {
  const auto px = [](const Axis& axis, double value) { return axis.to_pixel(std::clamp(value, axis.low, axis.high)); };
  const double left = px(plot.x, brush.intensity.begin), right = px(plot.x, brush.intensity.end),
               top = px(plot.y, brush.rate.end), bottom = px(plot.y, brush.rate.begin);
  Rect rect{left, top, right - left, bottom - top, Paint::select, Paint::select};
  rect.alpha = 36;
  scene.shapes.push_back(rect);
}

}  // namespace

Scene roofline_view(const Session& session, const Outcome& outcome, ViewSize size) {
  Scene scene{size.width, size.height, "Roofline", {}};
  const SideId id = session.look.edited;
  const SideOutcome& side = outcome.side(id);
  const auto [area, roofs, x, y] = plot_of(side, size);
  scene.shapes.push_back(Rect{area.x, area.y, area.w, area.h, Paint::panel});
  if (!side.shown()) return scene;
  const std::string title = fmt::format("tasks of {} on their SM, GFLOP/s", side.title);
  scene.shapes.push_back(Text{0, 11, text_width(title, kSmall) <= size.width ? title : "tasks on their SM, GFLOP/s",
                              Paint::muted, kSmall});
  bottom_axis(scene, x, area.y + area.h, area.y);
  for (const Tick& tick : ticks(y, 6)) {
    scene.shapes.push_back(Line{area.x, tick.pixel, area.x + area.w, tick.pixel, Paint::grid});
    scene.shapes.push_back(Text{area.x - 6, tick.pixel + 4, tick.label, Paint::muted, kSmall, Anchor::end});
  }
  scene.shapes.push_back(
      Text{area.x + area.w / 2, size.height - 4, "FLOPs a byte of KV", Paint::muted, kSmall, Anchor::middle});
  if (session.look.brush && session.look.brush->side == id) draw_brush(scene, *session.look.brush, {area, roofs, x, y});
  Scene drawn;
  draw_points(drawn, side.points, x, y, linked_of(session, outcome, id), lights(session));
  const std::vector<Rect> rects = rects_of(drawn);
  draw_roof(scene, x, y, roofs, {roofs.hbm, "its share of HBM", Paint::hbm, false}, rects);
  draw_roof(scene, x, y, roofs, {roofs.port, "its L2 port", Paint::l2, true}, rects);
  const double top = y.to_pixel(roofs.compute);
  scene.shapes.push_back(
      Line{x.to_pixel(std::max(x.low, roofs.compute / roofs.port)), top, area.x + area.w, top, Paint::compute, 1.5});
  scene.shapes.push_back(Text{area.x + area.w - 4, top - 5, "tensor cores", Paint::compute, kSmall, Anchor::end});
  scene.shapes.insert(scene.shapes.end(), drawn.shapes.begin(), drawn.shapes.end());
  return scene;
}

std::optional<Brush> roofline_brush(const Session& session, const Outcome& outcome, ViewSize size,
                                    const Area& dragged) {
  const SideId id = session.look.edited;
  if (!outcome.side(id).shown()) return std::nullopt;
  const Plot plot = plot_of(outcome.side(id), size);
  const auto within = [](const Axis& axis, double pixel) {
    return axis.to_value(std::clamp(pixel, std::min(axis.from_px, axis.to_px), std::max(axis.from_px, axis.to_px)));
  };
  return Brush{id,
               {within(plot.x, dragged.x), within(plot.x, dragged.x + dragged.w)},
               {within(plot.y, dragged.y + dragged.h), within(plot.y, dragged.y)}};
}

}  // namespace espalier::viz

// Tasks under the roofs of their SM: how much each computes for a byte of KV, and how fast.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "viz/explore/view_parts.h"
#include "viz/picture/drawing.h"

namespace espalier::viz {
namespace {

constexpr double kLeft = 46, kBottom = 38, kTop = 22, kPoint = 4;

struct RooflinePoint {
  double intensity = 0;  ///< FLOPs a byte of KV
  double rate = 0;       ///< GFLOP/s
  std::int32_t task = 0;
};

std::vector<RooflinePoint> points_of(const SideOutcome& side) {
  const scheduler::Plan& plan = *side.plan;
  std::vector<double> us(plan.tasks.size()), runs(plan.tasks.size());
  for (const scheduler::Span& span : side.explanation.result.timeline.spans) {
    if (span.kind != scheduler::SpanKind::task) continue;
    us[static_cast<std::size_t>(span.item)] += span.end_us - span.begin_us;
    runs[static_cast<std::size_t>(span.item)] += 1;
  }
  std::vector<RooflinePoint> points;
  for (std::size_t t = 0; t < plan.tasks.size(); ++t) {
    const TaskWork& work = side.work[t];
    if (us[t] <= 0 || work.kv_bytes <= 0 || work.flops <= 0) continue;
    points.push_back({work.flops / work.kv_bytes, work.flops / (us[t] / runs[t]) / 1e3, static_cast<std::int32_t>(t)});
  }
  return points;
}

/// Roofs of one SM, in GFLOP/s and GB/s.
struct Roofs {
  double compute = 0, hbm = 0, port = 0;
};
Roofs roofs_of(const costmodel::DeviceSpec& d) {
  return {std::max({d.mma_flop_per_clk, d.wgmma_flop_per_clk, d.fma_flop_per_clk}) * d.clock_ghz, d.hbm_gbps * d.hbm_read_fraction / d.sms,
          d.sm_port_bytes_per_clk * d.clock_ghz};
}

double power_below(double value) { return std::pow(10, std::floor(std::log10(value))); }

void draw_roof(Scene& scene, const Axis& x, const Axis& y, const Roofs& roofs, double slope, const char* name, Paint paint) {
  const double corner = roofs.compute / slope, left = std::max(x.low, y.low / slope);
  if (corner <= left) return;
  scene.shapes.push_back(Line{x.to_pixel(left), y.to_pixel(left * slope), x.to_pixel(std::min(corner, x.high)), y.to_pixel(std::min(corner, x.high) * slope), paint, 1.5});
  const double at = left * 1.25;
  scene.shapes.push_back(Text{x.to_pixel(at) + 10, y.to_pixel(at * slope) + 13, name, paint, kSmall});
}

void draw_points(Scene& scene, const std::vector<RooflinePoint>& points, const Axis& x, const Axis& y, const Linked& linked, bool any) {
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

}  // namespace

Scene roofline_view(const Session& session, const Outcome& outcome, ViewSize size) {
  Scene scene{size.width, size.height, "Roofline", {}};
  const SideId id = session.look.edited;
  const SideOutcome& side = outcome.side(id);
  const Area area{kLeft, kTop, std::max(1.0, size.width - kLeft - 4), std::max(1.0, size.height - kTop - kBottom)};
  scene.shapes.push_back(Rect{area.x, area.y, area.w, area.h, Paint::panel});
  if (!side.shown()) return scene;
  const std::vector<RooflinePoint> points = points_of(side);
  const Roofs roofs = roofs_of(side.device);
  double low_x = 1, low_y = roofs.compute / 1e3, high_x = 4 * roofs.compute / roofs.hbm;
  for (const RooflinePoint& p : points) {
    low_x = std::min(low_x, p.intensity);
    high_x = std::max(high_x, p.intensity * 1.5);
    low_y = std::min(low_y, p.rate);
  }
  const Axis x{power_below(low_x), high_x, area.x, area.x + area.w, true, Unit::plain};
  const Axis y{power_below(low_y), roofs.compute * 2, area.y + area.h, area.y, true, Unit::plain};
  scene.shapes.push_back(Text{0, 11, fmt::format("tasks of {} on their SM, GFLOP/s", side.title), Paint::muted, kSmall});
  bottom_axis(scene, x, area.y + area.h, area.y);
  for (const Tick& tick : ticks(y, 6)) {
    scene.shapes.push_back(Line{area.x, tick.pixel, area.x + area.w, tick.pixel, Paint::grid});
    scene.shapes.push_back(Text{area.x - 6, tick.pixel + 4, tick.label, Paint::muted, kSmall, Anchor::end});
  }
  scene.shapes.push_back(Text{area.x + area.w / 2, size.height - 4, "FLOPs a byte of KV", Paint::muted, kSmall, Anchor::middle});
  draw_roof(scene, x, y, roofs, roofs.hbm, "its share of HBM", Paint::hbm);
  draw_roof(scene, x, y, roofs, roofs.port, "its L2 port", Paint::l2);
  const double top = y.to_pixel(roofs.compute);
  scene.shapes.push_back(Line{x.to_pixel(std::max(x.low, roofs.compute / roofs.port)), top, area.x + area.w, top, Paint::compute, 1.5});
  scene.shapes.push_back(Text{area.x + area.w - 4, top - 5, "tensor cores", Paint::compute, kSmall, Anchor::end});
  draw_points(scene, points, x, y, linked_of(session, outcome, id), session.selection.kind != ItemKind::none);
  return scene;
}

}  // namespace espalier::viz

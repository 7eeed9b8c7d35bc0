// Foretold against measured: tasks and merges of one plan, simulated and run.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "viz/explore/view_parts.h"
#include "viz/picture/drawing.h"

namespace espalier::viz {
namespace {

constexpr double kLeft = 46, kBottom = 36, kTop = 40, kBetween = 26, kPoint = 4;
constexpr double kMostError = 1;  ///< of the strip of residuals: twice or half as long

struct Mean {
  double sum = 0;
  std::int64_t count = 0;
};

/// By kind, then by id.
struct Durations {
  std::vector<Mean> tasks, merges;
};
Durations durations_of(const scheduler::Timeline& timeline, const scheduler::Plan& plan) {
  Durations out{std::vector<Mean>(plan.tasks.size()), std::vector<Mean>(plan.steps.size())};
  for (const scheduler::Span& span : timeline.spans) {
    const bool task = span.kind == scheduler::SpanKind::task;
    if (!task && span.kind != scheduler::SpanKind::step) continue;
    Mean& mean = (task ? out.tasks : out.merges)[static_cast<std::size_t>(span.item)];
    mean.sum += span.end_us - span.begin_us;
    ++mean.count;
  }
  return out;
}

void add_points(std::vector<FitPoint>& points, ItemKind kind, const std::vector<Mean>& foretold,
                const std::vector<Mean>& measured) {
  for (std::size_t i = 0; i < foretold.size(); ++i) {
    if (!(foretold[i].sum > 0 && measured[i].sum > 0)) continue;
    points.push_back({{kind, static_cast<std::int32_t>(i)},
                      foretold[i].sum / static_cast<double>(foretold[i].count),
                      measured[i].sum / static_cast<double>(measured[i].count)});
  }
}

/// Error of the sum, and the mean error of a point by its time.
std::string summary_of(const std::vector<FitPoint>& points) {
  double foretold = 0, measured = 0, off = 0;
  for (const FitPoint& p : points) {
    foretold += p.foretold_us;
    measured += p.measured_us;
    off += std::abs(p.foretold_us - p.measured_us);
  }
  return fmt::format("{} tasks and merges: {} % in sum, {:.1f} % off on average", points.size(),
                     signed_text(100 * (foretold / measured - 1), 1), 100 * off / measured);
}

struct Planes {
  Axis x, y, residual;
  Area fit, rest;
};

Planes planes_of(const std::vector<FitPoint>& points, ViewSize size) {
  double low = 1e300, high = 0;
  for (const FitPoint& p : points) {
    low = std::min({low, p.foretold_us, p.measured_us});
    high = std::max({high, p.foretold_us, p.measured_us});
  }
  const double width = std::max(1.0, size.width - kLeft - 4),
               room = std::max(2.0, size.height - kTop - kBottom - kBetween);
  const Area fit{kLeft, kTop, width, room * 0.66}, rest{kLeft, kTop + room * 0.66 + kBetween, width, room * 0.34};
  low /= 1.25;
  high *= 1.25;
  return {{low, high, fit.x, fit.x + width, true, Unit::time_us},
          {low, high, fit.y + fit.h, fit.y, true, Unit::time_us},
          {-kMostError, kMostError, rest.y + rest.h, rest.y, false, Unit::plain},
          fit,
          rest};
}

void draw_axes(Scene& scene, const Planes& planes) {
  for (const Area* area : {&planes.fit, &planes.rest}) {
    scene.shapes.push_back(Rect{area->x, area->y, area->w, area->h, Paint::panel});
  }
  for (const Tick& tick : ticks(planes.y, 5)) {
    scene.shapes.push_back(Line{planes.fit.x, tick.pixel, planes.fit.x + planes.fit.w, tick.pixel, Paint::grid});
    scene.shapes.push_back(Text{planes.fit.x - 6, tick.pixel + 4, tick.label, Paint::muted, kSmall, Anchor::end});
  }
  for (const double share : {-0.5, 0.0, 0.5}) {
    const double y = planes.residual.to_pixel(share);
    scene.shapes.push_back(Line{planes.rest.x, y, planes.rest.x + planes.rest.w, y,
                                share == 0 ? Paint::muted : Paint::grid, 1, share == 0});
    scene.shapes.push_back(
        Text{planes.rest.x - 6, y + 4,
             share == 0 ? std::string("0") : fmt::format("{}{:.0f} %", share > 0 ? "+" : "−", 100 * std::abs(share)),
             Paint::muted, kSmall, Anchor::end});
  }
  bottom_axis(scene, planes.x, planes.rest.y + planes.rest.h, planes.rest.y);
  scene.shapes.push_back(Line{planes.x.to_pixel(planes.x.low), planes.y.to_pixel(planes.x.low),
                              planes.x.to_pixel(planes.x.high), planes.y.to_pixel(planes.x.high), Paint::muted, 1,
                              true});
  scene.shapes.push_back(Text{planes.fit.x + planes.fit.w - 4, planes.fit.y + planes.fit.h - 6, "measured",
                              Paint::muted, kSmall, Anchor::end});
  scene.shapes.push_back(Text{planes.fit.x + 5, planes.fit.y + 14, "foretold", Paint::muted, kSmall});
  scene.shapes.push_back(Text{planes.rest.x, planes.rest.y - 6, "error (above: too long)", Paint::muted, kSmall});
}

}  // namespace

std::vector<FitPoint> fit_points(const Outcome& outcome) {
  const SideOutcome &a = outcome.sides[0], &b = outcome.sides[1];
  std::vector<FitPoint> points;
  if (!a.shown() || !b.shown() || b.measurement == nullptr || a.plan != b.plan) return points;
  const Durations foretold = durations_of(a.explanation.result.timeline, *a.plan),
                  measured = durations_of(b.explanation.result.timeline, *b.plan);
  add_points(points, ItemKind::task, foretold.tasks, measured.tasks);
  add_points(points, ItemKind::merge, foretold.merges, measured.merges);
  return points;
}

Scene fit_view(const Session& session, const Outcome& outcome, ViewSize size) {
  Scene scene{size.width, size.height, "Foretold against measured", {}};
  const std::vector<FitPoint> points = fit_points(outcome);
  if (points.empty()) {
    const bool edited = outcome.sides[1].measurement != nullptr;
    message(scene,
            edited ? "Side A was changed by hand: it isn't the plan that was measured."
                   : "Nothing was measured: espalier run --json measures, view --measured shows it.",
            {0, 0, size.width, std::min(size.height, 100.0)});
    return scene;
  }
  const std::string summary = summary_of(points);
  const std::vector<std::string> lines = wrapped(summary, kSmall, size.width);
  for (std::size_t i = 0; i < lines.size() && i < 2; ++i) {
    scene.shapes.push_back(Text{0, 11 + 14 * static_cast<double>(i), lines[i], Paint::muted, kSmall});
  }
  const Planes planes = planes_of(points, size);
  draw_axes(scene, planes);
  const Linked linked = linked_of(session, outcome, SideId::a);
  const bool any = lights(session);
  std::set<std::pair<int, int>> taken;  // a point a pixel is enough
  std::vector<Rect> lit;
  for (const FitPoint& p : points) {
    const double x = planes.x.to_pixel(p.measured_us), y = planes.y.to_pixel(p.foretold_us);
    const double rest = planes.residual.to_pixel(std::clamp(p.error(), -kMostError, kMostError));
    const bool on = any && linked.has(p.item);
    if (!on && !taken.emplace(static_cast<int>(x), static_cast<int>(y)).second) continue;
    for (const double at : {y, rest}) {
      Rect rect{x - kPoint / 2, at - kPoint / 2, kPoint, kPoint,
                on                               ? Paint::select
                : p.item.kind == ItemKind::merge ? Paint::merge
                                                 : Paint::step4};
      rect.item = p.item;
      rect.alpha = any && !on ? kDimmed : 200;
      if (on) {
        lit.push_back(rect);
      } else {
        scene.shapes.push_back(rect);
      }
    }
  }
  scene.shapes.insert(scene.shapes.end(), lit.begin(), lit.end());
  return scene;
}

}  // namespace espalier::viz

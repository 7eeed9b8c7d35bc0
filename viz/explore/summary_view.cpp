// Figures of both sides, and where their SM time goes.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/text.h"
#include "viz/explore/view_parts.h"
#include "viz/model/axis.h"
#include "viz/model/time_split.h"
#include "viz/picture/drawing.h"

namespace espalier::viz {
namespace {

constexpr double kGenerous = 0.92;  ///< widths are counted for wide letters

struct Figure {
  std::string name;
  std::string (*text)(const SideOutcome&);
  double (*value)(const SideOutcome&);
  bool is_share = false;   ///< differences are percentage points
  bool measurable = true;  ///< of a measured run, too
};

std::string percent(double share) { return fmt::format("{:.0f} %", 100 * share); }

double share_of_bound(const SideOutcome& s) { return s.us() > 0 ? s.bound.us / s.us() : 0; }

const std::vector<Figure>& figures() {
  static const std::vector<Figure> kFigures = {
      {"Time a layer", [](const SideOutcome& s) { return value_text(s.us(), Unit::time_us); },
       [](const SideOutcome& s) { return s.us(); }},
      {"Of lower bound",
       [](const SideOutcome& s) { return s.us() > 0 ? percent(share_of_bound(s)) : std::string("–"); }, share_of_bound,
       true},
      {"HBM traffic",
       [](const SideOutcome& s) {
         return value_text(static_cast<double>(s.explanation.result.hbm_bytes), Unit::bytes);
       },
       [](const SideOutcome& s) { return static_cast<double>(s.explanation.result.hbm_bytes); }, false, false},
      {"Task copies", [](const SideOutcome& s) { return fmt::format("{}", s.statistics.tasks); },
       [](const SideOutcome& s) { return static_cast<double>(s.statistics.tasks); }},
      {"Partial rows", [](const SideOutcome& s) { return core::count_text(s.statistics.partial_rows); },
       [](const SideOutcome& s) { return static_cast<double>(s.statistics.partial_rows); }},
  };
  return kFigures;
}

/// How much more or less the second is: ratios as the verdict has them, shares in percentage points.
std::string change_text(const Figure& figure, const SideOutcome& a, const SideOutcome& b) {
  const double from = figure.value(a), to = figure.value(b);
  if (figure.is_share) {
    const double points = std::round(100 * to) - std::round(100 * from);  // of what is shown
    return points == 0 ? "" : fmt::format("{} {}", signed_text(points, 0), std::abs(points) == 1 ? "point" : "points");
  }
  if (from <= 0 || to <= 0 || from == to) return "";
  const double ratio = to / from;
  if (std::abs(ratio - 1) < 0.005) return "";
  return ratio >= 2 ? fmt::format("{:.2f}×", ratio) : fmt::format("{} %", signed_text(100 * (ratio - 1), 0));
}

/// Tasks as the table of tasks counts them, where there is room to say so.
std::string heading_of(const Figure& figure, const SideOutcome& side, double room) {
  if (figure.name != "Task copies" || !side.shown()) return figure.name;
  const std::string heading =
      fmt::format("Copies of {}", core::counted(static_cast<std::int64_t>(side.plan->tasks.size()), "task"));
  return kGenerous * text_width(heading, kSmall) <= room ? heading : figure.name;
}

void bar(Scene& scene, double x, double y, double w, double most, Paint paint) {
  scene.shapes.push_back(Rect{x, y, most, 5, Paint::panel});
  if (w > 0) scene.shapes.push_back(Rect{x, y, std::max(1.0, w), 5, paint});
}

}  // namespace

Scene summary_view(const Outcome& outcome, ViewSize size) {
  Scene scene{size.width, size.height, "Figures of both sides", {}};
  const SideOutcome &a = outcome.sides[0], &b = outcome.sides[1];
  const auto n = static_cast<double>(figures().size());
  const double column = size.width / n;
  for (std::size_t i = 0; i < figures().size(); ++i) {
    const Figure& figure = figures()[i];
    const double x = static_cast<double>(i) * column;
    if (i > 0) scene.shapes.push_back(Line{x - 8, 6, x - 8, size.height - 6, Paint::grid});
    scene.shapes.push_back(Text{x + 6, 14, heading_of(figure, a, column - 14), Paint::muted, kSmall});
    scene.shapes.push_back(Text{x + 6, 40, a.shown() ? figure.text(a) : "–", Paint::ink, 21, Anchor::start, true});
    if (!outcome.settings.compare) continue;
    side_badge(scene, SideId::b, x + 6, 58);
    const bool known = figure.measurable || b.measurement == nullptr;
    const bool wide = 27 + text_width("not measured", kBody) < column - 10;
    const std::string other = !b.shown() ? "refused" : known ? figure.text(b) : wide ? "not measured" : "–";
    scene.shapes.push_back(Text{x + 27, 62, other, Paint::muted, kBody});
    if (!a.shown() || !b.shown() || !known) continue;
    const std::string change = change_text(figure, a, b);
    if (x + 27 + text_width(other, kBody) + 8 + text_width(change, kSmall) < x + column - 10) {
      scene.shapes.push_back(Text{x + 27 + text_width(other, kBody) + 8, 62, change, Paint::muted, kSmall});
    }
  }
  return scene;
}

Scene why_view(const Outcome& outcome, ViewSize size) {
  Scene scene{size.width, size.height, "SM time by reason", {}};
  const SideOutcome &a = outcome.sides[0], &b = outcome.sides[1];
  const bool knows_b = b.shown() && b.measurement == nullptr, both = a.shown() && knows_b;
  if (!a.shown() && !knows_b) return scene;
  const std::vector<SplitPart> of_a = time_split(a.explanation.sm_time), of_b = time_split(b.explanation.sm_time);
  const double number = 56, bars = size.width - 2 * number - 8,
               row = std::min(34.0, (size.height - 22) / static_cast<double>(of_a.size()));
  const double ax = size.width - number, bx = size.width;
  scene.shapes.push_back(Text{0, 11, "share of SM time", Paint::muted, kSmall});
  if (both) {
    side_badge(scene, SideId::a, ax - 16, 7);
    side_badge(scene, SideId::b, bx - 16, 7);
  }
  for (std::size_t i = 0; i < of_a.size(); ++i) {
    const SplitPart& part = of_a[i];
    const double y = 20 + static_cast<double>(i) * row;
    scene.shapes.push_back(Rect{0, y + 3, 9, 9, part.paint});
    scene.shapes.push_back(Text{15, y + 12, part.name, Paint::ink, kBody});
    const double first = a.shown() ? part.share : of_b[i].share;
    bar(scene, 0, y + 18, first < 0.0005 ? 0 : first * bars, bars, part.paint);
    const auto text = [](double share) {
      return share < 0.0005 ? std::string("–") : fmt::format("{:.1f} %", 100 * share);
    };
    if (a.shown()) {
      scene.shapes.push_back(Text{both ? ax : bx, y + 12, text(part.share), Paint::ink, kBody, Anchor::end});
    }
    if (knows_b) {
      scene.shapes.push_back(
          Text{bx, y + 12, text(of_b[i].share), both ? Paint::muted : Paint::ink, kBody, Anchor::end});
    }
    if (both && of_b[i].share >= 0.005) {
      scene.shapes.push_back(Rect{std::round(of_b[i].share * bars), y + 17, 2, 7, Paint::latency});
    }
  }
  return scene;
}

Scene helps_view(const Outcome& outcome, ViewSize size) {
  Scene scene{size.width, size.height, "What would help", {}};
  const SideOutcome* side = outcome.leading();
  if (side == nullptr) return scene;
  std::vector<sim::Sensitivity> all = side->explanation.sensitivities;
  if (all.empty()) {
    message(scene, "Simulating what a tenth more of each would buy …", {0, 0, size.width, 60});
    return scene;
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& l, const auto& r) { return l.gain > r.gain; });
  const double row = std::min(34.0, (size.height - 22) / static_cast<double>(all.size()));
  scene.shapes.push_back(Text{0, 11, fmt::format("time saved by {}", side->title), Paint::muted, kSmall});
  for (std::size_t i = 0; i < all.size(); ++i) {
    const sim::Sensitivity& s = all[i];
    const double y = 20 + static_cast<double>(i) * row;
    const std::string gain = !s.why_not.empty()          ? "doesn't fit"
                             : std::abs(s.gain) < 0.0005 ? "–"
                                                         : fmt::format("{} %", signed_text(100 * s.gain, 1));
    const std::string name = readable(s.change);
    const double room = size.width - text_width(gain, kBody) - 8;
    if (const bool fits = text_width(name, kBody) <= room; fits || kGenerous * text_width(name, kSmall) <= room) {
      scene.shapes.push_back(Text{0, y + 12, name, Paint::ink, fits ? kBody : kSmall});
    } else {  // two small lines in the same place
      const std::vector<std::string> lines = wrapped(name, kSmall, room);
      for (std::size_t l = 0; l < std::min<std::size_t>(2, lines.size()); ++l) {
        scene.shapes.push_back(Text{0, y + 4 + 11 * static_cast<double>(l), lines[l], Paint::ink, kSmall});
      }
    }
    scene.shapes.push_back(Text{size.width, y + 12, gain, Paint::ink, kBody, Anchor::end});
    bar(scene, 0, y + 18, s.gain < 0.0005 ? 0 : std::min(1.0, s.gain * 10) * size.width, size.width, Paint::merge);
  }
  return scene;
}

}  // namespace espalier::viz

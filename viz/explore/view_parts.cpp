#include "viz/explore/view_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "core/text.h"

namespace espalier::viz {

namespace {

/// "12.3", "(12", "-3", "−3": not "h100".
bool is_number(std::string_view word) {
  for (const std::string_view lead : {"(", "+", "−"}) {
    if (word.starts_with(lead)) word.remove_prefix(lead.size());
  }
  return core::parse_number(word).has_value();
}

}  // namespace

std::vector<std::string> wrapped(const std::string& text, double width, const WidthOf& width_of) {
  std::vector<std::string> words;
  for (std::string& word : core::split(text, ' ')) {
    const bool counted =
        !words.empty() && is_number(words.back()) && !is_number(word) && width_of(words.back() + " " + word) <= width;
    if (counted) {
      words.back() += " " + word;
    } else {
      words.push_back(std::move(word));
    }
  }
  std::vector<std::string> lines;
  std::string line;
  for (const std::string& word : words) {
    const std::string longer = line.empty() ? word : line + " " + word;
    if (!line.empty() && width_of(longer) > width) {
      lines.push_back(line);
      line = word;
    } else {
      line = longer;
    }
  }
  lines.push_back(line);
  return lines;
}

std::vector<std::string> wrapped(const std::string& text, double size, double width) {
  return wrapped(text, width, [size](const std::string& line) { return text_width(line, size); });
}

void message(Scene& scene, const std::string& text, Area area) {
  const std::vector<std::string> lines = wrapped(text, kBody, area.w - 32);
  double y = area.y + area.h / 2 - 9 * (static_cast<double>(lines.size()) - 1) + 4;
  for (const std::string& line : lines) {
    scene.shapes.push_back(Text{area.x + area.w / 2, y, line, Paint::muted, kBody, Anchor::middle});
    y += 18;
  }
}

Item item_near(const Scene& scene, double x, double y, double slack) {
  for (auto shape = scene.shapes.rbegin(); shape != scene.shapes.rend(); ++shape) {
    const auto* rect = std::get_if<Rect>(&*shape);
    if (rect == nullptr || rect->item.kind == ItemKind::none) continue;
    if (Area{rect->x - slack, rect->y - slack, rect->w + 2 * slack, rect->h + 2 * slack}.has(x, y)) return rect->item;
  }
  return {};
}

Paint StepLegend::at(double x, double y) const {
  for (const Swatch& swatch : swatches) {
    if (swatch.area.has(x, y)) return swatch.paint;
  }
  return Paint::none;
}

StepLegend step_legend(const std::string& name, const std::vector<LegendEntry>& entries, double width, Paint isolated) {
  constexpr double kSwatch = 14, kHigh = 10, kBaseline = 13, kTop = 4;
  StepLegend legend;
  Scene& scene = legend.scene;
  scene = {width, 18, "Legend", {}};
  double x = 0;
  const auto write = [&](const std::string& text, Paint paint, double gap) {
    scene.shapes.push_back(Text{x, kBaseline, text, paint, kSmall});
    x += text_width(text, kSmall) + gap;
  };
  const auto is_step = [](const LegendEntry& e) { return e.paint >= Paint::step0 && e.paint <= Paint::step6; };
  std::size_t steps = 0;
  while (steps < entries.size() && is_step(entries[steps])) ++steps;
  if (steps == 1) steps = 0;  // no sequence
  write(name, Paint::muted, 10);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const LegendEntry& entry = entries[i];
    const bool alone = i >= steps;
    if (i == 0 && steps > 0) write(entry.label, Paint::ink, 6);
    if (alone && x + kHigh + 5 + text_width(entry.label, kSmall) > width) continue;
    Rect swatch{x, kTop, alone ? kHigh : kSwatch, kHigh, entry.paint};
    if (isolated != Paint::none && entry.paint != isolated) swatch.alpha = kDimmed;
    if (entry.paint == isolated) swatch.stroke = Paint::select;
    const double from = x;
    scene.shapes.push_back(swatch);
    x += alone ? kHigh + 5 : kSwatch + 1;
    if (alone) {
      write(entry.label, Paint::ink, 14);
    } else if (i + 1 == steps) {
      x += 5;
      if (steps > 1) write(entry.label, Paint::ink, 14);
    }
    legend.swatches.push_back({{from, 0, x - from, scene.height}, entry.paint});
  }
  return legend;
}

std::string readable(std::string text) {
  const auto replace = [&](std::string_view from, std::string_view to) {
    for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
      const std::size_t past = at + from.size();
      const bool word = past < text.size() && std::isalnum(static_cast<unsigned char>(text[past])) != 0;
      if (!word) text.replace(at, from.size(), to);
    }
  };
  replace(" us", " µs");
  replace(" +-", " ±");
  for (std::size_t at = text.find(" -"); at != std::string::npos; at = text.find(" -", at + 1)) {
    if (at + 2 < text.size() && std::isdigit(static_cast<unsigned char>(text[at + 2])) != 0) text.replace(at, 2, " −");
  }
  return text;
}

std::string signed_text(double value, int digits) {
  const std::string text = fmt::format("{:.{}f}", std::abs(value), digits);
  return (value < 0 ? "−" : "+") + text;
}

Paint side_paint(SideId side) { return side == SideId::a ? Paint::hbm : Paint::latency; }

void side_badge(Scene& scene, SideId side, double x, double y) {
  scene.shapes.push_back(Rect{x, y - 8, 16, 16, side_paint(side)});
  scene.shapes.push_back(
      Text{x + 8, y + 4, std::string(side_name(side)), text_on(side_paint(side)), kSmall, Anchor::middle, true});
}

}  // namespace espalier::viz

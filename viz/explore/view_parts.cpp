#include "viz/explore/view_parts.h"

#include <algorithm>

#include "core/text.h"

namespace espalier::viz {

std::vector<std::string> wrapped(const std::string& text, double size, double width) {
  std::vector<std::string> lines;
  std::string line;
  for (const std::string& word : core::split(text, ' ')) {
    const std::string longer = line.empty() ? word : line + " " + word;
    if (!line.empty() && text_width(longer, size) > width) {
      lines.push_back(line);
      line = word;
    } else {
      line = longer;
    }
  }
  lines.push_back(line);
  return lines;
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

Scene step_legend(const std::string& name, const std::vector<LegendEntry>& entries, double width) {
  constexpr double kSwatch = 14, kHigh = 10, kBaseline = 13;
  Scene scene{width, 18, "Legend", {}};
  double x = 0;
  const auto write = [&](const std::string& text, Paint paint, double gap) {
    scene.shapes.push_back(Text{x, kBaseline, text, paint, kSmall});
    x += text_width(text, kSmall) + gap;
  };
  const auto is_step = [](const LegendEntry& e) { return e.paint >= Paint::step0 && e.paint <= Paint::step6; };
  const auto steps = static_cast<std::size_t>(std::count_if(entries.begin(), entries.end(), is_step));
  write(name, Paint::muted, 10);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (i == 0 && steps > 0) write(entries[i].label, Paint::ink, 6);
    if (i >= steps && x + kHigh + 5 + text_width(entries[i].label, kSmall) > width) continue;
    scene.shapes.push_back(Rect{x, 4, i < steps ? kSwatch : kHigh, kHigh, entries[i].paint});
    x += i < steps ? kSwatch + 1 : kHigh + 5;
    if (i + 1 == steps && steps > 1) {
      x += 5;
      write(entries[i].label, Paint::ink, 14);
    } else if (i >= steps) {
      write(entries[i].label, Paint::ink, 14);
    }
  }
  return scene;
}

Paint side_paint(SideId side) { return side == SideId::a ? Paint::hbm : Paint::latency; }

void side_badge(Scene& scene, SideId side, double x, double y) {
  scene.shapes.push_back(Rect{x, y - 8, 16, 16, side_paint(side)});
  scene.shapes.push_back(Text{x + 8, y + 4, std::string(side_name(side)), text_on(side_paint(side)), kSmall, Anchor::middle, true});
}

}  // namespace espalier::viz

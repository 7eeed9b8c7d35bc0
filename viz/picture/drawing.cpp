#include "viz/picture/drawing.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/text.h"

namespace espalier::viz {

std::string fitted(const std::string& text, double width, const WidthOf& width_of) {
  if (width_of(text) <= width) return text;
  std::string cut = text;
  while (!cut.empty() && width_of(cut + "…") > width) {
    while (!cut.empty() && (static_cast<unsigned char>(cut.back()) & 0xC0U) == 0x80U) cut.pop_back();
    if (!cut.empty()) cut.pop_back();
  }
  return cut.empty() ? "" : cut + "…";
}

std::string fitted(const std::string& text, double size, double width) {
  return fitted(text, width, [size](const std::string& line) { return text_width(line, size); });
}

Rect inset(Rect rect) {
  if (rect.w > 3) {
    rect.x += 0.5;
    rect.w -= 1;
  }
  if (rect.h > 3) {
    rect.y += 0.5;
    rect.h -= 1;
  }
  return rect;
}

void bottom_axis(Scene& scene, const Axis& axis, double y, double top) {
  constexpr double kSize = 11, kRoom = 84;
  const int most = std::max(2, static_cast<int>((axis.to_px - axis.from_px) / kRoom));
  const std::vector<Tick> all = ticks(axis, most);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Tick& tick = all[i];
    if (top < y) scene.shapes.push_back(Line{tick.pixel, top, tick.pixel, y, Paint::grid});
    const bool first = tick.pixel<axis.from_px + 12, last = tick.pixel> axis.to_px - 22;
    scene.shapes.push_back(Text{tick.pixel, y + 15, tick.label, Paint::muted, kSize,
                                first  ? Anchor::start
                                : last ? Anchor::end
                                       : Anchor::middle,
                                false, i % 2 == 1 && all.size() > 4});
  }
}

void left_axis(Scene& scene, const Axis& axis, double x, double right) {
  constexpr double kSize = 11, kRoom = 44;
  const int most = std::max(2, static_cast<int>((axis.to_px - axis.from_px) / kRoom));
  for (const Tick& tick : ticks(axis, most)) {
    if (right > x) scene.shapes.push_back(Line{x, tick.pixel, right, tick.pixel, Paint::grid});
    const double baseline = std::max(tick.pixel, axis.from_px + 6) + 4;
    scene.shapes.push_back(Text{x - 6, baseline, tick.label, Paint::muted, kSize, Anchor::end});
  }
}

void draw_unrecorded(Scene& scene, std::int64_t ctas, double x0, double x1, double y, double height) {
  constexpr double kSize = 12;
  if (x1 - x0 < 1) return;
  Rect rect{x0, y, x1 - x0, height, Paint::few};
  rect.alpha = 140;
  scene.shapes.push_back(rect);
  for (const std::string& text :
       {fmt::format("{} CTAs ran here and weren't recorded", core::count_text(ctas)), std::string("not recorded")}) {
    if (text_width(text, kSize) > x1 - x0 - 8 || height < 2 * kSize) continue;
    scene.shapes.push_back(Text{(x0 + x1) / 2, y + height / 2 + 4, text, Paint::ink, kSize, Anchor::middle});
    return;
  }
}

}  // namespace espalier::viz

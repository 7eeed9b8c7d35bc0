#include "viz/ui/draw_list_sink.h"

#include <algorithm>
#include <cmath>

namespace espalier::viz {

ImU32 packed(Paint paint, Theme theme, std::uint8_t alpha) {
  const Rgb c = colour_of(paint, theme);
  return IM_COL32(c.r, c.g, c.b, alpha);
}

ImVec2 DrawListSink::at(double x, double y) const {
  return {target_.origin.x + static_cast<float>(x) * target_.scale,
          target_.origin.y + static_cast<float>(y) * target_.scale};
}

void DrawListSink::rect(const Rect& rect) {
  // On whole pixels, so that edges are crisp and nothing that is drawn falls between pixel centres.
  ImVec2 low = at(rect.x, rect.y), high = at(rect.x + rect.w, rect.y + rect.h);
  low = {std::floor(low.x + 0.5F), std::floor(low.y + 0.5F)};
  high = {std::max(low.x + 1, std::floor(high.x + 0.5F)), std::max(low.y + 1, std::floor(high.y + 0.5F))};
  if (rect.fill != Paint::none) target_.list->AddRectFilled(low, high, packed(rect.fill, target_.theme, rect.alpha));
  if (rect.stroke != Paint::none) {
    target_.list->AddRect(low, high, packed(rect.stroke, target_.theme), 0, 0, 1.25F * target_.scale);
  }
}

void DrawListSink::line(const Line& line) {
  ImVec2 from = at(line.x1, line.y1), to = at(line.x2, line.y2);
  const float width = static_cast<float>(line.width) * target_.scale;
  const ImU32 colour = packed(line.paint, target_.theme);
  if (line.dashed) {
    const float dx = to.x - from.x, dy = to.y - from.y, length = std::sqrt(dx * dx + dy * dy), dash = 4 * target_.scale;
    for (float s = 0; s < length; s += 2 * dash) {
      const float e = std::min(length, s + dash);
      target_.list->AddLine({from.x + dx * s / length, from.y + dy * s / length},
                            {from.x + dx * e / length, from.y + dy * e / length}, colour, width);
    }
    return;
  }
  // Straight ones as boxes on whole pixels, so that they are as crisp as in an SVG.
  if (line.x1 == line.x2 || line.y1 == line.y2) {
    const float thick = std::max(1.0F, std::round(width));
    from = {std::round(from.x), std::round(from.y)};
    to = {std::round(to.x), std::round(to.y)};
    if (line.x1 == line.x2) {
      target_.list->AddRectFilled(from, {to.x + thick, to.y}, colour);
    } else {
      target_.list->AddRectFilled(from, {to.x, to.y + thick}, colour);
    }
    return;
  }
  target_.list->AddLine(from, to, colour, width);
}

void DrawListSink::text(const Text& text) {
  ImFont* font = target_.fonts->at(text.size, text.bold);
  const ImVec2 size = font->CalcTextSizeA(font->FontSize, 1e9F, 0, text.text.c_str());
  ImVec2 place = at(text.x, text.y);
  place.y -= font->Ascent;
  if (text.anchor == Anchor::middle) place.x -= size.x / 2;
  if (text.anchor == Anchor::end) place.x -= size.x;
  target_.list->AddText(font, font->FontSize, {std::round(place.x), std::round(place.y)},
                        packed(text.paint, target_.theme), text.text.c_str());
}

}  // namespace espalier::viz

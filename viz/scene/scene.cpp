#include "viz/scene/scene.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "viz/scene/scene_sink.h"

namespace espalier::viz {

std::string_view item_kind_name(ItemKind kind) {
  switch (kind) {
    case ItemKind::none:
      return "none";
    case ItemKind::node:
      return "node";
    case ItemKind::request:
      return "request";
    case ItemKind::task:
      return "task";
    case ItemKind::merge:
      return "merge";
  }
  return "";
}

void place(Scene& scene, const Scene& part, double x, double y) {
  for (Shape shape : part.shapes) {
    if (auto* rect = std::get_if<Rect>(&shape)) {
      rect->x += x;
      rect->y += y;
    } else if (auto* line = std::get_if<Line>(&shape)) {
      line->x1 += x;
      line->x2 += x;
      line->y1 += y;
      line->y2 += y;
    } else if (auto* text = std::get_if<Text>(&shape)) {
      text->x += x;
      text->y += y;
    }
    scene.shapes.push_back(std::move(shape));
  }
  scene.width = std::max(scene.width, x + part.width);
  scene.height = std::max(scene.height, y + part.height);
}

double text_width(std::string_view text, double size) {
  // Classes of glyphs of DejaVu Sans, the widest of the faces asked for, in em.
  constexpr double kNarrow = 0.36, kUsual = 0.63, kWide = 0.95;
  double em = 0;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0U) == 0x80U) continue;  // inside a character
    if (std::string_view("iljtfrI.,:;'|!()[] -").find(c) != std::string_view::npos) {
      em += kNarrow;
    } else if (std::string_view("mwMW%@").find(c) != std::string_view::npos) {
      em += kWide;
    } else {
      em += c >= 'A' && c <= 'Z' ? 0.71 : kUsual;
    }
  }
  return em * size;
}

void append_number(std::string& out, double value) {
  if (!std::isfinite(value)) value = 0;
  auto hundredths = static_cast<std::int64_t>(std::llround(std::clamp(value, -1e12, 1e12) * 100.0));
  if (hundredths < 0) {
    out += '-';
    hundredths = -hundredths;
  }
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, hundredths / 100).ptr;
  out.append(digits, end);
  const auto rest = static_cast<int>(hundredths % 100);
  if (rest == 0) return;
  out += '.';
  out += static_cast<char>('0' + rest / 10);
  if (rest % 10 != 0) out += static_cast<char>('0' + rest % 10);
}

void draw(const Scene& scene, SceneSink& sink) {
  sink.begin(scene);
  for (const Shape& shape : scene.shapes) {
    if (const auto* rect = std::get_if<Rect>(&shape)) sink.rect(*rect);
    if (const auto* line = std::get_if<Line>(&shape)) sink.line(*line);
    if (const auto* text = std::get_if<Text>(&shape)) sink.text(*text);
  }
  sink.end();
}

}  // namespace espalier::viz

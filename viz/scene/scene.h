// A scene: rectangles, lines and text, in painting order, with what each stands for. Pictures are scenes; sinks turn
// them into SVG, a page, a text dump or a draw list, so that all of them show the same.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "viz/scene/palette.h"

namespace espalier::viz {

enum class ItemKind : std::uint8_t { none, node, request, task, merge };
std::string_view item_kind_name(ItemKind kind);

/// A thing of the model that shapes stand for, and the one value of a selection.
struct Item {
  ItemKind kind = ItemKind::none;
  std::int32_t index = -1;
  friend bool operator==(Item, Item) = default;
};

struct Rect {
  double x = 0, y = 0, w = 0, h = 0;
  Paint fill = Paint::none;
  Paint stroke = Paint::none;
  std::uint8_t alpha = 255;
  Item item = {};
  std::string title = {};  ///< tooltip
};

struct Line {
  double x1 = 0, y1 = 0, x2 = 0, y2 = 0;
  Paint paint = Paint::grid;
  double width = 1;
  bool dashed = false;
};

enum class Anchor : std::uint8_t { start, middle, end };

struct Text {
  double x = 0, y = 0;  ///< of the baseline
  std::string text = {};
  Paint paint = Paint::ink;
  double size = 12;
  Anchor anchor = Anchor::start;
  bool bold = false;
  bool spare = false;  ///< may be left out where there is little room
};

using Shape = std::variant<Rect, Line, Text>;

struct Scene {
  double width = 0, height = 0;
  std::string title;  ///< what a reader without eyes is told
  std::vector<Shape> shapes;
};

/// `part` with its origin at (x, y) of `scene`, which grows to hold it.
void place(Scene& scene, const Scene& part, double x, double y);

/// Pixels that `text` takes at most in a common sans-serif face.
double text_width(std::string_view text, double size);

/// A number as pictures write it: two decimals at most, no trailing zeros.
void append_number(std::string& out, double value);

}  // namespace espalier::viz

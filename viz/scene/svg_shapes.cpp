#include "viz/scene/svg_shapes.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "viz/scene/svg.h"

namespace espalier::viz {
namespace {

void attribute(std::string& out, const char* name, double value) {
  out += name;
  append_number(out, value);
  out += '"';
}

}  // namespace

void SvgShapes::look(const Rect& rect) {
  out_ += rect.fill == Paint::none ? std::string("fill=\"none\" class=\"")
                                   : fmt::format("class=\"p{}", static_cast<int>(rect.fill));
  if (rect.stroke != Paint::none) {
    out_ += rect.fill == Paint::none ? "" : " ";
    out_ += fmt::format("s{}", static_cast<int>(rect.stroke));
  }
  out_ += '"';
  if (rect.alpha != 255) attribute(out_, " fill-opacity=\"", rect.alpha / 255.0);
}

void SvgShapes::rect(const Rect& rect) {
  const double w = std::max(0.0, rect.w), h = std::max(0.0, rect.h);
  const bool plain = rect.title.empty() && rect.stroke == Paint::none && (!items_ || rect.item.kind == ItemKind::none);
  if (plain) {
    if (rect.fill != path_fill_ || rect.alpha != path_alpha_) flush();
    path_fill_ = rect.fill;
    path_alpha_ = rect.alpha;
    path_ += 'M';
    append_number(path_, rect.x);
    path_ += ' ';
    append_number(path_, rect.y);
    path_ += 'h';
    append_number(path_, w);
    path_ += 'v';
    append_number(path_, h);
    path_ += 'h';
    append_number(path_, -w);
    path_ += 'z';
    return;
  }
  flush();
  out_ += "<rect ";
  look(rect);
  attribute(out_, " x=\"", rect.x);
  attribute(out_, " y=\"", rect.y);
  attribute(out_, " width=\"", w);
  attribute(out_, " height=\"", h);
  if (items_ && rect.item.kind != ItemKind::none) {
    out_ += fmt::format(" data-item=\"{} {}\"", item_kind_name(rect.item.kind), rect.item.index);
  }
  out_ += rect.title.empty() ? std::string("/>\n") : "><title>" + escape_xml(rect.title) + "</title></rect>\n";
}

void SvgShapes::line(const Line& line) {
  flush();
  out_ += fmt::format("<line class=\"s{}\"", static_cast<int>(line.paint));
  attribute(out_, " x1=\"", line.x1);
  attribute(out_, " y1=\"", line.y1);
  attribute(out_, " x2=\"", line.x2);
  attribute(out_, " y2=\"", line.y2);
  if (line.width != 1) attribute(out_, " stroke-width=\"", line.width);
  out_ += line.dashed ? " stroke-dasharray=\"5 4\"/>\n" : "/>\n";
}

void SvgShapes::flush() {
  if (path_.empty()) return;
  Rect like;
  like.fill = path_fill_;
  like.alpha = path_alpha_;
  out_ += "<path ";
  look(like);
  out_ += " d=\"" + path_ + "\"/>\n";
  path_.clear();
}

}  // namespace espalier::viz

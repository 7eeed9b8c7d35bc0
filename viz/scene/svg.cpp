#include "viz/scene/svg.h"

#include <fmt/format.h>

#include <algorithm>

#include "viz/scene/scene_sink.h"
#include "viz/scene/svg_shapes.h"

namespace espalier::viz {
namespace {

/// Length of the UTF-8 sequence that begins at `at`, or 0 when it is none (overlong forms and surrogates aren't).
std::size_t sequence_length(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto follows = [&](std::size_t i) { return (byte(i) & 0xC0U) == 0x80U; };
  const unsigned first = byte(at), second = byte(at + 1);
  if (first < 0x80U) return 1;
  if (first >= 0xC2U && first <= 0xDFU) return follows(at + 1) ? 2 : 0;
  if (first >= 0xE0U && first <= 0xEFU) {
    const bool overlong = first == 0xE0U && second < 0xA0U, surrogate = first == 0xEDU && second >= 0xA0U;
    const bool forbidden = first == 0xEFU && second == 0xBFU && byte(at + 2) >= 0xBEU;  // U+FFFE, U+FFFF
    return follows(at + 1) && follows(at + 2) && !overlong && !surrogate && !forbidden ? 3 : 0;
  }
  if (first >= 0xF0U && first <= 0xF4U) {
    const bool outside = (first == 0xF0U && second < 0x90U) || (first == 0xF4U && second >= 0x90U);
    return follows(at + 1) && follows(at + 2) && follows(at + 3) && !outside ? 4 : 0;
  }
  return 0;
}

std::string_view reference(char c) {
  switch (c) {
    case '&':
      return "&amp;";
    case '<':
      return "&lt;";
    case '>':
      return "&gt;";
    case '"':
      return "&quot;";
    case '\'':
      return "&#39;";
    default:
      return "";
  }
}

std::string rules(Theme theme) {
  std::string css;
  for (int i = 1; i < kPaints; ++i) {
    const std::string colour = hex_text(colour_of(static_cast<Paint>(i), theme));
    css += fmt::format(".p{}{{fill:{};color:{}}}.s{}{{stroke:{}}}", i, colour, colour, i, colour);
  }
  return css;
}

/// A document: text inside the picture, tooltips and ids on boxes.
class DocumentSink final : public SceneSink {
 public:
  explicit DocumentSink(std::optional<Theme> theme) : theme_(theme) {}
  void begin(const Scene& scene) override {
    std::string w, h;
    append_number(w, scene.width);
    append_number(h, scene.height);
    out = fmt::format(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" "
        "width=\"{0}\" "
        "height=\"{1}\">\n<title>{2}</title>\n<style>text{{font-family:system-ui,'DejaVu "
        "Sans',Helvetica,Arial,sans-serif}}{3}</style>\n",
        w, h, escape_xml(scene.title), palette_css(theme_));
    shapes_.rect({0, 0, scene.width, scene.height, Paint::page});
    shapes_.flush();
  }
  void rect(const Rect& rect) override { shapes_.rect(rect); }
  void line(const Line& line) override { shapes_.line(line); }
  void text(const Text& text) override {
    static constexpr const char* kAnchors[] = {"", " text-anchor=\"middle\"", " text-anchor=\"end\""};
    shapes_.flush();
    out += fmt::format("<text class=\"p{}\" x=\"", static_cast<int>(text.paint));
    append_number(out, text.x);
    out += "\" y=\"";
    append_number(out, text.y);
    out += "\" font-size=\"";
    append_number(out, text.size);
    out += fmt::format("\"{}{}>{}</text>\n", kAnchors[static_cast<std::size_t>(text.anchor)],
                       text.bold ? " font-weight=\"600\"" : "", escape_xml(text.text));
  }
  void end() override {
    shapes_.flush();
    out += "</svg>\n";
  }
  std::string out;

 private:
  std::optional<Theme> theme_;
  SvgShapes shapes_{out, true};
};

/// A piece of a page: the boxes in an SVG that stretches, text above it at places in per cent.
class FragmentSink final : public SceneSink {
 public:
  void begin(const Scene& scene) override {
    width_ = scene.width;
    std::string w, h;
    append_number(w, scene.width);
    append_number(h, scene.height);
    out = fmt::format(
        "<div class=\"scene\" style=\"height:{1}px\"><svg viewBox=\"0 0 {0} {1}\" preserveAspectRatio=\"none\" "
        "role=\"img\" "
        "aria-label=\"{2}\">\n",
        w, h, escape_xml(scene.title));
  }
  void rect(const Rect& rect) override { shapes_.rect(rect); }
  void line(const Line& line) override { shapes_.line(line); }
  void text(const Text& text) override {
    static constexpr const char* kAnchors[] = {"", " mid", " end"};
    constexpr double kAscent = 0.86;  // of the line's height above the baseline
    constexpr double kLeast = 320;    // pixels that a piece shrinks to on a telephone
    std::string left;
    append_number(left, 100.0 * text.x / width_);
    left += '%';
    const double half = text_width(text.text, text.size) / 2,
                 room = std::min(text.x, width_ - text.x) * std::min(1.0, kLeast / width_);
    // Beside an edge it would be cut there.
    if (text.anchor == Anchor::middle && half > room) {
      left = fmt::format("clamp({0:.0f}px,{1},calc(100% - {0:.0f}px))", half, left);
    }
    texts_ += fmt::format("<span class=\"p{}{}{}{}\" style=\"left:{};top:", static_cast<int>(text.paint),
                          kAnchors[static_cast<std::size_t>(text.anchor)], text.bold ? " b" : "",
                          text.spare ? " spare" : "", left);
    append_number(texts_, text.y - kAscent * text.size);
    texts_ += "px;font-size:";
    append_number(texts_, text.size);
    texts_ += fmt::format("px\">{}</span>", escape_xml(text.text));
  }
  void end() override {
    shapes_.flush();
    out += "</svg>" + texts_ + "</div>\n";
  }
  std::string out;

 private:
  double width_ = 1;
  std::string texts_;
  SvgShapes shapes_{out, false};
};

class DumpSink final : public SceneSink {
 public:
  void begin(const Scene& scene) override {
    out = fmt::format("scene {:.6g} x {:.6g} {}\n", scene.width, scene.height, scene.title);
  }
  void rect(const Rect& r) override {
    out += fmt::format("rect {:.6g} {:.6g} {:.6g} {:.6g} paint {}", r.x, r.y, r.w, r.h, static_cast<int>(r.fill));
    if (r.stroke != Paint::none) out += fmt::format(" stroke {}", static_cast<int>(r.stroke));
    if (r.alpha != 255) out += fmt::format(" alpha {}", r.alpha);
    if (r.item.kind != ItemKind::none) out += fmt::format(" {} {}", item_kind_name(r.item.kind), r.item.index);
    out += r.title.empty() ? "\n" : fmt::format(" '{}'\n", r.title);
  }
  void line(const Line& l) override {
    out +=
        fmt::format("line {:.6g} {:.6g} {:.6g} {:.6g} paint {}\n", l.x1, l.y1, l.x2, l.y2, static_cast<int>(l.paint));
  }
  void text(const Text& t) override {
    out += fmt::format("text {:.6g} {:.6g} size {:.6g} paint {} '{}'\n", t.x, t.y, t.size, static_cast<int>(t.paint),
                       t.text);
  }
  void end() override {}
  std::string out;
};

}  // namespace

std::string escape_xml(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = sequence_length(text, i);
    const bool control =
        length == 1 && static_cast<unsigned char>(text[i]) < 0x20U && text[i] != '\n' && text[i] != '\t';
    if (length == 0 || control) {
      out += "\xEF\xBF\xBD";
    } else if (const std::string_view name = length == 1 ? reference(text[i]) : ""; !name.empty()) {
      out += name;
    } else {
      out += text.substr(i, length);
    }
    i += length == 0 ? 1 : length;
  }
  return out;
}

std::string palette_css(std::optional<Theme> theme) {
  if (theme) return rules(*theme);
  return rules(Theme::light) + "@media (prefers-color-scheme:dark){" + rules(Theme::dark) + "}";
}

std::string svg_document(const Scene& scene, std::optional<Theme> theme) {
  DocumentSink sink(theme);
  draw(scene, sink);
  return std::move(sink.out);
}

std::string html_fragment(const Scene& scene) {
  FragmentSink sink;
  draw(scene, sink);
  return std::move(sink.out);
}

std::string fragment_css() {
  return ".scene{position:relative;overflow:hidden}.scene svg{position:absolute;inset:0;width:100%;height:100%}"
         ".scene span{position:absolute;line-height:1;white-space:nowrap;pointer-events:none}.scene "
         ".mid{transform:translateX(-50%)}"
         ".scene .end{transform:translateX(-100%)}.scene .b{font-weight:600}.scene line,.scene "
         "rect{vector-effect:non-scaling-stroke}"
         "@media (max-width:640px){.scene .spare{display:none}}";
}

std::string dump(const Scene& scene) {
  DumpSink sink;
  draw(scene, sink);
  return std::move(sink.out);
}

}  // namespace espalier::viz

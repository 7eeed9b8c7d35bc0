#include "viz/soft/raster.h"

#include <imgui.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace espalier::viz {
namespace {

constexpr std::int64_t kSub = 256;  ///< steps of a pixel

struct Point {
  std::int64_t x, y;  ///< in 1/kSub pixels
};

Point snapped(const ImVec2& p) {
  return {std::llround(static_cast<double>(p.x) * kSub), std::llround(static_cast<double>(p.y) * kSub)};
}

/// Twice the area of (a, b, p); positive on the inner side of a clockwise triangle.
std::int64_t edge(Point a, Point b, Point p) { return (b.x - a.x) * (p.y - a.y) - (b.y - a.y) * (p.x - a.x); }

/// Pixels on an edge belong to the triangle left of or below it, so that neighbours never share one.
std::int64_t edge_bias(Point a, Point b) { return (b.y - a.y < 0) || (b.y == a.y && b.x - a.x > 0) ? 0 : -1; }

struct Clip {
  std::int32_t x0, y0, x1, y1;
};

class Rasteriser {
 public:
  Rasteriser(Image& image, const AlphaTexture& texture) : image_(image), texture_(texture) {}

  void triangle(std::array<ImDrawVert, 3> v, const Clip& clip) {
    std::array<Point, 3> p{snapped(v[0].pos), snapped(v[1].pos), snapped(v[2].pos)};
    std::int64_t area = edge(p[0], p[1], p[2]);
    if (area == 0) return;
    if (area < 0) {
      std::swap(p[1], p[2]);
      std::swap(v[1], v[2]);
      area = -area;
    }
    const auto [left, right] = std::minmax({p[0].x, p[1].x, p[2].x});
    const auto [top, bottom] = std::minmax({p[0].y, p[1].y, p[2].y});
    const auto x0 = std::max<std::int64_t>(clip.x0, left / kSub - 1),
               x1 = std::min<std::int64_t>(clip.x1, right / kSub + 1);
    const auto y0 = std::max<std::int64_t>(clip.y0, top / kSub - 1),
               y1 = std::min<std::int64_t>(clip.y1, bottom / kSub + 1);
    prepare(v);
    for (std::int64_t y = y0; y < y1; ++y) row(p, v, area, {x0, x1, y});
  }

 private:
  struct Row {
    std::int64_t x0, x1, y;
  };

  void prepare(const std::array<ImDrawVert, 3>& v) {
    same_colour_ = v[0].col == v[1].col && v[1].col == v[2].col;
    same_texel_ = v[0].uv.x == v[1].uv.x && v[1].uv.x == v[2].uv.x && v[0].uv.y == v[1].uv.y && v[1].uv.y == v[2].uv.y;
    if (same_texel_) texel_ = sample(static_cast<double>(v[0].uv.x), static_cast<double>(v[0].uv.y));
  }

  void row(const std::array<Point, 3>& p, const std::array<ImDrawVert, 3>& v, std::int64_t area, Row at) {
    const Point start{at.x0 * kSub + kSub / 2, at.y * kSub + kSub / 2};
    std::array<std::int64_t, 3> w{}, step{}, bias{};
    for (std::size_t e = 0; e < 3; ++e) {
      const Point &a = p[(e + 1) % 3], &b = p[(e + 2) % 3];
      w[e] = edge(a, b, start);
      step[e] = -(b.y - a.y) * kSub;
      bias[e] = edge_bias(a, b);
    }
    for (std::int64_t x = at.x0; x < at.x1; ++x) {
      if (w[0] + bias[0] >= 0 && w[1] + bias[1] >= 0 && w[2] + bias[2] >= 0) pixel(v, w, area, x, at.y);
      for (std::size_t e = 0; e < 3; ++e) w[e] += step[e];
    }
  }

  void pixel(const std::array<ImDrawVert, 3>& v, const std::array<std::int64_t, 3>& w, std::int64_t area,
             std::int64_t x, std::int64_t y) {
    const auto whole = static_cast<double>(area);
    const double share[3] = {static_cast<double>(w[0]) / whole, static_cast<double>(w[1]) / whole,
                             static_cast<double>(w[2]) / whole};
    const auto mixed = [&](auto part) { return share[0] * part(v[0]) + share[1] * part(v[1]) + share[2] * part(v[2]); };
    std::array<int, 4> colour{};
    for (std::size_t c = 0; c < 4; ++c) {
      const auto channel = [&](const ImDrawVert& vertex) {
        return static_cast<double>((vertex.col >> (8 * c)) & 0xffU);
      };
      colour[c] = static_cast<int>(std::lround(same_colour_ ? channel(v[0]) : mixed(channel)));
    }
    const int texel = same_texel_ ? texel_
                                  : sample(mixed([](const ImDrawVert& u) { return static_cast<double>(u.uv.x); }),
                                           mixed([](const ImDrawVert& u) { return static_cast<double>(u.uv.y); }));
    const int alpha = (colour[3] * texel + 127) / 255;
    if (alpha <= 0) return;
    std::uint8_t* out = image_.rgb.data() + 3 * (static_cast<std::size_t>(y) * static_cast<std::size_t>(image_.width) +
                                                 static_cast<std::size_t>(x));
    for (std::size_t c = 0; c < 3; ++c) {
      out[c] = static_cast<std::uint8_t>((colour[c] * alpha + out[c] * (255 - alpha) + 127) / 255);
    }
  }

  int sample(double u, double v) const {
    const double x = u * texture_.width - 0.5, y = v * texture_.height - 0.5;
    const double x0 = std::floor(x), y0 = std::floor(y), fx = x - x0, fy = y - y0;
    const auto at = [&](double tx, double ty) {
      const auto cx = static_cast<std::size_t>(std::clamp(tx, 0.0, texture_.width - 1.0)),
                 cy = static_cast<std::size_t>(std::clamp(ty, 0.0, texture_.height - 1.0));
      return static_cast<double>(texture_.pixels[cy * static_cast<std::size_t>(texture_.width) + cx]);
    };
    const double top = at(x0, y0) * (1 - fx) + at(x0 + 1, y0) * fx,
                 bottom = at(x0, y0 + 1) * (1 - fx) + at(x0 + 1, y0 + 1) * fx;
    return static_cast<int>(std::lround(top * (1 - fy) + bottom * fy));
  }

  Image& image_;
  const AlphaTexture& texture_;
  bool same_colour_ = false, same_texel_ = false;
  int texel_ = 255;
};

Clip clip_of(const ImDrawCmd& command, const ImDrawData& data, const Image& image) {
  const auto bound = [](float value, std::int32_t most) {
    return static_cast<std::int32_t>(std::clamp(std::lround(value), 0L, static_cast<long>(most)));
  };
  return {bound(command.ClipRect.x - data.DisplayPos.x, image.width),
          bound(command.ClipRect.y - data.DisplayPos.y, image.height),
          bound(command.ClipRect.z - data.DisplayPos.x, image.width),
          bound(command.ClipRect.w - data.DisplayPos.y, image.height)};
}

}  // namespace

Image rasterise(const ImDrawData& data, const AlphaTexture& texture, Rgb ground) {
  Image image{static_cast<std::int32_t>(data.DisplaySize.x), static_cast<std::int32_t>(data.DisplaySize.y), {}};
  const std::size_t pixels = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height);
  image.rgb.reserve(3 * pixels);
  for (std::size_t i = 0; i < pixels; ++i) image.rgb.insert(image.rgb.end(), {ground.r, ground.g, ground.b});
  Rasteriser rasteriser(image, texture);
  for (int l = 0; l < data.CmdListsCount; ++l) {
    const ImDrawList& list = *data.CmdLists[l];
    for (const ImDrawCmd& command : list.CmdBuffer) {
      if (command.UserCallback != nullptr) continue;
      const Clip clip = clip_of(command, data, image);
      if (clip.x0 >= clip.x1 || clip.y0 >= clip.y1) continue;
      for (unsigned i = 0; i + 2 < command.ElemCount; i += 3) {
        const auto vertex = [&](unsigned k) {
          return list.VtxBuffer[static_cast<int>(command.VtxOffset +
                                                 list.IdxBuffer[static_cast<int>(command.IdxOffset + i + k)])];
        };
        rasteriser.triangle({vertex(0), vertex(1), vertex(2)}, clip);
      }
    }
  }
  return image;
}

}  // namespace espalier::viz

// Small pieces that pictures share: axes, text that fits, insets between boxes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "viz/model/axis.h"
#include "viz/scene/scene.h"

namespace espalier::viz {

/// Margins of pictures with axes.
inline constexpr double kLeftMargin = 46, kBottomMargin = 22;

/// Measures a line, in pixels.
using WidthOf = std::function<double(const std::string&)>;
/// `text`, cut with an ellipsis to `width` pixels.
std::string fitted(const std::string& text, double width, const WidthOf& width_of);
/// By text_width(), which suits every face.
std::string fitted(const std::string& text, double size, double width);
/// A box with half a pixel left free around it where it is large enough, so that neighbours stay apart.
Rect inset(Rect rect);
/// Ticks and labels below y, from the axis' pixels on; grid lines up to `top`.
void bottom_axis(Scene& scene, const Axis& axis, double y, double top);
/// Ticks and labels left of x.
void left_axis(Scene& scene, const Axis& axis, double x, double right);

/// Over lanes from x0 to x1: CTAs ran there that weren't recorded.
void draw_unrecorded(Scene& scene, std::int64_t ctas, double x0, double x1, double y, double height);

}  // namespace espalier::viz

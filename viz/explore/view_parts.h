// What views share: dimming, numbers of both sides, messages.
#pragma once

#include <string>
#include <vector>

#include "viz/explore/views.h"
#include "viz/picture/drawing.h"

namespace espalier::viz {

inline constexpr std::uint8_t kDimmed = 56;
inline constexpr double kSmall = 11, kBody = 12.5;

/// A sentence in the middle, broken into lines.
void message(Scene& scene, const std::string& text, Area area);
/// `text` in lines of at most `width` pixels, broken at spaces, but not between a number and what it counts if both fit
/// one line. Words that are wider stay whole.
std::vector<std::string> wrapped(const std::string& text, double width, const WidthOf& width_of);
/// By text_width(), which suits every face.
std::vector<std::string> wrapped(const std::string& text, double size, double width);
/// A sentence of the libraries, which write in ASCII, as people read it: "12 µs ± 3 %".
std::string readable(std::string text);
/// "+3.2", "−0.5", with a minus sign of its own.
std::string signed_text(double value, int digits);
/// The paint that stands for a side.
Paint side_paint(SideId side);
/// A small plate with the side's letter, its left edge at x, centred on y.
void side_badge(Scene& scene, SideId side, double x, double y);

}  // namespace espalier::viz

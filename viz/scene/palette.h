// Colours by what they mean, in two themes. Everything drawn names a Paint; only a sink knows its colour.
//
// Sequences are one hue by lightness (more is stronger in both themes), categories follow Okabe and Ito (2008), so that
// people with any colour vision tell them apart.
#pragma once

#include <cstdint>
#include <string>

namespace espalier::viz {

enum class Paint : std::uint8_t {
  none,
  // surfaces and text; black is so in both themes
  page,
  panel,
  ink,
  muted,
  grid,
  select,
  black,
  // a sequence; step0 is "nothing of it"
  step0,
  step1,
  step2,
  step3,
  step4,
  step5,
  step6,
  // what an SM works on or waits for
  compute,
  fixed,
  hbm,
  l2,
  latency,
  // why an SM is empty; merge: merging, too
  launch,
  few,
  tail,
  imbalance,
  merge,
  // behind the cards of a window
  desk,
};
inline constexpr int kPaints = static_cast<int>(Paint::desk) + 1;
inline constexpr int kSteps = 7;

/// Step `i` of the sequence, clamped.
Paint step_paint(int i);
/// Text that is legible on a box of `fill`.
Paint text_on(Paint fill);

enum class Theme : std::uint8_t { light, dark };
struct Rgb {
  std::uint8_t r, g, b;
};
Rgb colour_of(Paint paint, Theme theme);
/// "#0072b2".
std::string hex_text(Rgb colour);

}  // namespace espalier::viz

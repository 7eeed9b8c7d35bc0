// ImGui's triangles to pixels on the CPU: no display, no GL, the same bytes everywhere.
#pragma once

#include "viz/scene/palette.h"
#include "viz/soft/image.h"

struct ImDrawData;

namespace espalier::viz {

/// The font atlas: one byte a pixel. Every command is taken to use it.
struct AlphaTexture {
  const std::uint8_t* pixels = nullptr;  ///< [height][width]
  std::int32_t width = 0, height = 0;
};

/// Draws in order over `ground`. Pixels are covered when their centre is inside (top-left rule), corners snapped to
/// 1/256 pixel, the texture is sampled with linear filtering. Cost: pixels covered.
Image rasterise(const ImDrawData& data, const AlphaTexture& texture, Rgb ground);

}  // namespace espalier::viz

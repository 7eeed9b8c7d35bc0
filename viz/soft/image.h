// Pictures in memory and as PNG files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace espalier::viz {

/// Rows of red, green, blue from the top; opaque.
struct Image {
  std::int32_t width = 0, height = 0;
  std::vector<std::uint8_t> rgb;
  friend bool operator==(const Image&, const Image&) = default;
};

/// A PNG file: no date, no text, so equal images give equal bytes (of one libpng and zlib).
std::string write_png(const Image& image);

}  // namespace espalier::viz

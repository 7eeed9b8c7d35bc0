#include "viz/scene/palette.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace espalier::viz {
namespace {

/// 0xRRGGBB in the light and in the dark theme, in the order of Paint.
constexpr std::uint32_t kColours[kPaints][2] = {
    {0x000000, 0x000000}, {0xffffff, 0x14181d}, {0xf5f7f9, 0x1d2329}, {0x1b2027, 0xe9ecef}, {0x5a6470, 0x9fa9b4},
    {0xe0e4e9, 0x323a43}, {0xd55e00, 0xff9d4d}, {0x14181d, 0x14181d}, {0xcbd1d8, 0x4d5761}, {0xc4ddf0, 0x29507a},
    {0x9ac7e4, 0x30679c}, {0x66abd6, 0x3b83c4}, {0x3587bd, 0x62a5e0}, {0x17639e, 0x96c8f2}, {0x0a3d73, 0xd0e8fc},
    {0xe69f00, 0xe69f00}, {0xb3a533, 0xd6cc5a}, {0x0072b2, 0x3b94d1}, {0x56b4e9, 0x8fd0f5}, {0xcc79a7, 0xd98cb6},
    {0x6b7682, 0x7d8893}, {0xb4bcc5, 0x535d67}, {0xd55e00, 0xe8711a}, {0xf0a875, 0xf5bd96}, {0x009e73, 0x1bb88b},
    {0xe9edf1, 0x0b0e11},
};

}  // namespace

Paint step_paint(int i) { return static_cast<Paint>(static_cast<int>(Paint::step0) + std::clamp(i, 0, kSteps - 1)); }

Paint text_on(Paint fill) {
  switch (fill) {
    case Paint::step4:
    case Paint::step5:
    case Paint::step6:
    case Paint::hbm:
    case Paint::tail:
    case Paint::launch:
    case Paint::merge:
      return Paint::page;
    case Paint::compute:
    case Paint::fixed:
    case Paint::l2:
    case Paint::latency:
    case Paint::imbalance:
      return Paint::black;
    default:
      return Paint::ink;
  }
}

Rgb colour_of(Paint paint, Theme theme) {
  const auto row = static_cast<std::size_t>(paint);
  ESPALIER_CHECK_OP(row, <, static_cast<std::size_t>(kPaints));
  const std::uint32_t c = kColours[row][theme == Theme::dark ? 1 : 0];
  return {static_cast<std::uint8_t>(c >> 16U), static_cast<std::uint8_t>((c >> 8U) & 0xffU),
          static_cast<std::uint8_t>(c & 0xffU)};
}

std::string hex_text(Rgb colour) { return fmt::format("#{:02x}{:02x}{:02x}", colour.r, colour.g, colour.b); }

}  // namespace espalier::viz

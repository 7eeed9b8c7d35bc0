// Faces of the explorer: Inter or DejaVu Sans where Debian has installed them, else ImGui's own.
#pragma once

#include <array>

struct ImFont;
struct ImFontAtlas;

namespace espalier::viz {

enum class Face : unsigned char {
  best,     ///< the first that is found
  builtin,  ///< ImGui's, which is the same on every machine
};

/// Baked at the sizes that panels use, in pixels at scale 1.
class Fonts {
 public:
  /// Adds them to an atlas, which must be empty.
  void load(ImFontAtlas& atlas, Face face, float scale);
  /// The one nearest to a size.
  ImFont* at(double size, bool bold) const;

 private:
  static constexpr std::array<double, 4> kSizes{11, 12.5, 14, 21};
  std::array<std::array<ImFont*, 2>, kSizes.size()> fonts_{};
};

}  // namespace espalier::viz

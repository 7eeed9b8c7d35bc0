#include "viz/ui/fonts.h"

#include <imgui.h>

#include <cmath>
#include <filesystem>
#include <system_error>

namespace espalier::viz {
namespace {

struct Candidate {
  const char* regular;
  const char* bold;
  float height;  ///< of ascender and descender together, in ems: ImGui counts sizes in these
};
constexpr Candidate kCandidates[] = {
    {"/usr/share/fonts/opentype/inter/Inter-Regular.otf", "/usr/share/fonts/opentype/inter/Inter-SemiBold.otf", 1.21F},
    {"/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf", 1.164F},
};
/// Latin, Greek capital delta, dashes and dots, arrows, minus and comparison signs.
constexpr ImWchar kGlyphs[] = {0x20,   0xff,   0x394,  0x394,  0x2010, 0x2026, 0x2190,
                               0x2193, 0x2212, 0x2212, 0x2248, 0x2265, 0};

bool readable(const char* path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error);
}

ImFont* bake(ImFontAtlas& atlas, const char* path, float size) {
  ImFontConfig config;
  config.OversampleH = 2;
  config.OversampleV = 1;
  config.PixelSnapH = false;
  return atlas.AddFontFromFileTTF(path, size, &config, kGlyphs);
}

ImFont* bake_builtin(ImFontAtlas& atlas, float size) {
  ImFontConfig config;
  config.SizePixels = std::round(size);
  return atlas.AddFontDefault(&config);
}

/// ImGui's own has Latin-1 only: what we use beyond is shown by what comes nearest.
void replace_signs(ImFont* font) {
  constexpr struct {
    ImWchar sign, shown;
  } kReplaced[] = {{0x2013, '-'}, {0x2212, '-'}, {0x2026, '.'}, {0x2190, '<'}, {0x2191, '^'},
                   {0x2192, '>'}, {0x2193, 'v'}, {0x2264, '<'}, {0x3bc, 0xb5}};
  for (const auto& r : kReplaced) font->AddRemapChar(r.sign, r.shown);
}

}  // namespace

void Fonts::load(ImFontAtlas& atlas, Face face, float scale) {
  const Candidate* chosen = nullptr;
  for (const Candidate& candidate : kCandidates) {
    if (face == Face::best && chosen == nullptr && readable(candidate.regular) && readable(candidate.bold)) {
      chosen = &candidate;
    }
  }
  for (std::size_t s = 0; s < kSizes.size(); ++s) {
    const float size = static_cast<float>(kSizes[s]) * scale;
    for (std::size_t bold = 0; bold < 2; ++bold) {
      fonts_[s][bold] = chosen != nullptr
                            ? bake(atlas, bold != 0 ? chosen->bold : chosen->regular, size * chosen->height)
                            : bake_builtin(atlas, size * 1.05F);
    }
  }
  atlas.Build();
  if (chosen != nullptr) return;
  for (const auto& pair : fonts_) {
    for (ImFont* font : pair) replace_signs(font);
  }
}

ImFont* Fonts::at(double size, bool bold) const {
  std::size_t best = 0;
  for (std::size_t s = 1; s < kSizes.size(); ++s) {
    if (std::abs(kSizes[s] - size) < std::abs(kSizes[best] - size)) best = s;
  }
  return fonts_[best][bold ? 1 : 0];
}

}  // namespace espalier::viz

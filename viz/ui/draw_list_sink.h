// A scene onto ImGui's draw list.
#pragma once

#include <imgui.h>

#include "viz/scene/scene_sink.h"
#include "viz/ui/fonts.h"

namespace espalier::viz {

ImU32 packed(Paint paint, Theme theme, std::uint8_t alpha = 255);

class DrawListSink : public SceneSink {
 public:
  struct Target {
    ImDrawList* list;
    ImVec2 origin;  ///< of the scene, in pixels
    float scale;
    Theme theme;
    const Fonts* fonts;
  };
  explicit DrawListSink(const Target& target) : target_(target) {}
  void begin(const Scene&) override {}
  void rect(const Rect& rect) override;
  void line(const Line& line) override;
  void text(const Text& text) override;
  void end() override {}

 private:
  ImVec2 at(double x, double y) const;
  Target target_;
};

}  // namespace espalier::viz

#include "viz/ui/scene_image.h"

#include <imgui.h>

#include <cmath>

#include "viz/soft/raster.h"
#include "viz/ui/draw_list_sink.h"

namespace espalier::viz {
namespace {

/// A context of its own beside the one of a window that may be open.
class Canvas {
 public:
  Canvas() : before_(ImGui::GetCurrentContext()), own_(ImGui::CreateContext()) { ImGui::SetCurrentContext(own_); }
  ~Canvas() {
    ImGui::DestroyContext(own_);
    ImGui::SetCurrentContext(before_);
  }
  Canvas(const Canvas&) = delete;
  Canvas& operator=(const Canvas&) = delete;

 private:
  ImGuiContext* before_;
  ImGuiContext* own_;
};

}  // namespace

Image scene_image(const Scene& scene, Theme theme, double scale, Face face) {
  const Canvas canvas;
  ImGuiIO& io = ImGui::GetIO();
  io.IniFilename = nullptr;
  io.BackendFlags |= ImGuiBackendFlags_RendererHasVtxOffset;
  io.DisplaySize = {static_cast<float>(std::ceil(scene.width * scale)), static_cast<float>(std::ceil(scene.height * scale))};
  Fonts fonts;
  fonts.load(face, static_cast<float>(scale));
  unsigned char* pixels = nullptr;
  int width = 0, height = 0;
  io.Fonts->GetTexDataAsAlpha8(&pixels, &width, &height);
  ImGui::NewFrame();
  DrawListSink sink({ImGui::GetBackgroundDrawList(), {0, 0}, static_cast<float>(scale), theme, &fonts});
  draw(scene, sink);
  ImGui::Render();
  return rasterise(*ImGui::GetDrawData(), {pixels, width, height}, colour_of(Paint::page, theme));
}

}  // namespace espalier::viz

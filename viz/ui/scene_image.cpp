#include "viz/ui/scene_image.h"

#include <imgui.h>
#include <imgui_internal.h>

#include <cmath>

#include "viz/soft/raster.h"
#include "viz/ui/draw_list_sink.h"

namespace espalier::viz {

Image scene_image(const Scene& scene, Theme theme, double scale, Face face) {
  // An atlas and a list of its own: a context would be that of every thread, and a window may be drawing with it.
  ImFontAtlas atlas;
  Fonts fonts;
  fonts.load(atlas, face, static_cast<float>(scale));
  unsigned char* pixels = nullptr;
  int width = 0, height = 0;
  atlas.GetTexDataAsAlpha8(&pixels, &width, &height);
  const ImVec2 size{static_cast<float>(std::ceil(scene.width * scale)),
                    static_cast<float>(std::ceil(scene.height * scale))};
  const ImGuiStyle style;
  ImDrawListSharedData shared;
  shared.TexUvWhitePixel = atlas.TexUvWhitePixel;
  shared.TexUvLines = atlas.TexUvLines;
  shared.CurveTessellationTol = style.CurveTessellationTol;
  shared.SetCircleTessellationMaxError(style.CircleTessellationMaxError);
  shared.ClipRectFullscreen = {0, 0, size.x, size.y};
  shared.InitialFlags = ImDrawListFlags_AntiAliasedLines | ImDrawListFlags_AntiAliasedLinesUseTex |
                        ImDrawListFlags_AntiAliasedFill | ImDrawListFlags_AllowVtxOffset;
  ImDrawList list(&shared);
  list._ResetForNewFrame();
  list.PushTextureID(atlas.TexID);
  list.PushClipRectFullScreen();
  DrawListSink sink({&list, {0, 0}, static_cast<float>(scale), theme, &fonts});
  draw(scene, sink);
  list._PopUnusedDrawCmd();
  ImDrawList* lists = &list;
  ImDrawData data;
  data.Valid = true;
  data.CmdLists = &lists;
  data.CmdListsCount = 1;
  data.TotalIdxCount = list.IdxBuffer.Size;
  data.TotalVtxCount = list.VtxBuffer.Size;
  data.DisplaySize = size;
  data.FramebufferScale = {1, 1};
  return rasterise(data, {pixels, width, height}, colour_of(Paint::page, theme));
}

}  // namespace espalier::viz

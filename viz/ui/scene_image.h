// A scene as pixels, with no window: the same shapes as in its SVG. On any thread, but for
// ImGui's count of allocations, which is one for all of them and then inexact.
#pragma once

#include "viz/scene/scene.h"
#include "viz/soft/image.h"
#include "viz/ui/fonts.h"

namespace espalier::viz {

Image scene_image(const Scene& scene, Theme theme, double scale, Face face);

}  // namespace espalier::viz

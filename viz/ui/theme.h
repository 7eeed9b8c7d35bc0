// ImGui's look in our colours and sizes.
#pragma once

#include "viz/scene/palette.h"

namespace espalier::viz {

void set_style(Theme theme, float scale);

}  // namespace espalier::viz

// Where the explorer's cards stand in its window.
#pragma once

#include "viz/explore/views.h"

namespace espalier::viz {

struct Regions {
  Area header, controls, summary, forest, cover, wide, facts, insight;
};
/// Below this nothing has room; pixels at scale 1.
inline constexpr ViewSize kLeastWindow{1100, 700};

/// Sizes in pixels at scale 1; never overlapping, with equal gutters. Smaller windows are laid out as the least one,
/// and cut.
Regions regions_of(ViewSize window);

}  // namespace espalier::viz

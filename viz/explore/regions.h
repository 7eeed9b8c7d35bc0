// Where the explorer's cards stand in its window.
#pragma once

#include "viz/explore/views.h"

namespace espalier::viz {

struct Regions {
  Area header, controls, summary, forest, cover, wide, facts, insight;
};
/// Sizes in pixels at scale 1; never overlapping, with equal gutters. Below 960 x 600 things are laid out as there, and cut.
Regions regions_of(ViewSize window);

}  // namespace espalier::viz

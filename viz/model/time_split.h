// Where SM time goes, as parts of one bar, and the colours of what limits a CTA.
#pragma once

#include <string>
#include <vector>

#include "sim/explain.h"
#include "viz/scene/palette.h"

namespace espalier::viz {

Paint bound_paint(sim::Bound bound);

struct SplitPart {
  std::string name;
  std::string note;   ///< what it means
  double share = 0;   ///< of makespan x SMs
  bool idle = false;  ///< the SM holds no CTA
  Paint paint = Paint::none;
};
/// All ten parts, busy ones first; shares sum to 1 (to 0 for a plan that takes no time).
std::vector<SplitPart> time_split(const sim::SmTimeReasons& reasons);

}  // namespace espalier::viz

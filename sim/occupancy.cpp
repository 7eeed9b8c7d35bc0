// Names and sums of the split of SM time.
#include "sim/occupancy.h"

#include <array>

namespace espalier::sim {

std::string_view bound_name(Bound bound) {
  constexpr std::array<std::string_view, kBounds> kNames = {"hbm", "l2", "compute", "latency", "fixed"};
  return kNames.at(static_cast<std::size_t>(bound));
}

double TimeSplit::total() const {
  double sum = launch + underfill + tail + merge;
  for (double part : busy) sum += part;
  return sum;
}

}  // namespace espalier::sim

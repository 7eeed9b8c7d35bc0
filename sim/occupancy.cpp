// Booking of SM time: busy by bound, idle by reason.
#include "sim/occupancy.h"

#include <algorithm>
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

void SmTime::pass(double us, const std::vector<FlowClass>& active, const std::vector<FlowRate>& rates) {
  if (resident_ == 0) {
    split_.launch += us * sms_;
    filled_ = false;
    return;
  }
  const double ctas = static_cast<double>(resident_);
  const double busy = std::min(sms_, ctas);
  const double share = us * busy / ctas;
  for (int b = 0; b < kBounds && in_fixed_ > 0; ++b) split_.busy[b] += share * std::max(0.0, fixed_.us[b]);
  for (std::size_t i = 0; i < active.size(); ++i) {
    split_.busy[static_cast<int>(rates[i].bound)] += share * active[i].count;
  }
  double& idle = merging_ == resident_ ? split_.merge : filled_ ? split_.tail : split_.underfill;
  idle += us * (sms_ - busy);
}

}  // namespace espalier::sim

// Slots that come free at the same time are taken together, so that a grid costs as many steps as it has distinct ends.
#include "sim/calibration/dispatch.h"

#include <algorithm>
#include <map>

#include "core/error.h"

namespace espalier::sim {
namespace {

/// Of `n` CTAs from the `from`-th on.
std::int64_t even_numbered(const UnequalCtas& ctas, std::int64_t from, std::int64_t n) {
  const bool begins_even = (ctas.first + ctas.step * from) % 2 == 0;
  if (ctas.step % 2 == 0) return begins_even ? n : 0;
  return begins_even ? (n + 1) / 2 : n / 2;
}

}  // namespace

double dispatch_by_room(const UnequalCtas& ctas, std::int64_t slots) {
  ESPALIER_CHECK(slots >= 1 && ctas.even > 0 && ctas.odd > 0);
  std::map<double, std::int64_t> free = {{0.0, slots}};
  double end = 0;
  for (std::int64_t next = 0; next < ctas.count;) {
    const auto [at, open] = *free.begin();
    const std::int64_t taken = std::min(open, ctas.count - next), even = even_numbered(ctas, next, taken);
    free.erase(free.begin());
    if (even > 0) free[at + ctas.even] += even;
    if (taken > even) free[at + ctas.odd] += taken - even;
    end = std::max({end, even > 0 ? at + ctas.even : 0.0, taken > even ? at + ctas.odd : 0.0});
    next += taken;
  }
  return end;
}

double dispatch_round_robin(const UnequalCtas& ctas, std::int64_t sms, std::int64_t slots_per_sm) {
  ESPALIER_CHECK(ctas.first == 0 && ctas.step == 1 && sms >= 1);
  double end = 0;
  // The first two SMs have as many CTAs as any, one of either parity.
  for (std::int64_t sm = 0; sm < std::min<std::int64_t>(2, sms); ++sm) {
    const std::int64_t count = std::max<std::int64_t>(0, (ctas.count - sm + sms - 1) / sms);
    end = std::max(end, dispatch_by_room({sm, sms, count, ctas.even, ctas.odd}, slots_per_sm));
  }
  return end;
}

}  // namespace espalier::sim

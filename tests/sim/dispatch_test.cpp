#include "sim/calibration/dispatch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "core/rng.h"

namespace espalier::sim {
namespace {

double length_of(std::int64_t cta, double even, double odd) { return cta % 2 == 0 ? even : odd; }

/// One CTA at a time.
double one_by_one(const std::vector<std::int64_t>& ctas, std::int64_t slots, double even, double odd) {
  std::vector<double> free(static_cast<std::size_t>(slots), 0.0);
  for (const std::int64_t cta : ctas) *std::min_element(free.begin(), free.end()) += length_of(cta, even, odd);
  return *std::max_element(free.begin(), free.end());
}

TEST(Dispatch, EqualsHandingOutOneByOne) {
  core::Rng rng(5);
  for (int trial = 0; trial < 300; ++trial) {
    const std::int64_t sms = rng.integer(1, 9), per_sm = rng.integer(1, 3), count = rng.integer(1, 60);
    // Quarters, so that sums are exact in either order.
    const double even = static_cast<double>(rng.integer(1, 80)) / 4, odd = static_cast<double>(rng.integer(1, 80)) / 4;
    std::vector<std::int64_t> all;
    std::vector<std::vector<std::int64_t>> of_sm(static_cast<std::size_t>(sms));
    for (std::int64_t i = 0; i < count; ++i) {
      all.push_back(i);
      of_sm[static_cast<std::size_t>(i % sms)].push_back(i);
    }
    double fixed = 0;
    for (const auto& mine : of_sm) fixed = std::max(fixed, one_by_one(mine, per_sm, even, odd));
    const UnequalCtas ctas = {0, 1, count, even, odd};
    EXPECT_EQ(dispatch_by_room(ctas, sms * per_sm), one_by_one(all, sms * per_sm, even, odd)) << trial;
    EXPECT_EQ(dispatch_round_robin(ctas, sms, per_sm), fixed) << trial;
  }
}

TEST(Dispatch, RoundRobinLeavesSmsOfShortCtasIdle) {
  const UnequalCtas ctas = {0, 1, 3 * 132, 20, 5};
  EXPECT_EQ(dispatch_round_robin(ctas, 132, 2), 40) << "an SM of even number has three long ones";
  EXPECT_EQ(dispatch_by_room(ctas, 264), 25) << "the third lot begins where the short ones of the first have ended";
}

}  // namespace
}  // namespace espalier::sim

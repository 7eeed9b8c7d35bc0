// The event engine's queue against a sorted set.
#include "sim/event_queue.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <utility>

#include "core/rng.h"

namespace espalier::sim {
namespace {

using Reference = std::set<std::pair<double, std::uint32_t>>;

/// `steps` pushes and pops around `size` queued events, `spread` beyond the last that was popped; few times, so that
/// many are equal, if `coarse`.
void expect_order(std::uint64_t seed, std::size_t size, std::int64_t spread, bool coarse) {
  core::Rng rng(seed);
  EventQueue queue;
  Reference all;
  double now = 0;
  std::uint32_t order = 0;
  for (int step = 0; step < 4000; ++step) {
    if (all.size() < size || (rng.chance(0.5) && all.size() < 2 * size)) {
      const double far = rng.chance(0.02) ? 1e6 : 20;
      const double ahead =
          rng.chance(0.1) ? far * static_cast<double>(spread) : static_cast<double>(rng.integer(0, spread));
      const Event event{now + (coarse ? ahead : ahead * 1.0009765625), order++ % 1'000 * 7919 % 1'000, step};
      if (!all.insert({event.at, event.order}).second) continue;
      queue.push(event);
    } else {
      ASSERT_EQ((std::pair(queue.front().at, queue.front().order)), *all.begin())
          << "seed " << seed << ", step " << step;
      now = queue.front().at;
      queue.pop();
      all.erase(all.begin());
    }
    ASSERT_EQ(std::isinf(queue.next_at()), all.empty());
  }
  for (; !all.empty(); queue.pop(), all.erase(all.begin())) {
    ASSERT_EQ((std::pair(queue.front().at, queue.front().order)), *all.begin()) << "seed " << seed;
  }
  EXPECT_TRUE(std::isinf(queue.next_at()));
}

TEST(EventQueue, GivesTheSoonestThenTheLowestWhateverTheSizeAndSpread) {
  std::uint64_t seed = 0;
  for (const std::size_t size : {1, 2, 15, 17, 63, 70, 300, 1500}) {
    for (const std::int64_t spread : {1, 7, 100, 100'000}) {
      for (const bool coarse : {false, true}) expect_order(++seed, size, spread, coarse);
    }
  }
}

TEST(EventQueue, KeepsEventsOfOneTimeInOrderBeyondWhatItSorts) {
  EventQueue queue;
  for (std::uint32_t i = 0; i < 500; ++i) queue.push({1, i * 7919 % 500, 0});
  queue.push({0.5, 1000, 0});
  EXPECT_EQ(queue.front().order, 1000u);
  queue.pop();
  for (std::uint32_t i = 0; i < 500; ++i, queue.pop()) ASSERT_EQ(queue.front().order, i);
  EXPECT_TRUE(std::isinf(queue.next_at()));
}

}  // namespace
}  // namespace espalier::sim

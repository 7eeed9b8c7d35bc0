#include "viz/model/axis.h"

#include <gtest/gtest.h>

namespace espalier::viz {
namespace {

std::vector<std::string> labels(const Axis& axis, int most) {
  std::vector<std::string> out;
  for (const Tick& tick : ticks(axis, most)) out.push_back(tick.label);
  return out;
}

TEST(Axis, TicksAreRoundAndCarryOneUnit) {
  EXPECT_EQ(labels({0, 70, 0, 700, false, Unit::time_us}, 8),
            (std::vector<std::string>{"0", "10 µs", "20 µs", "30 µs", "40 µs", "50 µs", "60 µs", "70 µs"}));
  EXPECT_EQ(labels({0, 2300, 0, 700, false, Unit::time_us}, 5),
            (std::vector<std::string>{"0", "0.5 ms", "1.0 ms", "1.5 ms", "2.0 ms"}));
  EXPECT_EQ(labels({0, 3 << 20, 0, 700, false, Unit::bytes}, 4),
            (std::vector<std::string>{"0", "1 MiB", "2 MiB", "3 MiB"}));
}

TEST(Axis, TicksStayInsideAndAreAtMostSoMany) {
  for (const double high : {1e-3, 0.7, 1.0, 3.14, 99.0, 12345.0, 9e8}) {
    for (const double low : {0.0, high / 3}) {
      for (int most = 2; most < 12; ++most) {
        const Axis axis{low, high, 10, 500, false, Unit::plain};
        const std::vector<Tick> all = ticks(axis, most);
        EXPECT_LE(static_cast<int>(all.size()), most) << low << " " << high;
        for (const Tick& tick : all) {
          EXPECT_GE(tick.pixel, 10 - 1e-6);
          EXPECT_LE(tick.pixel, 500 + 1e-6);
          EXPECT_NEAR(axis.to_value(tick.pixel), tick.value, high * 1e-9);
        }
      }
    }
  }
}

TEST(Axis, LogTicksArePowersOfTen) {
  const Axis axis{0.5, 2e4, 0, 100, true, Unit::plain};
  const std::vector<Tick> all = ticks(axis, 10);
  ASSERT_EQ(all.size(), 5U);
  EXPECT_EQ(all.front().value, 1);
  EXPECT_EQ(all.back().label, "10.0 k");
  EXPECT_NEAR(axis.to_value(axis.to_pixel(123.0)), 123.0, 1e-9);
}

TEST(Axis, ValuesCarryUnits) {
  EXPECT_EQ(value_text(0.25, Unit::time_us), "250 ns");
  EXPECT_EQ(value_text(70.04, Unit::time_us), "70.0 µs");
  EXPECT_EQ(value_text(1536, Unit::bytes), "1.50 KiB");
  EXPECT_EQ(value_text(12, Unit::bytes), "12 B");
  EXPECT_EQ(value_text(3015, Unit::gb_per_s), "3.02 TB/s");
  EXPECT_EQ(value_text(45056, Unit::tokens), "45.1 k");
  EXPECT_EQ(value_text(7, Unit::plain), "7");
}

}  // namespace
}  // namespace espalier::viz

// Axes: values to pixels and back, round ticks, labels with units.
#pragma once

#include <string>
#include <vector>

namespace espalier::viz {

enum class Unit : unsigned char { plain, time_us, tokens, bytes, gb_per_s };
/// "12.3 µs", "2.05 k", "1.50 MiB", "3.35 TB/s".
std::string value_text(double value, Unit unit);

struct Axis {
  double low = 0, high = 1;  ///< values; high > low, and low > 0 on a log axis
  double from_px = 0, to_px = 1;
  bool log = false;
  Unit unit = Unit::plain;

  double to_pixel(double value) const;
  double to_value(double pixel) const;
};

struct Tick {
  double value = 0, pixel = 0;
  std::string label;
};
/// At most `most` (at least 2) round values inside the axis, ascending: 1, 2 or 5 times a power of ten (bytes: powers
/// of two); powers on a log axis. Labels of one axis are of one prefix.
std::vector<Tick> ticks(const Axis& axis, int most);

}  // namespace espalier::viz

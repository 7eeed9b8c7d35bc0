#include "viz/model/axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace espalier::viz {
namespace {

struct Prefix {
  double scale;
  const char* text;
};

/// Largest prefix whose scale is at most `value`.
Prefix prefix_of(double value, Unit unit) {
  static const std::vector<Prefix> kTime = {{1e6, " s"}, {1e3, " ms"}, {1, " µs"}, {1e-3, " ns"}};
  static const std::vector<Prefix> kCount = {{1e9, " G"}, {1e6, " M"}, {1e3, " k"}, {1, ""}};
  static const std::vector<Prefix> kBytes = {
      {1099511627776.0, " TiB"}, {1073741824.0, " GiB"}, {1048576.0, " MiB"}, {1024.0, " KiB"}, {1, " B"}};
  static const std::vector<Prefix> kRate = {{1e3, " TB/s"}, {1, " GB/s"}};
  const auto& all = unit == Unit::time_us    ? kTime
                    : unit == Unit::bytes    ? kBytes
                    : unit == Unit::gb_per_s ? kRate
                                             : kCount;
  for (const Prefix& prefix : all) {
    if (value >= prefix.scale * 0.9995) return prefix;
  }
  return all.back();
}

/// Least round number that is at least `value`.
double round_up(double value, Unit unit) {
  if (unit == Unit::bytes) return std::exp2(std::ceil(std::log2(std::max(1.0, value)) - 1e-9));
  const double power = std::pow(10.0, std::floor(std::log10(value) + 1e-9));
  for (const double step : {1.0, 2.0, 5.0}) {
    if (value <= step * power * (1 + 1e-9)) return step * power;
  }
  return 10 * power;
}

std::string tick_label(double value, const Prefix& prefix, double step) {
  if (value == 0) return "0";
  const double shown = value / prefix.scale, least = step / prefix.scale;
  const int decimals = std::clamp(static_cast<int>(std::ceil(-std::log10(least) - 1e-9)), 0, 6);
  return fmt::format("{:.{}f}{}", shown, decimals, prefix.text);
}

}  // namespace

std::string value_text(double value, Unit unit) {
  if (value == 0) {
    return unit == Unit::time_us ? "0 µs" : unit == Unit::bytes ? "0 B" : unit == Unit::gb_per_s ? "0 GB/s" : "0";
  }
  const bool whole = (unit == Unit::plain || unit == Unit::tokens || unit == Unit::bytes) && value == std::floor(value);
  if (whole && std::abs(value) < (unit == Unit::bytes ? 1024 : 1e4)) {
    return fmt::format("{:.0f}{}", value, unit == Unit::bytes ? " B" : "");
  }
  const Prefix prefix = prefix_of(std::abs(value), unit);
  const double shown = value / prefix.scale;
  const int decimals = std::abs(shown) < 9.995 ? 2 : std::abs(shown) < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f}{}", shown, decimals, prefix.text);
}

double Axis::to_pixel(double value) const {
  const double share = log ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
  return from_px + share * (to_px - from_px);
}

double Axis::to_value(double pixel) const {
  const double share = (pixel - from_px) / (to_px - from_px);
  return log ? low * std::pow(high / low, share) : low + share * (high - low);
}

std::vector<Tick> ticks(const Axis& axis, int most) {
  ESPALIER_CHECK(axis.high > axis.low && most >= 2);
  ESPALIER_CHECK(!axis.log || axis.low > 0);
  std::vector<Tick> all;
  const double largest = std::max(std::abs(axis.low), std::abs(axis.high));
  if (axis.log) {
    const double decades = std::log10(axis.high / axis.low);
    const double stride = std::max(1.0, std::ceil(decades / most));
    for (double e = std::ceil(std::log10(axis.low) - 1e-9); e <= std::log10(axis.high) + 1e-9; e += stride) {
      const double value = std::pow(10.0, e);
      all.push_back({value, axis.to_pixel(value), value_text(value, axis.unit)});
    }
    return all;
  }
  double step = round_up((axis.high - axis.low) / most, axis.unit);
  while (std::floor(axis.high / step + 1e-9) - std::ceil(axis.low / step - 1e-9) + 1 > most) {
    step = round_up(step * 1.01, axis.unit);
  }
  for (double i = std::ceil(axis.low / step - 1e-9); i * step <= axis.high + step * 1e-9; ++i) {
    const double value = i * step;
    all.push_back({value, axis.to_pixel(value), tick_label(value, prefix_of(largest, axis.unit), step)});
  }
  return all;
}

}  // namespace espalier::viz

// Widths by origin, correlations of draws.
#include "sim/calibration/kept_numbers.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "sim/interval.h"

namespace espalier::sim {
namespace {

double mean(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

/// 0 where one of them doesn't vary.
double correlation(std::span<const double> a, std::span<const double> b) {
  const double mean_a = mean(a), mean_b = mean(b);
  double both = 0, square_a = 0, square_b = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    both += (a[i] - mean_a) * (b[i] - mean_b);
    square_a += (a[i] - mean_a) * (a[i] - mean_a);
    square_b += (b[i] - mean_b) * (b[i] - mean_b);
  }
  return square_a > 0 && square_b > 0 ? both / std::sqrt(square_a * square_b) : 0;
}

}  // namespace

double kept_half_width(const costmodel::DeviceSpec& base, std::string_view parameter) {
  const auto& fields = costmodel::device_fields();
  const auto field =
      std::find_if(fields.begin(), fields.end(), [&](const costmodel::DeviceField& f) { return f.name == parameter; });
  if (field == fields.end()) return kAssumedHalfWidth;
  const auto origin = base.provenance.find(parameter);
  if (origin != base.provenance.end() && origin->second.origin == costmodel::Origin::measured) return kAssumedHalfWidth;
  return parameter_half_width(base, *field);
}

void keep_as_assumed(costmodel::DeviceSpec& device, const std::string& base, const std::string& name,
                     const std::string& why_not) {
  auto& provenance = device.provenance[name];
  if (provenance.origin != costmodel::Origin::measured) {
    provenance.source += fmt::format("; not measured: {}", why_not);
    return;
  }
  provenance = {costmodel::Origin::assumed,
                fmt::format("as of {}: {}; not measured: {}", base, provenance.source, why_not)};
}

std::string followed_by(const std::string& name, const std::vector<std::string>& others, const Draws& draws) {
  constexpr double kFollows = 0.7;
  std::string closest;
  double highest = kFollows;
  for (const std::string& other : others) {
    const double follows = std::abs(correlation(draws.at(name), draws.at(other)));
    if (follows <= highest) continue;
    highest = follows;
    closest = other;
  }
  return closest;
}

}  // namespace espalier::sim

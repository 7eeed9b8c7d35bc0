#include "core/rng.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace espalier::core {

__extension__ typedef unsigned __int128 Wide;

std::int64_t Rng::integer(std::int64_t low, std::int64_t high) {
  ESPALIER_CHECK_OP(low, <=, high);
  const auto range = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low) + 1;
  if (range == 0) return static_cast<std::int64_t>(bits());  // all 2^64 values: the range itself doesn't fit 64 bits
  // The bias of a 128-bit multiply is below 2^-32 for every range used here.
  const auto scaled = static_cast<std::uint64_t>((static_cast<Wide>(bits()) * range) >> 64);
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(low) + scaled);
}

double Rng::normal() {
  const double u = 1.0 - uniform();  // (0, 1]: the logarithm is finite
  const double v = uniform();
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

std::int64_t Rng::log_normal(double median, double sigma) {
  const double x = std::round(median * std::exp(sigma * normal()));
  return static_cast<std::int64_t>(std::clamp(x, 1.0, 1e15));
}

std::int64_t Rng::geometric(double success_probability) {
  ESPALIER_CHECK(success_probability > 0.0 && success_probability <= 1.0);
  if (success_probability == 1.0) return 0;
  // log1p keeps probabilities below 2^-53 from dividing by zero; the bound keeps the quotient inside 63 bits.
  const double failures = std::floor(std::log(1.0 - uniform()) / std::log1p(-success_probability));
  return static_cast<std::int64_t>(std::min(failures, 1e15));
}

}  // namespace espalier::core

// Random numbers that are the same on every machine.
//
// The standard library's distributions differ between implementations, so the few that the generators need are here.
// The counter-based form (`random_bits(seed, counter)`) needs no state: tensors of any size are a function of their
// index.
#pragma once

#include <cstdint>

namespace espalier::core {

/// SplitMix64's finaliser over (seed, counter): 64 well-mixed bits, no state.
constexpr std::uint64_t random_bits(std::uint64_t seed, std::uint64_t counter) {
  std::uint64_t z = seed + (counter + 1) * 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

/// A stream of random numbers. Copyable; equal seeds give equal streams.
class Rng {
 public:
  explicit Rng(std::uint64_t seed) : seed_(random_bits(seed, 0x5EED)) {}

  std::uint64_t bits() { return random_bits(seed_, counter_++); }
  /// Uniform in [0, 1).
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1.0p-53; }
  /// Uniform integer in [low, high], both ends included.
  std::int64_t integer(std::int64_t low, std::int64_t high);
  bool chance(double probability) { return uniform() < probability; }
  /// Standard normal (Box-Muller, one value a call).
  double normal();
  /// median * exp(sigma * N(0,1)), rounded to an integer >= 1.
  std::int64_t log_normal(double median, double sigma);
  /// Number of failures before the first success, mean (1-p)/p.
  std::int64_t geometric(double success_probability);

 private:
  std::uint64_t seed_;
  std::uint64_t counter_ = 0;
};

}  // namespace espalier::core

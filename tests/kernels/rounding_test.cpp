// Rounding to storage formats, against hand values and against the list of every representable number.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/rng.h"
#include "kernels/oracle.h"

namespace espalier::kernels {
namespace {

using traces::Dtype;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct HandValue {
  Dtype dtype;
  double x, rounded;
};

TEST(Rounding, GivesHandValues) {
  const std::vector<HandValue> values = {
      {Dtype::bf16, 1 + 0x1p-8, 1.0},         // tie, lower neighbour even
      {Dtype::bf16, 1 + 0x3p-8, 1 + 0x1p-6},  // tie, upper neighbour even
      {Dtype::bf16, 1 + 0x1p-8 + 0x1p-40, 1 + 0x1p-7},
      {Dtype::bf16, -1 - 0x3p-8, -1 - 0x1p-6},
      {Dtype::bf16, 2 - 0x1p-9, 2.0},  // carries into the exponent
      {Dtype::bf16, 0x1p-134, 0.0},    // tie between 0 and the least subnormal
      {Dtype::bf16, 0x3p-134, 0x1p-132},
      {Dtype::bf16, 0x1.FFp127, kInfinity},
      {Dtype::fp16, 1 + 0x1p-11, 1.0},
      {Dtype::fp16, 1 + 0x3p-11, 1 + 0x1p-9},
      {Dtype::fp16, 65519.99, 65504.0},
      {Dtype::fp16, 65520.0, kInfinity},
      {Dtype::fp16, 0x1p-25, 0.0},
      {Dtype::fp16, 0x1.8p-25, 0x1p-24},
      {Dtype::fp16, 0x3p-25, 0x1p-23},
      {Dtype::fp8_e4m3, 1.0625, 1.0},
      {Dtype::fp8_e4m3, 1.1875, 1.25},
      {Dtype::fp8_e4m3, 464.0, 448.0},
      {Dtype::fp8_e4m3, -1e9, -448.0},
      {Dtype::fp8_e4m3, kInfinity, 448.0},
      {Dtype::fp8_e4m3, 0x1p-10, 0.0},
      {Dtype::fp8_e4m3, 0x3p-10, 0x1p-8},
      {Dtype::fp32, 1 + 0x1p-24, 1.0},
      {Dtype::fp32, 1e300, kInfinity},
  };
  for (const HandValue& v : values) {
    EXPECT_EQ(round_to(v.dtype, v.x), v.rounded) << traces::dtype_name(v.dtype) << " of " << v.x;
  }
  EXPECT_TRUE(std::isnan(round_to(Dtype::bf16, std::nan(""))));
  EXPECT_TRUE(std::signbit(round_to(Dtype::fp16, -1e-30)));
}

/// All non-negative finite numbers of a format, ascending: its codes in order.
std::vector<double> numbers_of(int exponent_bits, int mantissa_bits, int codes) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  std::vector<double> numbers;
  for (int code = 0; code < codes; ++code) {
    const int exponent = code >> mantissa_bits, mantissa = code & ((1 << mantissa_bits) - 1);
    const double fraction = std::ldexp(mantissa, -mantissa_bits);
    numbers.push_back(exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias));
  }
  return numbers;
}

/// Nearest number, ties to the even code.
double nearest(const std::vector<double>& numbers, double x) {
  const auto above = std::lower_bound(numbers.begin(), numbers.end(), x) - numbers.begin();
  if (above == 0) return numbers[0];
  const auto up = static_cast<std::size_t>(above), down = up - 1;
  const double to_up = numbers[up] - x, to_down = x - numbers[down];
  if (to_up == to_down) return numbers[up % 2 == 0 ? up : down];
  return numbers[to_up < to_down ? up : down];
}

void expect_nearest(Dtype dtype, const std::vector<double>& numbers) {
  core::Rng rng(7);
  for (std::size_t i = 0; i + 1 < numbers.size(); ++i) {
    const double low = numbers[i], high = numbers[i + 1];
    for (const double x : {low, low + (high - low) / 2, low + (high - low) * rng.uniform()}) {
      ASSERT_EQ(round_to(dtype, x), nearest(numbers, x)) << traces::dtype_name(dtype) << " of " << x;
      ASSERT_EQ(round_to(dtype, -x), -nearest(numbers, x)) << traces::dtype_name(dtype) << " of " << -x;
    }
  }
}

TEST(Rounding, TakesTheNearestOfAllNumbersTiesToEven) {
  expect_nearest(Dtype::fp8_e4m3, numbers_of(4, 3, 0x7F));
  expect_nearest(Dtype::fp16, numbers_of(5, 10, 0x7C00));
  expect_nearest(Dtype::bf16, numbers_of(8, 7, 0x7F80));
}

TEST(Rounding, EqualsTheHardwaresConversionToFloat) {
  core::Rng rng(3);
  for (int i = 0; i < 100000; ++i) {
    const double x = std::ldexp(rng.uniform() - 0.5, static_cast<int>(rng.integer(-150, 20)));
    ASSERT_EQ(round_to(Dtype::fp32, x), static_cast<double>(static_cast<float>(x))) << x;
  }
}

}  // namespace
}  // namespace espalier::kernels

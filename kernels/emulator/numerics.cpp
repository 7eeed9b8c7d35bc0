// Compiled with full optimisation in every build: the matrix operation is where an emulated kernel spends its time.
#include "kernels/emulator/numerics.h"

#include <bit>
#include <cmath>

namespace espalier::kernels::emulator {
namespace {

constexpr int kRows = 16, kColumns = 8, kDepth = 16;

/// fp16 by its bits, without a branch on the exponent: a product by 2^112 rescales normals and subnormals alike.
float fp16_value(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16, rest = bits & 0x7FFFU;
  if (rest >= 0x7C00U) return std::bit_cast<float>(sign | 0x7F800000U | (rest & 0x3FFU) << 13);
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(std::bit_cast<float>(rest << 13) * 0x1p112F));
}

template <MmaFormat format>
float number_of(std::uint16_t bits) {
  if constexpr (format == MmaFormat::bf16) return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  return fp16_value(bits);
}
template <MmaFormat format>
float number(std::uint32_t pair, int which) {
  return number_of<format>(static_cast<std::uint16_t>(which == 0 ? pair & 0xFFFFU : pair >> 16));
}

/// Fragments hold: A row g and g+8, columns 2t, 2t+1 and 2t+8, 2t+9; B the same of rows, column g; C rows g and g+8,
/// columns 2t, 2t+1 (g = lane / 4, t = lane % 4).
template <MmaFormat format>
void multiply(const MmaLane* lanes) {
  float a[kRows][kDepth], b[kDepth][kColumns], c[kRows][kColumns];
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 2; ++i) {
      a[g][2 * t + i] = number<format>(lanes[lane].a[0], i);
      a[g + 8][2 * t + i] = number<format>(lanes[lane].a[1], i);
      a[g][2 * t + 8 + i] = number<format>(lanes[lane].a[2], i);
      a[g + 8][2 * t + 8 + i] = number<format>(lanes[lane].a[3], i);
      b[2 * t + i][g] = number<format>(lanes[lane].b[0], i);
      b[2 * t + 8 + i][g] = number<format>(lanes[lane].b[1], i);
      c[g][2 * t + i] = lanes[lane].c[i];
      c[g + 8][2 * t + i] = lanes[lane].c[2 + i];
    }
  }
  for (int row = 0; row < kRows; ++row) {
    for (int k = 0; k < kDepth; ++k) {
      for (int column = 0; column < kColumns; ++column) c[row][column] += a[row][k] * b[k][column];
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 2; ++i) {
      lanes[lane].c[i] = c[g][2 * t + i];
      lanes[lane].c[2 + i] = c[g + 8][2 * t + i];
    }
  }
}

template <MmaFormat format>
void multiply_rows(const std::uint16_t* a, const std::uint16_t* b, int columns, float* c) {
  constexpr int kGroupRows = 64, kMostColumns = 256;
  float right[kDepth * kMostColumns];
  for (int i = 0; i < kDepth * columns; ++i) right[i] = number_of<format>(b[i]);
  for (int row = 0; row < kGroupRows; ++row) {
    for (int k = 0; k < kDepth; ++k) {
      const float left = number_of<format>(a[row * kDepth + k]);
      for (int column = 0; column < columns; ++column) c[row * columns + column] += left * right[k * columns + column];
    }
  }
}

}  // namespace

float bf16_to_float(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
float fp16_to_float(std::uint16_t bits) { return fp16_value(bits); }

float fp8_e4m3_to_float(std::uint8_t bits) {
  if ((bits & 0x7FU) == 0x7FU) return std::nanf("");
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x80U) << 24, rest = bits & 0x7FU;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(std::bit_cast<float>(rest << 20) * 0x1p120F));
}

std::uint16_t float_to_bf16(float x) {
  if (std::isnan(x)) return 0x7FFFU;
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

std::uint16_t float_to_fp16(float x) {
  if (std::isnan(x)) return 0x7FFFU;
  const auto sign = static_cast<std::uint16_t>(std::signbit(x) ? 0x8000U : 0U);
  const float size = std::fabs(x);
  if (size >= 65520.0F) return static_cast<std::uint16_t>(sign | 0x7C00U);
  if (size < 0x1p-14F) {
    return static_cast<std::uint16_t>(sign | static_cast<std::uint16_t>(std::nearbyint(size * 0x1p24F)));
  }
  const auto bits = std::bit_cast<std::uint32_t>(size);
  const std::uint32_t rounded = (bits + 0xFFFU + (bits >> 13 & 1U)) >> 13;
  return static_cast<std::uint16_t>(sign | (rounded - (112U << 10)));
}

std::uint8_t float_to_fp8_e4m3(float x) {
  if (std::isnan(x)) return 0x7FU;
  const auto sign = static_cast<std::uint8_t>(std::signbit(x) ? 0x80U : 0U);
  const float size = std::fabs(x);
  if (size >= 448.0F) return static_cast<std::uint8_t>(sign | 0x7EU);
  if (size < 0x1p-6F) return static_cast<std::uint8_t>(sign | static_cast<std::uint8_t>(std::nearbyint(size * 0x1p9F)));
  const auto bits = std::bit_cast<std::uint32_t>(size);
  const std::uint32_t rounded = (bits + 0x7FFFFU + (bits >> 20 & 1U)) >> 20;
  return static_cast<std::uint8_t>(sign | (rounded - (120U << 3)));
}

void mma_m16n8k16(MmaFormat format, const MmaLane* lanes) {
  if (format == MmaFormat::bf16) return multiply<MmaFormat::bf16>(lanes);
  multiply<MmaFormat::fp16>(lanes);
}

void mma_m64k16(MmaFormat format, const std::uint16_t* a, const std::uint16_t* b, int columns, float* c) {
  if (format == MmaFormat::bf16) return multiply_rows<MmaFormat::bf16>(a, b, columns, c);
  multiply_rows<MmaFormat::fp16>(a, b, columns, c);
}

}  // namespace espalier::kernels::emulator

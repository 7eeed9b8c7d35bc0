// Number formats and the matrix operation of the tensor cores, on the host.
//
// Exact products, fp32 sums: what kernels may rely on. Real tensor cores round sums in their own, undocumented way, so
// nothing should compare bit for bit with hardware.
#pragma once

#include <cstdint>

namespace espalier::kernels::emulator {

float bf16_to_float(std::uint16_t bits);
float fp16_to_float(std::uint16_t bits);
float fp8_e4m3_to_float(std::uint8_t bits);
/// Nearest, ties to even; overflow to infinity (fp8: saturates).
std::uint16_t float_to_bf16(float x);
std::uint16_t float_to_fp16(float x);
std::uint8_t float_to_fp8_e4m3(float x);

/// The operands of one lane of mma.m16n8k16 (row.col, fp32 accumulate).
struct MmaLane {
  const std::uint32_t* a;  ///< [4] pairs of 16-bit numbers
  const std::uint32_t* b;  ///< [2]
  float* c;                ///< [4], in and out
};
enum class MmaFormat : std::uint8_t { bf16, fp16 };
void mma_m16n8k16(MmaFormat format, const MmaLane* lanes /* [32] */);
/// c += a b, all row by row: a [64][16], b [16][columns], c [64][columns].
void mma_m64k16(MmaFormat format, const std::uint16_t* a, const std::uint16_t* b, int columns, float* c);

}  // namespace espalier::kernels::emulator

// Matrices in shared memory as products of warpgroups name them: a 64-bit descriptor, decoded as the PTX ISA lays it
// down, and the place of every 16 bytes that it stands for.
//
// A matrix is K-major (neighbours along the sum's dimension lie side by side) or MN-major (neighbours along rows or
// columns do). It is made of atoms, 8 lines of 16, 32, 64 or 128 bytes; the swizzle exchanges the 16-byte chunks of an
// atom by their address.
#pragma once

#include <cstdint>
#include <string>

namespace espalier::kernels::emulator {

enum class Major : std::uint8_t { k, mn };

struct MatrixLayout {
  std::uint32_t start = 0, leading = 0, stride = 0;  ///< bytes
  std::uint32_t line = 16;                           ///< bytes of an atom's line: 16 without a swizzle
};

struct DecodedMatrix {
  MatrixLayout layout;
  std::string complaint;  ///< empty: the descriptor is one
};
DecodedMatrix decode_matrix(std::uint64_t descriptor);

/// Shared address of the chunk of 8 numbers of 16 bits: along K for a K-major matrix, numbers 8 chunk … 8 chunk + 7 of
/// row or column `line`; along rows or columns for an MN-major one, of step `line` of the sum.
std::uint32_t chunk_address(const MatrixLayout& layout, Major major, std::uint32_t line, std::uint32_t chunk);

}  // namespace espalier::kernels::emulator

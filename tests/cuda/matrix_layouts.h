// Layouts of matrix operands in the PTX ISA's own words: sizes and strides of nested modes, in 16-bit numbers, then an
// exchange of address bits.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/emulator/matrix_layout.h"

namespace espalier::kernels {

struct Mode {
  int size, stride;
};

/// Innermost first. No vectors: what a fixture finds wrong drops threads that hold some.
using Modes = std::array<Mode, 2>;

inline int offset_of(int coordinate, const Modes& modes) {
  int offset = 0;
  for (const Mode& mode : modes) {
    offset += coordinate % mode.size * mode.stride;
    coordinate /= mode.size;
  }
  return offset;
}

/// Bytes 2 `offset`, with `bits` address bits from 4 on exchanged by those three further up.
inline std::uint32_t swizzle(int offset, int bits) {
  const auto at = static_cast<std::uint32_t>(2 * offset);
  return at ^ ((at >> 7 & ((1U << bits) - 1)) << 4);
}

/// A matrix in shared memory: place of number (row or column, step), and the descriptor's fields that say so.
struct Layout {
  const char* name;
  emulator::Major major;
  int bits;  ///< of the exchange
  Modes lines, steps;
  std::uint32_t leading, stride;  ///< bytes
  std::uint32_t place(int line, int step) const {
    return swizzle(offset_of(line, lines) + offset_of(step, steps), bits);
  }
};

constexpr int kMany = 1 << 20;

inline std::uint64_t descriptor(const Layout& layout, std::uint32_t at) {
  constexpr std::uint64_t kModes[] = {0, 3, 2, 1};
  return std::uint64_t{at >> 4} | std::uint64_t{layout.leading >> 4} << 16 | std::uint64_t{layout.stride >> 4} << 32 |
         kModes[layout.bits] << 62;
}

/// The eight canonical layouts with T = 8, for operands of `lines` rows or columns and `steps` steps; atoms of one
/// column of atoms after the other.
inline std::vector<Layout> layouts(int lines, int steps) {
  std::vector<Layout> all;
  for (int bits = 0; bits <= 3; ++bits) {
    const int chunks = 1 << bits, wide = 8 * chunks;  // of an atom's line; numbers
    // K-major: ((8,m),(T,2k)) : ((wT,SBO),(1,T)), panels of an atom's line behind each other; without swizzle (1,LBO)
    // in place of (1,T).
    Layout k{"k",
             emulator::Major::k,
             bits,
             {{{8, wide}, {kMany, 8 * wide}}},
             {{{wide, 1}, {kMany, lines * wide}}},
             16,
             static_cast<std::uint32_t>(16 * wide)};
    if (bits == 0) k.leading = static_cast<std::uint32_t>(2 * lines * wide);
    all.push_back(k);
    // MN-major: ((T,w,m),(8,k)) : ((1,T,LBO),(wT,SBO)); without swizzle ((T,1,m),(8,k)) : ((1,T,SBO),(1T,LBO)).
    const int along = steps * wide;
    Layout mn{"mn",
              emulator::Major::mn,
              bits,
              {{{wide, 1}, {kMany, along}}},
              {{{8, wide}, {kMany, 8 * wide}}},
              static_cast<std::uint32_t>(2 * along),
              static_cast<std::uint32_t>(16 * wide)};
    if (bits == 0) std::swap(mn.leading, mn.stride);
    all.push_back(mn);
  }
  return all;
}

}  // namespace espalier::kernels

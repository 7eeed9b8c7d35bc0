// Products of a warpgroup, wgmma: what four warps have issued, what is under way, and where its numbers belong.
//
// Nothing of a product is there before the wait for its group: sums are poisoned, left factors in registers are held to
// what they were, shared memory that it reads can't be written. Operands in shared memory are read as late as they may
// be, or as early.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include "kernels/emulator/matrix_layout.h"
#include "kernels/emulator/numerics.h"

namespace espalier::kernels::emulator {

inline constexpr int kGroupWarps = 4, kGroupThreads = 128;

/// What one thread says of a product of 64 rows and 16 steps: rows 16 w … of the warp w of its group.
struct GroupFactors {
  MmaFormat format = MmaFormat::bf16;
  int columns = 0;  ///< a multiple of 8, at most 256
  Major right_major = Major::k;
  bool accumulate = true;                         ///< or the sums begin at 0
  const std::uint32_t* left_registers = nullptr;  ///< [4], as of mma.m16n8k16; null: a descriptor instead
  std::uint64_t left = 0, right = 0;              ///< matrix descriptors; the left one K-major
};

struct GroupProduct {
  GroupFactors factors;  ///< of the first thread; equal in all but registers
  std::array<const std::uint32_t*, kGroupThreads> registers{};
  std::vector<std::uint16_t> left, right;  ///< [64][16], [16][columns]; empty: still in shared memory
  std::vector<std::uint32_t> reads;        ///< chunks of shared memory that are being read
  float* sums = nullptr;                   ///< of the first thread: names the sums
};

/// Sums under way. Registers hold poison meanwhile.
struct GroupSums {
  std::array<float*, kGroupThreads> registers{};
  int columns = 0;
  int products = 0;           ///< under way
  std::vector<float> values;  ///< [64][columns]
};

struct Warpgroup {
  const char* operation = nullptr;  ///< that threads have arrived at
  int arrived = 0;
  std::array<void*, kGroupThreads> arguments{};
  bool fenced = false;  ///< since the last group of products
  std::vector<GroupProduct> open;
  std::deque<std::vector<GroupProduct>> groups;  ///< committed, not yet waited for; oldest first
  std::vector<GroupSums> sums;
};

}  // namespace espalier::kernels::emulator

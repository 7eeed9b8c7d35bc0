// Descriptors of matrix operands in the emulator, against the layouts that the PTX ISA names.
#include "tests/cuda/matrix_layouts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace espalier::kernels {
namespace {

using emulator::Major;
using ::testing::HasSubstr;

TEST(MatrixLayouts, PlaceEveryNumberWhereTheIsaDoes) {
  for (const Layout& layout : layouts(64, 16)) {
    const emulator::DecodedMatrix matrix = emulator::decode_matrix(descriptor(layout, 0));
    ASSERT_EQ(matrix.complaint, "");
    std::set<std::uint32_t> seen;
    for (int line = 0; line < 64; ++line) {
      for (int step = 0; step < 16; ++step) {
        const bool k = layout.major == Major::k;
        const auto outer = static_cast<std::uint32_t>(k ? line : step),
                   inner = static_cast<std::uint32_t>(k ? step : line);
        const std::uint32_t at = emulator::chunk_address(matrix.layout, layout.major, outer, inner / 8) + inner % 8 * 2;
        ASSERT_EQ(at, layout.place(line, step))
            << layout.name << ", swizzle of " << layout.bits << " bits, " << line << ", " << step;
        seen.insert(at);
      }
    }
    EXPECT_EQ(seen.size(), 64U * 16U);
  }
}

TEST(MatrixLayouts, FollowExamplesOfTheIsa) {
  // Without swizzle, MN-major, 16 x 16 numbers of 16 bits: ((8,1,2),(8,2)) : ((1,8,64),(8,128)), LBO 128 numbers,
  // SBO 64.
  const auto none =
      emulator::decode_matrix(std::uint64_t{128 * 2 >> 4} << 16 | std::uint64_t{64 * 2 >> 4} << 32).layout;
  EXPECT_EQ(emulator::chunk_address(none, Major::mn, 9, 1), 2U * (64 + 8 + 128));
  // Swizzle of 64 bytes, MN-major: ((8,4,2),(8,2)) : ((1,8,256),(32,512)), LBO 256 numbers, SBO 512.
  const auto wide = emulator::decode_matrix(std::uint64_t{256 * 2 >> 4} << 16 | std::uint64_t{512 * 2 >> 4} << 32 |
                                            std::uint64_t{2} << 62)
                        .layout;
  EXPECT_EQ(emulator::chunk_address(wide, Major::mn, 10, 5), swizzle(8 + 256 + 2 * 32 + 512, 2));
  // Swizzle of 32 bytes, K-major, numbers of 32 bits, four a chunk: ((8,2),(4,4)) : ((8,64),(1,4)), SBO 64 numbers of 4
  // bytes.
  const auto narrow = emulator::decode_matrix(std::uint64_t{64 * 4 >> 4} << 32 | std::uint64_t{3} << 62).layout;
  EXPECT_EQ(emulator::chunk_address(narrow, Major::k, 13, 1), swizzle(2 * (5 * 8 + 64 + 4), 1));
}

TEST(MatrixLayouts, RefuseBitsThatMeanNothing) {
  for (const int bit : {14, 61}) {
    EXPECT_THAT(emulator::decode_matrix(std::uint64_t{1} << bit).complaint, HasSubstr("mean nothing"));
  }
  EXPECT_THAT(emulator::decode_matrix(std::uint64_t{1} << 50).complaint, HasSubstr("base offset"));
}

}  // namespace
}  // namespace espalier::kernels

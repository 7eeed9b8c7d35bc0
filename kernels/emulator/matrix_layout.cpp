// The canonical layouts of wgmma operands, in bytes.
#include "kernels/emulator/matrix_layout.h"

#include <fmt/core.h>

namespace espalier::kernels::emulator {
namespace {

constexpr std::uint32_t kChunk = 16, kLines = 8;

std::uint32_t field(std::uint64_t descriptor, int first, int bits) {
  return static_cast<std::uint32_t>(descriptor >> first & ((std::uint64_t{1} << bits) - 1));
}

}  // namespace

DecodedMatrix decode_matrix(std::uint64_t descriptor) {
  // Start 0-13, leading offset 16-29, stride offset 32-45, each without its lowest four bits; base offset 49-51;
  // swizzle 62-63.
  constexpr std::uint64_t kUnused = ~(0x3FFFULL | 0x3FFFULL << 16 | 0x3FFFULL << 32 | 7ULL << 49 | 3ULL << 62);
  constexpr std::uint32_t kLineOfMode[] = {16, 128, 64, 32};
  DecodedMatrix matrix;
  matrix.layout = {field(descriptor, 0, 14) << 4, field(descriptor, 16, 14) << 4, field(descriptor, 32, 14) << 4,
                   kLineOfMode[field(descriptor, 62, 2)]};
  if ((descriptor & kUnused) != 0) {
    matrix.complaint = fmt::format("matrix descriptor {:#018x}: bits are set that mean nothing", descriptor);
  }
  // A pattern that doesn't begin where its mode wants it. Nothing here needs one.
  if (field(descriptor, 49, 3) != 0) {
    matrix.complaint =
        fmt::format("matrix descriptor {:#018x}: base offsets other than 0 are not emulated", descriptor);
  }
  return matrix;
}

std::uint32_t chunk_address(const MatrixLayout& layout, Major major, std::uint32_t line, std::uint32_t chunk) {
  const std::uint32_t group = line / kLines, in_group = line % kLines * layout.line;
  std::uint32_t at = layout.start + in_group;
  if (layout.line == kChunk) {
    // Atoms of 8 lines of one chunk. The leading offset leads along the sum in both; the stride along rows or columns.
    at += major == Major::k ? group * layout.stride + chunk * layout.leading
                            : chunk * layout.stride + group * layout.leading;
  } else if (major == Major::k) {
    at += group * layout.stride + chunk * kChunk;
  } else {
    const std::uint32_t across = layout.line / kChunk;
    at += group * layout.stride + chunk / across * layout.leading + chunk % across * kChunk;
  }
  // Address bits 4… are exchanged by bits 7…: three of them for lines of 128 bytes, two for 64, one for 32, none
  // for 16.
  return at ^ ((at >> 7 & (layout.line / kChunk - 1)) << 4);
}

}  // namespace espalier::kernels::emulator

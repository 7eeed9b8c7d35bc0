// What the calibration probes are given, and the lists of them: kernels that each show one limit of a device
// (docs/calibration.md).
//
// Probes are written in the words of kernels/cuda/device.h and run in the emulator, too, which says what they touch;
// those that need a clock, or instructions that only Hopper has, exist for nvcc alone.
#pragma once

#include <cstdint>
#include <span>

#include "core/id.h"

namespace espalier::kernels {

/// 16 bytes of memory.
struct alignas(16) Chunk {
  std::uint32_t words[4];
};

/// Numbers of one launch. Each probe reads those that its comment names; a tile is what a block asks for at a time.
struct ProbeShape {
  std::int64_t tiles = 1;  ///< of the set that is read over and over
  std::int64_t first_tile = 0;
  std::int64_t rounds = 0;   ///< of a block; 64 bits, as clocks count in it, too
  std::int32_t threads = 0;  ///< of a block
  std::int32_t tile_chunks = 0;
  std::int32_t part =
      0;  ///< tiles of 8 that are written; readers of a segment; chunks of a page (as a shift); distinct addresses
  std::int32_t skew_ns = 0;  ///< between starts; shortest block
};

struct ProbeParams {
  ProbeShape shape;
  const Chunk* source = nullptr;         ///< random data
  Chunk* sink = nullptr;                 ///< for what is written
  const std::uint32_t* table = nullptr;  ///< page ids, or lines that name the next line
  std::uint32_t* words = nullptr;        ///< a cursor, counters of a barrier, readings of clocks
  std::int64_t sink_tiles = 1;
  std::int32_t keep = 0;  ///< always 0: the compiler can't know that nobody wants the results
};

struct ProbeInstance {
  const char* name;
  void (*kernel)(ProbeParams);
};

/// Most threads of any probe's block, and threads of the probes whose barriers fix them.
inline constexpr int kProbeThreads = 1024, kRingThreads = 128, kPipeThreads = 512;

/// Rounds of the shared-memory probe from one copy of a thread to the next.
inline constexpr int kSharedCopyRounds = 4;

/// Where a probe whose instructions only some builds hold leaves its mark, and the mark: times of a kernel that did
/// nothing are no times.
inline constexpr std::int32_t kMarkWord = 16;
inline constexpr std::uint32_t kMark = 0x5EED0901;

}  // namespace espalier::kernels

#define ESPALIER_DECLARE_PROBES(target)           \
  namespace espalier::kernels::target {           \
  std::span<const ProbeInstance> stream_probes(); \
  std::span<const ProbeInstance> ring_probes();   \
  std::span<const ProbeInstance> pipe_probes();   \
  std::span<const ProbeInstance> launch_probes(); \
  }
ESPALIER_DECLARE_PROBES(on_host)
ESPALIER_DECLARE_PROBES(on_cuda)
#undef ESPALIER_DECLARE_PROBES

namespace espalier::kernels::on_cuda {
std::span<const ProbeInstance> clock_probes();
std::span<const ProbeInstance> hopper_probes();
}  // namespace espalier::kernels::on_cuda

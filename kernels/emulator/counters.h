// What an emulated launch did, counted exactly.
#pragma once

#include <array>
#include <cstdint>

namespace espalier::kernels::emulator {

/// What a piece of global memory holds; traffic is counted for each kind.
enum class MemoryKind : std::uint8_t { plan, query, kv, partials, output, lse, counters, other };
inline constexpr int kMemoryKinds = static_cast<int>(MemoryKind::other) + 1;

/// Traffic of one direction. A request is one instruction of a warp; its lanes' bytes may share sectors (32 B) and
/// lines (128 B).
struct GlobalTraffic {
  std::int64_t bytes = 0;
  std::int64_t requests = 0, sectors = 0, lines = 0;
};

/// Shared memory serves 128 B a wavefront: `wavefronts` beyond `least` are bank conflicts.
struct SharedTraffic {
  std::int64_t bytes = 0;
  std::int64_t requests = 0, wavefronts = 0, least = 0;
  std::int64_t conflicts() const { return wavefronts - least; }
};

struct Counters {
  std::array<GlobalTraffic, kMemoryKinds> reads, writes;
  /// Sectors that were read at least once by any launch so far: what DRAM must give however large the L2 is. Sectors
  /// read again are the L2's to serve.
  std::array<std::int64_t, kMemoryKinds> distinct_sectors{};
  SharedTraffic shared_reads, shared_writes;
  std::int64_t mmas = 0;  ///< of m16n8k16
  std::int64_t exps = 0, atomics = 0, block_barriers = 0, shuffles = 0, blocks = 0, launches = 0;
  std::int64_t mma_flops() const { return mmas * 2 * 16 * 8 * 16; }
  const GlobalTraffic& read(MemoryKind kind) const { return reads[static_cast<std::size_t>(kind)]; }
  std::int64_t distinct(MemoryKind kind) const { return distinct_sectors[static_cast<std::size_t>(kind)]; }
  const GlobalTraffic& written(MemoryKind kind) const { return writes[static_cast<std::size_t>(kind)]; }
};

}  // namespace espalier::kernels::emulator

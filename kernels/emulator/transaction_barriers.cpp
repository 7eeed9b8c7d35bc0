// mbarrier objects and bulk copies: phases, expected bytes, and the latest moment at which a copy may land.
//
// As late as allowed means: not before a thread waits for the phase. A phase that nobody waits for stays open, and
// arriving at it once more is then an error, as it would be a race on hardware.
#include <fmt/core.h>

#include <bit>
#include <cstring>

#include "kernels/emulator/operations.h"
#include "kernels/emulator/scheduler.h"

namespace espalier::kernels::emulator {
namespace {

constexpr std::uint32_t kBarrierBytes = 8, kBulkUnit = 16;

Thread& self() { return active().thread(); }
Block& home() { return *self().warp->block; }

void require(const std::string& complaint) {
  if (!complaint.empty()) active().fail(complaint);
}

TransactionBarrier& barrier_at(Block& block, std::uint32_t at) {
  const auto found = block.transaction_barriers.find(at);
  if (found == block.transaction_barriers.end()) {
    active().fail(fmt::format("no barrier was initialised at shared offset {}", at));
  }
  require(block.shared->use_barrier(self().warp->id, at));
  if (&block != &home() && !found->second.published) {
    active().fail(fmt::format("the barrier at shared offset {} was never published to the cluster", at));
  }
  return found->second;
}

/// A block of the cluster that is still there.
Block& mate(std::uint32_t rank, const char* what) {
  const std::vector<Block*>& blocks = home().cluster->blocks;
  if (rank >= blocks.size()) active().fail(fmt::format("{} block {} of a cluster of {}", what, rank, blocks.size()));
  if (blocks[rank] == nullptr) active().fail(fmt::format("{} block {} of the cluster, which has ended", what, rank));
  return *blocks[rank];
}

void land(Block& block, TransactionBarrier& barrier, const BulkCopy& copy) {
  std::memcpy(block.shared->data() + copy.at, copy.from, copy.bytes);
  block.shared->land_counted_copy(copy.at, copy.bytes, SharedMemory::Proxy::engine, barrier.gathering);
  barrier.missing_bytes -= copy.bytes;
}

void land(Block& block, TransactionBarrier& barrier, const AsyncCopy& copy) {
  bring(block, copy);
  block.shared->land_counted_copy(copy.at, kAsyncCopyBytes, SharedMemory::Proxy::ordinary, barrier.gathering);
}

/// Ends the phase if nothing is missing but copies that may land now.
void try_complete(Block& block, TransactionBarrier& barrier) {
  if (barrier.missing > 0) return;
  std::int64_t flying = 0;
  for (const BulkCopy& copy : barrier.in_flight) flying += copy.bytes;
  if (barrier.missing_bytes < flying) active().fail("bulk copies of bytes that nobody expects");
  const bool free_to_wait = flying > 0 || !barrier.counted.empty();
  if (barrier.missing_bytes > flying || (free_to_wait && barrier.waiting.empty())) return;
  for (const BulkCopy& copy : barrier.in_flight) land(block, barrier, copy);
  for (const AsyncCopy& copy : barrier.counted) land(block, barrier, copy);
  barrier.in_flight.clear();
  barrier.counted.clear();
  barrier.missing = barrier.expected;
  ++barrier.phase;
  barrier.completed = barrier.gathering;
  const std::vector<Thread*> waiting = std::move(barrier.waiting);
  barrier.waiting.clear();
  for (Thread* thread : waiting) {
    if (thread != &self()) active().wake(*thread);
  }
}

/// One read, whatever the number of blocks that it is delivered to.
void count_bulk(const BulkSource& source, const Piece& piece, int blocks) {
  constexpr std::uintptr_t kSector = 32, kLine = 128;
  Counters& counters = active().counters();
  const auto first = reinterpret_cast<std::uintptr_t>(source.from), last = first + source.bytes - 1;
  GlobalTraffic& read = counters.reads[static_cast<std::size_t>(piece.kind)];
  read.bytes += source.bytes;
  ++read.requests;
  read.sectors += static_cast<std::int64_t>(last / kSector - first / kSector + 1);
  read.lines += static_cast<std::int64_t>(last / kLine - first / kLine + 1);
  SharedTraffic& written = counters.shared_writes;
  const auto wavefronts = static_cast<std::int64_t>((source.bytes + kLine - 1) / kLine) * blocks;
  written.bytes += std::int64_t{source.bytes} * blocks;
  written.requests += blocks;
  written.wavefronts += wavefronts;
  written.least += wavefronts;
}

}  // namespace

void init_barrier(std::uint32_t at, int arrivals) {
  if (at % kBarrierBytes != 0) {
    active().fail(fmt::format("misaligned barrier: shared address {} is not a multiple of {}", at, kBarrierBytes));
  }
  if (arrivals <= 0) active().fail(fmt::format("a barrier of {} arrivals", arrivals));
  require(home().shared->reserve(self().warp->id, at, kBarrierBytes));
  TransactionBarrier barrier;
  barrier.expected = barrier.missing = arrivals;
  barrier.maker = &self();
  home().transaction_barriers[at] = std::move(barrier);
}

void publish_barriers() {
  for (auto& [at, barrier] : home().transaction_barriers) barrier.published |= barrier.maker == &self();
}

namespace {

void arrive_in(Block& block, std::uint32_t at, std::uint32_t bytes) {
  TransactionBarrier& barrier = barrier_at(block, at);
  if (barrier.missing == 0) {
    active().fail(fmt::format("arrival at the barrier at shared offset {}, whose phase lacks nothing but bytes", at));
  }
  if (&block != &home()) block.shared->note_arrival(self().warp->id);
  block.cluster->clocks.release(self().warp->id, barrier.gathering);
  barrier.missing_bytes += bytes;
  --barrier.missing;
  active().progress();
  try_complete(block, barrier);
}

}  // namespace

void arrive(std::uint32_t at, std::uint32_t bytes) { arrive_in(home(), at, bytes); }

void arrive_in_block(std::uint32_t at, std::uint32_t rank) { arrive_in(mate(rank, "arrival at a barrier of"), at, 0); }

void arrive_when_copied(std::uint32_t at) {
  Block& block = home();
  TransactionBarrier& barrier = barrier_at(block, at);
  Thread& t = self();
  if (!t.groups.empty()) active().fail("copies of closed groups can't be counted at a barrier as well");
  if (barrier.missing == 0) {
    active().fail(fmt::format("arrival at the barrier at shared offset {}, whose phase lacks nothing but bytes", at));
  }
  if (active().options().copies == CopyMoment::earliest) {
    for (const AsyncCopy& copy : t.open_group) land(block, barrier, copy);
  } else {
    barrier.counted.insert(barrier.counted.end(), t.open_group.begin(), t.open_group.end());
  }
  t.open_group.clear();
  --barrier.missing;
  active().progress();
  try_complete(block, barrier);
}

void wait_barrier(std::uint32_t at, std::uint32_t parity) {
  Block& block = home();
  TransactionBarrier& barrier = barrier_at(block, at);
  if (barrier.phase % 2 == parity) {
    barrier.waiting.push_back(&self());
    try_complete(block, barrier);
    if (barrier.phase % 2 == parity) active().wait("a barrier of bulk copies");
  }
  block.cluster->clocks.acquire(self().warp->id, barrier.completed);
}

void copy_bulk(std::uint32_t at, const BulkSource& source, std::uint32_t at_barrier) {
  copy_bulk_to_blocks(at, source, at_barrier, 1U << home().rank);
}

void copy_bulk_to_blocks(std::uint32_t at, const BulkSource& source, std::uint32_t at_barrier, std::uint32_t blocks) {
  if (at % kBulkUnit != 0 || reinterpret_cast<std::uintptr_t>(source.from) % kBulkUnit != 0 ||
      source.bytes % kBulkUnit != 0 || source.bytes == 0) {
    active().fail(
        fmt::format("bulk copy of {} bytes to shared address {}: its size and both addresses must be multiples of {}",
                    source.bytes, at, kBulkUnit));
  }
  if (blocks == 0) active().fail("bulk copy to no block of the cluster");
  const GlobalMemory::Verdict verdict = active().memory().check(Access::read, source.from, source.bytes, home().index);
  require(verdict.complaint);
  count_bulk(source, *verdict.piece, std::popcount(blocks));
  const BulkCopy copy{at, source.bytes, source.from};
  for (std::uint32_t rank = 0; blocks >> rank != 0; ++rank) {
    if ((blocks >> rank & 1U) == 0) continue;
    Block& block = mate(rank, "bulk copy to");
    TransactionBarrier& barrier = barrier_at(block, at_barrier);
    require(block.shared->begin_bulk_copy(self().warp->id, at, source.bytes));
    if (active().options().copies == CopyMoment::earliest) {
      land(block, barrier, copy);
    } else {
      barrier.in_flight.push_back(copy);
    }
    try_complete(block, barrier);
  }
}

void fence_engine() { home().cluster->clocks.fence_engine(self().warp->id); }

}  // namespace espalier::kernels::emulator

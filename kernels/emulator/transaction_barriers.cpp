// mbarrier objects and bulk copies: phases, expected bytes, and the latest moment at which a copy may land.
//
// As late as allowed means: not before a thread waits for the phase. A phase that nobody waits for stays open, and arriving at it once
// more is then an error, as it would be a race on hardware.
#include <fmt/core.h>

#include <cstring>

#include "kernels/emulator/operations.h"
#include "kernels/emulator/scheduler.h"

namespace espalier::kernels::emulator {
namespace {

constexpr std::uint32_t kBarrierBytes = 8, kBulkUnit = 16;

Thread& self() { return active().thread(); }
SharedMemory& shared() { return *self().warp->block->shared; }

void require(const std::string& complaint) {
  if (!complaint.empty()) active().fail(complaint);
}

TransactionBarrier& barrier_at(std::uint32_t at) {
  auto& barriers = self().warp->block->transaction_barriers;
  const auto found = barriers.find(at);
  if (found == barriers.end()) active().fail(fmt::format("no barrier was initialised at shared offset {}", at));
  return found->second;
}

void land(TransactionBarrier& barrier, const BulkCopy& copy) {
  std::memcpy(shared().data() + copy.at, copy.from, copy.bytes);
  shared().land_counted_copy(copy.at, copy.bytes, SharedMemory::Proxy::engine, barrier.gathering);
  barrier.missing_bytes -= copy.bytes;
}

void land(TransactionBarrier& barrier, const AsyncCopy& copy) {
  bring(copy);
  shared().land_counted_copy(copy.at, kAsyncCopyBytes, SharedMemory::Proxy::ordinary, barrier.gathering);
}

/// Ends the phase if nothing is missing but copies that may land now.
void try_complete(TransactionBarrier& barrier) {
  if (barrier.missing > 0) return;
  std::int64_t flying = 0;
  for (const BulkCopy& copy : barrier.in_flight) flying += copy.bytes;
  if (barrier.missing_bytes < flying) active().fail("bulk copies of bytes that nobody expects");
  const bool free_to_wait = flying > 0 || !barrier.counted.empty();
  if (barrier.missing_bytes > flying || (free_to_wait && barrier.waiting.empty())) return;
  for (const BulkCopy& copy : barrier.in_flight) land(barrier, copy);
  for (const AsyncCopy& copy : barrier.counted) land(barrier, copy);
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

void count_bulk(const BulkSource& source, const Piece& piece) {
  constexpr std::uintptr_t kSector = 32, kLine = 128;
  Counters& counters = active().counters();
  const auto first = reinterpret_cast<std::uintptr_t>(source.from), last = first + source.bytes - 1;
  GlobalTraffic& read = counters.reads[static_cast<std::size_t>(piece.kind)];
  read.bytes += source.bytes;
  ++read.requests;
  read.sectors += static_cast<std::int64_t>(last / kSector - first / kSector + 1);
  read.lines += static_cast<std::int64_t>(last / kLine - first / kLine + 1);
  SharedTraffic& written = counters.shared_writes;
  const auto wavefronts = static_cast<std::int64_t>((source.bytes + kLine - 1) / kLine);
  written.bytes += source.bytes;
  ++written.requests;
  written.wavefronts += wavefronts;
  written.least += wavefronts;
}

}  // namespace

void init_barrier(std::uint32_t at, int arrivals) {
  if (at % kBarrierBytes != 0) active().fail(fmt::format("misaligned barrier: shared address {} is not a multiple of {}", at, kBarrierBytes));
  if (arrivals <= 0) active().fail(fmt::format("a barrier of {} arrivals", arrivals));
  require(shared().reserve(self().warp->index, at, kBarrierBytes));
  TransactionBarrier barrier;
  barrier.expected = barrier.missing = arrivals;
  self().warp->block->transaction_barriers[at] = std::move(barrier);
}

void arrive(std::uint32_t at, std::uint32_t bytes) {
  TransactionBarrier& barrier = barrier_at(at);
  if (barrier.missing == 0) active().fail(fmt::format("arrival at the barrier at shared offset {}, whose phase lacks nothing but bytes", at));
  shared().release(self().warp->index, barrier.gathering);
  barrier.missing_bytes += bytes;
  --barrier.missing;
  active().progress();
  try_complete(barrier);
}

void arrive_when_copied(std::uint32_t at) {
  TransactionBarrier& barrier = barrier_at(at);
  Thread& t = self();
  if (!t.groups.empty()) active().fail("copies of closed groups can't be counted at a barrier as well");
  if (barrier.missing == 0) active().fail(fmt::format("arrival at the barrier at shared offset {}, whose phase lacks nothing but bytes", at));
  if (active().options().copies == CopyMoment::earliest) {
    for (const AsyncCopy& copy : t.open_group) land(barrier, copy);
  } else {
    barrier.counted.insert(barrier.counted.end(), t.open_group.begin(), t.open_group.end());
  }
  t.open_group.clear();
  --barrier.missing;
  active().progress();
  try_complete(barrier);
}

void wait_barrier(std::uint32_t at, std::uint32_t parity) {
  TransactionBarrier& barrier = barrier_at(at);
  if (barrier.phase % 2 == parity) {
    barrier.waiting.push_back(&self());
    try_complete(barrier);
    if (barrier.phase % 2 == parity) active().wait("a barrier of bulk copies");
  }
  shared().acquire(self().warp->index, barrier.completed);
}

void copy_bulk(std::uint32_t at, const BulkSource& source, std::uint32_t at_barrier) {
  TransactionBarrier& barrier = barrier_at(at_barrier);
  if (at % kBulkUnit != 0 || reinterpret_cast<std::uintptr_t>(source.from) % kBulkUnit != 0 || source.bytes % kBulkUnit != 0 || source.bytes == 0) {
    active().fail(fmt::format("bulk copy of {} bytes to shared address {}: its size and both addresses must be multiples of {}", source.bytes, at, kBulkUnit));
  }
  const GlobalMemory::Verdict verdict = active().memory().check(Access::read, source.from, source.bytes);
  require(verdict.complaint);
  require(shared().begin_bulk_copy(self().warp->index, at, source.bytes));
  count_bulk(source, *verdict.piece);
  const BulkCopy copy{at, source.bytes, source.from};
  if (active().options().copies == CopyMoment::earliest) {
    land(barrier, copy);
  } else {
    barrier.in_flight.push_back(copy);
  }
  try_complete(barrier);
}

void fence_engine() { shared().fence_engine(self().warp->index); }

}  // namespace espalier::kernels::emulator

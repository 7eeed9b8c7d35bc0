// Semantics and checks of every operation, in terms of the PTX instruction that it stands for.
#include "kernels/emulator/operations.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "kernels/emulator/scheduler.h"

namespace espalier::kernels::emulator {
namespace {

constexpr std::uint32_t kMatrixRowBytes = 16;

Thread& self() { return active().thread(); }
SharedMemory& shared() { return *self().warp->block->shared; }

void require(const std::string& complaint) {
  if (!complaint.empty()) active().fail(complaint);
}

void require_aligned(std::uintptr_t address, std::uint32_t alignment, const char* space) {
  if (address % alignment != 0) {
    active().fail(fmt::format("misaligned access: {} address {} is not a multiple of {}", space, address, alignment));
  }
}

void access_global(Access access, const void* site, const void* address, Extent extent) {
  Scheduler& s = active();
  require_aligned(reinterpret_cast<std::uintptr_t>(address), extent.alignment, "global");
  const GlobalMemory::Verdict verdict = s.memory().check(access, address, extent.bytes, self().warp->block->index);
  require(verdict.complaint);
  auto& directions = access == Access::write ? s.counters().writes : s.counters().reads;
  GlobalTraffic& traffic = directions[static_cast<std::size_t>(verdict.piece->kind)];
  traffic.bytes += extent.bytes;
  if (s.options().count_accesses) {
    self().warp->accesses.global(site, self().lane, reinterpret_cast<std::uintptr_t>(address), extent.bytes, traffic);
  }
}

void count_shared_access(const void* site, std::uint32_t at, std::uint32_t bytes, SharedTraffic& traffic) {
  traffic.bytes += bytes;
  if (active().options().count_accesses) self().warp->accesses.shared(site, self().lane, at, bytes, traffic);
}

/// Arrives at a warp operation; the last lane runs `complete` for all.
template <class Complete>
void collective(const char* operation, void* argument, const Complete& complete) {
  Scheduler& s = active();
  Thread& t = self();
  Warp& warp = *t.warp;
  if (warp.arrived > 0 && warp.operation != operation) {
    s.fail(fmt::format("divergent warp: this lane is at {}, {} others at {}", operation, warp.arrived, warp.operation));
  }
  warp.operation = operation;
  warp.arguments[static_cast<std::size_t>(t.lane)] = argument;
  if (++warp.arrived < kLanes) return s.wait(operation);
  warp.arrived = 0;
  complete(warp);
  for (Thread* lane : warp.lanes) {
    if (lane != &t) s.wake(*lane);
  }
}

struct Matrices {
  std::uint32_t* registers;
  std::uint32_t row_at;
};

/// ldmatrix.x4: lanes 8i … 8i+7 bring the row addresses of matrix i; register i of a lane gets its pair of matrix i.
void distribute(Warp& warp, bool transposed) {
  for (std::size_t m = 0; m < 4; ++m) {
    std::array<std::uint16_t, 64> matrix;
    SharedAccesses accesses;
    for (std::size_t row = 0; row < 8; ++row) {
      const auto* lane = static_cast<const Matrices*>(warp.arguments[m * 8 + row]);
      require_aligned(lane->row_at, kMatrixRowBytes, "shared");
      require(shared().read(warp.id, lane->row_at, kMatrixRowBytes));
      std::memcpy(&matrix[row * 8], shared().data() + lane->row_at, kMatrixRowBytes);
      accesses.at[row] = lane->row_at;
      accesses.bytes[row] = kMatrixRowBytes;
    }
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const std::size_t g = lane / 4, t = lane % 4;
      const std::uint32_t low = transposed ? matrix[2 * t * 8 + g] : matrix[g * 8 + 2 * t];
      const std::uint32_t high = transposed ? matrix[(2 * t + 1) * 8 + g] : matrix[g * 8 + 2 * t + 1];
      static_cast<const Matrices*>(warp.arguments[lane])->registers[m] = low | high << 16;
    }
    SharedTraffic& traffic = active().counters().shared_reads;
    traffic.bytes += 8 * kMatrixRowBytes;
    if (active().options().count_accesses) count_shared(accesses, traffic);
  }
}

void land(const std::vector<AsyncCopy>& group) {
  const int warp = self().warp->id;
  for (const AsyncCopy& copy : group) {
    shared().land_copy(warp, copy.at, kAsyncCopyBytes);
    bring(*self().warp->block, copy);
  }
}

}  // namespace

void bring(Block& block, const AsyncCopy& copy) {
  if (copy.from == nullptr) {
    std::memset(block.shared->data() + copy.at, 0, kAsyncCopyBytes);
  } else if (active().options().copies == CopyMoment::latest) {
    std::memcpy(block.shared->data() + copy.at, copy.from, kAsyncCopyBytes);
  }
}

Place place() {
  const Thread& t = self();
  return {t.index, t.warp->block->index, active().shape().blocks, t.warp->block->rank};
}

void load_global_bytes(void* into, const void* from, Extent extent) {
  access_global(Access::read, __builtin_return_address(0), from, extent);
  std::memcpy(into, from, extent.bytes);
}

void load_fresh_bytes(void* into, const void* from, Extent extent) {
  access_global(Access::fresh_read, __builtin_return_address(0), from, extent);
  std::memcpy(into, from, extent.bytes);
}

void store_global_bytes(void* into, const void* from, Extent extent) {
  access_global(Access::write, __builtin_return_address(0), into, extent);
  std::memcpy(into, from, extent.bytes);
  active().progress();
}

void load_shared_bytes(void* into, std::uint32_t at, Extent extent) {
  require_aligned(at, extent.alignment, "shared");
  require(shared().read(self().warp->id, at, extent.bytes));
  std::memcpy(into, shared().data() + at, extent.bytes);
  count_shared_access(__builtin_return_address(0), at, extent.bytes, active().counters().shared_reads);
}

void store_shared_bytes(std::uint32_t at, const void* from, Extent extent) {
  require_aligned(at, extent.alignment, "shared");
  require(shared().write(self().warp->id, at, extent.bytes));
  std::memcpy(shared().data() + at, from, extent.bytes);
  count_shared_access(__builtin_return_address(0), at, extent.bytes, active().counters().shared_writes);
}

void copy_async(std::uint32_t at, const void* from) {
  const void* site = __builtin_return_address(0);
  require_aligned(at, kAsyncCopyBytes, "shared");
  if (from != nullptr) access_global(Access::read, site, from, {kAsyncCopyBytes, kAsyncCopyBytes});
  require(shared().begin_copy(self().warp->id, at, kAsyncCopyBytes));
  if (from != nullptr && active().options().copies == CopyMoment::earliest) {
    std::memcpy(shared().data() + at, from, kAsyncCopyBytes);
  }
  // The same instruction's write side: apart from its read side by one byte of the site.
  count_shared_access(static_cast<const char*>(site) + 1, at, from != nullptr ? kAsyncCopyBytes : 0,
                      active().counters().shared_writes);
  self().open_group.push_back({at, from});
}

void commit_copies() {
  self().groups.push_back(std::move(self().open_group));
  self().open_group.clear();
}

void wait_copies(int pending) {
  Thread& t = self();
  while (t.groups.size() > static_cast<std::size_t>(pending)) {
    land(t.groups.front());
    t.groups.pop_front();
  }
}

void block_barrier(int id, int threads) {
  Scheduler& s = active();
  Block& block = *self().warp->block;
  NamedBarrier& barrier = block.barriers.at(static_cast<std::size_t>(id));
  if (threads % kLanes != 0) s.fail(fmt::format("barrier {} of {} threads: not whole warps", id, threads));
  if (!barrier.waiting.empty() && barrier.expected != threads) {
    s.fail(fmt::format("barrier {} is for {} threads here, for {} elsewhere", id, threads, barrier.expected));
  }
  barrier.expected = threads;
  barrier.waiting.push_back(&self());
  if (static_cast<int>(barrier.waiting.size()) < threads) return s.wait("a barrier");
  std::vector<int> warps;
  for (const Thread* thread : barrier.waiting) {
    if (warps.empty() || warps.back() != thread->warp->id) warps.push_back(thread->warp->id);
  }
  std::sort(warps.begin(), warps.end());
  warps.erase(std::unique(warps.begin(), warps.end()), warps.end());
  if (warps.size() * kLanes != barrier.waiting.size()) {
    s.fail(fmt::format("barrier {}: some warps arrived in part", id));
  }
  block.cluster->clocks.synchronise(warps);
  ++s.counters().block_barriers;
  const std::vector<Thread*> released = std::move(barrier.waiting);
  barrier.waiting.clear();
  for (Thread* thread : released) {
    if (thread != &self()) s.wake(*thread);
  }
}

void warp_barrier() {
  collective("a warp barrier", nullptr, [](Warp&) {});
}

void load_matrices(std::uint32_t* registers, std::uint32_t row_at, bool transposed) {
  Matrices arguments{registers, row_at};
  collective(transposed ? "ldmatrix.trans" : "ldmatrix", &arguments, [&](Warp& warp) { distribute(warp, transposed); });
}

void multiply_accumulate(MmaFormat format, const MmaLane& operands) {
  MmaLane mine = operands;
  collective("mma", &mine, [&](Warp& warp) {
    std::array<MmaLane, kLanes> lanes;
    for (std::size_t i = 0; i < kLanes; ++i) lanes[i] = *static_cast<const MmaLane*>(warp.arguments[i]);
    mma_m16n8k16(format, lanes.data());
    ++active().counters().mmas;
  });
}

std::uint32_t shuffle_bits(std::uint32_t value, int from_lane) {
  struct Exchange {
    std::uint32_t in, out;
    int from;
  } mine{value, 0, from_lane};
  if (from_lane < 0 || from_lane >= kLanes) active().fail(fmt::format("shuffle from lane {}", from_lane));
  collective("a shuffle", &mine, [](Warp& warp) {
    for (void* argument : warp.arguments) {
      auto* exchange = static_cast<Exchange*>(argument);
      exchange->out = static_cast<const Exchange*>(warp.arguments[static_cast<std::size_t>(exchange->from)])->in;
    }
    ++active().counters().shuffles;
  });
  return mine.out;
}

bool warp_any(bool value) {
  bool mine = value;
  collective("a vote", &mine, [](Warp& warp) {
    bool any = false;
    for (const void* argument : warp.arguments) any = any || *static_cast<const bool*>(argument);
    for (void* argument : warp.arguments) *static_cast<bool*>(argument) = any;
  });
  return mine;
}

std::uint32_t atomic_add_bits(std::uint32_t* at, std::uint32_t value) {
  Scheduler& s = active();
  s.maybe_interleave();
  require_aligned(reinterpret_cast<std::uintptr_t>(at), sizeof *at, "global");
  const std::uint32_t block = self().warp->block->index;
  require(s.memory().check(Access::fresh_read, at, sizeof *at, block).complaint);
  require(s.memory().check(Access::write, at, sizeof *at, block).complaint);
  ++s.counters().atomics;
  s.progress();
  const std::uint32_t before = *at;
  *at = before + value;
  return before;
}

std::uint32_t poll_word(const std::uint32_t* at) {
  Scheduler& s = active();
  s.poll();
  require(s.memory().check(Access::fresh_read, at, sizeof *at, self().warp->block->index).complaint);
  return *at;
}

void count_exp() { ++active().counters().exps; }

std::uint64_t next_moment() { return active().next_moment(); }

}  // namespace espalier::kernels::emulator

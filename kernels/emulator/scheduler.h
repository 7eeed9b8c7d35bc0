// Threads, warps and blocks of a running launch, and who runs next.
#pragma once

#include <array>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/rng.h"
#include "kernels/emulator/fiber.h"
#include "kernels/emulator/machine.h"
#include "kernels/emulator/shared_memory.h"
#include "kernels/emulator/warp_accesses.h"
#include "kernels/emulator/warp_clocks.h"
#include "kernels/emulator/warpgroup.h"

namespace espalier::kernels::emulator {

struct Block;
struct Warp;

inline constexpr std::uint32_t kAsyncCopyBytes = 16;  ///< of cp.async
struct AsyncCopy {
  std::uint32_t at = 0;
  const void* from = nullptr;  ///< null: zeros
};
/// Writes what a copy brings, when it lands.
void bring(Block& block, const AsyncCopy& copy);

struct Thread {
  Fiber fiber;
  Warp* warp = nullptr;
  int lane = 0;
  std::uint32_t index = 0;  ///< in the block
  const char* waits_at = nullptr;
  bool done = false;
  std::deque<std::vector<AsyncCopy>> groups;  ///< committed, not yet waited for; oldest first
  std::vector<AsyncCopy> open_group;
};

struct Warp {
  Block* block = nullptr;
  int index = 0;  ///< in the block
  int id = 0;     ///< among the clocks of the cluster
  std::array<Thread*, kLanes> lanes{};
  const char* operation = nullptr;  ///< the collective that lanes have arrived at
  int arrived = 0;
  std::array<void*, kLanes> arguments{};
  WarpAccesses accesses;
};

struct NamedBarrier {
  int expected = 0;
  std::vector<Thread*> waiting;
};

struct BulkCopy {
  std::uint32_t at = 0, bytes = 0;
  const void* from = nullptr;
};

/// An mbarrier: a phase is over when all expected threads have arrived and all expected bytes have landed.
struct TransactionBarrier {
  int expected = 0, missing = 0;   ///< arrivals of a phase
  std::int64_t missing_bytes = 0;  ///< expected less landed
  std::uint32_t phase = 0;         ///< phases that are over
  std::vector<BulkCopy> in_flight;
  std::vector<AsyncCopy> counted;  ///< of threads that arrived ahead of them
  std::vector<Thread*> waiting;
  const Thread* maker = nullptr;
  bool published = false;                  ///< to the other blocks of the cluster
  WarpClocks::Clock gathering, completed;  ///< of the phase under way, of those that are over
};

/// Blocks that run at once and reach each other's shared memory; most launches have clusters of one.
struct Cluster {
  explicit Cluster(int clock_entries) : clocks(clock_entries) {}
  WarpClocks clocks;
  std::vector<Block*> blocks;    ///< by rank; null: it has ended
  std::vector<Thread*> waiting;  ///< at the cluster's barrier
  std::size_t live = 0;          ///< threads
};

struct Block {
  std::uint32_t index = 0, rank = 0;
  std::shared_ptr<Cluster> cluster;
  std::vector<std::unique_ptr<Warp>> warps;
  std::vector<Warpgroup> warpgroups;
  std::vector<std::unique_ptr<Thread>> threads;
  std::unique_ptr<SharedMemory> shared;
  std::array<NamedBarrier, 16> barriers;
  std::map<std::uint32_t, TransactionBarrier> transaction_barriers;  ///< by place
  std::size_t live = 0;
};

class Scheduler {
 public:
  explicit Scheduler(Machine& machine) : machine_(machine) {}
  void run(const LaunchShape& shape, const std::function<void()>& body);

  // For the operations; all of the running thread.
  Thread& thread() { return *current_; }
  const LaunchShape& shape() const { return *shape_; }
  Counters& counters() { return machine_.counters_; }
  GlobalMemory& memory() { return machine_.memory_; }
  const EmulatorOptions& options() const { return machine_.options_; }
  [[noreturn]] void fail(const std::string& sentence) const;
  /// Lets others run until someone calls wake().
  void wait(const char* at);
  void wake(Thread& thread);
  /// Lets others run first. Fails when everybody has only been polling for long.
  void poll();
  void progress() { polls_ = 0; }
  std::uint64_t next_moment() { return ++moment_; }
  /// In shuffled order, lets another thread in between.
  void maybe_interleave();

 private:
  static void thread_entry(void* scheduler);
  void start_blocks();
  void start_block(std::uint32_t index, const std::shared_ptr<Cluster>& cluster);
  void retire_finished();
  void drop_all();
  Thread* pick();
  void switch_to(Thread* next);
  std::string deadlock() const;

  Machine& machine_;
  const LaunchShape* shape_ = nullptr;
  const std::function<void()>* body_ = nullptr;
  StackPool stacks_;
  Fiber main_;
  Thread* current_ = nullptr;
  std::deque<Thread*> ready_;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::vector<std::uint32_t> to_start_;  ///< clusters, last first
  std::exception_ptr failure_;
  std::int64_t polls_ = 0;
  std::uint64_t moment_ = 0;  ///< of all launches of the machine
  core::Rng rng_{1};
};

/// The scheduler whose thread is running.
Scheduler& active();
/// The running thread's part in its cluster is over: nobody waits for it any more, and with it its block may end. Fails
/// where others may still need that.
void leave_cluster();

}  // namespace espalier::kernels::emulator

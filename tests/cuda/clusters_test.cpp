// Blocks of a cluster that load for each other: what the emulator finds wrong in that.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "core/error.h"
#include "kernels/cuda/device.h"
#include "kernels/emulator/machine.h"
#include "tests/cuda/emulator_ways.h"

namespace espalier::kernels {
namespace {

using namespace on_host;
using emulator::EmulatorOptions;
using emulator::GlobalMemory;
using emulator::Machine;
using emulator::MemoryKind;
using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr int kWords = 64, kBytes = 4 * kWords, kRuns = 3;
constexpr SharedAddress kLanded = 4000, kFreed = 4008;

struct Outcome {
  std::string complaint;  ///< empty when nothing is wrong
  emulator::Counters counters;
};

/// A kernel of two clusters of two blocks of two warps, given some numbers.
Outcome run(const std::function<void(const int*)>& kernel, const EmulatorOptions& options = {}) {
  GlobalMemory memory;
  std::vector<int> numbers(kRuns * kWords);
  std::iota(numbers.begin(), numbers.end(), 100);
  const int* from = memory.upload("numbers", MemoryKind::other, numbers);
  Machine machine(memory, options);
  try {
    machine.launch({.kernel = "fixture", .blocks = 4, .threads = 64, .shared_bytes = 4096, .cluster = 2},
                   [&] { kernel(from); });
  } catch (const core::Error& error) {
    return {error.what(), machine.counters()};
  }
  return {"", machine.counters()};
}

/// What a block didn't do as it should have.
enum class Fault {
  none,
  frees_its_own_alone,
  ends_at_once,
  copies_to_itself,
  copies_to_the_mate,
  copies_beyond,
  no_meeting,
  unpublished
};

std::uint32_t blocks_of(Fault fault) {
  switch (fault) {
    case Fault::copies_to_itself:
      return 1U << cluster_rank();
    case Fault::copies_to_the_mate:
      return 2U >> cluster_rank();
    case Fault::copies_beyond:
      return 7U;
    default:
      return 3U;
  }
}

/// Rings of one in two blocks. Warp 0 of each copies its half of a run of numbers to both, warp 1 of each reads all of
/// it.
void shared_ring(const int* from, Fault fault) {
  const bool alone = fault == Fault::frees_its_own_alone;
  const bool loads = thread_index() < 32;
  const std::uint32_t lane = thread_index() % 32, rank = cluster_rank();
  if (thread_index() == 0) {
    init_barrier(kLanded, 1);
    init_barrier(kFreed, alone ? 1 : 2);
    if (fault != Fault::unpublished) publish_barriers();
  }
  if (fault == Fault::no_meeting) {
    block_sync<64>();
  } else {
    cluster_sync();
  }
  for (std::uint32_t run = 0; run < kRuns; ++run) {
    if (loads) {
      if (lane != 0) continue;
      wait_barrier(kFreed, run % 2 ^ 1U);
      arrive_expecting(kLanded, kBytes);
      const std::uint32_t half = rank * kBytes / 2;
      copy_bulk_to_blocks(half, from + run * kWords + rank * kWords / 2, kBytes / 2, kLanded, blocks_of(fault));
    } else {
      wait_barrier(kLanded, run % 2);
      for (std::uint32_t i = lane; i < kWords; i += 32) {
        if (load_shared<int>(4 * i) != 100 + static_cast<int>(run * kWords + i)) {
          throw core::Error(core::ErrorKind::check_failed, "wrong number");
        }
      }
      warp_sync();
      if (alone ? lane == rank : lane < 2) arrive_in_block(kFreed, lane);
    }
  }
  if (loads && lane == 0 && fault != Fault::ends_at_once) wait_barrier(kFreed, kRuns % 2 ^ 1U);
}

TEST(Clusters, LoadForEachOtherInEveryOrder) {
  for (const EmulatorOptions& way : ways()) {
    const Outcome outcome = run([](const int* from) { shared_ring(from, Fault::none); }, way);
    EXPECT_EQ(outcome.complaint, "");
    EXPECT_EQ(outcome.counters.read(MemoryKind::other).bytes, 2 * kRuns * kBytes)
        << "each cluster reads the numbers once";
    EXPECT_EQ(outcome.counters.shared_writes.bytes, 4 * kRuns * kBytes) << "and each block takes in all of them";
  }
}

TEST(Clusters, FindACopyOverWhatAMateStillReads) {
  for (const EmulatorOptions& way : ways()) {
    EXPECT_THAT(run([](const int* from) { shared_ring(from, Fault::frees_its_own_alone); }, way).complaint,
                AnyOf(HasSubstr("race: shared offset"), HasSubstr("copy to it is under way"), HasSubstr("waited for")));
  }
}

TEST(Clusters, FindACopyThatNothingPutsBehindAReaderInAnotherBlock) {
  int readers_first = 0;
  for (const EmulatorOptions& way : ways()) {
    const std::string complaint = run(
                                      [](const int* from) {
                                        const bool first = thread_index() == 0, target = cluster_rank() == 1;
                                        if (first) {
                                          init_barrier(kLanded, 1);
                                          publish_barriers();
                                        }
                                        if (thread_index() < 4) store_shared(4 * thread_index(), 1);
                                        fence_engine();
                                        cluster_sync();
                                        if (target && thread_index() < 4) (void)load_shared<int>(4 * thread_index());
                                        if (first && target) {
                                          arrive_expecting(kLanded, 16);
                                          wait_barrier(kLanded, 0);
                                        }
                                        if (first && !target) copy_bulk_to_blocks(0, from, 16, kLanded, 2U);
                                      },
                                      way)
                                      .complaint;
    const bool read_first =
        complaint.find("was read by warp 0 and is written by warp 0 of block 0 of the cluster without a barrier") !=
        std::string::npos;
    readers_first += read_first ? 1 : 0;
    if (!read_first) {
      EXPECT_THAT(complaint, AnyOf(HasSubstr("written by a bulk copy and is read"),
                                   HasSubstr("before the asynchronous copy to it was waited for")));
    }
  }
  EXPECT_GT(readers_first, 0);
}

TEST(Clusters, FindABlockThatEndsBeforeItsMatesAreThrough) {
  for (const EmulatorOptions& way : ways()) {
    EXPECT_THAT(run([](const int* from) { shared_ring(from, Fault::ends_at_once); }, way).complaint,
                AnyOf(HasSubstr("of the cluster, which has ended"),
                      HasSubstr("ends without knowing of the arrival of warp 1 of block")));
  }
}

TEST(Clusters, FindCopiesToTheWrongBlocks) {
  for (const EmulatorOptions& way : ways()) {
    EXPECT_THAT(run([](const int* from) { shared_ring(from, Fault::copies_to_itself); }, way).complaint,
                HasSubstr("threads wait for ever"));
    EXPECT_THAT(run([](const int* from) { shared_ring(from, Fault::copies_to_the_mate); }, way).complaint,
                HasSubstr("threads wait for ever"));
    EXPECT_THAT(run([](const int* from) { shared_ring(from, Fault::copies_beyond); }, way).complaint,
                HasSubstr("bulk copy to block 2 of a cluster of 2"));
  }
}

TEST(Clusters, FindBarriersThatMatesMayNotHaveMadeYet) {
  for (const EmulatorOptions& way : ways()) {
    EXPECT_THAT(run([](const int* from) { shared_ring(from, Fault::no_meeting); }, way).complaint,
                AnyOf(HasSubstr("no barrier was initialised"), HasSubstr("race: the barrier at shared offset 40")));
  }
}

TEST(Clusters, FindBarriersThatMatesWereNeverShown) {
  for (const EmulatorOptions& way : ways()) {
    EXPECT_THAT(run([](const int* from) { shared_ring(from, Fault::unpublished); }, way).complaint,
                HasSubstr("was never published to the cluster"));
  }
}

TEST(Clusters, FindWhatReachesABlockThatHasEnded) {
  const auto late = [](bool copies, const EmulatorOptions& way) {
    return run(
               [=](const int* from) {
                 if (thread_index() == 0) {
                   init_barrier(kLanded, 1);
                   publish_barriers();
                 }
                 cluster_sync();
                 if (cluster_rank() == 1 || thread_index() != 0) return;
                 for (int i = 0; i < 100; ++i) (void)load_global(from);
                 if (copies) {
                   copy_bulk_to_blocks(0, from, 16, kLanded, 2U);
                 } else {
                   arrive_in_block(kLanded, 1);
                 }
               },
               way)
        .complaint;
  };
  for (const EmulatorOptions& way : ways()) {
    EXPECT_THAT(late(false, way), AnyOf(HasSubstr("arrival at a barrier of block 1 of the cluster, which has ended"),
                                        HasSubstr("ends without knowing of the arrival")));
    EXPECT_THAT(late(true, way), AnyOf(HasSubstr("bulk copy to block 1 of the cluster, which has ended"),
                                       HasSubstr("ends while bulk copies to its shared memory"),
                                       HasSubstr("ends before a copy to its shared memory was waited for")));
  }
}

TEST(Clusters, MeetWithoutThoseWhoHaveEnded) {
  for (const EmulatorOptions& way : ways()) {
    const auto kernel = [](const int*) {
      if (cluster_rank() == 1 && thread_index() >= 32) return;
      if (thread_index() == 0) store_shared(0, 1);
      cluster_sync();
      (void)load_shared<int>(0);
    };
    EXPECT_EQ(run(kernel, way).complaint, "");
  }
}

}  // namespace
}  // namespace espalier::kernels

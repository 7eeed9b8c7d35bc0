// The emulator finds what is wrong in a kernel: each fixture is a small kernel with one fault planted, and its right
// twin.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "core/error.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/tile.h"
#include "kernels/emulator/machine.h"

namespace espalier::kernels {
namespace {

using namespace on_host;
using emulator::CopyMoment;
using emulator::EmulatorOptions;
using emulator::GlobalMemory;
using emulator::LaunchShape;
using emulator::Machine;
using emulator::MemoryKind;
using emulator::Order;
using ::testing::HasSubstr;

constexpr int kThreads = 64;

/// What the emulator says of a kernel of one block; empty when nothing is wrong.
std::string complaint(GlobalMemory& memory, const std::function<void()>& kernel, const EmulatorOptions& options = {},
                      std::uint32_t blocks = 1) {
  try {
    Machine(memory, options).launch({"fixture", blocks, kThreads, 4096, blocks > 1}, kernel);
  } catch (const core::Error& error) {
    return error.what();
  }
  return {};
}
std::string complaint(const std::function<void()>& kernel, const EmulatorOptions& options = {}) {
  GlobalMemory memory;
  return complaint(memory, kernel, options);
}

int me() { return static_cast<int>(thread_index()); }
SharedAddress word(int i) { return static_cast<SharedAddress>(4 * i); }

/// Each warp writes its words; thread i reads that of thread i + 32.
void neighbours(bool barrier) {
  store_shared(word(me()), me());
  if (barrier) block_sync<kThreads>();
  (void)load_shared<int>(word((me() + 32) % kThreads));
}

TEST(Emulator, FindsAMissingBarrierInEveryOrder) {
  for (const Order order : {Order::forward, Order::backward, Order::shuffled}) {
    EXPECT_EQ(complaint([] { neighbours(true); }, {.order = order}), "");
    EXPECT_THAT(complaint([] { neighbours(false); }, {.order = order}),
                ::testing::AnyOf(HasSubstr("race"), HasSubstr("uninitialised")));
  }
}

TEST(Emulator, FindsAWriteThatOvertakesAReader) {
  const auto kernel = [](bool barrier) {
    store_shared(word(me()), me());
    block_sync<kThreads>();
    if (me() < 32) (void)load_shared<int>(word(me()));
    if (barrier) block_sync<kThreads>();
    if (me() >= 32) store_shared(word(me() - 32), 0);
  };
  EXPECT_EQ(complaint([&] { kernel(true); }), "");
  EXPECT_THAT(complaint([&] { kernel(false); }), HasSubstr("race: shared offset"));
}

TEST(Emulator, FindsTwoWarpsThatWriteOneWord) {
  EXPECT_THAT(complaint([] { store_shared(word(me() % 32), me()); }),
              HasSubstr("written by warp 0 and by warp 1 without a barrier"));
}

TEST(Emulator, FindsAReadOfUninitialisedSharedMemory) {
  EXPECT_THAT(complaint([] { (void)load_shared<int>(word(me())); }), HasSubstr("uninitialised shared memory"));
}

TEST(Emulator, FindsAccessesOutsideSharedMemory) {
  EXPECT_THAT(complaint([] { store_shared(4092U + 4U * static_cast<SharedAddress>(me()), 1); }),
              HasSubstr("outside the block's 4096 bytes"));
  EXPECT_THAT(complaint([] { store_shared(4U * static_cast<SharedAddress>(me()), Pair{}); }), HasSubstr("misaligned"));
}

TEST(Emulator, FindsAccessesOutsideGlobalMemory) {
  GlobalMemory memory;
  const int* input = memory.upload("input", MemoryKind::other, std::vector<int>(kThreads));
  auto* output = static_cast<int*>(memory.allocate("output", MemoryKind::other, kThreads * sizeof(int)));
  EXPECT_EQ(complaint(memory, [&] { store_global(output + me(), load_global(input + me())); }), "");
  EXPECT_THAT(complaint(memory, [&] { (void)load_global(input + me() + 1); }),
              HasSubstr("thread 63: read of 4 bytes outside all global memory"));
  EXPECT_THAT(complaint(memory, [&] { store_global(const_cast<int*>(input), 1); }), HasSubstr("kernels may only read"));
  EXPECT_THAT(
      complaint(memory,
                [&] { (void)load_global(reinterpret_cast<const Pair*>(reinterpret_cast<const char*>(input) + 2)); }),
      HasSubstr("misaligned"));
}

TEST(Emulator, FindsAPairOfNumbersBesideItsEightBytes) {
  GlobalMemory memory;
  auto* row = static_cast<float*>(memory.allocate("row", MemoryKind::output, (2 * kThreads + 1) * sizeof(float)));
  const auto store = [&](int first) { store_global(reinterpret_cast<Pair*>(row + first) + me(), Pair{1, 2}); };
  EXPECT_EQ(complaint(memory, [&] { store(0); }), "");
  EXPECT_THAT(complaint(memory, [&] { store(1); }), HasSubstr("is not a multiple of 8"));
}

TEST(Emulator, FindsAReadOfGlobalMemoryThatNothingWrote) {
  GlobalMemory memory;
  auto* output = static_cast<int*>(memory.allocate("output", MemoryKind::other, kThreads * sizeof(int)));
  EXPECT_THAT(complaint(memory, [&] { (void)load_fresh(output + me()); }), HasSubstr("where nothing has been written"));
}

TEST(Emulator, FindsLanesThatMissAWarpOperation) {
  EXPECT_THAT(complaint([] {
                if (me() % 32 < 16) (void)shuffle_xor(me(), 1);
              }),
              HasSubstr("threads wait for ever: 32 at a shuffle"));
  EXPECT_THAT(complaint([] {
                if (me() % 32 < 16) {
                  (void)shuffle_xor(me(), 1);
                } else {
                  warp_sync();
                }
              }),
              HasSubstr("divergent warp"));
}

TEST(Emulator, FindsWarpsThatMissABarrier) {
  EXPECT_THAT(complaint([] {
                if (me() < 32) block_sync<kThreads>();
              }),
              HasSubstr("32 at a barrier, 32 have ended"));
}

/// Thread i copies 16 bytes and reads them back; `wait` or not, and who reads whose.
void copy_and_read(const int* from, bool wait, int of) {
  copy_async(static_cast<SharedAddress>(16 * me()), from + 4 * me());
  commit_copies();
  if (wait) wait_copies<0>();
  (void)load_shared<int>(static_cast<SharedAddress>(16 * ((me() + of) % kThreads)));
}

TEST(Emulator, FindsAReadBeforeAnAsynchronousCopyWasWaitedFor) {
  GlobalMemory memory;
  const int* input = memory.upload("input", MemoryKind::other, std::vector<int>(4 * kThreads));
  for (const CopyMoment moment : {CopyMoment::latest, CopyMoment::earliest}) {
    EXPECT_EQ(complaint(memory, [&] { copy_and_read(input, true, 0); }, {.copies = moment}), "");
    EXPECT_THAT(complaint(memory, [&] { copy_and_read(input, false, 0); }, {.copies = moment}),
                HasSubstr("before the asynchronous copy to it was waited for"));
    // Another warp's copy is visible only after a barrier, although that warp has waited.
    EXPECT_NE(complaint(memory, [&] { copy_and_read(input, true, 32); }, {.copies = moment}), "");
  }
}

TEST(Emulator, FindsABlockThatWaitsForOneThatNeverComes) {
  GlobalMemory memory;
  auto* flag = static_cast<std::uint32_t*>(memory.allocate_zeroed("flag", MemoryKind::counters, 4));
  const auto kernel = [&](std::uint32_t expected) {
    if (thread_index() == 0) {
      atomic_add(flag, 1U);
      while (poll(flag) < expected) {
      }
    }
  };
  for (const Order order : {Order::forward, Order::backward, Order::shuffled}) {
    *flag = 0;
    EXPECT_EQ(complaint(
                  memory, [&] { kernel(3); }, {.order = order}, 3),
              "");
    *flag = 0;
    EXPECT_THAT(complaint(
                    memory, [&] { kernel(4); }, {.order = order}, 3),
                HasSubstr("waits for something that never comes"));
  }
}

TEST(Emulator, FindsAPlainReadOfWhatAnotherBlockWroteInTheSameLaunch) {
  GlobalMemory memory;
  auto* flag = static_cast<std::uint32_t*>(memory.allocate_zeroed("flag", MemoryKind::counters, 4));
  auto* rows = static_cast<int*>(memory.allocate("rows", MemoryKind::partials, kThreads * sizeof(int)));
  const auto kernel = [&](bool fresh) {
    if (block_index() == 0) {
      store_global(rows + me(), me());
      (void)load_global(rows + me());  // its own
      fence();
      block_sync<kThreads>();
      if (me() == 0) atomic_add(flag, 1U);
    } else {
      while (poll(flag) == 0) {
      }
      (void)(fresh ? load_fresh(rows + me()) : load_global(rows + me()));
    }
  };
  for (const Order order : {Order::forward, Order::backward, Order::shuffled}) {
    *flag = 0;
    EXPECT_EQ(complaint(
                  memory, [&] { kernel(true); }, {.order = order}, 2),
              "");
    *flag = 0;
    EXPECT_THAT(complaint(
                    memory, [&] { kernel(false); }, {.order = order}, 2),
                HasSubstr("block 0 wrote in this launch"));
  }
  EXPECT_EQ(complaint(
                memory, [&] { (void)load_global(rows + me()); }, {}, 2),
            "")
      << "launches before are over";
}

/// Writes an 8 x 256-byte tile in rows and reads it as matrices, swizzled by the kernels' rule or not.
emulator::SharedTraffic matrix_reads(bool swizzle_writes, bool swizzle_reads, std::vector<std::uint32_t>& first) {
  GlobalMemory memory;
  Machine machine(memory, {});
  first.assign(32, 0);
  const auto at = [](bool swizzle, int row, int chunk) {
    return swizzle ? swizzled<256>(row, chunk) : static_cast<SharedAddress>(row * 256 + chunk * 16);
  };
  machine.launch({"fixture", 1, 32, 4096, false}, [&] {
    for (int row = 0; row < 8; ++row) {
      for (int i = 0; i < 2; ++i) {
        const int w = 2 * me() + i;
        store_shared(at(swizzle_writes, row, w / 4) + static_cast<SharedAddress>(w % 4 * 4), row * 64 + w);
      }
    }
    warp_sync();
    std::uint32_t r[4];
    load_matrices(r, at(swizzle_reads, me() % 8, me() / 8));
    first[static_cast<std::size_t>(me())] = r[0];
  });
  return machine.counters().shared_reads;
}

TEST(Emulator, ShowsAWrongSwizzleInResultsAndConflicts) {
  std::vector<std::uint32_t> right, wrong;
  const auto swizzled_reads = matrix_reads(true, true, right);
  EXPECT_EQ(swizzled_reads.wavefronts, 4);
  EXPECT_EQ(swizzled_reads.conflicts(), 0);
  for (std::uint32_t lane = 0; lane < 32; ++lane) EXPECT_EQ(right[lane], lane / 4 * 64 + lane % 4);
  const auto plain_reads = matrix_reads(false, false, wrong);
  EXPECT_EQ(wrong, right);
  EXPECT_EQ(plain_reads.conflicts(), 4 * 7) << "eight rows in the same banks";
  matrix_reads(true, false, wrong);
  EXPECT_NE(wrong, right);
}

TEST(Emulator, CountsSectorsAndLinesOfAWarp) {
  GlobalMemory memory;
  const float* input = memory.upload("input", MemoryKind::kv, std::vector<float>(64 * 64));
  Machine machine(memory, {});
  machine.launch({"fixture", 1, 32, 0, false}, [&] {
    (void)load_global(input + me());       // 128 B: 4 sectors of a line
    (void)load_global(input + 32 * me());  // a line each
    (void)load_global(input);              // one sector
    if (me() < 8) (void)load_global(input + 2 * me());
  });
  const auto& read = machine.counters().read(MemoryKind::kv);
  EXPECT_EQ(read.bytes, (32 * 3 + 8) * 4);
  EXPECT_EQ(read.requests, 4);
  EXPECT_EQ(read.sectors, 4 + 32 + 1 + 2);
  EXPECT_EQ(read.lines, 1 + 32 + 1 + 1);
}

TEST(Emulator, MultipliesMatricesInTheHardwareLayout) {
  // A is 16 x 16, B 16 x 8, of small integers: every sum is exact.
  const auto a = [](int i, int k) { return static_cast<float>((i * 3 + k * 5) % 11 - 5); };
  const auto b = [](int k, int j) { return static_cast<float>((k * 7 + j * 2) % 13 - 6); };
  GlobalMemory memory;
  Machine machine(memory, {});
  machine.launch({"fixture", 1, 32, 0, false}, [&] {
    const int g = me() / 4, t = me() % 4;
    const auto pair = [&](int i, int k) { return pack<Dtype::fp16>(a(i, k), a(i, k + 1)); };
    const std::uint32_t left[4] = {pair(g, 2 * t), pair(g + 8, 2 * t), pair(g, 2 * t + 8), pair(g + 8, 2 * t + 8)};
    float c[4] = {1, 2, 3, 4};
    mma<Dtype::fp16>(c, left, pack<Dtype::fp16>(b(2 * t, g), b(2 * t + 1, g)),
                     pack<Dtype::fp16>(b(2 * t + 8, g), b(2 * t + 9, g)));
    for (int i = 0; i < 4; ++i) {
      float sum = static_cast<float>(i + 1);
      for (int k = 0; k < 16; ++k) sum += a(g + i / 2 * 8, k) * b(k, 2 * t + i % 2);
      EXPECT_EQ(c[i], sum);
    }
  });
  EXPECT_EQ(machine.counters().mmas, 1);
}

}  // namespace
}  // namespace espalier::kernels

// Bulk copies and the barriers that count them: what the emulator finds wrong in their use, and the kernels that use
// them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <numeric>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/error.h"
#include "costmodel/device_spec.h"
#include "kernels/cuda/device.h"
#include "kernels/emulate.h"
#include "kernels/row_error.h"
#include "scheduler/strategy.h"
#include "tests/cuda/emulator_ways.h"
#include "tests/cuda/oracle_check.h"
#include "tests/kernels/hand_plans.h"
#include "tests/property/forests.h"

namespace espalier::kernels {
namespace {

using namespace on_host;
using emulator::CopyMoment;
using emulator::EmulatorOptions;
using emulator::GlobalMemory;
using emulator::Machine;
using emulator::MemoryKind;
using emulator::Order;
using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr int kWords = 64, kBytes = 4 * kWords;
constexpr SharedAddress kBarrier = 4000, kOther = 4008;

std::vector<int> numbers() {
  std::vector<int> all(4 * kWords);
  std::iota(all.begin(), all.end(), 100);
  return all;
}

/// What the emulator says of a kernel of two warps that is given 256 numbers; empty when nothing is wrong.
std::string complaint(const std::function<void(const int*)>& kernel, const EmulatorOptions& options = {}) {
  GlobalMemory memory;
  const int* from = memory.upload("numbers", MemoryKind::other, numbers());
  try {
    Machine(memory, options).launch({"fixture", 1, 64, 4096, false}, [&] { kernel(from); });
  } catch (const core::Error& error) {
    return error.what();
  }
  return {};
}

bool in_warp(int w) { return static_cast<int>(thread_index()) / 32 == w; }
bool first_of_warp() { return thread_index() % 32 == 0; }
int number_at(int i) { return load_shared<int>(static_cast<SharedAddress>(4 * i)); }

void expect(int got, int want) {
  if (got != want) throw core::Error(core::ErrorKind::check_failed, "wrong number");
}

/// A thread that didn't do what it should have.
enum class Fault { none, no_wait, no_expectation, no_fence, no_release };

/// Warp 0 copies two runs of numbers to the same place, one after the other; warp 1 reads them, and scribbles over the
/// first.
void ring_of_one(const int* from, Fault fault) {
  if (thread_index() == 0) {
    init_barrier(kBarrier, 1);
    init_barrier(kOther, 1);
  }
  block_sync<64>();
  for (std::uint32_t run = 0; run < 2; ++run) {
    if (in_warp(0)) {
      if (!first_of_warp()) continue;
      if (fault != Fault::no_release) wait_barrier(kOther, run ^ 1U);
      if (fault == Fault::no_expectation) {
        arrive(kBarrier);
      } else {
        arrive_expecting(kBarrier, kBytes);
      }
      copy_bulk(0, from + static_cast<int>(run) * kWords, kBytes, kBarrier);
    } else {
      if (fault != Fault::no_wait) wait_barrier(kBarrier, run);
      const int i = static_cast<int>(thread_index()) - 32;
      expect(number_at(i), 100 + static_cast<int>(run) * kWords + i);
      store_shared(static_cast<SharedAddress>(4 * i), -1);
      if (fault != Fault::no_fence) fence_engine();
      warp_sync();
      if (first_of_warp()) arrive(kOther);
    }
  }
}

TEST(BulkCopies, LandBeforeThePhaseIsOverInEveryOrder) {
  for (const EmulatorOptions& way : ways()) {
    EXPECT_EQ(complaint([](const int* from) { ring_of_one(from, Fault::none); }, way), "");
  }
}

TEST(BulkCopies, FindAMissingWaitInEveryOrder) {
  for (const EmulatorOptions& way : ways()) {
    EXPECT_THAT(complaint([](const int* from) { ring_of_one(from, Fault::no_wait); }, way),
                AnyOf(HasSubstr("before the asynchronous copy to it was waited for"), HasSubstr("uninitialised"),
                      HasSubstr("written by a bulk copy and is read")));
  }
}

TEST(BulkCopies, FindBytesThatNobodyExpects) {
  for (const EmulatorOptions& way : ways()) {
    EXPECT_THAT(
        complaint([](const int* from) { ring_of_one(from, Fault::no_expectation); }, way),
        AnyOf(HasSubstr("threads wait for ever"), HasSubstr("race"), HasSubstr("uninitialised"),
              HasSubstr("waited for"), HasSubstr("bytes that nobody expects"), HasSubstr("lacks nothing but bytes")));
  }
}

TEST(BulkCopies, FindAMissingFenceBehindOrdinaryStores) {
  for (const EmulatorOptions& way : ways()) {
    EXPECT_THAT(complaint([](const int* from) { ring_of_one(from, Fault::no_fence); }, way),
                HasSubstr("by ordinary stores without a fence since"));
  }
}

TEST(BulkCopies, FindACopyOverWhatOthersStillRead) {
  for (const EmulatorOptions& way : ways()) {
    EXPECT_THAT(complaint([](const int* from) { ring_of_one(from, Fault::no_release); }, way),
                AnyOf(HasSubstr("race"), HasSubstr("copy to it is under way"), HasSubstr("lacks nothing but bytes")));
  }
}

TEST(BulkCopies, FindWrongSizesAndPlaces) {
  const auto copy = [](SharedAddress at, int skip, std::uint32_t bytes) {
    return complaint([=](const int* from) {
      if (thread_index() != 0) return;
      init_barrier(kBarrier, 1);
      arrive_expecting(kBarrier, bytes);
      copy_bulk(at, from + skip, bytes, kBarrier);
      wait_barrier(kBarrier, 0);
    });
  };
  EXPECT_EQ(copy(16, 4, 32), "");
  for (const std::string& wrong : {copy(8, 4, 32), copy(16, 1, 32), copy(16, 4, 24), copy(16, 4, 0)}) {
    EXPECT_THAT(wrong, HasSubstr("multiples of 16"));
  }
  EXPECT_THAT(copy(16, 4 * kWords - 4, 32), HasSubstr("numbers"));
  EXPECT_THAT(copy(4080, 4, 32), HasSubstr("outside the block's"));
  EXPECT_THAT(copy(kBarrier - 16, 4, 32), HasSubstr("which holds a barrier"));
}

TEST(BulkCopies, FindBarriersThatAreNone) {
  EXPECT_THAT(complaint([](const int*) { wait_barrier(kBarrier, 0); }), HasSubstr("no barrier was initialised"));
  EXPECT_THAT(complaint([](const int*) {
                if (thread_index() == 0) init_barrier(kBarrier + 4, 1);
              }),
              HasSubstr("misaligned barrier"));
  EXPECT_THAT(complaint([](const int*) {
                if (thread_index() != 0) return;
                init_barrier(kBarrier, 1);
                (void)load_shared<int>(kBarrier);
              }),
              HasSubstr("which holds a barrier"));
  EXPECT_THAT(complaint([](const int*) {
                if (thread_index() != 0) return;
                init_barrier(kBarrier, 2);
                arrive(kBarrier);
                wait_barrier(kBarrier, 0);
              }),
              HasSubstr("threads wait for ever: 1 at a barrier of bulk copies"));
}

EmulateOptions bulk(Order order, CopyMoment copies) {
  EmulateOptions options;
  options.machine = {.order = order, .seed = 5, .copies = copies, .resident_blocks = 3, .count_accesses = false};
  options.path = KernelPath::bulk;
  return options;
}

void expect_right_bulk(const scheduler::Plan& plan, const std::string& what, const EmulateOptions& options) {
  ASSERT_TRUE(
      lower_plan(plan, {host_kernels(), options.most_shared_bytes, options.path}).launches.front().attend->path ==
      KernelPath::bulk)
      << what;
  expect_right(plan, what, options);
}

TEST(BulkKernels, EqualTheOracle) {
  const traces::HeadConfig heads = traces::parse_heads("8/2/128");
  std::size_t turn = 0;
  for (const std::int32_t tile : {16, 32, 64, 128}) {
    const EmulatorOptions& way = ways()[turn++ % ways().size()];
    expect_right_bulk(testing::node_halves(testing::small_forest(), heads, testing::attend_kernel(true, tile)),
                      "halves, tile " + std::to_string(tile), bulk(way.order, way.copies));
  }
  expect_right_bulk(testing::one_mixed_task(testing::small_forest(), heads), "row intervals",
                    bulk(Order::shuffled, CopyMoment::latest));
  expect_right_bulk(testing::folded(testing::small_forest(), heads), "folds",
                    bulk(Order::backward, CopyMoment::earliest));
  for (const auto start : {scheduler::PhaseStart::on_arrival, scheduler::PhaseStart::barrier}) {
    expect_right_bulk(testing::tree_merge(testing::small_forest(), heads, start), "steps",
                      bulk(Order::shuffled, CopyMoment::earliest));
  }
}

scheduler::Plan plan_of(const char* strategy, const traces::PrefixForest& forest) {
  costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  device.sms = 4;
  const traces::HeadConfig heads = traces::parse_heads("4/2/128");
  const scheduler::PlanRequest request{
      .forest = forest, .heads = heads, .device = device, .kernels = scheduler::KernelSet::ours, .options = {}};
  return std::get<scheduler::Plan>(scheduler::make_plan(scheduler::parse_strategy(strategy), request));
}

TEST(BulkKernels, RunQueuesOfManyTasksInEveryOrder) {
  // Tasks of one tile and of many, one behind the other in the same block, and results merged behind a barrier or on
  // arrival.
  const traces::PrefixForest forest = traces::make_forest(property::star(330, 3, 40));
  for (const char* strategy : {"lean", "flashinfer_persistent", "espalier"}) {
    const scheduler::Plan plan = plan_of(strategy, forest);
    for (const auto& [order, copies] :
         {std::pair(Order::shuffled, CopyMoment::latest), std::pair(Order::backward, CopyMoment::earliest)}) {
      expect_right_bulk(plan, strategy, bulk(order, copies));
    }
  }
}

TEST(BulkKernels, GiveWayWhereTheDeviceHoldsTooFewOfTheirBlocks) {
  const scheduler::Plan plan = plan_of("lean", traces::make_forest(property::star(330, 3, 40)));
  const auto blocks = plan.launches[scheduler::LaunchId(0)].workers;
  ASSERT_GT(blocks, 1);
  const auto chosen = [&](std::int64_t bulk, std::int64_t plain) {
    const DeviceKernels kernels{
        .set = host_kernels(), .path = KernelPath::bulk, .resident_blocks = [=](const AttendInstance& i) {
          return i.path == KernelPath::bulk ? bulk : plain;
        }};
    return lower_plan(plan, kernels).launches.front().attend->path == KernelPath::bulk;
  };
  EXPECT_TRUE(chosen(blocks, blocks));
  EXPECT_FALSE(chosen(blocks - 1, blocks));
  try {
    chosen(blocks - 1, blocks - 1);
    ADD_FAILURE() << "more blocks than the device holds";
  } catch (const PlanRefused& refusal) {
    EXPECT_THAT(refusal.what(), HasSubstr(std::to_string(blocks) + " blocks with queues, where the device holds " +
                                          std::to_string(blocks - 1) + " of attend_bulk_"));
  }
}

TEST(BulkKernels, ReadWhatThePlainOnesRead) {
  const scheduler::Plan plan = plan_of("espalier", traces::make_forest(property::star(200, 4, 30)));
  EmulateOptions options;
  options.row_dtype = traces::Dtype::bf16;
  const emulator::Counters plain = emulate(plan, TensorSource{1}, options).counters;
  options.path = KernelPath::bulk;
  const emulator::Counters fast = emulate(plan, TensorSource{1}, options).counters;
  EXPECT_EQ(fast.read(MemoryKind::kv).bytes, plain.read(MemoryKind::kv).bytes);
  EXPECT_EQ(fast.read(MemoryKind::query).bytes, plain.read(MemoryKind::query).bytes);
  EXPECT_EQ(fast.mmas, plain.mmas);
  EXPECT_EQ(fast.read(MemoryKind::kv).sectors, plain.read(MemoryKind::kv).sectors);
  EXPECT_LT(fast.block_barriers, plain.block_barriers);
  EXPECT_LE(static_cast<double>(fast.shared_reads.conflicts()),
            0.02 * static_cast<double>(fast.shared_reads.wavefronts));
}

}  // namespace
}  // namespace espalier::kernels

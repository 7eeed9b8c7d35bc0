// Products of a warpgroup in the emulator: against plain ones, and what is found wrong in their use.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "kernels/cuda/device.h"
#include "kernels/emulator/machine.h"
#include "tests/cuda/emulator_ways.h"
#include "tests/cuda/matrix_layouts.h"

namespace espalier::kernels {
namespace {

using namespace on_host;
using emulator::EmulatorOptions;
using emulator::GlobalMemory;
using emulator::Machine;
using emulator::Major;
using emulator::MemoryKind;
using emulator::MmaFormat;
using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr std::uint32_t kRightAt = 32768, kSharedBytes = 160 << 10;

/// What the emulator says of a kernel of `threads`; empty when nothing is wrong.
std::string complaint(const std::function<void()>& kernel, const EmulatorOptions& options = {},
                      std::uint32_t threads = 128) {
  GlobalMemory memory;
  try {
    Machine(memory, options).launch({"fixture", 1, threads, kSharedBytes, false}, kernel);
  } catch (const core::Error& error) {
    return error.what();
  }
  return {};
}

/// 64 x steps times steps x columns, small whole numbers: exact in every format.
struct Problem {
  int columns, steps;
  std::vector<int> left, right;  ///< [64][steps], [steps][columns]
  Problem(int columns_, int steps_, std::uint64_t seed) : columns(columns_), steps(steps_) {
    core::Rng rng(seed);
    for (int i = 0; i < 64 * steps; ++i) left.push_back(static_cast<int>(rng.integer(-4, 4)));
    for (int i = 0; i < columns * steps; ++i) right.push_back(static_cast<int>(rng.integer(-4, 4)));
  }
  int left_at(int row, int step) const { return left[static_cast<std::size_t>(row * steps + step)]; }
  int right_at(int step, int column) const { return right[static_cast<std::size_t>(step * columns + column)]; }
  int product(int row, int column) const {
    int sum = 0;
    for (int k = 0; k < steps; ++k) sum += left_at(row, k) * right_at(k, column);
    return sum;
  }
};

std::uint16_t bits_of(MmaFormat format, int x) {
  return format == MmaFormat::bf16 ? emulator::float_to_bf16(static_cast<float>(x))
                                   : emulator::float_to_fp16(static_cast<float>(x));
}

struct alignas(16) Chunk {
  std::array<std::uint16_t, 8> numbers;
};

/// Shared memory as it shall be, written by all threads.
class Image {
 public:
  explicit Image(std::size_t bytes) : numbers_(bytes / 2, 0) {}
  void set(std::uint32_t at, std::uint16_t bits) { numbers_.at(at / 2) = bits; }
  void store() const {
    for (std::size_t i = thread_index() * 8; i < numbers_.size(); i += 128 * 8) {
      Chunk chunk;
      std::memcpy(&chunk, &numbers_[i], sizeof chunk);
      store_shared(static_cast<SharedAddress>(2 * i), chunk);
    }
  }

 private:
  std::vector<std::uint16_t> numbers_;
};

Image image_of(const Problem& p, MmaFormat format, const Layout& left, const Layout& right) {
  Image image(kRightAt + static_cast<std::size_t>(2 * p.columns * p.steps));
  for (int step = 0; step < p.steps; ++step) {
    for (int row = 0; row < 64; ++row) image.set(left.place(row, step), bits_of(format, p.left_at(row, step)));
    for (int column = 0; column < p.columns; ++column) {
      image.set(kRightAt + right.place(column, step), bits_of(format, p.right_at(step, column)));
    }
  }
  return image;
}

/// This thread's sums, against the plain product.
void expect_product(const Problem& p, const float* sums, int base) {
  const int thread = static_cast<int>(thread_index()), row = thread / 32 * 16 + thread % 32 / 4;
  for (int i = 0; i < p.columns / 2; ++i) {
    const int r = row + i / 2 % 2 * 8, c = i / 4 * 8 + thread % 4 * 2 + i % 2;
    if (sums[i] != static_cast<float>(base + p.product(r, c))) {
      throw core::Error(core::ErrorKind::check_failed, "wrong number");
    }
  }
}

/// The left factor of 16 steps in a thread's registers.
std::array<std::uint32_t, 4> left_registers(const Problem& p, MmaFormat format, int first) {
  const int thread = static_cast<int>(thread_index()), row = thread / 32 * 16 + thread % 32 / 4,
            step = first + thread % 4 * 2;
  std::array<std::uint32_t, 4> a;
  for (int i = 0; i < 4; ++i) {
    const int r = row + i % 2 * 8, k = step + i / 2 * 8;
    a[static_cast<std::size_t>(i)] =
        bits_of(format, p.left_at(r, k)) | static_cast<std::uint32_t>(bits_of(format, p.left_at(r, k + 1))) << 16;
  }
  return a;
}

/// All steps of a problem whose layouts hold 16 steps a product side by side or behind each other.
struct Operands {
  const Layout &left, &right;
  MmaFormat format;
  Image image;
};
void multiply(const Problem& p, const Operands& operands, bool registers) {
  const auto& [left, right, format, image] = operands;
  image.store();
  fence_engine();
  block_sync<128>();
  std::vector<float> sums(static_cast<std::size_t>(p.columns / 2), registers ? 7.0F : -1.0F);
  std::vector<std::array<std::uint32_t, 4>> factors;
  for (int step = 0; step < p.steps; step += 16) factors.push_back(left_registers(p, format, step));
  emulator::warpgroup_fence();
  for (int step = 0; step < p.steps; step += 16) {
    // A product's place is that of its first number before the exchange of bits.
    const auto start = [&](const Layout& layout, std::uint32_t at) {
      return descriptor(layout, at + static_cast<std::uint32_t>(2 * offset_of(step, layout.steps)));
    };
    emulator::warpgroup_multiply(
        {.format = format,
         .columns = p.columns,
         .right_major = right.major,
         .accumulate = registers || step > 0,
         .left_registers = registers ? factors[static_cast<std::size_t>(step / 16)].data() : nullptr,
         .left = start(left, 0),
         .right = start(right, kRightAt)},
        sums.data());
  }
  emulator::warpgroup_commit();
  emulator::warpgroup_wait(0);
  expect_product(p, sums.data(), registers ? 7 : 0);
}

TEST(WarpgroupProducts, EqualPlainOnesForEveryLayoutFormatAndShape) {
  std::size_t turn = 0;
  for (const int columns : {8, 24, 64, 128, 256}) {
    const Problem p(columns, 64, static_cast<std::uint64_t>(columns));
    const std::vector<Layout> lefts = layouts(64, 64), rights = layouts(columns, 64);
    for (std::size_t r = 0; r < rights.size(); ++r) {
      if (rights[r].major == Major::mn && columns % (8 << rights[r].bits) != 0) continue;
      const std::size_t k_major = r / 2 * 2;  // the left factor's layout, of the same swizzle
      for (const bool registers : {false, true}) {
        const MmaFormat format = turn % 2 == 0 ? MmaFormat::bf16 : MmaFormat::fp16;
        const Operands operands{lefts[k_major], rights[r], format, image_of(p, format, lefts[k_major], rights[r])};
        EXPECT_EQ(complaint([&] { multiply(p, operands, registers); }, ways()[turn++ % ways().size()]), "")
            << columns << " columns, " << rights[r].name << ", swizzle of " << rights[r].bits << " bits, "
            << (registers ? "registers" : "shared");
      }
    }
  }
}

/// What a kernel of products does wrong.
enum class Fault {
  none,
  no_engine_fence,
  no_barrier,
  no_register_fence,
  no_second_fence,
  no_commit,
  no_wait,
  wrong_swizzle,
  wrong_stride,
  other_descriptor,
  store_early,
  change_left,
  change_sums
};

/// Scores and values as an attend kernel multiplies them: 64 x 64 steps x 64 columns by descriptors, then times 64 x
/// 128 from registers.
struct TwoProducts {
  static constexpr std::uint32_t kValuesAt = kRightAt + 8192;
  Problem scores{64, 64, 1}, values{128, 64, 2};
  Layout keys = layouts(64, 64)[6], rows = layouts(128, 64)[7];
  Image first = image_of(scores, MmaFormat::bf16, keys, keys), second{kValuesAt + 128 * 64 * 2};
  TwoProducts() {
    for (int step = 0; step < 64; ++step) {
      for (int column = 0; column < 128; ++column) {
        second.set(kValuesAt + rows.place(column, step), bits_of(MmaFormat::bf16, values.right_at(step, column)));
      }
    }
  }
};

void two_products(const TwoProducts& given, Fault fault) {
  const auto& [scores, values, keys, rows, first, second] = given;
  first.store();
  if (fault != Fault::no_engine_fence) fence_engine();
  if (fault != Fault::no_barrier) block_sync<128>();
  float c[8][4], out[16][4] = {};
  if (fault != Fault::no_register_fence) group_fence(c);
  for (std::uint32_t k = 0; k < 4; ++k) {
    Layout right = keys;
    if (fault == Fault::wrong_swizzle) right.bits = 2;
    if (fault == Fault::wrong_stride) right.stride = 512;
    if (fault == Fault::other_descriptor && thread_index() >= 96) right.leading = 32;
    group_multiply<Dtype::bf16>(c, descriptor(keys, 32 * k), descriptor(right, kRightAt + 32 * k), k > 0);
  }
  if (fault == Fault::store_early) store_shared(kRightAt + thread_index() / 32 * 64, Chunk{});
  if (fault == Fault::change_sums) c[3][1] = 0.0F;
  if (fault != Fault::no_commit) group_commit();
  if (fault != Fault::no_wait) group_wait<0>(c);
  expect_product(scores, &c[0][0], 0);
  block_sync<128>();
  second.store();
  fence_engine();
  block_sync<128>();
  std::uint32_t left[4][4];
  for (int k = 0; k < 4; ++k) {
    std::memcpy(left[k], left_registers(values, MmaFormat::bf16, 16 * k).data(), sizeof left[k]);
  }
  if (fault != Fault::no_second_fence) group_fence(out, left);
  for (std::uint32_t k = 0; k < 4; ++k) {
    group_multiply<Dtype::bf16>(out, left[k], descriptor(rows, TwoProducts::kValuesAt + 2048 * k));
  }
  group_commit();
  if (fault == Fault::change_left) left[2][1] ^= 1U;
  group_wait<0>(out, left);
  expect_product(values, &out[0][0], 0);
}

std::string said_of(Fault fault, const EmulatorOptions& way) {
  static const TwoProducts given;
  return complaint([&] { two_products(given, fault); }, way);
}

TEST(WarpgroupProducts, AreRightWithAllThatTheyAskForInEveryOrder) {
  for (const EmulatorOptions& way : ways()) EXPECT_EQ(said_of(Fault::none, way), "");
}

TEST(WarpgroupProducts, FindWhatIsMissingOrWrongInEveryOrder) {
  const std::vector<std::pair<Fault, const char*>> faults = {
      {Fault::no_engine_fence, "by ordinary stores without a fence since"},
      {Fault::no_register_fence, "without a fence of its registers"},
      {Fault::no_second_fence, "without a fence of its registers"},
      {Fault::no_commit, "wrong number"},
      {Fault::no_wait, "wrong number"},
      {Fault::wrong_swizzle, "wrong number"},
      {Fault::wrong_stride, "wrong number"},
      {Fault::other_descriptor, "ask for different products"},
      {Fault::store_early, "while a matrix product that reads it is under way"},
      {Fault::change_left, "a left factor in registers was written"},
      {Fault::change_sums, "sums of a warpgroup were written"},
  };
  for (const EmulatorOptions& way : ways()) {
    for (const auto& [fault, words] : faults) {
      EXPECT_THAT(said_of(fault, way), HasSubstr(words)) << static_cast<int>(fault);
    }
    EXPECT_THAT(said_of(Fault::no_barrier, way),
                AnyOf(HasSubstr("without a barrier between"), HasSubstr("uninitialised")));
  }
}

TEST(WarpgroupProducts, AskForFourWholeWarps) {
  EXPECT_THAT(complaint([] { emulator::warpgroup_fence(); }, {}, 96), HasSubstr("in no whole group of four"));
  EXPECT_THAT(complaint([] {
                if (thread_index() < 96) emulator::warpgroup_fence();
              }),
              HasSubstr("96 at a fence of a warpgroup"));
  EXPECT_THAT(complaint([] { thread_index() < 64 ? emulator::warpgroup_fence() : emulator::warpgroup_commit(); }),
              HasSubstr("divergent warpgroup"));
}

TEST(WarpgroupProducts, AreWaitedForGroupByGroup) {
  const Problem p(64, 64, 3);
  const Layout keys = layouts(64, 64)[6];
  const Image image = image_of(p, MmaFormat::bf16, keys, keys);
  const auto kernel = [&](bool early) {
    image.store();
    fence_engine();
    block_sync<128>();
    float first[8][4], second[8][4];
    for (auto* sums : {&first, &second}) {
      group_fence(*sums);
      for (std::uint32_t k = 0; k < 4; ++k) {
        group_multiply<Dtype::bf16>(*sums, descriptor(keys, 32 * k), descriptor(keys, kRightAt + 32 * k), k > 0);
      }
      group_commit();
    }
    group_wait<1>(first);
    expect_product(p, &first[0][0], 0);
    if (!early) group_wait<0>(second);
    expect_product(p, &second[0][0], 0);
  };
  for (const EmulatorOptions& way : ways()) {
    EXPECT_EQ(complaint([&] { kernel(false); }, way), "");
    EXPECT_THAT(complaint([&] { kernel(true); }, way), HasSubstr("wrong number"));
  }
}

/// A fifth warp copies the keys, counted by a barrier; the warpgroup multiplies them. Which fence lies where?
enum class Handing { right, no_fence, no_wait, store_behind, no_arrival };

void handed_over(const Problem& p, const std::vector<std::uint16_t>& image, const void* from, Handing handing) {
  constexpr SharedAddress kBarrier = kSharedBytes - 8, kFlag = kSharedBytes - 16;
  const Layout keys = layouts(64, 64)[6];
  if (thread_index() == 0) init_barrier(kBarrier, 32);
  block_sync<160>();
  if (thread_index() >= 128) {
    for (std::uint32_t at = thread_index() % 32 * 16; at < 2 * image.size(); at += 512) {
      copy_async(at, static_cast<const char*>(from) + at);
    }
    if (handing == Handing::store_behind && thread_index() == 128) store_shared(kFlag, 1);
    if (handing != Handing::no_arrival || thread_index() != 128) arrive_when_copied(kBarrier);
    return;
  }
  if (handing != Handing::no_wait) wait_barrier(kBarrier, 0);
  if (handing != Handing::no_fence) fence_engine();
  if (handing == Handing::store_behind) (void)load_shared<int>(kFlag);
  float c[8][4];
  group_fence(c);
  for (std::uint32_t k = 0; k < 4; ++k) {
    group_multiply<Dtype::bf16>(c, descriptor(keys, 32 * k), descriptor(keys, kRightAt + 32 * k), k > 0);
  }
  group_commit();
  group_wait<0>(c);
  expect_product(p, &c[0][0], 0);
}

TEST(CountedCopies, AreThereForProductsBehindAWaitAndAFence) {
  const Problem p(64, 64, 4);
  const Layout keys = layouts(64, 64)[6];
  std::vector<std::uint16_t> image(kRightAt / 2 + 64 * 64, 0);
  for (int step = 0; step < 64; ++step) {
    for (int line = 0; line < 64; ++line) {
      image[keys.place(line, step) / 2] = bits_of(MmaFormat::bf16, p.left_at(line, step));
      image[(kRightAt + keys.place(line, step)) / 2] = bits_of(MmaFormat::bf16, p.right_at(step, line));
    }
  }
  GlobalMemory memory;
  const void* from = memory.upload("image", MemoryKind::other, image);
  const auto said = [&](Handing handing, const EmulatorOptions& way) -> std::string {
    try {
      Machine(memory, way).launch({"fixture", 1, 160, kSharedBytes, false}, [&] {
        handed_over(p, image, from, handing);
      });
    } catch (const core::Error& error) {
      return error.what();
    }
    return {};
  };
  for (const EmulatorOptions& way : ways()) {
    EXPECT_EQ(said(Handing::right, way), "");
    EXPECT_THAT(said(Handing::no_fence, way),
                HasSubstr("an asynchronous copy wrote by ordinary stores without a fence since"));
    EXPECT_THAT(said(Handing::no_wait, way),
                AnyOf(HasSubstr("uninitialised"), HasSubstr("was waited for"), HasSubstr("without a barrier between")));
    EXPECT_THAT(said(Handing::store_behind, way), HasSubstr("was written by warp 4 and is read by warp"));
    EXPECT_THAT(said(Handing::no_arrival, way), HasSubstr("threads wait for ever"));
  }
}

}  // namespace
}  // namespace espalier::kernels

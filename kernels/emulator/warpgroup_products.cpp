// Semantics and checks of wgmma: fences, products, groups.
#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

#include "kernels/emulator/operations.h"
#include "kernels/emulator/scheduler.h"

namespace espalier::kernels::emulator {
namespace {

constexpr int kRows = 64, kDepth = 16, kChunkNumbers = 8, kMostColumns = 256;
constexpr std::uint32_t kChunkBytes = 16;
constexpr std::uint32_t kPoison = 0x7FC0DEADU;  // a NaN

Thread& self() { return active().thread(); }
SharedMemory& shared() { return *self().warp->block->shared; }
int first_warp() { return self().warp->id - self().warp->index % kGroupWarps; }

/// Arrives at an operation of the warpgroup; the last thread runs `complete` for all.
template <class Complete>
void collective(const char* operation, void* argument, const Complete& complete) {
  Scheduler& s = active();
  Thread& t = self();
  Block& block = *t.warp->block;
  const auto number = static_cast<std::size_t>(t.warp->index / kGroupWarps);
  if (number >= block.warpgroups.size()) {
    s.fail(fmt::format("{} in warp {}, which is in no whole group of four", operation, t.warp->index));
  }
  Warpgroup& group = block.warpgroups[number];
  if (group.arrived > 0 && group.operation != operation) {
    s.fail(fmt::format("divergent warpgroup: this thread is at {}, {} others at {}", operation, group.arrived,
                       group.operation));
  }
  group.operation = operation;
  group.arguments[t.index % kGroupThreads] = argument;
  if (++group.arrived < kGroupThreads) return s.wait(operation);
  group.arrived = 0;
  complete(group);
  for (std::uint32_t i = 0; i < kGroupThreads; ++i) {
    Thread& other = *block.threads[number * kGroupThreads + i];
    if (&other != &t) s.wake(other);
  }
}

struct Issue {
  GroupFactors factors;
  float* sums;
};

/// Calls visit(row or column, step, shared address) for each number of an operand that is the first of its chunk.
template <class Visit>
void for_each_chunk(std::uint64_t descriptor, Major major, int lines, const Visit& visit) {
  const DecodedMatrix matrix = decode_matrix(descriptor);
  if (!matrix.complaint.empty()) active().fail(matrix.complaint);
  const int outer = major == Major::k ? lines : kDepth, inner = major == Major::k ? kDepth : lines;
  for (int line = 0; line < outer; ++line) {
    for (int chunk = 0; chunk < inner / kChunkNumbers; ++chunk) {
      const std::uint32_t at =
          chunk_address(matrix.layout, major, static_cast<std::uint32_t>(line), static_cast<std::uint32_t>(chunk));
      if (major == Major::k) {
        visit(line, chunk * kChunkNumbers, at);
      } else {
        visit(chunk * kChunkNumbers, line, at);
      }
    }
  }
}

/// Numbers of an operand, [row or column][step] as visited, into a matrix of its own.
template <class Place>
std::vector<std::uint16_t> gathered(std::uint64_t descriptor, Major major, int lines, const Place& place) {
  std::vector<std::uint16_t> numbers(static_cast<std::size_t>(lines * kDepth));
  for_each_chunk(descriptor, major, lines, [&](int line, int step, std::uint32_t at) {
    for (int i = 0; i < kChunkNumbers; ++i) {
      std::uint16_t& to =
          numbers[static_cast<std::size_t>(major == Major::k ? place(line, step + i) : place(line + i, step))];
      std::memcpy(&to, shared().data() + at + 2 * i, sizeof to);
    }
  });
  return numbers;
}

/// Registers of 16 rows and 16 steps a warp, as one matrix.
std::vector<std::uint16_t> from_registers(const std::array<const std::uint32_t*, kGroupThreads>& registers) {
  std::vector<std::uint16_t> numbers(kRows * kDepth);
  for (std::size_t t = 0; t < kGroupThreads; ++t) {
    const std::size_t row = t / kLanes * 16 + t % kLanes / 4, column = t % 4 * 2;
    for (std::size_t i = 0; i < 4; ++i) {
      std::uint16_t* to = &numbers[(row + i % 2 * 8) * kDepth + column + i / 2 * 8];
      to[0] = static_cast<std::uint16_t>(registers[t][i] & 0xFFFFU);
      to[1] = static_cast<std::uint16_t>(registers[t][i] >> 16);
    }
  }
  return numbers;
}

void gather(GroupProduct& product) {
  const GroupFactors& f = product.factors;
  if (product.left.empty()) {
    product.left = gathered(f.left, Major::k, kRows, [](int row, int step) { return row * kDepth + step; });
  }
  product.right =
      gathered(f.right, f.right_major, f.columns, [&](int column, int step) { return step * f.columns + column; });
}

/// Visits each sum: its thread, its place among the thread's, its place in the matrix.
template <class Visit>
void for_each_sum(int columns, const Visit& visit) {
  for (int t = 0; t < kGroupThreads; ++t) {
    const int row = t / kLanes * 16 + t % kLanes / 4, column = t % 4 * 2;
    for (int i = 0; i < columns / 2; ++i) {
      const int at = (row + i / 2 % 2 * 8) * columns + column + i / 4 * 8 + i % 2;
      visit(static_cast<std::size_t>(t), i, static_cast<std::size_t>(at));
    }
  }
}

bool poisoned(float x) { return std::bit_cast<std::uint32_t>(x) == kPoison; }

/// The sums that a product adds to: those under way, or else what the registers hold.
GroupSums& sums_of(Warpgroup& group, bool accumulate, int columns) {
  float* const first = static_cast<Issue*>(group.arguments[0])->sums;
  for (GroupSums& known : group.sums) {
    const bool same = known.registers[0] == first && known.columns == columns;
    if (!same && first < known.registers[0] + known.columns / 2 && known.registers[0] < first + columns / 2) {
      active().fail("a product adds to registers that a product of another shape is adding to");
    }
    if (!same) continue;
    for (std::size_t t = 0; t < kGroupThreads; ++t) {
      if (known.registers[t] != static_cast<const Issue*>(group.arguments[t])->sums) {
        active().fail("a product adds to other registers in some threads than the one before");
      }
    }
    return known;
  }
  GroupSums fresh;
  fresh.columns = columns;
  fresh.values.assign(static_cast<std::size_t>(kRows * columns), 0.0F);
  for (std::size_t t = 0; t < kGroupThreads; ++t) fresh.registers[t] = static_cast<Issue*>(group.arguments[t])->sums;
  for_each_sum(columns, [&](std::size_t t, int i, std::size_t at) {
    if (accumulate) fresh.values[at] = fresh.registers[t][i];
    fresh.registers[t][i] = std::bit_cast<float>(kPoison);
  });
  group.sums.push_back(std::move(fresh));
  return group.sums.back();
}

void require_agreement(const Warpgroup& group) {
  const GroupFactors& first = static_cast<const Issue*>(group.arguments[0])->factors;
  for (const void* argument : group.arguments) {
    const GroupFactors& f = static_cast<const Issue*>(argument)->factors;
    const bool same = f.format == first.format && f.columns == first.columns && f.right_major == first.right_major &&
                      f.accumulate == first.accumulate &&
                      (f.left_registers == nullptr) == (first.left_registers == nullptr) && f.left == first.left &&
                      f.right == first.right;
    if (!same) active().fail("threads of a warpgroup ask for different products");
  }
  if (first.columns < 8 || first.columns > kMostColumns || first.columns % 8 != 0) {
    active().fail(fmt::format("a product of {} columns", first.columns));
  }
}

void begin_reads(GroupProduct& product) {
  const auto visit = [&](int, int, std::uint32_t at) {
    for (int w = 0; w < kGroupWarps; ++w) {
      if (const std::string wrong = shared().begin_matrix_read(first_warp() + w, at, kChunkBytes); !wrong.empty()) {
        active().fail(wrong);
      }
    }
    product.reads.push_back(at);
  };
  const GroupFactors& f = product.factors;
  if (f.left_registers == nullptr) for_each_chunk(f.left, Major::k, kRows, visit);
  for_each_chunk(f.right, f.right_major, f.columns, visit);
  // Operands leave shared memory once for all four warps, free of conflicts in the layouts that there are.
  SharedTraffic& traffic = active().counters().shared_reads;
  const auto bytes = static_cast<std::int64_t>(product.reads.size() * kChunkBytes);
  traffic.bytes += bytes;
  ++traffic.requests;
  traffic.wavefronts += bytes / 128;
  traffic.least += bytes / 128;
}

void issue(Warpgroup& group) {
  require_agreement(group);
  if (!group.fenced) {
    active().fail("a product of a warpgroup without a fence of its registers since the last group of products");
  }
  GroupProduct product;
  product.factors = static_cast<const Issue*>(group.arguments[0])->factors;
  product.sums = static_cast<const Issue*>(group.arguments[0])->sums;
  if (product.factors.left_registers != nullptr) {
    for (std::size_t t = 0; t < kGroupThreads; ++t) {
      product.registers[t] = static_cast<const Issue*>(group.arguments[t])->factors.left_registers;
    }
    product.left = from_registers(product.registers);
  }
  begin_reads(product);
  if (active().options().copies == CopyMoment::earliest) gather(product);
  GroupSums& sums = sums_of(group, product.factors.accumulate, product.factors.columns);
  ++sums.products;
  group.open.push_back(std::move(product));
  active().counters().mmas += kRows / 16 * static_cast<std::int64_t>(group.open.back().factors.columns) / 8;
}

void write_back(const GroupSums& sums) {
  for_each_sum(sums.columns, [&](std::size_t t, int i, std::size_t at) {
    float& to = sums.registers[t][i];
    if (!poisoned(to)) active().fail("sums of a warpgroup were written while a product was adding to them");
    to = sums.values[at];
  });
}

void finish(Warpgroup& group, GroupProduct& product) {
  const bool in_registers = product.factors.left_registers != nullptr;
  if (in_registers && from_registers(product.registers) != product.left) {
    active().fail("a left factor in registers was written while a product was reading it");
  }
  if (product.right.empty()) gather(product);
  const auto sums = std::find_if(group.sums.begin(), group.sums.end(),
                                 [&](const GroupSums& s) { return s.registers[0] == product.sums; });
  if (!product.factors.accumulate) std::fill(sums->values.begin(), sums->values.end(), 0.0F);
  mma_m64k16(product.factors.format, product.left.data(), product.right.data(), sums->columns, sums->values.data());
  for (const std::uint32_t at : product.reads) {
    for (int w = 0; w < kGroupWarps; ++w) shared().end_matrix_read(first_warp() + w, at, kChunkBytes);
  }
  if (--sums->products > 0) return;
  write_back(*sums);
  group.sums.erase(sums);
}

}  // namespace

void warpgroup_fence() {
  collective("a fence of a warpgroup", nullptr, [](Warpgroup& group) { group.fenced = true; });
}

void warpgroup_multiply(const GroupFactors& factors, float* sums) {
  Issue mine{factors, sums};
  collective("a product of a warpgroup", &mine, issue);
}

void warpgroup_commit() {
  collective("the end of a group of products", nullptr, [](Warpgroup& group) {
    group.groups.push_back(std::move(group.open));
    group.open.clear();
    group.fenced = false;
  });
}

void warpgroup_wait(int pending) {
  collective("a wait for products", nullptr, [&](Warpgroup& group) {
    while (group.groups.size() > static_cast<std::size_t>(pending)) {
      for (GroupProduct& product : group.groups.front()) finish(group, product);
      group.groups.pop_front();
    }
    group.fenced = false;
  });
}

}  // namespace espalier::kernels::emulator

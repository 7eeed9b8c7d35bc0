// Probes in the emulator: what a point says is what its launch reads, writes and computes, and every access is inside
// its memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "kernels/cuda_probes.h"
#include "kernels/emulate.h"

namespace espalier::kernels {
namespace {

using emulator::Counters;
using emulator::GlobalMemory;
using emulator::Machine;
using emulator::MemoryKind;

constexpr ProbeMemory kSmall = {.source_bytes = 1 << 18, .sink_bytes = 1 << 18};

costmodel::DeviceSpec small_device() {
  costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  device.sms = 2;
  return device;
}

ProbePoint point_of(std::string_view family, const std::vector<double>& wanted) {
  std::vector<ProbePoint> points = plan_probes(family, {wanted}, small_device(), kSmall);
  EXPECT_EQ(points.size(), 1U) << family;
  return points.at(0);
}

void (*host_probe(const std::string& name))(ProbeParams) {
  for (const auto list :
       {on_host::stream_probes(), on_host::ring_probes(), on_host::pipe_probes(), on_host::launch_probes()}) {
    for (const ProbeInstance& probe : list) {
      if (name == probe.name) return probe.kernel;
    }
  }
  ADD_FAILURE() << "no probe " << name;
  return nullptr;
}

struct Emulated {
  Counters counters;
  std::vector<std::uint32_t> words;
  std::uint32_t folded = 0;  ///< exclusive or of what the threads of one block kept
};

/// Chunk i of the source begins with i * i.
Emulated emulated(const ProbePoint& point, bool keep = false) {
  GlobalMemory memory;
  std::vector<Chunk> source(static_cast<std::size_t>(kSmall.source_bytes) / sizeof(Chunk));
  for (std::uint32_t i = 0; i < source.size(); ++i) source[i] = {{i * i, 1, 2, 3}};
  ProbeParams params;
  params.shape = point.shape;
  params.keep = keep ? 1 : 0;
  params.source = memory.upload("source", MemoryKind::kv, source);
  params.sink =
      static_cast<Chunk*>(memory.allocate("sink", MemoryKind::output, static_cast<std::size_t>(kSmall.sink_bytes)));
  params.sink_tiles = std::max<std::int64_t>(1, kSmall.sink_bytes / (128 * std::max(point.shape.threads, 1)));
  params.words = static_cast<std::uint32_t*>(memory.allocate_zeroed("words", MemoryKind::counters, 4096));
  if (point.table == ProbeTable::pages) {
    params.table = memory.upload("pages", MemoryKind::plan, random_order(point.table_entries, 7));
  }
  if (point.table == ProbeTable::lines) {
    const std::vector<std::uint32_t> next = random_cycle(point.table_entries, 7);
    std::vector<std::uint32_t> lines(next.size() * 32);
    for (std::size_t i = 0; i < next.size(); ++i) lines[i * 32] = next[i];
    params.table = memory.upload("lines", MemoryKind::plan, lines);
  }
  Machine machine(memory, {});
  const auto kernel = host_probe(point.kernel);
  machine.launch({point.kernel.c_str(), point.blocks, point.threads, point.shared_bytes, point.cooperative},
                 [&] { kernel(params); });
  Emulated out = {machine.counters(), {params.words, params.words + 4}};
  for (std::uint32_t t = 0; keep && t < point.threads; ++t) out.folded ^= params.sink[t].words[0];
  return out;
}

double read_bytes(const ProbePoint& point) {
  return static_cast<double>(emulated(point).counters.read(MemoryKind::kv).bytes);
}

TEST(Probes, StreamsReadWhatTheirPointsSay) {
  for (const double in_flight : {512.0, 1024.0, 4096.0, 16384.0}) {
    const ProbePoint p = point_of("C1", {2, in_flight, 200e3});
    EXPECT_EQ(p.parameters[1], in_flight);
    EXPECT_NEAR(p.parameters[2], 200e3, in_flight * 2);
    EXPECT_EQ(read_bytes(p), p.parameters[2]) << in_flight;
  }
}

std::uint32_t folded_squares(std::uint32_t chunks) {
  std::uint32_t folded = 0;
  for (std::uint32_t i = 0; i < chunks; ++i) folded ^= i * i;
  return folded;
}

TEST(Probes, StreamsReadEveryChunkOnce) {
  for (const double in_flight : {512.0, 4096.0, 65536.0}) {
    EXPECT_EQ(emulated(point_of("C1", {1, in_flight, 65536}), true).folded, folded_squares(4096)) << in_flight;
  }
  EXPECT_EQ(emulated(point_of("C6", {1, 1, 65536, 8192, 0}), true).folded, folded_squares(4096));
}

TEST(Probes, StreamsAskForWholeLinesInFewRequests) {
  const Emulated run = emulated(point_of("C1", {2, 4096, 65536}));
  const emulator::GlobalTraffic& reads = run.counters.read(MemoryKind::kv);
  EXPECT_EQ(reads.requests * 512, reads.bytes);
  EXPECT_EQ(reads.sectors * 32, reads.bytes);
}

TEST(Probes, MixedStreamsWriteTheirShare) {
  for (const double share : {0.0, 0.125, 0.5, 0.75, 1.0}) {
    const ProbePoint p = point_of("C2", {4, 32768, (1 - share) * 1e6, share * 1e6});
    const Counters c = emulated(p).counters;
    EXPECT_EQ(static_cast<double>(c.read(MemoryKind::kv).bytes), p.parameters[2]) << share;
    EXPECT_EQ(static_cast<double>(c.written(MemoryKind::output).bytes), p.parameters[3]) << share;
    EXPECT_DOUBLE_EQ(p.parameters[3] / (p.parameters[2] + p.parameters[3]), share);
  }
}

TEST(Probes, RingsReadWhatTheirPointsSay) {
  for (const double stages : {2, 3, 4, 6}) {
    for (const double tile : {1024.0, 8192.0}) {
      const ProbePoint p = point_of("C3", {2, stages, tile, 120e3});
      EXPECT_EQ(read_bytes(p), p.parameters[3]) << stages << " stages of " << tile;
    }
  }
}

TEST(Probes, CycledSetsStayInTheirSet) {
  const ProbePoint p = point_of("C5", {4, 8192, 100e3, 400e3});
  EXPECT_EQ(read_bytes(p), p.parameters[3]);
  EXPECT_LE(p.parameters[2], 100e3);
  EXPECT_NE(p.shape.tiles % p.blocks, 0) << "each block would read the same lines in every sweep";
}

TEST(Probes, ReadersOfASegmentReadAllOfIt) {
  const ProbePoint p = point_of("C6", {2, 2, 65536, 8192, 1});
  EXPECT_EQ(p.blocks, 4U);
  EXPECT_EQ(p.shape.skew_ns, 1000);
  EXPECT_EQ(read_bytes(p), p.parameters[0] * p.parameters[1] * p.parameters[2]);
  EXPECT_GE(p.shape.tiles, p.executions * p.next_first_tile) << "an execution would find what another left";
}

TEST(Probes, ChasesVisitEveryLineOnceAndGoOn) {
  const std::vector<std::uint32_t> order = random_cycle(16, 7);
  std::uint32_t at = 0;
  for (int loads = 1; loads <= 16; ++loads) {
    at = order[at / 32];
    const Emulated run = emulated(point_of("C7", {16 * 128, static_cast<double>(loads)}));
    EXPECT_EQ(run.counters.read(MemoryKind::plan).bytes, loads * 4);
    EXPECT_EQ(run.words[0], at) << "where the next launch goes on, after " << loads;
  }
  EXPECT_EQ(at, 0U);
  for (const std::int64_t lines : {1, 2, 7, 1000}) {
    const std::vector<std::uint32_t> next = random_cycle(lines, 3);
    std::set<std::uint32_t> seen;
    for (std::uint32_t line = 0; seen.insert(line).second;) line = next[line / 32];
    EXPECT_EQ(seen.size(), static_cast<std::size_t>(lines));
  }
}

TEST(Probes, SetsLargerThanL2AreChasedCold) {
  const costmodel::DeviceSpec h100 = costmodel::find_device("h100-sxm");
  const double l2 = h100.l2_mib * 1048576;
  for (const ProbePoint& p : plan_probes("C7", {{l2 / 4, 1000}, {l2, 1000}, {2 * l2, 1000}, {8 * l2, 1000}}, h100)) {
    EXPECT_EQ(p.cold, p.parameters[0] > l2) << "placing " << p.parameters[0] << " bytes leaves some of them in L2";
  }
}

TEST(Probes, WhatOnlyHopperHasAsksForItsCode) {
  const costmodel::DeviceSpec h100 = costmodel::find_device("h100-sxm");
  const auto one = [&](std::string_view family, const std::vector<double>& values) {
    return plan_probes(family, {values}, h100).at(0);
  };
  const std::vector<ProbePoint> hopper = {one("C4", {132, 2, 4096, 1e9}), one("C9", {1e9, 1, 16, 64}),
                                          one("C12", {2, 64}), one("C14", {3, 4, 1000})};
  for (const ProbePoint& p : hopper) {
    EXPECT_EQ(unfit_code(p, 90), "") << p.kernel;
    EXPECT_EQ(unfit_code(p, 80), p.kernel + " was compiled for 8.0 and is empty there: it takes code for 9.0");
    EXPECT_EQ(p.marks, p.kernel.starts_with("probe_warp_group")) << p.kernel;
  }
  EXPECT_EQ(unfit_mark(hopper[1], kMark), "");
  EXPECT_EQ(unfit_mark(hopper[1], 0), "probe_warp_group left no mark: this build has no code for what it shows");
  EXPECT_EQ(unfit_mark(hopper[0], 0), "") << "asks for no mark";
  for (const ProbePoint& p :
       {one("C3", {132, 2, 4096, 1e9}), one("C9", {1e9, 0, 16, 64}), one("C12", {1, 64}), one("C14", {0, 4, 1000})}) {
    EXPECT_EQ(unfit_code(p, 80), "") << p.kernel;
  }
}

TEST(Probes, CopiesBesideSharedLoadsAskL2ForLessThanItGives) {
  const costmodel::DeviceSpec h100 = costmodel::find_device("h100-sxm");
  const ProbePoint p = plan_probes("C8", {{1e6, 1, 1e6 / 16}}, h100).at(0);
  EXPECT_EQ(p.parameters[2] / p.parameters[0], 1.0 / 16);
  const double loads_us = p.parameters[0] / (h100.smem_bytes_per_clk * h100.clocks_per_us());
  EXPECT_LT(h100.sms * p.parameters[2] / loads_us, 0.25 * h100.l2_bytes_per_us());
}

TEST(Probes, SharedMemoryIsReadWithTheConflictsThatPointsSay) {
  for (const double degree : {1, 2, 4, 8}) {
    for (const double copied : {0.0, 1.0}) {
      const ProbePoint p = point_of("C8", {300e3, degree, copied});
      const Counters c = emulated(p).counters;
      EXPECT_EQ(static_cast<double>(c.shared_reads.bytes), 2 * p.parameters[0]) << degree;
      EXPECT_EQ(static_cast<double>(c.shared_reads.wavefronts), degree * static_cast<double>(c.shared_reads.least))
          << degree;
      EXPECT_EQ(static_cast<double>(c.read(MemoryKind::kv).bytes), 2 * p.parameters[2]) << degree;
    }
  }
}

TEST(Probes, PipesDoWhatTheirPointsSay) {
  for (const double chains : {16, 32, 64}) {
    const ProbePoint p = point_of("C9", {2e6, 0, 16, chains});
    EXPECT_EQ(p.parameters[3], chains);
    EXPECT_EQ(static_cast<double>(emulated(p).counters.mma_flops()), 2 * p.parameters[0]) << chains;
  }
  const ProbePoint exps = point_of("C10", {20e3, 0, 0});
  EXPECT_EQ(static_cast<double>(emulated(exps).counters.exps), 2 * exps.parameters[0]);
  for (const ProbePoint& p : {point_of("C10", {0, 100e3, 0}), point_of("C10", {0, 0, 50e3})}) {
    const Counters c = emulated(p).counters;
    EXPECT_EQ(c.exps + c.mmas + c.read(MemoryKind::kv).bytes, 0) << p.kernel;
  }
}

TEST(Probes, TwoStreamsDoWhatTheirPointsSay) {
  for (const double overlapped : {0, 1}) {
    const ProbePoint p = point_of("C18", {1, 2e6, 32768, 300e3, overlapped});
    ASSERT_NE(p.other, nullptr);
    EXPECT_EQ(p.side_by_side, overlapped > 0);
    EXPECT_EQ(static_cast<double>(emulated(p).counters.mma_flops()), p.parameters[0] * p.parameters[1]);
    EXPECT_EQ(emulated(p).counters.read(MemoryKind::kv).bytes, 0);
    EXPECT_EQ(read_bytes(*p.other), p.parameters[3]);
    EXPECT_EQ(p.other->shared_bytes, 3 * p.parameters[2] / 2 + 3 * 8) << "two tiles of three are on their way";
    EXPECT_EQ(p.blocks + p.other->blocks, 2U) << "an SM each";
  }
  EXPECT_TRUE(plan_probes("C18", {{2, 2e6, 32768, 300e3, 1}}, small_device(), kSmall).empty())
      << "more blocks than half the SMs";
}

TEST(Probes, MixedLoopsDoWhatTheirPointsSay) {
  const costmodel::DeviceSpec d = small_device();
  const double clocks = 100 * d.clocks_per_us();
  std::set<std::string> kernels;
  for (int mix = 1; mix < 16; ++mix) {
    const auto of = [&](int bit, double rate) { return clocks * rate * ((mix >> bit & 1) != 0 ? 1 : 0.25); };
    ProbePoint p = point_of("C11", {of(0, d.mma_flop_per_clk), of(1, d.ex2_per_clk), of(2, d.fma_flop_per_clk),
                                    of(3, d.smem_bytes_per_clk)});
    const double scale = 2.0 / static_cast<double>(p.shape.rounds);
    p.shape.rounds = 2;
    const Counters c = emulated(p).counters;
    EXPECT_NEAR(static_cast<double>(c.mma_flops()), 2 * scale * p.parameters[0], 1) << mix;
    EXPECT_NEAR(static_cast<double>(c.exps), 2 * scale * p.parameters[1], 1) << mix;
    EXPECT_NEAR(static_cast<double>(c.shared_reads.bytes), 2 * scale * p.parameters[3], 1) << mix;
    kernels.insert(p.kernel);
  }
  EXPECT_EQ(kernels.size(), 15U);
}

TEST(Probes, GridBarriersAndEmptyKernelsRun) {
  EXPECT_EQ(emulated(point_of("C15", {2, 4})).words[1], 4U) << "generations that passed";
  EXPECT_EQ(emulated(point_of("C12", {1, 5})).counters.blocks, 5);
}

TEST(Probes, GathersReadEveryPageWherever) {
  for (const double page : {512.0, 4096.0, 32768.0}) {
    const ProbePoint p = point_of("C19", {2, 32768, 300e3, page});
    const Counters c = emulated(p).counters;
    EXPECT_EQ(static_cast<double>(c.read(MemoryKind::kv).bytes), p.parameters[2]) << page;
    EXPECT_EQ(c.read(MemoryKind::plan).bytes * 4, c.read(MemoryKind::kv).bytes) << "an id for every chunk";
    EXPECT_EQ(p.table_entries * static_cast<std::int64_t>(page), kSmall.source_bytes);
  }
}

TEST(Probes, AttentionCtasReadTheirTiles) {
  const ProbePoint p = point_of("C13", {3, 2, 16384, 32768, 0});
  ASSERT_NE(p.plan, nullptr);
  const Emulation run = emulate(*p.plan, TensorSource{1});
  EXPECT_EQ(run.counters.blocks, 1);
  EXPECT_EQ(static_cast<double>(run.counters.read(MemoryKind::kv).bytes),
            p.parameters[0] * p.parameters[1] * p.parameters[2]);
}

TEST(Probes, MergesReadTheirPartialRows) {
  const ProbePoint p = point_of("C20", {3, 16, 128});
  ASSERT_NE(p.plan, nullptr);
  const DevicePlan lowered = lower_plan(*p.plan, {host_kernels()});
  ASSERT_EQ(lowered.launches.size(), 2U);
  ASSERT_NE(lowered.launches[p.launch].reduce, nullptr);
  EXPECT_EQ(lowered.launches[p.launch].merge.rows, 16);
  EXPECT_EQ(emulate(*p.plan, TensorSource{1}).counters.read(MemoryKind::partials).bytes, 3 * 16 * (128 + 1) * 4);
}

TEST(Probes, PointsThatADeviceCannotRunAreLeftOut) {
  const costmodel::DeviceSpec h100 = costmodel::find_device("h100-sxm"), a100 = costmodel::find_device("a100-80");
  EXPECT_TRUE(plan_probes("C1", {{132 * 8, 65536, 1e9}}, h100).empty()) << "more loads than registers hold";
  EXPECT_TRUE(plan_probes("C3", {{132, 6, 65536, 1e9}}, h100).empty()) << "more than shared memory holds";
  EXPECT_TRUE(plan_probes("C4", {{108, 2, 4096, 1e9}}, a100).empty());
  EXPECT_TRUE(plan_probes("C9", {{1e9, 1, 16, 64}}, a100).empty());
  EXPECT_TRUE(plan_probes("C12", {{2, 64}}, a100).empty());
  EXPECT_TRUE(plan_probes("C13", {{1, 0, 16384, 32768, 0}}, h100).empty());
  EXPECT_EQ(plan_probes("C9", {{1e9, 1, 16, 16}, {1e9, 1, 16, 64}}, h100).size(), 1U) << "the same launch twice";
}

TEST(Probes, DriverVersionsAreRead) {
  EXPECT_EQ(
      driver_version(
          "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Fri Jan 24 2025\nGCC version:  gcc 12.3.0\n"),
      "570.86.15");
  EXPECT_EQ(driver_version("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build"),
            "580.65.06");
  EXPECT_EQ(driver_version("nothing here"), "");
}

}  // namespace
}  // namespace espalier::kernels

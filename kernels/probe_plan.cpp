// One function a family: a point asked for to the launch that comes nearest, or none.
#include "kernels/probe_plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "costmodel/kernel_config.h"

namespace espalier::kernels {
namespace {

using costmodel::DeviceSpec;
using Values = std::vector<double>;
using Point = std::optional<ProbePoint>;

struct Bench {
  const DeviceSpec& device;
  const ProbeMemory& memory;
};

/// Loads under way in an SM beyond which registers run out: 1024 threads of 8 loads.
constexpr std::int64_t kMostInFlight = std::int64_t{128} << 10;
constexpr std::int64_t kLoadBytes = 16;
constexpr std::int32_t kHopperCode = 90;

std::int64_t whole(double x) { return static_cast<std::int64_t>(std::llround(x)); }
std::int32_t narrow(std::int64_t x) { return static_cast<std::int32_t>(x); }
std::int64_t rounds_for(double amount, double each) { return std::max<std::int64_t>(1, std::llround(amount / each)); }
double ctas_per_sm(double ctas, const Bench& bench) { return std::max(1.0, std::ceil(ctas / bench.device.sms)); }
double l2_bytes(const Bench& bench) { return bench.device.l2_mib * 1048576; }
double source_bytes(const Bench& bench) { return static_cast<double>(bench.memory.source_bytes); }

struct StreamShape {
  std::int32_t loads, threads;
};
/// Fewest loads a thread that keep so much under way, with at most 1024 threads an SM.
std::optional<StreamShape> stream_shape(std::int64_t in_flight, double per_sm) {
  for (const std::int32_t loads : {1, 2, 4, 8}) {
    const std::int64_t threads = in_flight / kLoadBytes / loads;
    if (threads >= 32 && threads % 32 == 0 && static_cast<double>(threads) * per_sm <= kProbeThreads) {
      return StreamShape{loads, narrow(threads)};
    }
  }
  return std::nullopt;
}

/// `ctas` blocks side by side through as many tiles of `tile` bytes as `set_bytes` hold, until about `bytes` are read
/// in all; executions read on.
ProbePoint reading(std::string kernel, double ctas, std::int64_t threads, double tile, double set_bytes, double bytes) {
  ProbePoint p;
  p.kernel = std::move(kernel);
  p.blocks = static_cast<std::uint32_t>(ctas);
  p.threads = static_cast<std::uint32_t>(threads);
  p.resident = true;
  p.shape.threads = narrow(threads);
  p.shape.tiles = std::max<std::int64_t>(1, whole(std::floor(set_bytes / tile)));
  p.shape.rounds = rounds_for(bytes, ctas * tile);
  p.next_first_tile = p.shape.rounds * p.blocks;
  return p;
}
double bytes_of(const ProbePoint& p, double tile) { return p.blocks * tile * static_cast<double>(p.shape.rounds); }

/// Blocks that keep `in_flight` bytes on their way each; the result's parameters are {ctas, in flight, bytes}.
Point stream(double ctas, double in_flight, double set_bytes, double bytes, const Bench& bench) {
  const auto shape = stream_shape(whole(in_flight), ctas_per_sm(ctas, bench));
  if (!shape) return std::nullopt;
  const double tile = static_cast<double>(shape->loads) * shape->threads * kLoadBytes;
  ProbePoint p = reading(fmt::format("probe_stream_{}", shape->loads), ctas, shape->threads, tile, set_bytes, bytes);
  // Else every block would meet the same lines in every sweep.
  if (p.shape.tiles > 1 && p.shape.tiles % p.blocks == 0) --p.shape.tiles;
  p.parameters = {ctas, tile, bytes_of(p, tile)};
  return p;
}

Point clock(const Values& v, const Bench&) {
  ProbePoint p;
  p.kernel = "probe_clock";
  p.shape.rounds = whole(v[0]);
  p.timer = ProbeTimer::clock;
  p.parameters = v;
  return p;
}

Point busy_clock(const Values& v, const Bench& bench) {
  const bool streams = v[1] > 0;
  ProbePoint p;
  p.kernel = streams ? "probe_busy_stream" : "probe_busy_mma";
  p.blocks = static_cast<std::uint32_t>(bench.device.sms) * (streams ? 2 : 1);
  p.threads = kPipeThreads;
  p.shape.rounds = whole(v[0]);
  p.shape.tiles =
      std::max<std::int64_t>(1, whole(std::floor(0.4 * l2_bytes(bench) / (8.0 * kPipeThreads * kLoadBytes))));
  p.timer = ProbeTimer::clock;
  p.repeats = static_cast<std::int32_t>(std::clamp(2e9 / v[0], 3.0, 20.0));
  p.parameters = v;
  return p;
}

Point streams(const Values& v, const Bench& bench) { return stream(v[0], v[1], source_bytes(bench), v[2], bench); }

/// As much in flight as registers hold: only saturated streams tell.
Point mixed_stream(const Values& v, const Bench& bench) {
  const double ctas = v[0], share = v[3] / (v[2] + v[3]);
  const std::int64_t threads = kProbeThreads / std::bit_ceil(static_cast<std::uint32_t>(ctas_per_sm(ctas, bench)));
  if (threads < 32) return std::nullopt;
  const double tile = 8.0 * static_cast<double>(threads) * kLoadBytes;
  ProbePoint p = reading("probe_mixed_stream", ctas, threads, tile, source_bytes(bench), v[2] + v[3]);
  p.shape.part = narrow(std::llround(8 * share));
  p.shape.rounds = 8 * rounds_for(v[2] + v[3], 8 * ctas * tile);
  p.next_first_tile = p.shape.rounds * p.blocks;
  const double bytes = bytes_of(p, tile), written = p.shape.part / 8.0;
  p.parameters = {ctas, tile, bytes * (1 - written), bytes * written};
  return p;
}

Point ring_of(const char* name, const Values& v, const Bench& bench) {
  const std::int64_t stages = whole(v[1]), chunks = whole(v[2]) / kLoadBytes;
  if (chunks < 1 || (stages != 2 && stages != 3 && stages != 4 && stages != 6)) return std::nullopt;
  const double tile = static_cast<double>(chunks * kLoadBytes);
  ProbePoint p = reading(fmt::format("{}_{}", name, stages), v[0], kRingThreads, tile, source_bytes(bench), v[3]);
  p.shared_bytes = static_cast<std::uint32_t>(stages * chunks * kLoadBytes + 8 * stages);
  if (p.shared_bytes > bench.device.smem_kib_per_cta * 1024) return std::nullopt;
  p.shape.tile_chunks = narrow(chunks);
  p.parameters = {v[0], v[1], tile, bytes_of(p, tile)};
  return p;
}
Point ring(const Values& v, const Bench& bench) { return ring_of("probe_ring", v, bench); }
Point bulk_ring(const Values& v, const Bench& bench) {
  if (bench.device.compute_capability < 9) return std::nullopt;
  Point p = ring_of("probe_bulk_ring", v, bench);
  if (p) p->code = kHopperCode;
  return p;
}

Point cycled_set(const Values& v, const Bench& bench) {
  Point p = stream(v[0], v[1], v[2], v[3], bench);
  if (!p) return p;
  const double set = static_cast<double>(p->shape.tiles) * p->parameters[1];
  if (set > source_bytes(bench)) return std::nullopt;
  p->parameters = {p->parameters[0], p->parameters[1], set, p->parameters[2]};
  return p;
}

Point shared_segment(const Values& v, const Bench& bench) {
  const double groups = v[0], readers = v[1];
  const std::int64_t threads = whole(std::floor(v[3] / (8 * kLoadBytes)));
  if (groups < 1 || threads < 32 || threads % 32 != 0 || threads > kProbeThreads) return std::nullopt;
  const double tile = 8.0 * static_cast<double>(threads) * kLoadBytes;
  ProbePoint p =
      reading("probe_segment", groups * readers, threads, tile, source_bytes(bench), groups * readers * v[2]);
  p.cold = true;
  p.shape.part = narrow(whole(readers));
  p.shape.skew_ns = narrow(std::llround(1000 * v[4]));
  p.next_first_tile = whole(groups) * p.shape.rounds;
  // Executions of a repeat read on through the source and must not come round to what they left in L2.
  p.executions = narrow(std::clamp<std::int64_t>(p.shape.tiles / p.next_first_tile, 0, 8));
  if (p.executions < 1) return std::nullopt;
  p.parameters = {groups, readers, tile * static_cast<double>(p.shape.rounds), tile, p.shape.skew_ns / 1000.0};
  return p;
}

Point chase(const Values& v, const Bench& bench) {
  constexpr double kLine = 128;
  if (v[0] > source_bytes(bench)) return std::nullopt;
  ProbePoint p;
  p.kernel = "probe_chase";
  p.shape.rounds = whole(v[1]);
  p.table = ProbeTable::lines;
  p.table_entries = whole(std::floor(v[0] / kLine));
  // Placing the lines leaves some of them in L2, of a larger set as of a smaller.
  p.cold = v[0] > l2_bytes(bench);
  p.parameters = {static_cast<double>(p.table_entries) * kLine, v[1]};
  return p;
}

/// A block of kPipeThreads an SM, `rounds` for about 100 us.
ProbePoint pipe(std::string kernel, std::int64_t rounds, const Bench& bench) {
  ProbePoint p;
  p.kernel = std::move(kernel);
  p.blocks = static_cast<std::uint32_t>(bench.device.sms);
  p.threads = kPipeThreads;
  p.shape.rounds = rounds;
  p.executions = 8;
  return p;
}

Point shared_memory(const Values& v, const Bench& bench) {
  constexpr double kRead = 64.0 * kPipeThreads, kCopied = 16.0 * kPipeThreads / kSharedCopyRounds;
  const bool copies = v[2] > 0;
  const std::int64_t rounds_asked = kSharedCopyRounds * rounds_for(v[0], kSharedCopyRounds * kRead);
  ProbePoint p = pipe(fmt::format("probe_shared_{}{}", whole(v[1]), copies ? "_copies" : ""), rounds_asked, bench);
  p.shared_bytes = 16384 + (copies ? 4 * 16 * kPipeThreads : 0);
  const auto rounds = static_cast<double>(p.shape.rounds);
  p.parameters = {rounds * kRead, v[1], copies ? rounds * kCopied : 0};
  return p;
}

constexpr double kMmaFlop = 2.0 * 16 * 8 * 16;

Point matrix_product(const Values& v, const Bench& bench) {
  const bool group = v[1] > 0;
  if (group) {
    if (bench.device.compute_capability != 9) return std::nullopt;
    const bool fp8 = v[2] < 16;
    constexpr double kGroups = 2, kTurns = 8;
    const double each = kGroups * kTurns * 2 * 64 * 128 * (fp8 ? 32 : 16);
    ProbePoint p = pipe(fp8 ? "probe_warp_group_fp8" : "probe_warp_group", rounds_for(v[0], each), bench);
    p.threads = 256;
    p.shared_bytes = 8192;
    p.code = kHopperCode;
    p.marks = true;
    // Accumulators are counted in tiles of 16 x 8, as those of mma.sync.
    p.parameters = {each * static_cast<double>(p.shape.rounds), 1, v[2], kGroups * 64 * 128 / (16 * 8)};
    return p;
  }
  if (v[2] < 16) return std::nullopt;  // mma.sync of 8-bit numbers: our kernels widen them
  const std::int32_t chains = v[3] >= 64 ? 8 : 4;
  const std::int32_t warps = std::clamp(narrow(whole(v[3])) / chains, 1, kPipeThreads / 32);
  const double each = kMmaFlop * chains * warps;
  ProbePoint p = pipe(fmt::format("probe_mma_{}", chains), rounds_for(v[0], each), bench);
  p.threads = static_cast<std::uint32_t>(32 * warps);
  p.parameters = {each * static_cast<double>(p.shape.rounds), 0, 16, static_cast<double>(chains * warps)};
  return p;
}

Point one_pipe(const Values& v, const Bench& bench) {
  struct Kind {
    const char* kernel;
    double each;
  };
  constexpr Kind kKinds[] = {
      {"probe_exp", 8.0 * kPipeThreads}, {"probe_fma", 64.0 * kPipeThreads}, {"probe_convert", 32.0 * kPipeThreads}};
  for (std::size_t k = 0; k < 3; ++k) {
    if (v[k] <= 0) continue;
    ProbePoint p = pipe(kKinds[k].kernel, rounds_for(v[k], kKinds[k].each), bench);
    p.parameters = {0, 0, 0};
    p.parameters[k] = kKinds[k].each * static_cast<double>(p.shape.rounds);
    return p;
  }
  return std::nullopt;
}

/// A pipe does four units a round where the point asks for more than half of what 100 us hold.
Point mixed_loop(const Values& v, const Bench& bench) {
  const DeviceSpec& d = bench.device;
  const double clocks = 100 * d.clocks_per_us();
  const double rates[] = {d.mma_flop_per_clk, d.ex2_per_clk, d.fma_flop_per_clk, d.smem_bytes_per_clk};
  constexpr double kWarps = kPipeThreads / 32,
                   kUnits[] = {kWarps * 2 * kMmaFlop, kWarps * 64, kWarps * 16 * 64, kWarps * 512};
  unsigned mix = 0;
  double longest = 0;
  for (unsigned k = 0; k < 4; ++k) {
    if (v[k] > 0.5 * clocks * rates[k]) mix |= 1U << k;
    longest = std::max(longest, kUnits[k] / rates[k] * ((mix >> k & 1U) != 0 ? 4 : 1));
  }
  if (mix == 0) return std::nullopt;
  ProbePoint p = pipe(fmt::format("probe_mix_{}", mix), rounds_for(clocks, longest), bench);
  p.shared_bytes = 16384;
  for (unsigned k = 0; k < 4; ++k) {
    p.parameters.push_back(kUnits[k] * ((mix >> k & 1U) != 0 ? 4 : 1) * static_cast<double>(p.shape.rounds));
  }
  return p;
}

Point empty_kernel(const Values& v, const Bench& bench) {
  const bool programmatic = v[0] == 2;
  if (programmatic && bench.device.compute_capability < 9) return std::nullopt;
  ProbePoint p;
  p.kernel = programmatic ? "probe_follow" : "probe_empty";
  p.blocks = static_cast<std::uint32_t>(v[1]);
  p.timer = v[0] == 0 ? ProbeTimer::stream : programmatic ? ProbeTimer::programmatic : ProbeTimer::graph;
  p.code = programmatic ? kHopperCode : 0;
  p.executions = 64;
  p.parameters = v;
  return p;
}

Point attention_cta(const Values& v, const Bench&) {
  if (v[1] < 1) return std::nullopt;  // items of no tokens are no tasks
  const costmodel::KernelConfig& kernel = costmodel::find_kernel("espalier_mma_m16");
  ProbePoint p;
  const auto plan = std::make_shared<scheduler::Plan>(attention_cta_plan(narrow(whole(v[0])), narrow(whole(v[1]))));
  const double tile = static_cast<double>(kernel.kv_tile * plan->heads.kv_bytes_per_token_head());
  p.plan = plan;
  p.cold = true;
  p.executions = 16;
  p.parameters = {v[0], v[1], tile, (kernel.stages - 1) * tile, static_cast<double>(kernel.lookups)};
  return p;
}

Point barrier(const Values& v, const Bench& bench) {
  constexpr const char* kKernels[] = {"probe_block_barrier", "probe_named_barrier", "probe_phase_barrier",
                                      "probe_cluster_barrier"};
  const auto kind = static_cast<std::size_t>(v[0]);
  if (kind == 3 && bench.device.compute_capability < 9) return std::nullopt;
  ProbePoint p;
  p.kernel = kKernels[kind];
  p.blocks = p.cluster = kind == 3 ? 2 : 1;
  p.code = kind == 3 ? kHopperCode : 0;
  p.threads = static_cast<std::uint32_t>(32 * v[1]);
  p.shared_bytes = kind == 2 ? 16 : 0;
  p.shape.threads = static_cast<std::int32_t>(p.threads);
  p.shape.rounds = whole(v[2]);
  p.executions = 8;
  p.parameters = v;
  return p;
}

Point grid_barriers(const Values& v, const Bench&) {
  ProbePoint p;
  p.kernel = "probe_grid_barrier";
  p.blocks = static_cast<std::uint32_t>(v[0]);
  p.threads = kRingThreads;
  p.cooperative = p.resident = true;
  p.shape.rounds = whole(v[1]);
  p.executions = 16;
  p.parameters = v;
  return p;
}

Point reductions(const Values& v, const Bench& bench) {
  ProbePoint p;
  p.kernel = "probe_reduction";
  p.blocks = static_cast<std::uint32_t>(2 * bench.device.sms);
  p.threads = 256;
  p.shape.threads = 256;
  p.shape.part = narrow(whole(v[0]));
  p.shape.rounds = rounds_for(v[1], p.blocks * 256.0);
  p.executions = 8;
  p.parameters = {v[0], static_cast<double>(p.shape.rounds) * p.blocks * 256};
  return p;
}

Point unequal_ctas(const Values& v, const Bench&) {
  ProbePoint p;
  p.kernel = "probe_unequal";
  p.blocks = static_cast<std::uint32_t>(v[0]);
  p.threads = kProbeThreads;
  p.shape.rounds = whole(1000 * v[1]);
  p.shape.skew_ns = narrow(whole(1000 * v[2]));
  p.executions = 4;
  p.parameters = v;
  return p;
}

/// Products on half the SMs, a ring of loads on the other.
Point two_streams(const Values& v, const Bench& bench) {
  constexpr double kChains = 8, kEach = kMmaFlop * kChains * kPipeThreads / 32, kRingStages = 3;
  const Point loads = ring_of("probe_ring", {v[0], kRingStages, v[2] / (kRingStages - 1), v[3]}, bench);
  if (v[0] < 1 || 2 * v[0] > bench.device.sms || !loads) return std::nullopt;
  ProbePoint p = pipe("probe_mma_8", rounds_for(v[1], kEach), bench);
  p.blocks = static_cast<std::uint32_t>(v[0]);
  p.other = std::make_shared<const ProbePoint>(*loads);
  p.side_by_side = v[4] > 0;
  p.parameters = {v[0], kEach * static_cast<double>(p.shape.rounds), (kRingStages - 1) * loads->parameters[2],
                  loads->parameters[3], v[4] > 0 ? 1.0 : 0.0};
  return p;
}

Point gather(const Values& v, const Bench& bench) {
  constexpr double kTile = 16384, kInFlight = 2 * kTile;
  const std::int64_t page_chunks = whole(v[3]) / kLoadBytes;
  if (page_chunks < 1 || !std::has_single_bit(static_cast<std::uint64_t>(page_chunks))) return std::nullopt;
  ProbePoint p = reading("probe_gather", v[0], kRingThreads, kTile, source_bytes(bench), v[2]);
  p.shared_bytes = 3 * 16384;
  p.shape.part = std::countr_zero(static_cast<std::uint64_t>(page_chunks));
  p.table = ProbeTable::pages;
  p.table_entries = bench.memory.source_bytes / (page_chunks * kLoadBytes);
  p.parameters = {v[0], kInFlight, bytes_of(p, kTile), v[3]};
  return p;
}

Point merges(const Values& v, const Bench&) {
  ProbePoint p;
  const auto plan = std::make_shared<scheduler::Plan>(merge_plan(narrow(whole(v[0])), narrow(whole(v[1]))));
  p.parameters = {v[0], v[1], static_cast<double>(plan->heads.v_dim)};
  p.plan = plan;
  p.launch = 1;
  p.executions = 16;
  return p;
}

struct Family {
  std::string_view id;
  Point (*plan)(const Values&, const Bench&);
};
constexpr Family kFamilies[] = {
    {"C0", clock},         {"C1", streams},        {"C2", mixed_stream},   {"C3", ring},
    {"C4", bulk_ring},     {"C5", cycled_set},     {"C6", shared_segment}, {"C7", chase},
    {"C8", shared_memory}, {"C9", matrix_product}, {"C10", one_pipe},      {"C11", mixed_loop},
    {"C12", empty_kernel}, {"C13", attention_cta}, {"C14", barrier},       {"C15", grid_barriers},
    {"C16", reductions},   {"C17", unequal_ctas},  {"C18", two_streams},   {"C19", gather},
    {"C20", merges},       {"C21", busy_clock},
};

}  // namespace

std::vector<ProbePoint> plan_probes(std::string_view family, const ProbeValues& wanted, const DeviceSpec& device,
                                    const ProbeMemory& memory) {
  const auto* found =
      std::find_if(std::begin(kFamilies), std::end(kFamilies), [&](const Family& f) { return f.id == family; });
  ESPALIER_CHECK(found != std::end(kFamilies));
  std::vector<ProbePoint> points;
  for (const Values& values : wanted) {
    Point point = found->plan(values, {device, memory});
    if (!point) continue;
    const auto same = [&](const ProbePoint& p) { return p.parameters == point->parameters; };
    if (std::none_of(points.begin(), points.end(), same)) points.push_back(std::move(*point));
  }
  return points;
}

std::string unfit_code(const ProbePoint& point, std::int32_t code) {
  if (code >= point.code) return {};
  return fmt::format("{} was compiled for {}.{} and is empty there: it takes code for {}.{}", point.kernel, code / 10,
                     code % 10, point.code / 10, point.code % 10);
}

std::string unfit_mark(const ProbePoint& point, std::uint32_t mark) {
  if (!point.marks || mark == kMark) return {};
  return fmt::format("{} left no mark: this build has no code for what it shows", point.kernel);
}

std::vector<std::string> device_only_probes() {
  return {"probe_clock",         "probe_busy_mma",       "probe_busy_stream", "probe_block_barrier",
          "probe_named_barrier", "probe_phase_barrier",  "probe_reduction",   "probe_unequal",
          "probe_bulk_ring_2",   "probe_bulk_ring_3",    "probe_bulk_ring_4", "probe_bulk_ring_6",
          "probe_warp_group",    "probe_warp_group_fp8", "probe_follow",      "probe_cluster_barrier"};
}

}  // namespace espalier::kernels

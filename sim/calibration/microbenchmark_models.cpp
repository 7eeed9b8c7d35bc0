// The predictions, on top of bandwidth.h (bytes-in-flight law, sharing), reuse.h (capacity law) and work_counts.h
// (overlap of pipes).
#include "sim/calibration/microbenchmark_models.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "costmodel/kernel_config.h"
#include "costmodel/tile_overlap.h"
#include "sim/bandwidth.h"
#include "sim/calibration/dispatch.h"
#include "sim/calibration/sweeps.h"
#include "sim/reuse.h"

namespace espalier::sim {
namespace {

using costmodel::DeviceSpec;
using Subject = CalibrationSubject;
using Point = BenchmarkPoint;

double cta_us(const DeviceSpec& device) { return (device.cta_start_ns + device.cta_end_ns) * 1e-3; }
/// Benchmarks are timed as nodes of a graph.
double fixed_us(const DeviceSpec& device) { return device.launch_graph_us + cta_us(device); }

/// CTAs that read alike, and how much each reads.
struct Stream {
  FlowClass flow;
  double bytes = 0;  ///< of one CTA
};

Stream stream_of(double ctas, double in_flight, double hbm_fraction, double bytes, const DeviceSpec& device) {
  FlowClass flow;
  flow.count = ctas;
  flow.in_flight_bytes = in_flight;
  flow.hbm_fraction = hbm_fraction;
  limit_flow(flow, device);
  return {flow, bytes};
}

/// Until the last byte has come, the streams sharing as the simulator lets them; those that are through leave the rest
/// to the others.
double drain_us(std::vector<Stream> streams, const DeviceSpec& device) {
  double us = 0;
  std::vector<FlowRate> rates;
  std::vector<FlowClass> flows;
  while (!streams.empty()) {
    flows.clear();
    for (const Stream& s : streams) flows.push_back(s.flow);
    share_bandwidth(flows, device, rates);
    double step = INFINITY;
    for (std::size_t i = 0; i < streams.size(); ++i) step = std::min(step, streams[i].bytes / rates[i].bytes_per_us);
    us += step;
    for (std::size_t i = 0; i < streams.size(); ++i) streams[i].bytes -= step * rates[i].bytes_per_us;
    std::erase_if(streams, [](const Stream& s) { return s.bytes <= 1e-6; });
  }
  return us;
}

double clock_us(Point p, const Subject& s) { return p[0] / s.device.clocks_per_us(); }

/// Streams from memory under another latency and exponent than the device's.
double memory_us(double ctas, double in_flight, double bytes, DeviceSpec device) {
  // Times of a resident set: the law is what counts, the ports of few SMs bind as anywhere.
  return drain_us({stream_of(ctas, in_flight, 1, bytes / ctas, device)}, device) + fixed_us(device);
}

double stream_us(Point p, const Subject& s) {
  DeviceSpec device = s.device;
  device.hbm_latency_ns = s.beside.stream_latency_ns;
  device.hbm_ramp_exponent = s.beside.stream_exponent;
  return memory_us(p[0], p[1], p[2], device);
}

double mixed_stream_us(Point p, const Subject& s) {
  const double read = p[2], write = p[3], total = read + write;
  const double share = total > 0 ? read / total * (write / total) : 0;
  return fixed_us(s.device) + read / s.device.hbm_achievable_bytes_per_us() + write / (s.beside.write_gbps * 1e3) +
         total / 1024 * share * s.beside.turnaround_ns_per_kib * 1e-3;
}
/// Only saturated streams show the limit.
bool saturates(Point p, const DeviceSpec& device) {
  return p[0] * p[1] > 4 * device.hbm_latency_ns * 1e-3 * device.hbm_achievable_bytes_per_us();
}

double ring_bytes(double stages, double tile_bytes) { return std::max(stages - 1, 1.0) * tile_bytes; }
double ring_us(Point p, const Subject& s) { return memory_us(p[0], ring_bytes(p[1], p[2]), p[3], s.device); }
double bulk_ring_us(Point p, const Subject& s) {
  DeviceSpec device = s.device;
  device.hbm_latency_ns = s.beside.bulk_latency_ns;
  return memory_us(p[0], ring_bytes(p[1], p[2]), p[3], device);
}

/// All sweep the set in step, so those parts of it that stayed in L2 and those that didn't come one after another, each
/// at its own rate.
double cycled_set_us(Point p, const Subject& s) {
  const double ctas = p[0], in_flight = p[1], hit = soft_capacity_hit(p[2], s.device), bytes = p[3] / ctas;
  const auto part = [&](double share, double hbm_fraction) {
    return share > 0 ? drain_us({stream_of(ctas, in_flight, hbm_fraction, bytes * share, s.device)}, s.device) : 0;
  };
  return fixed_us(s.device) + part(hit, 0) + part(1 - hit, 1);
}

/// Readers that run at the same time merge their misses; ones that come after the others find what the capacity law
/// leaves.
double shared_segment_us(Point p, const Subject& s) {
  const double groups = p[0], readers = p[1], bytes = p[2], in_flight = p[3], skew = p[4];
  const DeviceSpec& device = s.device;
  const std::vector<Stream> first = {stream_of(groups, in_flight, 1, bytes, device)};
  const double alone_us = drain_us(first, device);
  if (readers > 1 && skew > alone_us) {
    const double miss = 1 - soft_capacity_hit(groups * bytes, device);
    return fixed_us(device) + skew * (readers - 1) +
           drain_us({stream_of(groups, in_flight, miss, bytes, device)}, device);
  }
  std::vector<Stream> all = first;
  if (readers > 1) {
    all.push_back(stream_of(groups * (readers - 1), in_flight, 1 - device.l2_merge_fraction, bytes, device));
  }
  return fixed_us(device) + skew * (readers - 1) + drain_us(all, device);
}

double chase_us(Point p, const Subject& s) {
  const bool near = p[0] <= s.device.l2_knee_mib * 1048576 / 2;
  return p[1] * (near ? s.device.l2_latency_ns : s.beside.idle_latency_ns) * 1e-3;
}
/// Beyond the SM's own cache and within the near half of L2, or beyond L2 by far: plateaus only.
bool on_plateau(Point p, const DeviceSpec& device) {
  const double l2 = device.l2_mib * 1048576;
  return (p[0] >= 1048576 && p[0] <= l2 / 4) || p[0] >= 4 * l2;
}

double shared_memory_us(Point p, const Subject& s) {
  return fixed_us(s.device) + (p[0] * p[1] + p[2]) / (s.device.smem_bytes_per_clk * s.device.clocks_per_us());
}

double tensor_us(Point p, const Subject& s) {
  const double rate =
      (p[1] > 0 ? s.device.wgmma_flop_per_clk : s.device.mma_flop_per_clk) * (p[2] < 16 ? s.device.fp8_rate_factor : 1);
  return fixed_us(s.device) + p[0] / (rate * s.device.clocks_per_us());
}
/// Few chains show the latency of an instruction, not the rate.
bool enough_chains(Point p, const DeviceSpec&) { return p[3] >= 16; }

double pipes_us(Point p, const Subject& s) {
  const double cycles =
      p[0] / s.device.ex2_per_clk + p[1] / s.device.fma_flop_per_clk + p[2] / s.device.fp8_convert_per_clk;
  return fixed_us(s.device) + cycles / s.device.clocks_per_us();
}

double mixed_loop_us(Point p, const Subject& s) {
  costmodel::TileCycles cycles;
  cycles.tensor = p[0] / s.device.mma_flop_per_clk;
  cycles.exp = p[1] / s.device.ex2_per_clk;
  cycles.fma = p[2] / s.device.fma_flop_per_clk;
  cycles.smem = p[3] / s.device.smem_bytes_per_clk;
  return fixed_us(s.device) + costmodel::overlapped_cycles(cycles, s.beside.overlap) / s.device.clocks_per_us();
}

double empty_kernel_us(Point p, const Subject& s) {
  const DeviceSpec& d = s.device;
  const double gap = p[0] == 0 ? d.launch_stream_us : p[0] == 1 ? d.launch_graph_us : d.launch_pdl_us;
  return gap + std::ceil(p[1] / (d.sms * d.ctas_per_sm)) * cta_us(d);
}

double attention_cta_us(Point p, const Subject& s) {
  const double items = p[0], bytes = p[1] * p[2], in_flight = p[3], lookups = p[4];
  const DeviceSpec& d = s.device;
  const double exposed = path_latency_us(1, d) * (1 - std::min(1.0, bytes / in_flight) + lookups);
  const FlowClass flow = stream_of(1, in_flight, 1, bytes, d).flow;
  const double tiles_us = bytes / (flow.cap_bytes_per_us * s.beside.tile_efficiency);
  return d.launch_graph_us + d.cta_start_ns * 1e-3 + items * (exposed + tiles_us + d.cta_end_ns * 1e-3);
}

double barriers_us(Point p, const Subject& s) { return fixed_us(s.device) + p[1] * s.device.grid_sync_us; }

/// The hardware counts warps; in shared memory the threads of a warp arrive one after another.
double cta_barriers_us(Point p, const Subject& s) {
  const BesideDevice& b = s.beside;
  const double base[] = {b.barrier_cycles, b.named_barrier_cycles, b.phase_barrier_cycles, b.cluster_barrier_cycles};
  const auto kind = static_cast<std::size_t>(p[0]);
  ESPALIER_CHECK(kind < std::size(base));
  return fixed_us(s.device) + p[2] * (base[kind] + p[1] * (kind == 2 ? b.phase_warp_cycles : b.barrier_warp_cycles)) /
                                  s.device.clocks_per_us();
}
bool is_known_barrier(Point p, const DeviceSpec&) { return p[0] == 0 || p[0] == 1 || p[0] == 2 || p[0] == 3; }

double reductions_us(Point p, const Subject& s) {
  const double per_clk = std::min(p[0] * s.beside.address_reductions_per_clk, s.beside.reductions_per_clk);
  return fixed_us(s.device) + p[1] / (per_clk * s.device.clocks_per_us());
}

/// CTAs of 1024 threads. What the two ways of handing them out differ by is all that the parameter moves.
double unequal_ctas_us(Point p, const Subject& s) {
  constexpr double kWarps = 32;
  const DeviceSpec& d = s.device;
  const auto per_sm = static_cast<std::int64_t>(std::max(1.0, std::floor(d.warps_per_sm / kWarps))),
             sms = static_cast<std::int64_t>(d.sms);
  const UnequalCtas ctas = {0, 1, static_cast<std::int64_t>(p[0]), p[1] + cta_us(d), p[2] + cta_us(d)};
  const double fixed_beforehand = dispatch_round_robin(ctas, sms, per_sm),
               by_room = dispatch_by_room(ctas, sms * per_sm);
  return d.launch_graph_us + fixed_beforehand + s.beside.dispatch_by_room * (by_room - fixed_beforehand);
}

bool is_a_grid(Point p, const DeviceSpec&) { return p[0] >= 1 && p[0] <= 1e6 && p[1] > 0 && p[2] > 0; }

/// Each stream's CTAs have SMs of their own.
double two_streams_us(Point p, const Subject& s) {
  const double products = fixed_us(s.device) + p[1] / (s.device.mma_flop_per_clk * s.device.clocks_per_us());
  const double loads = memory_us(p[0], p[2], p[3], s.device);
  return products + loads - (p[4] > 0 ? s.beside.stream_overlap * std::min(products, loads) : 0);
}

/// A warp merges a row, part by part; or the partial rows come no faster, from L2 or from memory.
double merges_us(Point p, const Subject& s) {
  const DeviceSpec& d = s.device;
  traces::HeadConfig heads;
  heads.qk_dim = heads.v_dim = static_cast<std::int32_t>(p[2]);
  const costmodel::KernelConfig& kernel = costmodel::our_reduce_kernel();
  const double bytes = p[0] * p[1] * (p[2] + 1) * sizeof(float),
               at_once = d.sms * costmodel::ctas_per_sm(kernel, heads, d) * kernel.query_tile;
  const double rows_us = std::ceil(p[1] / at_once) * (s.beside.merge_row_ns + p[0] * s.beside.merge_part_ns) * 1e-3;
  const double hit = soft_capacity_hit(bytes, d);
  return fixed_us(d) +
         std::max(rows_us, bytes * (hit / d.l2_bytes_per_us() + (1 - hit) / d.hbm_achievable_bytes_per_us()));
}

bool has_columns(Point p, const DeviceSpec&) { return p[0] >= 1 && p[1] >= 1 && p[2] >= 1 && p[2] <= 4096; }

double gather_us(Point p, const Subject& s) {
  const double in_flight = p[1], pages = in_flight / p[3];
  const double requested = mean_in_flight(in_flight, path_latency_us(1, s.device), pages * s.device.page_ns * 1e-3);
  return memory_us(p[0], requested, p[2], s.device);
}

template <class Field>
CalibrationParameter device_parameter(std::string_view name, Field field, bool is_rate, bool logarithmic = true) {
  for (const costmodel::DeviceField& f : costmodel::device_fields()) {
    if (f.name != name) continue;
    ESPALIER_CHECK(f.member == field);
    return {name, f.unit, field, nullptr, f.low, f.high, is_rate, logarithmic};
  }
  ESPALIER_CHECK(false);
}

std::vector<CalibrationParameter> make_parameters() {
  using D = DeviceSpec;
  using B = BesideDevice;
  std::vector<CalibrationParameter> p = {
      device_parameter("clock_ghz", &D::clock_ghz, true),
      device_parameter("hbm_read_fraction", &D::hbm_read_fraction, true),
      device_parameter("hbm_latency_ns", &D::hbm_latency_ns, false),
      device_parameter("hbm_ramp_exponent", &D::hbm_ramp_exponent, false),
      device_parameter("l2_bytes_per_clk", &D::l2_bytes_per_clk, true),
      device_parameter("l2_latency_ns", &D::l2_latency_ns, false),
      device_parameter("l2_knee_mib", &D::l2_knee_mib, false),
      device_parameter("l2_knee_exponent", &D::l2_knee_exponent, false),
      device_parameter("l2_merge_fraction", &D::l2_merge_fraction, false, false),
      device_parameter("sm_port_bytes_per_clk", &D::sm_port_bytes_per_clk, true),
      device_parameter("smem_bytes_per_clk", &D::smem_bytes_per_clk, true),
      device_parameter("mma_flop_per_clk", &D::mma_flop_per_clk, true),
      device_parameter("wgmma_flop_per_clk", &D::wgmma_flop_per_clk, true),
      device_parameter("fp8_rate_factor", &D::fp8_rate_factor, true),
      device_parameter("fma_flop_per_clk", &D::fma_flop_per_clk, true),
      device_parameter("ex2_per_clk", &D::ex2_per_clk, true),
      device_parameter("fp8_convert_per_clk", &D::fp8_convert_per_clk, true),
      device_parameter("launch_stream_us", &D::launch_stream_us, false),
      device_parameter("launch_graph_us", &D::launch_graph_us, false),
      device_parameter("launch_pdl_us", &D::launch_pdl_us, false),
      device_parameter("grid_sync_us", &D::grid_sync_us, false),
      device_parameter("cta_start_ns", &D::cta_start_ns, false),
      device_parameter("cta_end_ns", &D::cta_end_ns, false),
      device_parameter("page_ns", &D::page_ns, false),
      {"stream_latency_ns", "ns", nullptr, &B::stream_latency_ns, 1, 1e5},
      {"stream_exponent", "", nullptr, &B::stream_exponent, 1, 10},
      {"bulk_latency_ns", "ns", nullptr, &B::bulk_latency_ns, 1, 1e5},
      {"idle_latency_ns", "ns", nullptr, &B::idle_latency_ns, 1, 1e5},
      {"write_gbps", "GB/s", nullptr, &B::write_gbps, 1, 1e6, true},
      {"turnaround_ns_per_kib", "ns/KiB", nullptr, &B::turnaround_ns_per_kib, 0, 1e3},
      {"overlap", "", nullptr, &B::overlap, 0, 1, false, false},
      {"tile_efficiency", "", nullptr, &B::tile_efficiency, 0.01, 10, true},
      {"barrier_cycles", "clk", nullptr, &B::barrier_cycles, 0, 1e5},
      {"named_barrier_cycles", "clk", nullptr, &B::named_barrier_cycles, 0, 1e5},
      {"phase_barrier_cycles", "clk", nullptr, &B::phase_barrier_cycles, 0, 1e5},
      {"cluster_barrier_cycles", "clk", nullptr, &B::cluster_barrier_cycles, 0, 1e5},
      {"barrier_warp_cycles", "clk", nullptr, &B::barrier_warp_cycles, 0, 1e4},
      {"phase_warp_cycles", "clk", nullptr, &B::phase_warp_cycles, 0, 1e4},
      {"address_reductions_per_clk", "1/clk", nullptr, &B::address_reductions_per_clk, 1e-3, 1e3, true},
      {"reductions_per_clk", "1/clk", nullptr, &B::reductions_per_clk, 1e-3, 1e5, true},
      // Shares may be fitted beyond their ends, so that one that is at an end isn't taken for one that the points don't
      // hold.
      {"dispatch_by_room", "", nullptr, &B::dispatch_by_room, -0.5, 1.5, false, false},
      {"stream_overlap", "", nullptr, &B::stream_overlap, -0.5, 1.5, false, false},
      {"merge_row_ns", "ns", nullptr, &B::merge_row_ns, 0, 1e6},
      {"merge_part_ns", "ns", nullptr, &B::merge_part_ns, 0, 1e6},
  };
  for (CalibrationParameter& parameter : p) {
    // Bounds of the laws: beyond them a curve is as good as a corner.
    if (parameter.name == "hbm_ramp_exponent") parameter.high = 10;
    if (parameter.name == "l2_knee_exponent") parameter.low = 3, parameter.high = 40;
  }
  return p;
}

}  // namespace

CalibrationSubject usual_subject(const DeviceSpec& device) {
  Subject subject{device, {}};
  BesideDevice& b = subject.beside;
  b.stream_latency_ns = 1.1 * device.hbm_latency_ns;  // plain loads wait for their CTAs' turnover, too
  b.stream_exponent = device.hbm_ramp_exponent;
  b.bulk_latency_ns = device.hbm_latency_ns + 105 / device.clock_ghz;  // cycles of a bulk copy's set-up on an H800
  b.idle_latency_ns = device.hbm_latency_ns / 1.4;  // loaded latencies are 1.3-1.9 times the idle ones
  b.write_gbps = device.hbm_achievable_bytes_per_us() * 1e-3;
  b.turnaround_ns_per_kib = 0.4 / b.write_gbps * 1024;      // copies 10 % slower than reads
  b.reductions_per_clk = device.l2_bytes_per_clk / 32 / 2;  // a sector read and one written each
  b.merge_row_ns = 6 * device.l2_latency_ns;  // loads that wait for one another: step, inputs, slots, rows
  b.merge_part_ns = device.l2_latency_ns;
  return subject;
}

const CalibrationParameter& calibration_parameter(std::string_view name) {
  static const std::vector<CalibrationParameter> parameters = make_parameters();
  const auto found =
      std::find_if(parameters.begin(), parameters.end(), [&](const CalibrationParameter& p) { return p.name == name; });
  ESPALIER_CHECK(found != parameters.end());
  return *found;
}

const std::vector<MicrobenchmarkModel>& microbenchmark_models() {
  static const std::vector<MicrobenchmarkModel> models = {
      {"C0", {"clock_ghz"}, clock_us, nullptr, sweep_clock},
      {"C1", {"hbm_read_fraction", "stream_latency_ns", "stream_exponent"}, stream_us, nullptr, sweep_streams},
      {"C2", {"write_gbps", "turnaround_ns_per_kib"}, mixed_stream_us, saturates, sweep_mixed_streams},
      {"C3", {"hbm_latency_ns", "hbm_ramp_exponent"}, ring_us, nullptr, sweep_rings},
      {"C4", {"bulk_latency_ns"}, bulk_ring_us, nullptr, sweep_rings},
      {"C5",
       {"l2_bytes_per_clk", "l2_knee_mib", "l2_knee_exponent", "sm_port_bytes_per_clk"},
       cycled_set_us,
       nullptr,
       sweep_cycled_sets},
      {"C6", {"l2_merge_fraction"}, shared_segment_us, nullptr, sweep_shared_segments},
      {"C7", {"l2_latency_ns", "idle_latency_ns"}, chase_us, on_plateau, sweep_chases},
      {"C8", {"smem_bytes_per_clk"}, shared_memory_us, nullptr, sweep_shared_memory},
      {"C9", {"mma_flop_per_clk", "wgmma_flop_per_clk", "fp8_rate_factor"}, tensor_us, enough_chains, sweep_tensor},
      {"C10", {"ex2_per_clk", "fma_flop_per_clk", "fp8_convert_per_clk"}, pipes_us, nullptr, sweep_pipes},
      {"C11", {"overlap"}, mixed_loop_us, nullptr, sweep_mixed_loops},
      {"C12", {"launch_stream_us", "launch_graph_us", "launch_pdl_us"}, empty_kernel_us, nullptr, sweep_empty_kernels},
      {"C13", {"cta_start_ns", "cta_end_ns", "tile_efficiency"}, attention_cta_us, nullptr, sweep_attention_ctas},
      {"C14",
       {"barrier_cycles", "named_barrier_cycles", "phase_barrier_cycles", "cluster_barrier_cycles",
        "barrier_warp_cycles", "phase_warp_cycles"},
       cta_barriers_us,
       is_known_barrier,
       sweep_cta_barriers},
      {"C15", {"grid_sync_us"}, barriers_us, nullptr, sweep_barriers},
      {"C16", {"address_reductions_per_clk", "reductions_per_clk"}, reductions_us, nullptr, sweep_reductions},
      {"C17", {"dispatch_by_room"}, unequal_ctas_us, is_a_grid, sweep_unequal_ctas},
      {"C18", {"stream_overlap"}, two_streams_us, nullptr, sweep_two_streams},
      {"C19", {"page_ns"}, gather_us, nullptr, sweep_gathers},
      {"C20", {"merge_row_ns", "merge_part_ns"}, merges_us, has_columns, sweep_merges},
      {"C21", {"clock_ghz"}, clock_us, nullptr, sweep_loads},
  };
  return models;
}

const MicrobenchmarkModel& find_model(std::string_view id) {
  const auto& models = microbenchmark_models();
  const auto found =
      std::find_if(models.begin(), models.end(), [&](const MicrobenchmarkModel& m) { return m.id == id; });
  ESPALIER_CHECK(found != models.end());
  return *found;
}

}  // namespace espalier::sim

// What the models know of a GPU: sizes, rates, latencies and fixed costs, each with its origin.
//
// A device is data (costmodel/data/devices.json, device/1 files, "h100-sxm:hbm_gbps=5000" overrides), and may describe
// a GPU that doesn't exist yet. One table (`device_fields`) names every number, its unit, its meaning and its legal
// range; reading, writing, listing and overriding go through it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::costmodel {

enum class Origin : std::uint8_t { datasheet, measured, assumed, overridden };
std::string_view origin_name(Origin origin);

struct Provenance {
  Origin origin = Origin::assumed;
  std::string source;  ///< document, raw log or method
};

/// How far off predicted times of plans that ran on the device were: 90 % of plans like these lie within.
struct MeasuredInterval {
  double log_half_width = 0;  ///< of |log(predicted / measured)|
  std::int64_t plans = 0;     ///< it is made of
};

/// What measurements were taken on, and by what.
struct MeasurementEnvironment {
  std::string device;   ///< as the driver names it
  std::string driver;   ///< its version
  std::string kernels;  ///< hash of the build of the program that measured
  friend bool operator==(const MeasurementEnvironment&, const MeasurementEnvironment&) = default;
};

struct DeviceSpec {
  std::string name;
  std::string label;                                 ///< as vendors write it
  std::optional<MeasurementEnvironment> calibrated;  ///< what its numbers were fitted on, if they were

  // Shape
  double sms = 132;
  double compute_capability = 9.0;
  double clock_ghz = 1.755;  ///< sustained SM clock
  // Memory
  double hbm_gib = 80;
  double hbm_gbps = 3350;          ///< data-sheet peak, 10^9 bytes/s
  double hbm_read_fraction = 0.9;  ///< achievable share of the peak for reads
  double hbm_latency_ns = 560;     ///< loaded latency L0 of the bytes-in-flight law
  double hbm_ramp_exponent = 2.0;  ///< p of that law
  double l2_mib = 50;
  double l2_bytes_per_clk = 5000;  ///< read rate of the whole device
  double l2_latency_ns = 160;
  double l2_knee_mib = 50;          ///< C of the soft capacity law h(W) = 1/(1+(W/C)^q)
  double l2_knee_exponent = 10;     ///< q
  double l2_merge_fraction = 0.95;  ///< hit share when readers overlap in time (miss merging)
  // SM
  double sm_port_bytes_per_clk = 64;  ///< L2 to one SM
  double smem_kib_per_sm = 228;
  double smem_kib_per_cta = 227;
  double smem_bytes_per_clk = 128;
  double registers_per_sm = 65536;
  double warps_per_sm = 64;
  double ctas_per_sm = 32;
  double mma_flop_per_clk = 2540;     ///< 16-bit mma.sync, fp32 accumulate, per SM
  double wgmma_flop_per_clk = 4096;   ///< warp-group MMA or its successor (0: none), 16-bit
  double fp8_rate_factor = 2;         ///< tensor rate of fp8 over 16-bit (0: none)
  double fma_flop_per_clk = 256;      ///< fp32, per SM (an FMA counts 2)
  double ex2_per_clk = 16;            ///< exponentials per SM
  double fp8_convert_per_clk = 10.2;  ///< fp8 elements widened to 16 bits and scaled, per SM
  // Fixed costs
  double launch_stream_us = 2.5;  ///< start to start of dependent tiny kernels on a stream
  double launch_graph_us = 1.3;   ///< the same between nodes of a CUDA graph
  double launch_pdl_us = 0.6;     ///< with programmatic dependent launch
  double grid_sync_us = 1.2;      ///< cooperative grid barrier
  double cta_start_ns = 300;      ///< dispatch and prologue of a CTA until its first load
  double cta_end_ns = 200;        ///< epilogue of a CTA besides its writes
  double page_ns = 0;             ///< what a CTA's loads wait for at each new page of a paged KV cache
  double row_ns = 0;              ///< of a CTA for each query row it attends with (request x head, 128 + 128 columns)

  std::map<std::string, Provenance, std::less<>> provenance;  ///< by field name; every field has one
  /// By what most busy time of a plan is bound by (hbm, l2, compute, latency, fixed) or "all"; empty until plans have
  /// run on the device.
  std::map<std::string, MeasuredInterval, std::less<>> intervals;

  /// Cores of a host in the place of SMs: compute capability 1, which no GPU has that runs this.
  bool is_cpu() const { return compute_capability == 1; }
  double hbm_achievable_bytes_per_us() const { return hbm_gbps * hbm_read_fraction * 1e3; }
  double l2_bytes_per_us() const { return l2_bytes_per_clk * clock_ghz * 1e3; }
  double clocks_per_us() const { return clock_ghz * 1e3; }
  std::int64_t hbm_bytes() const { return static_cast<std::int64_t>(hbm_gib * 1024.0 * 1024.0 * 1024.0); }
  double least_launch_gap_us() const;  ///< the cheapest way to start the first kernel: launch_graph_us
};

struct DeviceField {
  std::string_view name;
  double DeviceSpec::*member;
  std::string_view unit;
  std::string_view meaning;
  double low, high;    ///< legal range, both ends included
  bool whole = false;  ///< only whole numbers make sense
};
const std::vector<DeviceField>& device_fields();

/// The built-in catalog, in a fixed order.
const std::vector<DeviceSpec>& device_catalog();

/// "h100-sxm", "my.json" (a name with ".json" or "/" is a file), either with ":field=value,field=value", which then is
/// part of the device's name. Throws Error (usage) for an unknown name or field (nearest suggested), Error (bad input)
/// for a value out of range or a bad file.
DeviceSpec find_device(std::string_view spec);

/// The same for a name that stands in a file, which may be anybody's: no file is read for it. `where` says which file
/// names it. Throws bad input when the name is a file's, or not in the catalog.
DeviceSpec find_named_device(std::string_view spec, const std::string& where);

/// device/1: every field as {"value", "origin", "source"} or a plain number (then assumed); with "base": "h100-sxm" the
/// fields left out are that device's.
DeviceSpec read_device(std::string_view text, const std::string& file);
std::string write_device(const DeviceSpec& device);
/// Of the name and every number; labels and sources don't count.
std::uint64_t device_hash(const DeviceSpec& device);

}  // namespace espalier::costmodel

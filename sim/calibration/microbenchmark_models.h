// What each microbenchmark should take on a device: one row a family with the numbers it identifies, its predicted time
// and the points worth measuring. The fit and the synthesizer both read this table, and the predictions are the
// simulator's own laws applied to simple patterns.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "costmodel/device_spec.h"
#include "costmodel/measurement_file.h"

namespace espalier::sim {

/// What microbenchmarks show of a device beyond the numbers that the simulator reads. Reported, not simulated.
struct BesideDevice {
  double stream_latency_ns =
      0;  ///< loaded latency of plain loads with a turnover of CTAs, against that of a resident ring
  double stream_exponent = 2;        ///< p of those
  double bulk_latency_ns = 0;        ///< of the ring filled by bulk copies (TMA)
  double idle_latency_ns = 0;        ///< of one load from memory, nobody else asking
  double write_gbps = 0;             ///< memory bandwidth of writes alone
  double turnaround_ns_per_kib = 0;  ///< what a KiB costs more where reads and writes mix half and half, times four
  double overlap = 0.9;              ///< of the pipes in a mixed loop (a kernel's `overlap`)
  double tile_efficiency = 1;        ///< share of the modelled rate at which the attention kernel takes its tiles
  double barrier_cycles = 15;        ///< of a CTA's barrier, besides its warps
  double named_barrier_cycles = 15;  ///< of a named one
  double phase_barrier_cycles = 40;  ///< of one in shared memory (mbarrier) at which every thread arrives
  double cluster_barrier_cycles = 180;
  double barrier_warp_cycles = 2;         ///< more for each warp that meets at a barrier that the hardware counts
  double phase_warp_cycles = 8;           ///< the same where threads arrive in shared memory
  double address_reductions_per_clk = 1;  ///< fp32 reductions into one address
  double reductions_per_clk = 0;          ///< into addresses enough, whole device
  double dispatch_by_room = 1;  ///< 1: CTAs go, in order, to the slot that is free first; 0: to an SM fixed beforehand
  double stream_overlap =
      1;                    ///< of kernels on two streams that need unlike units: 1: side by side, 0: one after another
  double merge_row_ns = 0;  ///< of a row's merge, whatever its parts
  double merge_part_ns = 0;  ///< more for each part
};

struct CalibrationSubject {
  costmodel::DeviceSpec device;
  BesideDevice beside;
};
/// The device with usual values beside it.
CalibrationSubject usual_subject(const costmodel::DeviceSpec& device);

/// A number that calibration may fit: a device field or one beside the device.
struct CalibrationParameter {
  std::string_view name, unit;
  double costmodel::DeviceSpec::*field = nullptr;
  double BesideDevice::*beside = nullptr;
  double low = 0, high = 0;
  bool is_rate = false;     ///< its inverse is what times are linear in
  bool logarithmic = true;  ///< false for shares that may be 0 or 1

  bool may_be_nothing() const { return low == 0 && logarithmic && !is_rate; }  ///< a cost that may not be there
  double get(const CalibrationSubject& subject) const {
    return field != nullptr ? subject.device.*field : subject.beside.*beside;
  }
  void set(CalibrationSubject& subject, double value) const {
    (field != nullptr ? subject.device.*field : subject.beside.*beside) = value;
  }
};
/// Throws InvariantError for a name that isn't in the table.
const CalibrationParameter& calibration_parameter(std::string_view name);

/// A point's parameters, in the order of the family's columns.
using BenchmarkPoint = std::span<const double>;

struct MicrobenchmarkModel {
  std::string_view id;
  std::vector<std::string_view> identifies;  ///< calibration parameters
  double (*predict_us)(BenchmarkPoint point, const CalibrationSubject& subject) = nullptr;
  bool (*usable)(BenchmarkPoint point, const costmodel::DeviceSpec& device) = nullptr;       ///< null: every point
  std::vector<std::vector<double>> (*sweep)(const costmodel::DeviceSpec& device) = nullptr;  ///< by point
};
/// One for every family, in the order of their numbers.
const std::vector<MicrobenchmarkModel>& microbenchmark_models();
/// Throws InvariantError for an id that is no family's.
const MicrobenchmarkModel& find_model(std::string_view id);

struct SynthesisOptions {
  double noise = 0.02;  ///< relative standard deviation of one repeat
  std::int32_t repeats = 9;
  std::uint64_t seed = 1;
};
/// What the microbenchmarks would have measured on the device if the models were right: medians of noisy repeats over
/// every family's sweep.
costmodel::MeasurementFile synthesize_measurement(const CalibrationSubject& truth, const SynthesisOptions& options);

}  // namespace espalier::sim

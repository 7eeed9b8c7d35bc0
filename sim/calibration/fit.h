// From microbenchmark times to a DeviceSpec: fits in stages, bootstrap intervals, and a verdict for every number.
//
// Hardware numbers are fitted from the benchmarks that show them and then frozen, so that later ones can't bend them.
// Costs that add up are solved by non-negative least squares, curves by Huber regression on log time. A number is
// called measured only when the points identify it; otherwise the base device's stays, with the reason.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "costmodel/device_spec.h"
#include "costmodel/measurement_file.h"

namespace espalier::sim {

struct CalibratedNumber {
  std::string name, unit;
  bool in_device = true;     ///< a field of the device; else beside it, reported only
  std::string family;        ///< "C12, C13"
  double base = 0;           ///< what the base device says; beside the device: the usual value
  double fitted = 0;         ///< the best value for the points, measured or not; the base where nothing was fitted
  double low = 0, high = 0;  ///< 95 % of bootstrap draws; equal when nothing was fitted
  std::string why_not;       ///< empty: measured

  bool measured() const { return why_not.empty(); }
};

struct FamilyResidual {
  std::string id;
  std::size_t points = 0, used = 0;
  double median = 0, worst = 0;  ///< |log(predicted / measured)| of the points used
  double spread = 0;             ///< median spread of their repeats
};

struct DeviceCalibration {
  costmodel::DeviceSpec device;
  std::vector<CalibratedNumber> numbers;
  std::vector<FamilyResidual> residuals;
};

struct CalibrationOptions {
  std::int32_t draws = 200;
  std::uint64_t seed = 1;
};

/// `files` are of one device (check_environments). Throws Error (bad input) when they hold no usable point, when what
/// the device reports of itself isn't the base's, or when the numbers found make no device.
DeviceCalibration calibrate_device(std::span<const costmodel::MeasurementFile> files, const costmodel::DeviceSpec& base,
                                   const CalibrationOptions& options);

/// Throws Error (bad input) naming what differs between the files, or between them and this build.
void check_environments(std::span<const costmodel::MeasurementFile> files, std::span<const std::string> names);
/// The device is that of the files' measurements: of the device, driver and kernel build that it was calibrated on, or
/// with the SMs and compute capability that they report. Throws Error (bad input) where it isn't.
void check_measured_on(const costmodel::DeviceSpec& device, std::span<const costmodel::MeasurementFile> files,
                       std::span<const std::string> names);

/// The catalog's device with the SMs, compute capability and memory that the device reported; throws Error (usage) when
/// none fits.
costmodel::DeviceSpec base_device(std::span<const costmodel::MeasurementFile> files);

}  // namespace espalier::sim

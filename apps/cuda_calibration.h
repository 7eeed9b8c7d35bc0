// Measures a GPU with the calibration probes. What launches and times them is handed in, so that all of it but the
// launching can be tried on a machine without one.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "costmodel/measurement_file.h"
#include "kernels/cuda_probes.h"

namespace espalier::apps {

using ProbeRunner = std::function<kernels::ProbeTimes(std::string_view family, const kernels::ProbePoint& point)>;

struct CudaCalibrationOptions {
  bool quick = false;  ///< leaves out what takes long or shows nothing that the simulator reads: C6, C14, C16-C18, C20,
                       ///< long loads
  double seconds = 0;  ///< families that would begin later are left out; 0: no limit
};

struct CudaCalibration {
  costmodel::MeasurementFile file;
  std::vector<std::string> left_out;  ///< and why
};

/// A family that fails (a launch that the device refuses) is left out with its reason, and so is what comes after it:
/// the device is lost.
CudaCalibration measure_device(const kernels::ProbeTarget& target, const ProbeRunner& run,
                               const CudaCalibrationOptions& options);

/// The device that the points are sized for: the catalog's that reports the same, else one made of what is reported.
costmodel::DeviceSpec nearest_device(const kernels::ProbeTarget& target);

/// Median and spread of the repeats as a further point of `family`.
void add_point(costmodel::MeasuredFamily& family, const std::vector<double>& parameters,
               const std::vector<double>& repeats_us);

}  // namespace espalier::apps

// Predicted against measured for plans that ran on a GPU: the same figures as on the host, and intervals for each
// regime.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apps/host_validation.h"
#include "costmodel/device_spec.h"
#include "costmodel/measurement_file.h"
#include "sim/simulator.h"

namespace espalier::apps {

struct MeasuredPoint {
  HostPoint times;
  sim::Bound regime = sim::Bound::fixed;  ///< what most busy time of the simulation is bound by
};

/// Split-conformal on log time: the interval is made of the plans of every second input and tried on the others.
struct RegimeInterval {
  std::string regime;  ///< or "all"
  std::size_t made_of = 0, tried = 0;
  double bias = 0;  ///< median log(predicted / measured) of those it is made of
  std::optional<double> interval =
      {};  ///< 90 % lie within this, in log time; nothing where too few plans are to be had
  std::optional<double> coverage = {};
};
/// Every regime that occurs, then all together.
std::vector<RegimeInterval> regime_intervals(const std::vector<MeasuredPoint>& points);

/// The device with the intervals of every regime that has one. Throws Error (bad input) when none has.
costmodel::DeviceSpec with_intervals(costmodel::DeviceSpec device, const std::vector<MeasuredPoint>& points);

/// Reads and simulates the plans of `file`, which stands at `path`. Throws Error (bad input) for a plan that isn't the
/// one that was measured.
std::vector<MeasuredPoint> simulate_measured(const costmodel::MeasurementFile& file, const std::string& path,
                                             const costmodel::DeviceSpec& device);

std::string render_measured(const std::vector<MeasuredPoint>& points, const std::string& device);
std::string write_measured(const std::vector<MeasuredPoint>& points, const std::string& device);

}  // namespace espalier::apps

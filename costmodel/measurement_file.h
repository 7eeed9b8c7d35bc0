// measurement/1: times of microbenchmarks on a device, as the program that ran them writes them and calibration reads
// them.
//
// A family is one kernel pattern swept over its parameters; its points are columns. The table here fixes what each
// parameter column is called and means, so that who measures and who fits agree; what a family's times should be is in
// sim/calibration.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "costmodel/device_spec.h"

namespace espalier::costmodel {

struct FamilyParameter {
  std::string_view name;
  std::string_view meaning;
  double low = 1, high = 1e18;  ///< that a microbenchmark can have
};

struct MicrobenchmarkFamily {
  std::string_view id;       ///< "C0" … "C21"
  std::string_view pattern;  ///< what the kernel does, and what the time is of
  std::vector<FamilyParameter> parameters;
};
/// In the order of their numbers.
const std::vector<MicrobenchmarkFamily>& microbenchmark_families();
/// Null when there is none of this id.
const MicrobenchmarkFamily* find_family(std::string_view id);

/// {"device", "driver", "kernels"}, none of them empty. Throws Error (bad input).
MeasurementEnvironment read_environment(const core::JsonView& view);
void write_environment(core::JsonWriter& writer, const MeasurementEnvironment& environment);

struct MeasuredFamily {
  std::string id;
  std::vector<std::vector<double>> parameters;  ///< by parameter of the family, then by point
  std::vector<std::int32_t> repeats;
  std::vector<double> median_us;
  std::vector<double> spread;  ///< of the repeats: interquartile range over median

  std::size_t points() const { return median_us.size(); }
};

/// A plan that ran on the device.
struct MeasuredPlan {
  std::string file;   ///< plan/1, from where the measurement stands
  std::string hash;   ///< of that plan when it ran
  std::string input;  ///< plans of one input are compared with each other
  std::string strategy;
  std::int32_t repeats = 1;
  double median_us = 0;
  double spread = 0;
};

struct MeasurementFile {
  MeasurementEnvironment environment;
  std::vector<std::string> method;                   ///< how times were taken: the cache before each, which kernels
  std::map<std::string, double, std::less<>> query;  ///< device fields that the device reports itself, by name
  std::vector<MeasuredFamily> families;              ///< each id at most once
  std::vector<MeasuredPlan> plans;
};

/// Strict: unknown ids, parameters and keys, columns of unlike length, times that aren't finite and above 0 are errors.
MeasurementFile read_measurement(std::string_view text, const std::string& file);
std::string write_measurement(const MeasurementFile& measurement);

/// Device fields that a device reports about itself.
bool is_reported(std::string_view field);

/// What differs between two environments, as "driver 570.1 and 575.2"; empty when nothing does.
std::string environment_difference(const MeasurementEnvironment& a, const MeasurementEnvironment& b);

/// Hash of the kernel catalog and of what was compiled for it that this program was built with: what
/// `environment.kernels` must equal unless the caller accepts strangers.
std::string kernel_build_hash();

}  // namespace espalier::costmodel

// Which measurements belong together, and to which device of the catalog.
#include <fmt/core.h>

#include <cmath>
#include <utility>

#include "core/error.h"
#include "sim/calibration/fit.h"

namespace espalier::sim {

using costmodel::DeviceSpec;
using costmodel::MeasurementFile;

void check_environments(std::span<const MeasurementFile> files, std::span<const std::string> names) {
  for (std::size_t i = 0; i < files.size(); ++i) {
    const std::string other = costmodel::environment_difference(files.front().environment, files[i].environment);
    if (!other.empty()) {
      throw core::bad_input(names[i] + ": environment",
                            fmt::format("that of {} (--force takes them together)", names[0]), other);
    }
    const std::string build = costmodel::kernel_build_hash();
    if (files[i].environment.kernels == build) continue;
    throw core::bad_input(names[i] + ": environment.kernels",
                          fmt::format("the kernel build of this program, {} (--force takes it)", build),
                          files[i].environment.kernels);
  }
}

void check_measured_on(const DeviceSpec& device, std::span<const MeasurementFile> files,
                       std::span<const std::string> names) {
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (device.calibrated) {
      const std::string other = costmodel::environment_difference(*device.calibrated, files[i].environment);
      if (other.empty()) continue;
      throw core::bad_input(names[i] + ": environment",
                            fmt::format("what {} was calibrated on (--force takes it)", device.name), other);
    }
    for (const auto& [name, value] :
         {std::pair("sms", device.sms), {"compute_capability", device.compute_capability}}) {
      const auto reported = files[i].query.find(name);
      if (reported == files[i].query.end() || reported->second == value) continue;
      throw core::bad_input(fmt::format("{}: query.{}", names[i], name),
                            fmt::format("{}, as {} has (--force takes it)", value, device.name),
                            fmt::format("{}", reported->second));
    }
  }
}

DeviceSpec base_device(std::span<const MeasurementFile> files) {
  for (const MeasurementFile& file : files) {
    const auto reported = [&](const char* field) {
      const auto found = file.query.find(field);
      return found == file.query.end() ? 0.0 : found->second;
    };
    if (reported("sms") == 0) continue;
    const DeviceSpec* nearest = nullptr;
    const auto distance = [&](const DeviceSpec& d) { return std::abs(d.hbm_gib - reported("hbm_gib")); };
    for (const DeviceSpec& device : costmodel::device_catalog()) {
      if (device.sms != reported("sms") || device.compute_capability != reported("compute_capability")) continue;
      if (nearest == nullptr || distance(device) < distance(*nearest)) nearest = &device;
    }
    if (nearest != nullptr) return *nearest;
  }
  throw core::usage_error(
      "no device of the catalog has the SMs and compute capability that these measurements report: name one with "
      "--base");
}

}  // namespace espalier::sim

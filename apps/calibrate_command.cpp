// espalier calibrate: a device from measurements, of this machine or from files, and measurements of a device on paper.

#include <fmt/core.h>

#include <cmath>

#include "apps/commands.h"
#include "apps/cuda_calibration.h"
#include "apps/host_calibration.h"
#include "apps/outputs.h"
#include "apps/terminal.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "sim/calibration/fit.h"
#include "sim/calibration/microbenchmark_models.h"

namespace espalier::apps {
namespace {

using costmodel::DeviceSpec;
using costmodel::MeasurementFile;

int run_host_calibration(const CalibrateCommand& command) {
  if (command.device != "host") {
    throw core::Error(core::ErrorKind::no_device,
                      fmt::format("--device {}: calibrate measures the host or cuda, the first GPU", command.device));
  }
  kernels::HostBench bench({});
  const costmodel::HostFit fit = calibrate_host(bench, command.repeats);
  core::write_file(command.output, costmodel::write_device(fit.device));
  if (command.output == "-") return 0;
  for (const std::string& line : fit.residuals) fmt::print("{}\n", line);
  std::size_t measured = 0;
  for (const auto& [name, from] : fit.device.provenance) measured += from.origin == costmodel::Origin::measured ? 1 : 0;
  fmt::print("{}: {} of {} parameters measured; `espalier list devices {}` says where each comes from\n",
             command.output, measured, fit.device.provenance.size(), command.output);
  return 0;
}

std::string significant(double value) { return fmt::format("{:.4g}", value); }
std::string percent(double log_error) { return fmt::format("{:.1f} %", 100 * std::expm1(log_error)); }

std::string render(const sim::DeviceCalibration& calibration) {
  std::string text;
  Table residuals({"family", "points", "used", "median miss", "worst", "repeats differ", "what it is"},
                  {Align::left, Align::right, Align::right, Align::right, Align::right, Align::right, Align::left});
  for (const sim::FamilyResidual& r : calibration.residuals) {
    const bool scored = r.used > 0;
    residuals.row({r.id, fmt::format("{}", r.points), fmt::format("{}", r.used), scored ? percent(r.median) : "",
                   scored ? percent(r.worst) : "", scored ? percent(r.spread) : "",
                   std::string(costmodel::find_family(r.id)->pattern)});
  }
  text += residuals.finish() + "\n";
  Table numbers({"number", "unit", "base", "fitted", "95 %", "says", "from, or why not"},
                {Align::left, Align::left, Align::right, Align::right, Align::right, Align::left, Align::left});
  for (const sim::CalibratedNumber& n : calibration.numbers) {
    const std::string origin =
        !n.in_device ? (n.measured() ? "beside" : "unknown")
                     : std::string(costmodel::origin_name(calibration.device.provenance.at(n.name).origin));
    numbers.row({n.name, n.unit, significant(n.base), n.measured() ? significant(n.fitted) : "-",
                 n.measured() ? significant(n.low) + " … " + significant(n.high) : "-", origin,
                 n.measured() ? n.family : n.why_not});
  }
  return text + numbers.finish();
}

int fit(const CalibrateCommand& command, const std::vector<MeasurementFile>& files) {
  const DeviceSpec base = command.base.empty() ? sim::base_device(files) : costmodel::find_device(command.base);
  const sim::DeviceCalibration calibration = sim::calibrate_device(files, base, {.seed = command.seed});
  const std::string text = costmodel::write_device(calibration.device);
  // Numbers that are legal alone may make no device together: the reader says so before anything is written.
  costmodel::read_device(text, "the device fitted");
  core::write_file(command.output, text);
  if (command.output == "-") return 0;
  fmt::print("{}", render(calibration));
  std::int64_t measured = 0, all = 0;
  for (const sim::CalibratedNumber& n : calibration.numbers) {
    all += n.in_device ? 1 : 0;
    measured += n.in_device && n.measured() ? 1 : 0;
  }
  fmt::print(
      "\n{}: {} of {} rates and costs measured, the rest as in {} but for what is taken as none; `espalier list "
      "devices {}` says where each comes from\n",
      command.output, measured, all, base.name, command.output);
  return 0;
}

int run_fit(const CalibrateCommand& command) {
  std::vector<MeasurementFile> files;
  for (const std::string& name : command.from) {
    files.push_back(costmodel::read_measurement(core::read_file(name), name));
  }
  if (!command.force) sim::check_environments(files, command.from);
  return fit(command, files);
}

/// Times first, and written at once: a fit that fails loses nothing.
int run_cuda_calibration(const CalibrateCommand& command) {
  if (command.json.empty()) throw core::usage_error("calibrate --device cuda: takes --json FILE for the times");
  kernels::CudaProbes probes;
  const auto run = [&](std::string_view, const kernels::ProbePoint& point) { return probes.microseconds(point); };
  fmt::print(stderr, "measuring {}, driver {}\n", probes.target().device, probes.target().driver);
  const CudaCalibration measured =
      measure_device(probes.target(), run, {.quick = command.quick, .seconds = command.seconds});
  core::write_file(command.json, costmodel::write_measurement(measured.file));
  for (const std::string& line : measured.left_out) fmt::print(stderr, "left out {}\n", line);
  return command.output == "-" ? 0 : fit(command, {measured.file});
}

int run_synthesis(const CalibrateCommand& command) {
  const DeviceSpec truth = costmodel::find_device(command.synthesize);
  const MeasurementFile file =
      sim::synthesize_measurement(sim::usual_subject(truth), {.noise = command.noise, .seed = command.seed});
  core::write_file(command.output, costmodel::write_measurement(file));
  return 0;
}

}  // namespace

int run_calibrate(const CalibrateCommand& command) {
  const int ways = !command.from.empty() + !command.synthesize.empty() + !command.device.empty();
  if (ways > 1) {
    throw core::usage_error(
        "calibrate takes one of --device host, --device cuda, --from FILE… and --synthesize DEVICE");
  }
  if (!command.base.empty() && command.from.empty()) throw core::usage_error("calibrate: --base goes with --from");
  const bool cuda = command.device == "cuda";
  if (!cuda && (!command.json.empty() || command.quick || command.seconds > 0)) {
    throw core::usage_error("calibrate: --json, --quick and --seconds go with --device cuda");
  }
  // Of a GPU, an output on stdout is none: the fit is left out.
  require_outputs({{"--json", command.json}, {"--out", cuda && command.output == "-" ? "" : command.output}});
  if (cuda) return run_cuda_calibration(command);
  if (!command.from.empty()) return run_fit(command);
  if (!command.synthesize.empty()) return run_synthesis(command);
  CalibrateCommand host = command;
  if (host.device.empty()) host.device = "host";
  return run_host_calibration(host);
}

}  // namespace espalier::apps

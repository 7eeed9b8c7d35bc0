// espalier validate: predicted against measured.

#include <fmt/core.h>

#include <optional>

#include "apps/commands.h"
#include "apps/host_calibration.h"
#include "apps/host_validation.h"
#include "apps/measured_plans.h"
#include "apps/outputs.h"
#include "apps/published.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "kernels/host_executor.h"
#include "sim/calibration/fit.h"

namespace espalier::apps {
namespace {

constexpr const char* kHostStrategies = "flash_decoding,cascade,deft_flatten,codec,fasttree,espalier";

int run_published(const ValidateCommand& command) {
  const PublishedFile file = read_published(core::read_file(command.published), command.published);
  const PublishedResult result = validate_published(file, command.jobs);
  if (!command.json.empty()) core::write_file(command.json, write_published(file, result));
  if (command.json != "-") fmt::print("{}", render_published(file, result));
  return 0;
}

int run_host_validation(const ValidateCommand& command) {
  HostValidationOptions options;
  options.heads = choose_heads(command.heads);
  options.strategies = choose_strategies(command.strategy.empty() ? kHostStrategies : command.strategy);
  options.repeats = command.repeats;
  const std::vector<Input> inputs = load_inputs(command.inputs);
  const std::string& device = command.devices.front();
  std::vector<std::string> left_out;
  std::optional<kernels::HostBench> bench;
  if (device == "host") {
    bench.emplace(kernels::HostBenchOptions{});
    const costmodel::HostFit fit = calibrate_host(*bench, command.repeats);
    options.device = fit.device;
    options.bench = &*bench;
    if (command.json != "-") {
      for (const std::string& line : fit.residuals) fmt::print("calibrated {}\n", line);
      fmt::print(
          "plans are made for that; each input is predicted for the machine as rounds in turns with its plans find "
          "it\n");
    }
  } else {
    options.device = costmodel::find_device(device);
    options.threads = static_cast<std::int32_t>(options.device.sms);
    if (options.threads > kernels::host_threads()) {
      throw core::bad_input("--device " + device,
                            fmt::format("host, or a file that calibrate wrote for the {} that may be used here",
                                        core::counted(kernels::host_threads(), "core")),
                            core::counted(options.threads, "core"));
    }
    const auto here = costmodel::host_calibrated_on(core::join(kernels::host_environment(), ", "));
    const auto there = options.device.calibrated.value_or(here);
    if (!command.force && there != here) {
      throw core::bad_input("--device " + device, "a file calibrated on this machine (--force takes it)",
                            costmodel::environment_difference(there, here));
    }
  }
  const std::vector<HostPoint> points = validate_host(inputs, options, left_out);
  if (points.empty()) {
    throw core::Error(core::ErrorKind::bad_input, left_out.empty() ? "validate: no input" : left_out.front());
  }
  const HostSummary summary = summarise(points);
  if (!command.json.empty()) core::write_file(command.json, write_host(points, summary, options.device));
  if (!command.svg.empty()) core::write_file(command.svg, scatter_svg(points));
  if (command.json == "-" || command.svg == "-") return 0;
  fmt::print("{}", render_host(points, summary));
  for (const std::string& line : left_out) fmt::print("  left out: {}\n", line);
  return 0;
}

int run_measured(const ValidateCommand& command) {
  if (command.devices.size() != 1) {
    throw core::usage_error("validate --from takes one --device: the calibrated one of these measurements");
  }
  const costmodel::DeviceSpec device = costmodel::find_device(command.devices.front());
  std::vector<costmodel::MeasurementFile> files;
  for (const std::string& name : command.from) {
    files.push_back(costmodel::read_measurement(core::read_file(name), name));
  }
  if (!command.force) {
    sim::check_environments(files, command.from);
    sim::check_measured_on(device, files, command.from);
  }
  std::vector<MeasuredPoint> points;
  for (std::size_t i = 0; i < files.size(); ++i) {
    const auto some = simulate_measured(files[i], command.from[i], device);
    points.insert(points.end(), some.begin(), some.end());
  }
  if (points.empty()) throw core::bad_input(command.from.front(), "plans that ran (key \"plans\")", "none");
  std::vector<HostPoint> times;
  for (const MeasuredPoint& p : points) times.push_back(p.times);
  if (!command.json.empty()) core::write_file(command.json, write_measured(points, device.name));
  if (!command.svg.empty()) core::write_file(command.svg, scatter_svg(times));
  if (!command.output.empty()) {
    core::write_file(command.output, costmodel::write_device(with_intervals(device, points)));
  }
  if (command.json != "-" && command.svg != "-" && command.output != "-") {
    fmt::print("{}", render_measured(points, device.name));
  }
  return 0;
}

}  // namespace

costmodel::HostFit calibrate_host(kernels::HostBench& bench, std::int32_t rounds) {
  fmt::print(stderr, "measuring this machine: bandwidth, task and launch costs, kernel throughput\n");
  bench.run(rounds);
  return costmodel::fit_host(bench.samples());
}

int run_validate(const ValidateCommand& command) {
  require_outputs({{"--json", command.json}, {"--svg", command.svg}, {"--out", command.output}});
  const bool of_files =
      !command.from.empty() || (command.published.empty() && command.devices != std::vector<std::string>{"host"});
  if (command.force && !of_files) {
    throw core::usage_error("validate: --force goes with --from, or with a device file of this machine");
  }
  if (!command.from.empty()) {
    if (!command.published.empty()) throw core::usage_error("validate takes --published or --from, not both");
    return run_measured(command);
  }
  if (command.published.empty() == command.devices.empty()) {
    throw core::usage_error(
        "validate takes --published FILE, --from FILE… with --device, or --device host (or a device file that "
        "calibrate wrote) with inputs");
  }
  if (command.devices.size() > 1) throw core::usage_error("validate takes one device");
  return command.published.empty() ? run_host_validation(command) : run_published(command);
}

}  // namespace espalier::apps

// espalier measure: many plans on this machine's GPU.

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "apps/commands.h"
#include "apps/measure.h"
#include "core/error.h"
#include "core/file.h"
#include "kernels/cuda_executor.h"
#include "kernels/cuda_probes.h"
#include "kernels/row_error.h"

namespace espalier::apps {
namespace {

/// What the driver and the flushing of L2 leave of a card's memory.
constexpr double kMemoryShare = 0.96;
constexpr double kMostChecked = 2e11;  ///< multiply-adds of the oracle

constexpr std::int32_t kComparedRequests = 64;  ///< whose rows strategies are compared by

/// Of the input that was asked for last: the strategies of a check come one after another.
class Oracle {
 public:
  const kernels::AttentionOutput& of(const scheduler::Plan& plan, const kernels::TensorSource& source) {
    if (forest_.name != plan.forest.name || forest_.tokens != plan.forest.tokens || heads_ != plan.heads) {
      rows_ = kernels::naive_attention(plan.forest, plan.heads, source);
      forest_ = plan.forest;
      heads_ = plan.heads;
    }
    return rows_;
  }

 private:
  traces::PrefixForest forest_;
  traces::HeadConfig heads_;
  kernels::AttentionOutput rows_;
};

/// What the plans of a command share.
struct Bench {
  kernels::CudaRunner runner;
  Oracle oracle;
};

PlanTimes run_plan_on_cuda(Bench& bench, const scheduler::Plan& plan, const MeasureCommand& command) {
  const kernels::TensorSource source{1};
  kernels::CudaOptions options;
  options.row_dtype = command.fp32_rows ? traces::Dtype::fp32 : plan.heads.q_dtype;
  options.repeats = command.check ? 3 : std::max(command.repeats, 20);
  options.source = command.check ? &source : nullptr;
  options.path = kernels::kernel_path_of(command.kernel_path);
  if (command.check && kernels::interpret_cost(plan) > kMostChecked) {
    throw core::Error(core::ErrorKind::check_failed, "too large for the oracle");
  }
  const kernels::CudaRun run = bench.runner.run(plan, options);
  PlanTimes times{.repeats_us = run.measurement.repeats_us, .path = run.path};
  const double limit = kernels::row_tolerance(plan, options.row_dtype);
  if (command.check) {
    times.error = kernels::row_error(run.output, bench.oracle.of(plan, source)).worst / limit;
  } else {
    times.rows = some_rows(run.output, kComparedRequests);
    times.row_limit = limit;
  }
  return times;
}

/// The folder's files, of as many rows as there are.
void write_folder(const MeasureCommand& command, const kernels::ProbeTarget& target,
                  const std::vector<MeasureRow>& rows) {
  core::write_file(command.folder + "/results.csv", measure_csv(rows));
  core::write_file(command.folder + "/results.md", measure_markdown(rows));
  if (command.dry_run || command.check) return;
  costmodel::MeasurementFile file;
  file.environment = {target.device, target.driver, costmodel::kernel_build_hash()};
  file.query = target.query;
  file.method = {target.method.empty() ? std::string() : target.method.front(), "kernel path " + command.kernel_path};
  file.plans = measured_plans(rows);
  core::write_file(command.folder + "/measurement.json", costmodel::write_measurement(file));
}

int count(const std::vector<MeasureRow>& rows, MeasureStatus status) {
  return static_cast<int>(
      std::count_if(rows.begin(), rows.end(), [&](const MeasureRow& r) { return r.status == status; }));
}

/// Makes the folder, if it isn't there.
void open_folder(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw core::bad_input(folder, "a folder, or a name for one", error.message());
  core::require_writable(folder + "/results.csv");
}

}  // namespace

int run_measure(const MeasureCommand& command) {
  MeasureOptions options;
  options.plans.heads = choose_heads(command.heads);
  options.plans.strategies = choose_strategies(command.strategy);
  options.plans.strategy_text = command.strategy;
  options.plans.devices = choose_devices(command.devices);
  options.plans.jobs = command.jobs;
  options.seconds = command.seconds;
  if (options.plans.devices.size() != 1) {
    throw core::usage_error("measure takes one device: the one that plans are made for");
  }
  options.memory_bytes = static_cast<std::int64_t>(options.plans.devices.front().hbm_gib * 1073741824.0 * kMemoryShare);
  (void)kernels::kernel_path_of(command.kernel_path);
  options.begin = command.begin;
  kernels::ProbeTarget target;
  std::optional<Bench> bench;
  if (!command.dry_run) {
    target = kernels::cuda_target();
    bench.emplace();
  }
  const std::vector<Input> inputs = load_inputs(command.inputs);
  open_folder(command.folder);
  if (!command.dry_run && !command.check) options.plan_folder = command.folder;
  options.keep = [&](const std::vector<MeasureRow>& rows) { write_folder(command, target, rows); };
  PlanRunner run;
  if (!command.dry_run) run = [&](const scheduler::Plan& plan) { return run_plan_on_cuda(*bench, plan, command); };
  const std::vector<MeasureRow> rows = measure_plans(inputs, options, run);
  write_folder(command, target, rows);
  fmt::print("{}: {} timed, {} planned only, {} refused, {} n/a: memory, {} wrong, {} failed, {} out of time\n",
             command.folder, count(rows, MeasureStatus::ok), count(rows, MeasureStatus::planned),
             count(rows, MeasureStatus::refused), count(rows, MeasureStatus::memory), count(rows, MeasureStatus::wrong),
             count(rows, MeasureStatus::failed), count(rows, MeasureStatus::skipped));
  for (const MeasureRow& row : rows) {
    if (row.status == MeasureStatus::wrong) {
      fmt::print("  wrong: {} {} {}: error {:.2g} times what rounding explains{}\n", row.input, row.heads, row.strategy,
                 row.error.value_or(NAN), row.note.empty() ? "" : "; " + row.note);
    }
    if (row.status == MeasureStatus::failed) {
      fmt::print("  failed: {} {} {}: {}\n", row.input, row.heads, row.strategy, row.note);
    }
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].status != MeasureStatus::lost) continue;
    throw core::Error(core::ErrorKind::check_failed,
                      fmt::format("measure: {} {} {}: {}; the rest can be run with --begin {}", rows[i].input,
                                  rows[i].heads, rows[i].strategy, rows[i].note, command.begin + i + 1));
  }
  return count(rows, MeasureStatus::wrong) + count(rows, MeasureStatus::failed) > 0 ? 1 : 0;
}

}  // namespace espalier::apps

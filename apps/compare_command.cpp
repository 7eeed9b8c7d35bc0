// espalier compare: strategies x inputs x devices → ranked tables, verdicts, report.json, report.html, a Perfetto trace
// of any row.

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "apps/commands.h"
#include "apps/cost_models.h"
#include "apps/cost_study.h"
#include "apps/html_report.h"
#include "apps/outputs.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"

namespace espalier::apps {
namespace {

/// The row that --perfetto-row names (strategy[@device[@input[@snapshot]]]), else the fastest of the first input.
const ReportRow& pick_row(const std::vector<ReportRow>& rows, const std::string& pick) {
  const std::vector<std::string> want = core::split(pick, '@');
  const ReportRow* best = nullptr;
  for (const ReportRow& row : rows) {
    if (row.status != RowStatus::ok) continue;
    if (!pick.empty()) {
      const bool named = row.strategy == want[0] && (want.size() < 2 || row.device == want[1]) &&
                         (want.size() < 3 || row.input == want[2]) &&
                         (want.size() < 4 || std::to_string(row.snapshot) == want[3]);
      if (named) return row;
    } else if (row.input == rows.front().input && row.snapshot == rows.front().snapshot &&
               row.device == rows.front().device && (best == nullptr || *row.time_us < *best->time_us)) {
      best = &row;
    }
  }
  if (best != nullptr) return *best;
  throw core::usage_error(pick.empty() ? std::string("--perfetto: no row was simulated")
                                       : fmt::format("--perfetto-row: no simulated row '{}'", pick));
}

void write_perfetto(const CompareCommand& command, const std::vector<Input>& inputs, const std::vector<ReportRow>& rows,
                    const CompareOptions& options) {
  const ReportRow& row = pick_row(rows, command.perfetto_row);
  const costmodel::DeviceSpec& device =
      *std::find_if(options.devices.begin(), options.devices.end(),
                    [&](const costmodel::DeviceSpec& d) { return d.name == row.device; });
  const scheduler::Plan plan = plan_again(row, inputs, options);
  sim::SimOptions sim_options;
  sim_options.timeline = true;
  const sim::SimResult sim = sim::simulate(plan, device, sim_options);
  core::write_file(command.perfetto, scheduler::write_trace_events(sim.timeline, plan));
  fmt::print(stderr, "wrote the trace of {} on {}, {} snapshot {}, to {}\n", row.strategy, row.device, row.input,
             row.snapshot, command.perfetto);
}

int run_study(const CompareCommand& command, const CompareOptions& options) {
  if (command.study != "cost-models") {
    throw core::usage_error(core::unknown_name("study", command.study, {"cost-models"}));
  }
  for (const auto& [option, value] : {std::pair("--baseline", command.baseline),
                                      std::pair("--perfetto", command.perfetto), std::pair("--html", command.html)}) {
    if (!value.empty()) {
      throw core::usage_error(fmt::format("--study: {} belongs to a comparison without --study", option));
    }
  }
  const CostStudy study = study_cost_models(load_inputs(command.inputs), options);
  if (!command.json.empty()) core::write_file(command.json, write_study(study, command.command_line));
  if (command.json != "-") fmt::print("{}", render_study(study, options));
  return 0;
}

}  // namespace

int run_compare(const CompareCommand& command) {
  require_outputs({{"--json", command.json}, {"--html", command.html}, {"--perfetto", command.perfetto}});
  CompareOptions options;
  options.heads = choose_heads(command.heads);
  options.devices = choose_devices(command.devices);
  options.strategies = choose_strategies(command.strategy);
  options.strategy_text = command.strategy;
  options.kernels = choose_kernels(command.kernels);
  if (!command.cost_model.empty()) {
    options.cost_models = choose_cost_models(command.cost_model);
  } else if (!command.study.empty()) {
    options.cost_models = choose_cost_models("all");
  }
  if (command.study.empty()) require_consumers(options);
  options.seed = command.inputs.seed;
  options.timing = command.timing;
  options.intervals = command.intervals;
  options.jobs = command.jobs;
  if (!command.perfetto_row.empty() && command.perfetto.empty()) {
    throw core::usage_error("--perfetto-row: give --perfetto FILE too");
  }
  if (!command.study.empty()) return run_study(command, options);
  const std::string baseline = command.baseline.empty() ? std::string() : core::read_file(command.baseline);
  const std::vector<Input> inputs = load_inputs(command.inputs);
  const std::vector<ReportRow> rows = compare(inputs, options);

  // Everything that can still fail comes before anything is written.
  const std::string changes = baseline.empty() ? std::string() : describe_changes(rows, baseline, command.baseline);
  if (!command.perfetto.empty()) (void)pick_row(rows, command.perfetto_row);
  const std::string page = command.html.empty()
                               ? std::string()
                               : write_html(inputs, rows, options, command.command_line + " --html report.html");
  if (!command.json.empty()) core::write_file(command.json, write_report(rows, options, command.command_line));
  if (!command.html.empty()) core::write_file(command.html, page);
  if (!command.perfetto.empty()) write_perfetto(command, inputs, rows, options);
  if (command.json != "-" && command.perfetto != "-" && command.html != "-") {
    fmt::print("{}{}{}", render(rows, options, command.rows), render_overall(rows, options), changes);
  }
  const auto invalid =
      std::find_if(rows.begin(), rows.end(), [](const ReportRow& r) { return r.status == RowStatus::invalid; });
  if (invalid != rows.end()) {
    throw core::Error(core::ErrorKind::check_failed,
                      fmt::format("{} made an invalid plan for {} snapshot {}: {}", invalid->strategy, invalid->input,
                                  invalid->snapshot, invalid->why));
  }
  std::map<std::tuple<std::string, std::int64_t, std::string>, bool> served;
  for (const ReportRow& row : rows) served[{row.input, row.snapshot, row.device}] |= row.status == RowStatus::ok;
  for (const auto& [key, any] : served) {
    if (any) continue;
    throw core::Error(core::ErrorKind::check_failed, fmt::format("every strategy refused {} snapshot {} on {}",
                                                                 std::get<0>(key), std::get<1>(key), std::get<2>(key)));
  }
  return 0;
}

}  // namespace espalier::apps

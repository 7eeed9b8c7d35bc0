// espalier export: a plan or a forest as a picture, a table, a trace or a graph.

#include <fmt/core.h>

#include <algorithm>

#include "apps/plan_files.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "scheduler/plan_graph.h"
#include "traces/import.h"
#include "viz/model/tables.h"
#include "viz/picture/pictures.h"
#include "viz/scene/svg.h"

namespace espalier::apps {
namespace {

std::optional<viz::Theme> choose_theme(const std::string& name) {
  if (name == "light") return viz::Theme::light;
  if (name == "dark") return viz::Theme::dark;
  if (name != "auto") throw core::usage_error(core::unknown_name("theme", name, {"auto", "light", "dark"}));
  return std::nullopt;
}

/// Our documents name their schema first; the rest is read as forest snapshots, which need none.
bool is_plan(std::string_view text) {
  constexpr std::size_t kHead = 200;
  return text.substr(0, kHead).find("\"plan/") != std::string_view::npos;
}

traces::PrefixForest read_one_forest(std::string_view text, const ExportCommand& command) {
  std::vector<traces::PrefixForest> forests = traces::read_forests(text, command.file.plan, command.snapshot);
  if (forests.size() != 1) {
    throw core::usage_error(fmt::format("export takes one forest, {} holds {}: pick one with --snapshot", command.file.plan, forests.size()));
  }
  if (forests.front().request_count() == 0) throw core::bad_input(command.file.plan, "at least one request", "none");
  return std::move(forests.front());
}

std::string export_forest(std::string_view text, const ExportCommand& command) {
  if (command.format != "svg" && command.format != "csv") {
    throw core::bad_input(command.file.plan, fmt::format("a plan/1 document, as {} draws plans", command.format), "another file");
  }
  const traces::PrefixForest forest = read_one_forest(text, command);
  const traces::HeadConfig heads = choose_heads(command.heads).heads;
  if (command.format == "svg") return viz::svg_document(viz::forest_document(forest, heads), choose_theme(command.theme));
  if (command.table == "requests") return viz::write_csv(viz::request_table(forest, nullptr, nullptr));
  if (command.table.empty() || command.table == "nodes") return viz::write_csv(viz::node_table(forest, heads.kv_bytes_per_token(), nullptr));
  throw core::usage_error(core::unknown_name("table of a forest", command.table, {"nodes", "requests"}));
}

std::string export_table(const scheduler::Plan& plan, const sim::SimResult& result, const std::string& table) {
  if (table.empty() || table == "tasks") return viz::write_csv(viz::task_table(plan, result));
  if (table == "nodes") return viz::write_csv(viz::node_table(plan.forest, plan.heads.kv_bytes_per_token(), &plan));
  if (table == "requests") return viz::write_csv(viz::request_table(plan.forest, &plan, &result));
  throw core::usage_error(core::unknown_name("table", table, {"tasks", "nodes", "requests"}));
}

std::string export_plan(const scheduler::Plan& plan, const ExportCommand& command) {
  const costmodel::DeviceSpec device = device_for(command.file, plan);
  require_valid(plan, device);
  if (command.format == "dot") return scheduler::graphviz(plan);
  sim::SimOptions options;
  options.timeline = true;
  if (command.format == "svg") return viz::svg_document(viz::plan_document(plan, device, sim::explain(plan, device, options)), choose_theme(command.theme));
  const sim::SimResult result = sim::simulate(plan, device, options);
  return command.format == "csv" ? export_table(plan, result, command.table) : scheduler::write_trace_events(result.timeline, plan);
}

}  // namespace

int run_export(const ExportCommand& command) {
  const std::vector<std::string> formats = {"svg", "csv", "perfetto", "dot"};
  if (std::find(formats.begin(), formats.end(), command.format) == formats.end()) {
    throw core::usage_error(core::unknown_name("export format", command.format, formats));
  }
  (void)choose_theme(command.theme);
  if (!command.table.empty() && command.format != "csv") throw core::usage_error("--table belongs to export csv");
  const std::string text = core::read_file(command.file.plan);
  core::write_file(command.output, is_plan(text) ? export_plan(scheduler::read_plan(text, command.file.plan), command) : export_forest(text, command));
  return 0;
}

}  // namespace espalier::apps

// espalier export: a plan or a forest as a picture, a page, a table, a trace or a graph.

#include <fmt/core.h>

#include <algorithm>

#include "apps/exports.h"
#include "apps/plan_files.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "traces/import.h"

namespace espalier::apps {
namespace {

/// Our documents name their schema first; the rest is read as forest snapshots, which need none.
bool is_plan(std::string_view text) {
  constexpr std::size_t kHead = 200;
  return text.substr(0, kHead).find("\"plan/") != std::string_view::npos;
}

traces::PrefixForest read_one_forest(std::string_view text, const ExportCommand& command) {
  std::vector<traces::PrefixForest> forests = traces::read_forests(text, command.file.plan, command.snapshot);
  if (forests.size() != 1) {
    throw core::usage_error(fmt::format("export takes one forest, {} holds {}: pick one with --snapshot",
                                        command.file.plan, forests.size()));
  }
  if (forests.front().request_count() == 0) throw core::bad_input(command.file.plan, "at least one request", "none");
  return std::move(forests.front());
}

/// Each on its own device: that of its file, or the one or two given.
std::string written_pair(const std::string& text, const ExportCommand& command) {
  const scheduler::Plan a = scheduler::read_plan(text, command.file.plan), b = load_plan(command.beside);
  const std::vector<std::string>& devices = command.file.devices;
  if (devices.size() > 2) throw core::usage_error("--device: expected one, or one for each plan");
  const auto device_of = [&](const scheduler::Plan& plan, const std::string& file, const std::string* given) {
    return given != nullptr ? costmodel::find_device(*given)
                            : costmodel::find_named_device(plan.provenance.device, file);
  };
  const costmodel::DeviceSpec on_a = device_of(a, command.file.plan, devices.empty() ? nullptr : &devices.front());
  const costmodel::DeviceSpec on_b = device_of(b, command.beside, devices.empty() ? nullptr : &devices.back());
  require_valid(a, on_a);
  require_valid(b, on_b);
  return export_pair({a, on_a}, {b, on_b}, command.format);
}

std::string written(const std::string& text, const ExportCommand& command) {
  if (!command.beside.empty()) return written_pair(text, command);
  const ExportOptions options{command.format, command.table, command.theme, command.scale, command.font};
  if (is_plan(text)) {
    const scheduler::Plan plan = scheduler::read_plan(text, command.file.plan);
    const costmodel::DeviceSpec device = device_for(command.file, plan);
    require_valid(plan, device);
    return export_plan(plan, device, options);
  }
  if (command.format != "svg" && command.format != "png" && command.format != "csv") {
    throw core::bad_input(command.file.plan, fmt::format("a plan/1 document, as {} draws plans", command.format),
                          "another file");
  }
  const traces::PrefixForest forest = read_one_forest(text, command);
  return export_forest(forest, choose_heads(command.heads).heads, options);
}

}  // namespace

int run_export(const ExportCommand& command) {
  const std::vector<std::string>& formats = export_formats();
  if (std::find(formats.begin(), formats.end(), command.format) == formats.end()) {
    throw core::usage_error(core::unknown_name("export format", command.format, formats));
  }
  check_theme(command.theme);
  if (!command.table.empty() && command.format != "csv") throw core::usage_error("--table belongs to export csv");
  core::write_file(command.output, written(core::read_file(command.file.plan), command));
  return 0;
}

}  // namespace espalier::apps

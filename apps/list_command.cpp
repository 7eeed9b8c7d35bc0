// espalier list: what the program knows.

#include <fmt/core.h>

#include "apps/commands.h"
#include "apps/terminal.h"
#include "core/error.h"
#include "core/text.h"
#include "costmodel/cost_model.h"
#include "costmodel/kernel_config.h"
#include "traces/families.h"
#include "traces/suites.h"

namespace espalier::apps {
namespace {

void show_strategy(const scheduler::StrategyInfo& info) {
  fmt::print("{}\n    {}\n    source: {}\n    limits: {}\n", info.name, info.summary, info.source, info.needs);
  if (info.uses_cost_model) {
    fmt::print("    cost model: {}, or any other\n", info.own_cost_model.empty() ? "none" : info.own_cost_model);
  }
  for (const scheduler::StrategyOption& o : scheduler::all_options(info)) {
    fmt::print("    option {} = {} ({} to {}): {}\n", o.name, o.fallback, o.low, o.high, o.meaning);
  }
}

void list_strategies(const std::string& only) {
  if (!only.empty()) return show_strategy(scheduler::find_strategy(only).info());
  for (const scheduler::Strategy* strategy : scheduler::strategies()) show_strategy(strategy->info());
}

void list_cost_models() {
  Table table({"cost model", "unit", "a task costs", "source"}, {Align::left, Align::left, Align::left, Align::left});
  for (const costmodel::CostModelInfo& m : costmodel::cost_models()) {
    table.row({std::string(m.name), m.relative ? "own" : "us", std::string(m.formula), std::string(m.source)});
  }
  fmt::print(
      "{}Units of their own are scaled to us by one calibration point; `--cost-model table` makes its table with the "
      "simulator.\n",
      table.finish());
}

void list_devices() {
  Table table({"device", "SMs", "clock GHz", "HBM GB/s", "read share", "HBM GiB", "L2 MiB", "L2 TB/s", "label"},
              {Align::left, Align::right, Align::right, Align::right, Align::right, Align::right, Align::right,
               Align::right, Align::left});
  for (const costmodel::DeviceSpec& d : costmodel::device_catalog()) {
    table.row({d.name, fmt::format("{:.0f}", d.sms), fmt::format("{:.2f}", d.clock_ghz),
               fmt::format("{:.0f}", d.hbm_gbps), fmt::format("{:.2f}", d.hbm_read_fraction),
               fmt::format("{:.0f}", d.hbm_gib), fmt::format("{:.0f}", d.l2_mib),
               fmt::format("{:.1f}", d.l2_bytes_per_us() / 1e6), d.label});
  }
  fmt::print("{}`espalier list devices NAME` prints every number with its source.\n", table.finish());
}

void show_device(const std::string& name) {
  const costmodel::DeviceSpec device = costmodel::find_device(name);
  Table table({"field", "value", "unit", "origin", "meaning", "source"},
              {Align::left, Align::right, Align::left, Align::left, Align::left, Align::left});
  for (const costmodel::DeviceField& field : costmodel::device_fields()) {
    const auto it = device.provenance.find(field.name);
    const costmodel::Provenance none;
    const costmodel::Provenance& p = it == device.provenance.end() ? none : it->second;
    table.row({std::string(field.name), fmt::format("{:g}", device.*field.member), std::string(field.unit),
               std::string(costmodel::origin_name(p.origin)), std::string(field.meaning), p.source});
  }
  fmt::print("{}: {}\n{}", device.name, device.label, table.finish());
}

void list_kernels() {
  Table table(
      {"kernel", "role", "engine", "rows", "tokens", "heads", "stages", "warps", "registers", "built", "origin"},
      {Align::left, Align::left, Align::left, Align::right, Align::right, Align::left, Align::right, Align::right,
       Align::right, Align::left, Align::left});
  for (const costmodel::KernelConfig& k : costmodel::kernel_catalog()) {
    table.row({k.name, std::string(costmodel::role_name(k.role)), std::string(costmodel::engine_name(k.engine)),
               std::to_string(k.query_tile), std::to_string(k.kv_tile), k.packs_heads ? "packed" : "single",
               std::to_string(k.stages), std::to_string(k.warps), std::to_string(k.registers),
               k.implemented ? "yes" : "no", k.origin});
  }
  fmt::print("{}", table.finish());
}

void list_families() {
  for (const traces::Family& family : traces::families()) {
    fmt::print("{}\n    {}\n", family.name, family.summary);
    for (const traces::FamilyOption& o : family.options) {
      std::string range = fmt::format("{:g} to {:g}", o.low, o.high);
      for (const auto& choice : o.choices) range += fmt::format(", {}", choice);
      fmt::print("    {} = {:g} ({}): {}\n", o.name, o.fallback, range, o.meaning);
    }
  }
}

void list_suite(const traces::Suite& suite) {
  fmt::print("{}: {}\n", suite.name, suite.summary);
  Table table({"input", "nodes", "requests", "unique tokens", "dedupe", "what"},
              {Align::left, Align::right, Align::right, Align::right, Align::right, Align::left});
  for (const traces::SuiteItem& item : suite.items) {
    const traces::PrefixForest forest = traces::make_item(suite, item);
    const std::int64_t unique = traces::unique_tokens(forest);
    table.row({forest.name, std::to_string(forest.node_count()), std::to_string(forest.request_count()),
               std::to_string(unique),
               fmt::format("{:.2f}", static_cast<double>(traces::logical_tokens(forest)) / static_cast<double>(unique)),
               item.spec});
  }
  fmt::print("{}", table.finish());
}

void list_suites(const std::string& only) {
  std::vector<std::string> names;
  bool found = only.empty();
  for (const traces::Suite& suite : traces::suites()) {
    names.push_back(suite.name);
    if (!only.empty() && suite.name != only) continue;
    found = true;
    list_suite(suite);
  }
  if (!found) throw core::usage_error(core::unknown_name("suite", only, names));
}

void list_heads() {
  Table table({"model", "layers", "heads", "KV bytes a token", "note"},
              {Align::left, Align::right, Align::left, Align::right, Align::left});
  for (const traces::Model& m : traces::models()) {
    const std::int64_t bytes = traces::parse_heads(m.heads).kv_bytes_per_token() * m.layers;
    table.row({std::string(m.name), std::to_string(m.layers), std::string(m.heads), core::bytes_text(bytes),
               std::string(m.note)});
  }
  fmt::print("{}Layers are those with full attention; any heads can be given as --heads q/kv/dim.\n", table.finish());
}

}  // namespace

int run_list(const ListCommand& command) {
  const bool takes_name = command.what == "strategies" || command.what == "devices" || command.what == "suites";
  if (!takes_name && !command.name.empty()) {
    throw core::usage_error(fmt::format("list {}: takes no name, got '{}'", command.what, command.name));
  }
  if (command.what == "strategies") {
    list_strategies(command.name);
  } else if (command.what == "cost-models") {
    list_cost_models();
  } else if (command.what == "devices") {
    if (command.name.empty()) {
      list_devices();
    } else {
      show_device(command.name);
    }
  } else if (command.what == "kernels") {
    list_kernels();
  } else if (command.what == "families") {
    list_families();
  } else if (command.what == "suites") {
    list_suites(command.name);
  } else if (command.what == "heads") {
    list_heads();
  } else {
    throw core::usage_error(core::unknown_name(
        "list", command.what, {"strategies", "cost-models", "devices", "kernels", "families", "suites", "heads"}));
  }
  return 0;
}

}  // namespace espalier::apps

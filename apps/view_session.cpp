#include "apps/view_session.h"

#include <fmt/format.h>

#include <algorithm>

#include "apps/host_calibration.h"
#include "apps/plan_files.h"
#include "apps/view_files.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "traces/families.h"
#include "viz/explore/look_text.h"

namespace espalier::apps {
namespace {

using viz::Session;

bool names_inputs(const InputOptions& o) {
  return !(o.forests.empty() && o.traces.empty() && o.trees.empty() && o.families.empty() && o.suites.empty() &&
           o.block_tables.empty());
}

/// Nothing but one family: its options stay changeable.
bool names_one_family(const InputOptions& o) {
  InputOptions others = o;
  others.families.clear();
  return o.families.size() == 1 && !names_inputs(others) && o.page_size.value_or(1) == 1;
}

void choose_family(viz::Settings& settings, const std::string& spec, std::uint64_t seed) {
  (void)traces::generate_family(spec, seed);  // says what is wrong with it
  const std::size_t colon = spec.find(':');
  viz::apply(settings, {viz::Knob::family, viz::SideId::a, spec.substr(0, colon), 0}, {});
  if (colon == std::string::npos) return;
  for (const std::string& option : core::split(spec.substr(colon + 1), ',')) {
    const std::size_t equals = option.find('=');
    const auto& families = traces::families();
    const auto family =
        std::find_if(families.begin(), families.end(), [&](const auto& f) { return f.name == settings.family; });
    const std::string name = option.substr(0, equals), text = option.substr(equals + 1);
    const auto known =
        std::find_if(family->options.begin(), family->options.end(), [&](const auto& o) { return o.name == name; });
    const auto choice = std::find(known->choices.begin(), known->choices.end(), text);
    const double value = choice != known->choices.end()
                             ? known->low + static_cast<double>(choice - known->choices.begin())
                             : core::parse_number(text).value_or(0);
    viz::apply(settings, {viz::Knob::family_option, viz::SideId::a, name, value}, {});
  }
}

/// Nothing but one trace, whose replay can be walked through.
bool names_one_trace(const InputOptions& o) {
  InputOptions others = o;
  others.traces.clear();
  return o.traces.size() == 1 && !names_inputs(others);
}

/// The options again that name inputs; empty where they can't be read twice.
std::string source_of(const InputOptions& o) {
  for (const std::vector<std::string>* files : {&o.forests, &o.block_tables, &o.traces}) {
    if (std::find(files->begin(), files->end(), "-") != files->end()) return "";
  }
  std::string source;
  const auto add = [&](const char* option, const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      source += fmt::format("{}--{} {}", source.empty() ? "" : " ", option, core::shell_quoted(name));
    }
  };
  add("forest", o.forests);
  add("tree", o.trees);
  add("suite", o.suites);
  add("block-table", o.block_tables);
  add("family", o.families);
  add("trace", o.traces);
  if (!o.traces.empty()) {
    source += fmt::format(" --running {} --order {}", o.replay.running, o.order);
    if (o.replay.instances != 1) source += fmt::format(" --instances {} --routing {}", o.replay.instances, o.routing);
    if (o.replay.sort_window != traces::ReplayOptions{}.sort_window) {
      source += fmt::format(" --sort-window {}", o.replay.sort_window);
    }
  }
  if (o.snapshot) source += fmt::format(" --snapshot {}", *o.snapshot);
  if (o.page_size) source += fmt::format(" --page-size {}", *o.page_size);
  return source;
}

/// Files that are read again when they change; none where one of the inputs can't be.
std::vector<std::string> files_of(const InputOptions& o) {
  std::vector<std::string> files;
  for (const std::vector<std::string>* named : {&o.forests, &o.block_tables, &o.traces}) {
    files.insert(files.end(), named->begin(), named->end());
  }
  if (std::find(files.begin(), files.end(), "-") != files.end()) files.clear();
  return files;
}

costmodel::DeviceSpec measured_host() {
  constexpr std::int32_t kRounds = 5;
  kernels::HostBench bench({});
  return calibrate_host(bench, kRounds).device;
}

/// A device of the catalog, of a file, or "host", which is measured now unless it was before; and what was changed of
/// it.
void choose_device(viz::Side& side, viz::Given& given, const std::string& spec) {
  const std::string base = spec.substr(0, spec.find(':'));
  const auto measured = std::find_if(given.devices.begin(), given.devices.end(), [&](const auto& d) {
    return spec == "host" && given.device_specs[d.name] == spec;
  });
  side.device_fields.clear();
  if (measured != given.devices.end()) {
    side.device = measured->name;
    return;
  }
  const costmodel::DeviceSpec whole = spec == "host" ? measured_host() : costmodel::find_device(spec);
  const costmodel::DeviceSpec plain = spec == "host" ? whole : costmodel::find_device(base);
  side.device = plain.name;
  for (const costmodel::DeviceField& field : costmodel::device_fields()) {
    if (whole.*field.member != plain.*field.member) side.device_fields[std::string(field.name)] = whole.*field.member;
  }
  const auto& catalog = costmodel::device_catalog();
  if (std::any_of(catalog.begin(), catalog.end(), [&](const auto& known) { return known.name == base; })) return;
  given.devices.push_back(plain);
  given.device_specs[plain.name] = base;
}

}  // namespace

void choose_batch(Session& session, const ViewCommand& command) {
  if (!command.file.empty()) {
    if (names_inputs(command.inputs)) {
      throw core::usage_error(
          fmt::format("view shows {} or the inputs that options name, not both: leave one of them out", command.file));
    }
    if (command.inputs.page_size.value_or(1) != 1) {
      throw core::usage_error(
          "--page-size goes with inputs that options name: give the file as --forest, --block-table or --trace");
    }
    return open_in_view(session, command.file);
  }
  if (!names_inputs(command.inputs)) return;
  if (names_one_family(command.inputs)) {
    return choose_family(session.settings, command.inputs.families.front(), command.inputs.seed);
  }
  session.settings.family.clear();
  session.given.source = session.given.plan_source = source_of(command.inputs);
  session.given.named_files = files_of(command.inputs);
  if (names_one_trace(command.inputs)) {
    const std::string& file = command.inputs.traces.front();
    session.given.trace = std::make_shared<const traces::Trace>(traces::read_mooncake(core::read_file(file), file));
    session.given.replay = replay_options(command.inputs);
    session.given.page_size = command.inputs.page_size.value_or(1);
    (void)traces::schedule_replay(*session.given.trace, session.given.replay);  // says what is wrong with it
    return;
  }
  for (Input& input : load_inputs(command.inputs)) {
    if (input.forest.name.empty()) input.forest.name = input.source;
    give_forest(session.given, std::move(input.forest));
  }
}

void choose_sides(Session& session, const ViewCommand& command) {
  viz::Settings& settings = session.settings;
  const std::vector<std::string> strategies =
      command.strategy.empty() ? std::vector<std::string>() : split_specs(command.strategy);
  if (strategies.size() > 2 || command.devices.size() > 2) {
    throw core::usage_error("view shows two sides: give at most two strategies and two devices");
  }
  for (std::size_t i = 0; i < strategies.size(); ++i) {
    const scheduler::StrategyChoice choice = scheduler::parse_strategy(strategies[i]);
    viz::Side& side = i == 0 ? settings.a : settings.b;
    side.strategy = choice.strategy->info().name;
    for (const scheduler::StrategyOption& option : scheduler::all_options(choice.strategy->info())) {
      if (const double value = choice.options.find(option.name)->second; value != option.fallback) {
        side.options[std::string(option.name)] = value;
      }
    }
    if (i == 0) settings.given_plan = false;
  }
  if (command.devices.empty() && !settings.given_plan) return;
  if (command.devices.empty()) costmodel::find_named_device(settings.a.device, command.file);
  choose_device(settings.a, session.given, command.devices.empty() ? settings.a.device : command.devices.front());
  settings.b.device = settings.a.device;
  settings.b.device_fields = settings.a.device_fields;
  if (command.devices.size() < 2) return;
  choose_device(settings.b, session.given, command.devices[1]);
  if (strategies.size() < 2) settings.b.strategy = settings.a.strategy;
}

std::size_t place_among(const char* kind, const std::string& name, const std::vector<std::string>& names) {
  const auto at = std::find(names.begin(), names.end(), name);
  if (at == names.end()) throw core::usage_error(core::unknown_name(kind, name, names));
  return static_cast<std::size_t>(at - names.begin());
}

namespace {

/// What is selected must be there.
void check_selection(const Session& session, const std::string& option) {
  if (session.selection.kind == viz::ItemKind::none) return;
  const viz::Outcome outcome = viz::compute(session.settings, session.given);
  if (!outcome.problem.empty()) return;  // says enough
  const viz::SideOutcome& side = outcome.side(session.selected_side);
  const scheduler::Plan* plan = side.shown() ? side.plan.get() : side.faulty.get();
  const bool of_plan = session.selection.kind == viz::ItemKind::task || session.selection.kind == viz::ItemKind::merge;
  const std::string text = fmt::format("{}:{}", viz::item_kind_name(session.selection.kind), session.selection.index);
  if (of_plan && plan == nullptr) {
    throw core::usage_error(fmt::format("{}: {} isn't there: {}", option, text,
                                        side.refusal.empty() ? "side B isn't shown" : side.refusal));
  }
  std::size_t count = 0;
  switch (session.selection.kind) {
    case viz::ItemKind::none:
      return;
    case viz::ItemKind::node:
      count = outcome.forest->node_count();
      break;
    case viz::ItemKind::request:
      count = outcome.forest->request_count();
      break;
    case viz::ItemKind::task:
      count = plan->tasks.size();
      break;
    case viz::ItemKind::merge:
      count = plan->steps.size();
      break;
  }
  if (static_cast<std::size_t>(session.selection.index) < count) return;
  const std::string whose = of_plan ? fmt::format("the plan of {}", side.title) : "the batch";
  throw core::usage_error(fmt::format(
      "{}: {} has {}, counted from 0, so there is no {}", option, whose,
      core::counted(static_cast<std::int64_t>(count), std::string(viz::item_kind_name(session.selection.kind))), text));
}

}  // namespace

Session session_of(const ViewCommand& command, const viz::Given* known) {
  Session session;
  if (known != nullptr) {
    session.given.devices = known->devices;
    session.given.device_specs = known->device_specs;
  }
  choose_batch(session, command);
  if (!command.heads.heads.empty() || !command.heads.model.empty() || !command.heads.dtype.empty()) {
    if (session.settings.given_plan && command.strategy.empty()) {
      throw core::usage_error(
          "a plan has its own heads: leave out --heads, --model and --dtype, or give --strategy to plan its batch "
          "anew");
    }
    HeadOptions heads = command.heads;
    if (heads.heads.empty() && heads.model.empty()) heads.heads = traces::heads_text(session.settings.heads);
    const HeadChoice choice = choose_heads(heads);
    session.settings.heads = choice.heads;
    session.settings.model = choice.model;
  }
  session.settings.seed = command.inputs.seed;
  choose_sides(session, command);
  if (!command.measured.empty()) {
    if (!session.settings.given_plan) {
      throw core::usage_error(
          "--measured goes with the plan that was measured: espalier view plan.json --measured FILE");
    }
    join_run(session, read_run(session, core::read_file(command.measured), command.measured));
    session.look.insight = viz::Insight::fit;
  }
  session.look.theme = static_cast<viz::Theme>(place_among("theme", command.theme, {"light", "dark"}));
  if (!command.panel.empty()) {
    viz::show_panel(session.look,
                    static_cast<viz::Panel>(
                        place_among("panel", command.panel, {"timeline", "tasks", "nodes", "requests", "strategies"})));
  }
  if (!command.insight.empty()) {
    session.look.insight =
        static_cast<viz::Insight>(place_among("insight", command.insight, {"why", "helps", "roofline", "fit"}));
  }
  if (!command.select.empty()) session.selection = viz::read_item(command.select, "--select");
  if (!command.look.empty()) viz::read_look(session, command.look, "--look");
  check_selection(session, command.select.empty() ? "--look" : "--select");
  session.settings.rank = session.look.panel == viz::Panel::strategies;
  return session;
}

}  // namespace espalier::apps

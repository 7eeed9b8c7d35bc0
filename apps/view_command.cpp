// espalier view: the explorer's session from the command line; then a window, or a picture of one.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "apps/exports.h"
#include "apps/host_calibration.h"
#include "apps/plan_files.h"
#include "apps/view_files.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "traces/families.h"
#include "traces/import.h"
#include "viz/explore/look_text.h"
#ifdef ESPALIER_HAS_EXPLORER
#include "viz/ui/offscreen.h"
#ifdef ESPALIER_HAS_WINDOW
#include "viz/app/window.h"
#endif
#endif

namespace espalier::apps {
namespace {

using viz::Session;

bool names_inputs(const InputOptions& o) {
  return !(o.forests.empty() && o.traces.empty() && o.trees.empty() && o.families.empty() && o.suites.empty() && o.block_tables.empty());
}

/// Nothing but one family: its options stay changeable.
bool names_one_family(const InputOptions& o) {
  InputOptions others = o;
  others.families.clear();
  return o.families.size() == 1 && !names_inputs(others) && o.page_size == 1;
}

void choose_family(viz::Settings& settings, const std::string& spec, std::uint64_t seed) {
  (void)traces::generate_family(spec, seed);  // says what is wrong with it
  const std::size_t colon = spec.find(':');
  viz::apply(settings, {viz::Knob::family, viz::SideId::a, spec.substr(0, colon), 0}, {});
  if (colon == std::string::npos) return;
  for (const std::string& option : core::split(spec.substr(colon + 1), ',')) {
    const std::size_t equals = option.find('=');
    const auto& families = traces::families();
    const auto family = std::find_if(families.begin(), families.end(), [&](const auto& f) { return f.name == settings.family; });
    const std::string name = option.substr(0, equals), text = option.substr(equals + 1);
    const auto known = std::find_if(family->options.begin(), family->options.end(), [&](const auto& o) { return o.name == name; });
    const auto choice = std::find(known->choices.begin(), known->choices.end(), text);
    const double value = choice != known->choices.end() ? known->low + static_cast<double>(choice - known->choices.begin()) : core::parse_number(text).value_or(0);
    viz::apply(settings, {viz::Knob::family_option, viz::SideId::a, name, value}, {});
  }
}

/// The options again that name inputs; empty where they are more than names.
std::string source_of(const InputOptions& o) {
  if (!o.traces.empty() || !o.families.empty()) return "";
  std::string source;
  const auto add = [&](const char* option, const std::vector<std::string>& names) {
    for (const std::string& name : names) source += fmt::format("{}--{} {}", source.empty() ? "" : " ", option, core::shell_quoted(name));
  };
  add("forest", o.forests);
  add("tree", o.trees);
  add("suite", o.suites);
  add("block-table", o.block_tables);
  if (o.snapshot) source += fmt::format(" --snapshot {}", *o.snapshot);
  if (o.page_size != 1) source += fmt::format(" --page-size {}", o.page_size);
  return source;
}

void choose_batch(Session& session, const ViewCommand& command) {
  if (!command.file.empty()) return open_in_view(session, command.file, command.inputs.snapshot);
  if (!names_inputs(command.inputs)) return;
  if (names_one_family(command.inputs)) return choose_family(session.settings, command.inputs.families.front(), command.inputs.seed);
  session.settings.family.clear();
  session.given.source = source_of(command.inputs);
  for (Input& input : load_inputs(command.inputs)) {
    if (input.forest.name.empty()) input.forest.name = input.source;
    give_forest(session.given, std::move(input.forest));
  }
}

/// A device of the catalog with what was changed of it; of a file as it is; "host" is measured now.
void choose_device(viz::Side& side, viz::Given& given, const std::string& spec) {
  constexpr std::int32_t kRepeats = 5;
  costmodel::DeviceSpec device = spec == "host" ? calibrate_host(kRepeats).device : costmodel::find_device(spec);
  const std::string base = spec.substr(0, spec.find(':'));
  side.device_fields.clear();
  for (const costmodel::DeviceSpec& known : costmodel::device_catalog()) {
    if (known.name != base) continue;
    side.device = base;
    for (const costmodel::DeviceField& field : costmodel::device_fields()) {
      if (device.*field.member != known.*field.member) side.device_fields[std::string(field.name)] = device.*field.member;
    }
    return;
  }
  side.device = device.name;
  given.devices.push_back(std::move(device));
}

void choose_sides(Session& session, const ViewCommand& command) {
  viz::Settings& settings = session.settings;
  const std::vector<std::string> strategies = command.strategy.empty() ? std::vector<std::string>() : split_specs(command.strategy);
  if (strategies.size() > 2 || command.devices.size() > 2) throw core::usage_error("view shows two sides: give at most two strategies and two devices");
  for (std::size_t i = 0; i < strategies.size(); ++i) {
    const scheduler::StrategyChoice choice = scheduler::parse_strategy(strategies[i]);
    viz::Side& side = i == 0 ? settings.a : settings.b;
    side.strategy = choice.strategy->info().name;
    for (const scheduler::StrategyOption& option : choice.strategy->info().options) {
      if (const double value = choice.options.find(option.name)->second; value != option.fallback) side.options[std::string(option.name)] = value;
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

template <class Choice>
Choice one_of(const char* kind, const std::string& name, const std::vector<std::string>& names) {
  const auto at = std::find(names.begin(), names.end(), name);
  if (at == names.end()) throw core::usage_error(core::unknown_name(kind, name, names));
  return static_cast<Choice>(at - names.begin());
}

Session session_of(const ViewCommand& command) {
  Session session;
  choose_batch(session, command);
  if (!command.heads.heads.empty() || !command.heads.model.empty() || !command.heads.dtype.empty()) {
    if (session.settings.given_plan) throw core::usage_error("a plan has its own heads: leave out --heads, --model and --dtype");
    HeadOptions heads = command.heads;
    if (heads.heads.empty() && heads.model.empty()) heads.heads = traces::heads_text(session.settings.heads);
    const HeadChoice choice = choose_heads(heads);
    session.settings.heads = choice.heads;
    session.settings.model = choice.model;
  }
  session.settings.seed = command.inputs.seed;
  choose_sides(session, command);
  if (!command.measured.empty()) {
    if (!session.settings.given_plan) throw core::usage_error("--measured goes with the plan that was measured: espalier view plan.json --measured FILE");
    open_measurement(session, core::read_file(command.measured), command.measured);
    session.look.insight = viz::Insight::fit;
  }
  session.look.theme = one_of<viz::Theme>("theme", command.theme, {"light", "dark"});
  if (!command.panel.empty()) viz::show_panel(session.look, one_of<viz::Panel>("panel", command.panel, {"timeline", "tasks", "nodes", "requests", "strategies"}));
  if (!command.insight.empty()) session.look.insight = one_of<viz::Insight>("insight", command.insight, {"why", "helps", "roofline", "fit"});
  if (!command.select.empty()) session.selection = viz::read_item(command.select, "--select");
  if (!command.look.empty()) viz::read_look(session, command.look, "--look");
  if (!command.file.empty() && !command.measured.empty()) session.given.source += fmt::format(" --measured {}", core::shell_quoted(command.measured));
  session.settings.rank = session.look.panel == viz::Panel::strategies;
  return session;
}

#ifdef ESPALIER_HAS_EXPLORER
/// Part 0 or 1 of "1280x800".
std::int32_t pixels(const std::string& size, std::size_t part) {
  const std::vector<std::string> parts = core::split(size, 'x');
  const std::int64_t value = parts.size() == 2 ? core::parse_integer(parts[part]).value_or(0) : 0;
  if (value < 240 || value > 8192) throw core::usage_error(fmt::format("--size: expected WIDTHxHEIGHT of 240 to 8192 pixels each, got '{}'", size));
  return static_cast<std::int32_t>(value);
}

viz::OffscreenOptions offscreen_options(const ViewCommand& command) {
  viz::OffscreenOptions options;
  options.width = pixels(command.size, 0);
  options.height = pixels(command.size, 1);
  options.scale = command.scale;
  options.face = one_of<viz::Face>("font", command.font, {"best", "builtin"});
  return options;
}

#ifdef ESPALIER_HAS_WINDOW
/// Writes into the current folder; returns the sentence to show.
std::string save(const Session& session, const viz::Outcome& outcome, const std::string& format) {
  const viz::SideOutcome &a = outcome.sides[0], &b = outcome.sides[1], &side = outcome.side(session.look.edited);
  if (format.starts_with("both.")) {
    if (!a.shown() || !b.shown()) throw core::usage_error("there aren't two plans to write");
    if (b.measurement != nullptr) throw core::usage_error("a measured run isn't simulated: write side A alone");
    const std::string of = format.substr(5), name = of == "perfetto" ? "espalier.both.trace.json" : fmt::format("espalier.both.{}", of);
    core::write_file(name, export_pair({*a.plan, a.device}, {*b.plan, b.device}, of));
    return fmt::format("{} and {} are written to {}", a.title, b.title, name);
  }
  if (!side.shown()) throw core::usage_error("there is no plan to write");
  ExportOptions options;
  options.format = format;
  const std::string name = fmt::format("espalier.{}", format == "perfetto" ? "trace.json" : format == "plan" ? "plan.json" : format);
  core::write_file(name, export_plan(*side.plan, side.device, options));
  return fmt::format("{} is written to {}", side.title, name);
}

/// A dropped file: measurements join their plan, all else begins anew.
void drop(Session& session, const std::string& path) {
  if (session.given.plan != nullptr && is_measurement(path)) return open_in_view(session, path);
  Session fresh;
  fresh.look.theme = session.look.theme;
  open_in_view(fresh, path);
  choose_sides(fresh, {});
  session = std::move(fresh);
}

/// Opens the command's file again when it has been written since; what is looked at stays.
class FileWatch {
 public:
  explicit FileWatch(ViewCommand command) : command_(std::move(command)) { (void)changed(); }
  bool operator()(Session& session) {
    if (command_.file.empty() || command_.file == "-" || !changed()) return false;
    Session fresh = session_of(command_);
    fresh.look = session.look;
    fresh.kept = session.kept;
    fresh.settings.rank = session.settings.rank;
    session = std::move(fresh);
    return true;
  }

 private:
  bool changed() {
    bool any = false;
    for (std::size_t i = 0; i < 2; ++i) {
      std::error_code failed;
      const auto time = std::filesystem::last_write_time(i == 0 ? command_.file : command_.measured, failed);
      if (failed) continue;
      any |= time != seen_[i];
      seen_[i] = time;
    }
    return any;
  }
  ViewCommand command_;
  std::filesystem::file_time_type seen_[2] = {};
};

viz::WindowOptions window_options(const ViewCommand& command) { return {offscreen_options(command), drop, FileWatch(command), save}; }

int show_window(Session session, const ViewCommand& command) {
  viz::run_window(std::move(session), window_options(command));
  return 0;
}

viz::Image gl_picture(Session session, const ViewCommand& command) { return viz::window_picture(std::move(session), window_options(command)); }
#else
[[noreturn]] void miss_window() { throw core::usage_error("this espalier was built without windows: install libglfw3-dev and OpenGL and build again, or give --render FILE.png"); }
int show_window(Session, const ViewCommand&) { miss_window(); }
viz::Image gl_picture(Session, const ViewCommand&) { miss_window(); }
#endif

viz::Image soft_picture(Session session, const ViewCommand& command) {
  viz::Offscreen offscreen(std::move(session), offscreen_options(command));
  offscreen.settle();
  return offscreen.picture();
}

int show(Session session, const ViewCommand& command) {
  if (command.render.empty()) return show_window(std::move(session), command);
  core::write_file(command.render, viz::write_png(command.gl ? gl_picture(std::move(session), command) : soft_picture(std::move(session), command)));
  return 0;
}
#else
int show(Session, const ViewCommand&) {
  throw core::usage_error("this espalier was built without the explorer: install libimgui-dev and libpng-dev (script/bootstrap does) and build again");
}
#endif

}  // namespace

int run_view(const ViewCommand& command) {
  try {
    return show(session_of(command), command);
  } catch (const core::Error& e) {  // whoever starts a window with a wrong file started it wrongly
    if (e.kind() == core::ErrorKind::bad_input) throw core::usage_error(e.what());
    throw;
  }
}

}  // namespace espalier::apps

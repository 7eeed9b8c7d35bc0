// espalier view: the explorer's session from the command line; then a window, or a picture of one.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/exports.h"
#include "apps/host_calibration.h"
#include "apps/plan_files.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "kernels/host_model.h"
#include "traces/families.h"
#include "traces/import.h"
#include "viz/explore/session.h"
#ifdef ESPALIER_HAS_EXPLORER
#include "viz/ui/offscreen.h"
#ifdef ESPALIER_HAS_WINDOW
#include "viz/app/window.h"
#endif
#endif

namespace espalier::apps {
namespace {

using viz::Session;

bool begins_with_schema(std::string_view text, std::string_view schema) {
  constexpr std::size_t kHead = 200;
  return text.substr(0, kHead).find(schema) != std::string_view::npos;
}

void give_forest(viz::Given& given, traces::PrefixForest forest) { given.forests.push_back(std::make_shared<const traces::PrefixForest>(std::move(forest))); }

/// Side B becomes a run of the plan on show. What ran on this machine's cores is simulated in the form in which they run it.
void open_measurement(Session& session, const std::string& text, const std::string& file) {
  if (session.given.plan == nullptr) throw core::usage_error(fmt::format("{} is a measurement: open the plan that was measured first", file));
  auto measurement = std::make_shared<scheduler::Measurement>(scheduler::read_measurement(text, file, *session.given.plan));
  if (measurement->timeline.spans.empty()) throw core::bad_input(file, "a measurement with a timeline, as run --backend host writes it", "none");
  if (measurement->backend == "host") {
    const costmodel::DeviceSpec device = viz::device_of(session.settings.a, session.given);
    if (device.name == session.given.plan->provenance.device) {
      throw core::usage_error(fmt::format("{} was measured on this machine's cores: give --device host, or the file that calibrate wrote for them", file));
    }
    session.given.plan = std::make_shared<const scheduler::Plan>(kernels::as_host_plan(*session.given.plan));
  }
  measurement->timeline.plan_hash = session.given.plan->hash;
  session.given.measurement = std::move(measurement);
  session.settings.measured = session.settings.given_plan = session.settings.compare = true;
}

/// A plan, a block table, or forests: whatever the file says it is. A measurement joins the plan that is there.
void open_file(Session& session, const ViewCommand& command) {
  const std::string text = core::read_file(command.file);
  if (begins_with_schema(text, "\"measurement/")) return open_measurement(session, text, command.file);
  if (begins_with_schema(text, "\"plan/")) {
    scheduler::Plan plan = scheduler::read_plan(text, command.file);
    session.settings.heads = plan.heads;
    session.settings.model.clear();
    const auto& all = scheduler::strategies();
    const auto same = [&](const scheduler::Strategy* s) { return s->info().name == plan.provenance.strategy; };
    if (std::any_of(all.begin(), all.end(), same)) session.settings.a.strategy = plan.provenance.strategy;
    session.settings.a.device = plan.provenance.device;
    session.settings.given_plan = true;
    give_forest(session.given, plan.forest);
    session.given.plan = std::make_shared<const scheduler::Plan>(std::move(plan));
  } else if (begins_with_schema(text, "\"block_table/")) {
    give_forest(session.given, traces::read_block_table(text, command.file));
  } else {
    for (traces::PrefixForest& forest : traces::read_forests(text, command.file, command.inputs.snapshot)) give_forest(session.given, std::move(forest));
    if (session.given.forests.empty()) throw core::bad_input(command.file, "at least one forest", "none");
  }
  session.settings.family.clear();
}

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

void choose_batch(Session& session, const ViewCommand& command) {
  if (!command.file.empty()) return open_file(session, command);
  if (!names_inputs(command.inputs)) return;
  if (names_one_family(command.inputs)) return choose_family(session.settings, command.inputs.families.front(), command.inputs.seed);
  session.settings.family.clear();
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

viz::Item item_of(const std::string& text) {
  const std::size_t colon = text.find(':');
  const auto kind = one_of<viz::ItemKind>("kind of item", text.substr(0, colon), {"none", "node", "request", "task", "merge"});
  const auto index = colon == std::string::npos ? std::nullopt : core::parse_integer(text.substr(colon + 1));
  if (!index || *index < 0 || *index > INT32_MAX) throw core::usage_error(fmt::format("--select: expected kind:number, got '{}'", text));
  return {kind, static_cast<std::int32_t>(*index)};
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
  if (!command.panel.empty()) session.look.panel = one_of<viz::Panel>("panel", command.panel, {"timeline", "tasks", "nodes", "requests"});
  if (!command.insight.empty()) session.look.insight = one_of<viz::Insight>("insight", command.insight, {"why", "helps", "roofline", "fit"});
  if (!command.select.empty()) session.selection = item_of(command.select);
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
viz::WindowOptions window_options(const ViewCommand& command) {
  return {offscreen_options(command), [](Session& session, const std::string& path) {
            if (session.given.plan != nullptr && begins_with_schema(core::read_file(path), "\"measurement/")) {
              ViewCommand measured;
              measured.file = path;
              return open_file(session, measured);
            }
            Session fresh;
            fresh.look.theme = session.look.theme;
            ViewCommand dropped;
            dropped.file = path;
            open_file(fresh, dropped);
            choose_sides(fresh, dropped);
            session = std::move(fresh);
          },
          [](const Session& session, const viz::Outcome& outcome, const std::string& format) {
            const viz::SideOutcome& side = outcome.side(session.look.edited);
            if (!side.shown()) throw core::usage_error("there is no plan to write");
            ExportOptions options;
            options.format = format;
            const std::string name = fmt::format("espalier.{}", format == "perfetto" ? "trace.json" : format == "plan" ? "plan.json" : format);
            core::write_file(name, export_plan(*side.plan, side.device, options));
            return fmt::format("{} is written to {}", side.title, name);
          }};
}

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

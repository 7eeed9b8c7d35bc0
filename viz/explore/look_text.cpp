#include "viz/explore/look_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "core/error.h"
#include "core/text.h"

namespace espalier::viz {
namespace {

using Names = std::vector<std::string>;

const Names kPanels = {"timeline", "tasks", "nodes", "requests", "strategies"}, kInsights = {"why", "helps", "roofline", "fit"}, kThemes = {"light", "dark"}, kSidesLetters = {"a", "b"};

Names colourings() {
  Names names;
  for (int i = 0; i < kColourings; ++i) names.emplace_back(colour_by_name(static_cast<ColourBy>(i)));
  return names;
}

template <class Choice>
Choice one_of(const std::string& kind, const std::string& name, const Names& names) {
  const auto at = std::find(names.begin(), names.end(), name);
  if (at == names.end()) throw core::usage_error(core::unknown_name(kind, name, names));
  return static_cast<Choice>(at - names.begin());
}

template <class Choice>
const std::string& name_of(Choice choice, const Names& names) {
  return names[static_cast<std::size_t>(choice)];
}

std::string span_text(const Span1& span) { return fmt::format("{:.6g}:{:.6g}", span.begin, span.end); }

/// Shares of a whole, the first below the second.
Span1 read_span(const std::string& text, const std::string& key) {
  const std::vector<std::string> parts = core::split(text, ':');
  const auto begin = parts.size() == 2 ? core::parse_number(parts[0]) : std::nullopt, end = parts.size() == 2 ? core::parse_number(parts[1]) : std::nullopt;
  if (!begin || !end || !(*begin >= 0 && *begin < *end && *end <= 1)) throw core::usage_error(fmt::format("{}: expected BEGIN:END between 0 and 1, got '{}'", key, text));
  return {*begin, *end};
}

double read_number(const std::string& text, const std::string& key) {
  const auto value = core::parse_number(text);
  if (!value) throw core::usage_error(fmt::format("{}: expected a number, got '{}'", key, text));
  return *value;
}

/// What is planned, as far as no option says it. False for an unknown key.
bool read_setting(Session& session, const std::string& key, const std::string& value, const std::string& name) {
  const auto set = [&](Knob knob, SideId side, const std::string& text, double number) { apply(session.settings, {knob, side, text, number}, session.given); };
  if (key == "sides") {
    set(Knob::compare, SideId::a, {}, read_number(value, name) - 1);
  } else if (key == "running") {
    set(Knob::running, SideId::a, {}, read_number(value, name));
  } else if (key == "decoded") {
    set(Knob::decode_step, SideId::a, {}, read_number(value, name));
  } else if (key == "snapshot") {
    set(Knob::snapshot, SideId::a, {}, read_number(value, name));
  } else if (key.size() > 2 && key[1] == '.' && (key[0] == 'a' || key[0] == 'b')) {
    const SideId side = key[0] == 'a' ? SideId::a : SideId::b;
    const std::string what = key.substr(2);
    if (what == "tile") {
      const double tile = read_number(value, name);
      const std::vector<std::int32_t> tiles = query_tiles();
      if (tile != 0 && std::find(tiles.begin(), tiles.end(), static_cast<std::int32_t>(tile)) == tiles.end()) {
        throw core::usage_error(fmt::format("{}: expected a query tile of our kernels, or 0 for all, got {}", name, value));
      }
      set(Knob::query_tile, side, {}, tile);
    } else if (what == "kernels") {
      set(Knob::kernels, side, {}, static_cast<double>(one_of<int>("kernel set", value, {"ours", "published"})));
    } else if (what == "cost") {
      set(Knob::cost_model, side, value, 0);
    } else {
      return false;
    }
  } else {
    return false;
  }
  return true;
}

void read_one(Session& session, const std::string& key, const std::string& value, const std::string& name) {
  Look& look = session.look;
  if (key == "panel") {
    show_panel(look, one_of<Panel>("panel", value, kPanels));
  } else if (key == "insight") {
    look.insight = one_of<Insight>("insight", value, kInsights);
  } else if (key == "theme") {
    look.theme = one_of<Theme>("theme", value, kThemes);
  } else if (key == "colour") {
    look.colour_by = one_of<ColourBy>("colouring", value, colourings());
  } else if (key == "edited") {
    look.edited = one_of<SideId>("side", value, kSidesLetters);
  } else if (key == "time") {
    look.time = read_span(value, name);
  } else if (key == "range") {
    look.range = read_span(value, name);
  } else if (key == "requests") {
    look.forest_requests = read_span(value, name);
  } else if (key == "tokens") {
    look.forest_tokens = read_span(value, name);
  } else if (key == "select") {
    session.selection = read_item(value, name);
  } else if (key == "of") {
    session.selected_side = one_of<SideId>("side", value, kSidesLetters);
  } else if (!read_setting(session, key, value, name)) {
    throw core::usage_error(core::unknown_name("part of a view", key,
                                               {"panel", "insight", "theme", "colour", "edited", "time", "range", "requests", "tokens", "select", "of", "sides", "running", "decoded", "snapshot",
                                                "a.tile", "b.tile", "a.kernels", "b.kernels", "a.cost", "b.cost"}));
  }
}

}  // namespace

Item read_item(std::string_view text, const std::string& option) {
  const std::size_t colon = text.find(':');
  const auto kind = one_of<ItemKind>("kind of item", std::string(text.substr(0, colon)), {"none", "node", "request", "task", "merge"});
  const auto index = colon == std::string_view::npos ? std::nullopt : core::parse_integer(text.substr(colon + 1));
  if (!index || *index < 0 || *index > std::numeric_limits<std::int32_t>::max()) throw core::usage_error(fmt::format("{}: expected kind:number, got '{}'", option, text));
  return {kind, static_cast<std::int32_t>(*index)};
}

std::string look_text(const Session& session) {
  const Look& look = session.look;
  const Look fresh;
  Names parts;
  const auto add = [&](const std::string& key, const std::string& value) { parts.push_back(fmt::format("{}={}", key, value)); };
  if (look.panel != fresh.panel) add("panel", name_of(look.panel, kPanels));
  if (look.insight != fresh.insight) add("insight", name_of(look.insight, kInsights));
  if (look.theme != fresh.theme) add("theme", name_of(look.theme, kThemes));
  if (look.colour_by != fresh.colour_by) add("colour", std::string(colour_by_name(look.colour_by)));
  if (look.edited != fresh.edited) add("edited", name_of(look.edited, kSidesLetters));
  if (!(look.time == fresh.time)) add("time", span_text(look.time));
  if (look.range) add("range", span_text(*look.range));
  if (!(look.forest_requests == fresh.forest_requests)) add("requests", span_text(look.forest_requests));
  if (!(look.forest_tokens == fresh.forest_tokens)) add("tokens", span_text(look.forest_tokens));
  const Settings& settings = session.settings;
  if (!settings.compare) add("sides", "1");
  if (settings.snapshot > 0) add("snapshot", std::to_string(settings.snapshot));
  if (settings.running > 0) add("running", std::to_string(settings.running));
  if (settings.decode_step > 0) add("decoded", std::to_string(settings.decode_step));
  for (const SideId id : kSides) {
    const Side& side = settings.side(id);
    const std::string& letter = name_of(id, kSidesLetters);
    if (side.query_tile > 0) add(fmt::format("{}.tile", letter), std::to_string(side.query_tile));
    if (side.kernels == scheduler::KernelSet::published) add(fmt::format("{}.kernels", letter), "published");
    if (!side.cost_model.empty()) add(fmt::format("{}.cost", letter), side.cost_model);
  }
  if (session.selection.kind != ItemKind::none) {
    add("select", fmt::format("{}:{}", item_kind_name(session.selection.kind), session.selection.index));
    if (session.selected_side != SideId::a) add("of", name_of(session.selected_side, kSidesLetters));
  }
  return core::join(parts, ",");
}

std::string view_command_of(const Session& session) {
  const Settings& settings = session.settings;
  std::string command = fmt::format("espalier view{}", inputs_of(settings, session.given));
  if (!settings.given_plan) {
    command += fmt::format(" --strategy {}", core::shell_quoted(strategy_spec(settings.a) + (settings.compare ? "," + strategy_spec(settings.b) : "")));
  }
  command += fmt::format(" --device {}", core::shell_quoted(device_spec(settings.a)));
  if (settings.compare && !settings.measured && device_spec(settings.a) != device_spec(settings.b)) {
    command += fmt::format(" --device {}", core::shell_quoted(device_spec(settings.b)));
  }
  const std::string look = look_text(session);
  return look.empty() ? command : fmt::format("{} --look {}", command, core::shell_quoted(look));
}

void read_look(Session& session, std::string_view text, const std::string& option) {
  for (const std::string& part : core::split(text, ',')) {
    const std::size_t equals = part.find('=');
    if (equals == std::string::npos) throw core::usage_error(fmt::format("{}: expected key=value, got '{}'", option, part));
    read_one(session, part.substr(0, equals), part.substr(equals + 1), fmt::format("{} {}", option, part.substr(0, equals)));
  }
}

}  // namespace espalier::viz

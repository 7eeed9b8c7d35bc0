#include "viz/explore/look_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "core/error.h"
#include "core/text.h"
#include "viz/explore/copied_command.h"

namespace espalier::viz {
namespace {

using Names = std::vector<std::string>;

const Names kPanels = {"timeline", "tasks", "nodes", "requests", "strategies"},
            kInsights = {"why", "helps", "roofline", "fit"}, kThemes = {"light", "dark"}, kSidesLetters = {"a", "b"};

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

std::string span_text(const Span1& span) { return fmt::format("{}:{}", span.begin, span.end); }

/// Shares of a whole, the first below the second.
Span1 read_span(const std::string& text, const std::string& key) {
  const std::vector<std::string> parts = core::split(text, ':');
  const auto begin = parts.size() == 2 ? core::parse_number(parts[0]) : std::nullopt,
             end = parts.size() == 2 ? core::parse_number(parts[1]) : std::nullopt;
  if (!begin || !end || !(*begin >= 0 && *begin < *end && *end <= 1)) {
    throw core::usage_error(fmt::format("{}: expected BEGIN:END between 0 and 1, got '{}'", key, text));
  }
  return {*begin, *end};
}

constexpr std::int32_t kMostIndex = std::numeric_limits<std::int32_t>::max();

std::optional<std::int32_t> whole_between(std::string_view text, std::int32_t low, std::int32_t high) {
  const auto number = core::parse_integer(text);
  if (!number || *number < low || *number > high) return std::nullopt;
  return static_cast<std::int32_t>(*number);
}

std::int32_t read_whole(const std::string& text, std::int32_t low, std::int32_t high, const std::string& key) {
  const auto number = whole_between(text, low, high);
  if (!number) {
    throw core::usage_error(fmt::format("{}: expected a whole number from {} to {}, got '{}'", key, low, high, text));
  }
  return *number;
}

std::string replaced(std::string text, char from, char to) {
  std::replace(text.begin(), text.end(), from, to);
  return text;
}

/// "split:3", "to-queue:5:2:17".
std::string edit_words(const PlanEdit& edit) {
  std::string text = fmt::format("{}:{}", replaced(std::string(edit_name(edit.kind)), ' ', '-'), edit.task);
  if (edit.kind == EditKind::to_queue) text += fmt::format(":{}:{}", edit.copy, edit.queue);
  return text;
}

Change read_edit(const std::string& text, SideId side, const std::string& key) {
  const std::vector<std::string> parts = core::split(text, ':');
  std::vector<std::int32_t> numbers;
  for (std::size_t i = 1; i < parts.size(); ++i) {
    if (const auto number = whole_between(parts[i], kEmptiestQueue, kMostIndex)) numbers.push_back(*number);
  }
  const bool queue = parts.front() == "to-queue";
  if (numbers.size() + 1 != parts.size() || numbers.size() != (queue ? 3U : 1U)) {
    throw core::usage_error(fmt::format("{}: expected EDIT:TASK or to-queue:TASK:COPY:QUEUE, got '{}'", key, text));
  }
  return {Knob::edit,
          side,
          replaced(parts.front(), '-', ' '),
          static_cast<double>(numbers[0]),
          queue ? numbers[1] : 0,
          queue ? numbers[2] : 0};
}

/// A strategy with its options apart by semicolons: commas part the view.
void read_strategy(Session& session, SideId side, const std::string& value) {
  const scheduler::StrategyChoice choice = scheduler::parse_strategy(replaced(value, ';', ','));
  apply(session.settings, {Knob::strategy, side, std::string(choice.strategy->info().name), 0}, session.given);
  for (const auto& [name, number] : choice.options) {
    apply(session.settings, {Knob::option, side, name, number}, session.given);
  }
}

/// Text of any kind, with nothing in it that parts a view.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    out += c == ',' || c == '%' ? fmt::format("%{:02x}", static_cast<unsigned>(static_cast<unsigned char>(c)))
                                : std::string(1, c);
  }
  return out;
}
std::string unescaped(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::string code = text.substr(i, 3);
    const bool known = code == "%2c" || code == "%25";
    out += known ? (code == "%2c" ? ',' : '%') : text[i];
    i += known ? 2 : 0;
  }
  return out;
}

/// "a:0.5:12:100:4000".
Brush read_brush(const std::string& text, const std::string& key) {
  const std::vector<std::string> parts = core::split(text, ':');
  std::vector<double> numbers;
  for (std::size_t i = 1; i < parts.size(); ++i) numbers.push_back(core::parse_number(parts[i]).value_or(-1));
  if (numbers.size() != 4 ||
      !(0 <= numbers[0] && numbers[0] < numbers[1] && 0 <= numbers[2] && numbers[2] < numbers[3])) {
    throw core::usage_error(
        fmt::format("{}: expected SIDE:FROM:TO:FROM:TO, FLOPs a byte and GFLOP/s, got '{}'", key, text));
  }
  return {one_of<SideId>("side", parts[0], kSidesLetters), {numbers[0], numbers[1]}, {numbers[2], numbers[3]}};
}

/// "4:down".
void read_sort(Look& look, const std::string& text, const std::string& key) {
  const std::vector<std::string> parts = core::split(text, ':');
  const auto column = whole_between(parts.front(), 0, 99);
  if (parts.size() != 2 || !column) {
    throw core::usage_error(fmt::format("{}: expected COLUMN:up or COLUMN:down, got '{}'", key, text));
  }
  look.sort_column = *column;
  look.sort_down = one_of<int>("direction", parts[1], {"up", "down"}) == 1;
}

/// What is planned, as far as no option says it. False for an unknown key.
bool read_setting(Session& session, const std::string& key, const std::string& value, const std::string& name) {
  const auto set = [&](Knob knob, SideId side, const std::string& text, double number) {
    apply(session.settings, {knob, side, text, number}, session.given);
  };
  const auto set_part = [&](Knob knob) {
    set(knob, SideId::a, {}, read_whole(value, 0, most_of(session.settings, knob, session.given), name));
  };
  if (key == "sides") {
    set(Knob::compare, SideId::a, {}, read_whole(value, 1, 2, name) - 1);
  } else if (key == "running") {
    set_part(Knob::running);
  } else if (key == "decoded") {
    set_part(Knob::decode_step);
  } else if (key == "snapshot") {
    set_part(Knob::snapshot);
  } else if (key.size() > 2 && key[1] == '.' && (key[0] == 'a' || key[0] == 'b')) {
    const SideId side = key[0] == 'a' ? SideId::a : SideId::b;
    const std::string what = key.substr(2);
    if (what == "tile") {
      const std::vector<std::int32_t> tiles = query_tiles();
      const auto tile = whole_between(value, 0, tiles.back());
      if (!tile || (*tile != 0 && std::find(tiles.begin(), tiles.end(), *tile) == tiles.end())) {
        throw core::usage_error(
            fmt::format("{}: expected a query tile of our kernels, or 0 for all, got '{}'", name, value));
      }
      set(Knob::query_tile, side, {}, *tile);
    } else if (what == "kernels") {
      set(Knob::kernels, side, {}, static_cast<double>(one_of<int>("kernel set", value, {"ours", "published"})));
    } else if (what == "cost") {
      set(Knob::cost_model, side, value, 0);
    } else if (what == "strategy") {
      read_strategy(session, side, value);
    } else if (what == "edits") {
      for (const std::string& edit : core::split(value, '+')) {
        apply(session.settings, read_edit(edit, side, name), session.given);
      }
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
  } else if (key == "brush") {
    look.brush = read_brush(value, name);
  } else if (key == "requests") {
    look.forest_requests = read_span(value, name);
  } else if (key == "tokens") {
    look.forest_tokens = read_span(value, name);
  } else if (key == "sort") {
    read_sort(look, value, name);
  } else if (key == "find") {
    look.filter = unescaped(value);
  } else if (key == "only") {
    look.isolated = static_cast<Paint>(read_whole(value, 0, kPaints - 1, name));
  } else if (key == "copy") {
    look.copy = read_whole(value, 0, 1'000'000, name);
  } else if (key == "select") {
    session.selection = read_item(value, name);
  } else if (key == "of") {
    session.selected_side = one_of<SideId>("side", value, kSidesLetters);
  } else if (!read_setting(session, key, value, name)) {
    throw core::usage_error(core::unknown_name(
        "part of a view", key,
        {"panel",    "insight", "theme",      "colour",     "edited",  "time",   "range",     "brush",
         "requests", "tokens",  "sort",       "find",       "only",    "copy",   "select",    "of",
         "sides",    "running", "decoded",    "snapshot",   "a.tile",  "b.tile", "a.kernels", "b.kernels",
         "a.cost",   "b.cost",  "a.strategy", "b.strategy", "a.edits", "b.edits"}));
  }
}

}  // namespace

Item read_item(std::string_view text, const std::string& option) {
  const std::size_t colon = text.find(':');
  const auto kind = one_of<ItemKind>("kind of item", std::string(text.substr(0, colon)),
                                     {"none", "node", "request", "task", "merge"});
  const auto index =
      colon == std::string_view::npos ? std::nullopt : whole_between(text.substr(colon + 1), 0, kMostIndex);
  if (!index) throw core::usage_error(fmt::format("{}: expected kind:number, got '{}'", option, text));
  return {kind, *index};
}

namespace {

using Add = std::function<void(const std::string& key, const std::string& value)>;

/// What is planned, as far as options of the command don't say it. Edits come last: other changes would take them back.
void add_settings(const Session& session, const Add& add) {
  const Settings& settings = session.settings;
  if (!settings.compare) add("sides", "1");
  if (settings.snapshot > 0 && settings.family.empty()) add("snapshot", std::to_string(settings.snapshot));
  if (settings.running > 0) add("running", std::to_string(settings.running));
  if (settings.decode_step > 0) add("decoded", std::to_string(settings.decode_step));
  const bool measured = shows_measurement(settings, session.given);
  for (const SideId id : kSides) {
    if (id == SideId::b && measured) continue;
    const Side& side = settings.side(id);
    const std::string& letter = name_of(id, kSidesLetters);
    if (id == SideId::b && settings.given_plan) add("b.strategy", replaced(strategy_spec(side), ',', ';'));
    if (side.query_tile > 0) add(fmt::format("{}.tile", letter), std::to_string(side.query_tile));
    if (side.kernels == scheduler::KernelSet::published) add(fmt::format("{}.kernels", letter), "published");
    if (!side.cost_model.empty()) add(fmt::format("{}.cost", letter), side.cost_model);
    Names edits;
    for (const PlanEdit& edit : side.edits) edits.push_back(edit_words(edit));
    if (!edits.empty()) add(fmt::format("{}.edits", letter), core::join(edits, "+"));
  }
}

void add_table(const Look& look, const Add& add) {
  Look fresh;
  show_panel(fresh, look.panel);
  if (look.sort_column != fresh.sort_column || look.sort_down != fresh.sort_down) {
    if (look.sort_column >= 0) add("sort", fmt::format("{}:{}", look.sort_column, look.sort_down ? "down" : "up"));
  }
  if (!look.filter.empty()) add("find", escaped(look.filter));
}

}  // namespace

std::string look_text(const Session& session) {
  const Look& look = session.look;
  const Look fresh;
  Names parts;
  const Add add = [&](const std::string& key, const std::string& value) {
    parts.push_back(fmt::format("{}={}", key, value));
  };
  if (look.panel != fresh.panel) add("panel", name_of(look.panel, kPanels));
  add_table(look, add);
  if (look.insight != fresh.insight || session.settings.measured) add("insight", name_of(look.insight, kInsights));
  if (look.theme != fresh.theme) add("theme", name_of(look.theme, kThemes));
  if (look.colour_by != fresh.colour_by) add("colour", std::string(colour_by_name(look.colour_by)));
  if (look.isolated != fresh.isolated) add("only", std::to_string(static_cast<int>(look.isolated)));
  if (look.edited != fresh.edited) add("edited", name_of(look.edited, kSidesLetters));
  if (!(look.time == fresh.time)) add("time", span_text(look.time));
  if (look.range) add("range", span_text(*look.range));
  if (look.brush) {
    add("brush", fmt::format("{}:{}:{}", name_of(look.brush->side, kSidesLetters), span_text(look.brush->intensity),
                             span_text(look.brush->rate)));
  }
  if (!(look.forest_requests == fresh.forest_requests)) add("requests", span_text(look.forest_requests));
  if (!(look.forest_tokens == fresh.forest_tokens)) add("tokens", span_text(look.forest_tokens));
  add_settings(session, add);
  if (const Selection item = session.awaited.value_or(session.selection); item.kind != ItemKind::none) {
    add("select", fmt::format("{}:{}", item_kind_name(item.kind), item.index));
    if (session.selected_side != SideId::a) add("of", name_of(session.selected_side, kSidesLetters));
    if (look.copy > 0) add("copy", std::to_string(look.copy));
  }
  return core::join(parts, ",");
}

void read_look(Session& session, std::string_view text, const std::string& option) {
  for (const std::string& part : core::split(text, ',')) {
    const std::size_t equals = part.find('=');
    if (equals == std::string::npos) {
      throw core::usage_error(fmt::format("{}: expected key=value, got '{}'", option, part));
    }
    read_one(session, part.substr(0, equals), part.substr(equals + 1),
             fmt::format("{} {}", option, part.substr(0, equals)));
  }
  if (session.settings.compare) return;
  const auto hidden = [&](const char* part) {
    return core::usage_error(fmt::format("{}: {}=b is a side that sides=1 doesn't show", option, part));
  };
  if (session.look.edited == SideId::b) throw hidden("edited");
  if (session.look.brush && session.look.brush->side == SideId::b) throw hidden("brush");
  if (session.selected_side == SideId::b) throw hidden("of");
}

}  // namespace espalier::viz

#include "viz/explore/commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "core/text.h"
#include "traces/families.h"

namespace espalier::viz {
namespace {

constexpr double kCloser = 0.8, kStep = 0.1;
constexpr std::int32_t kDecodeStep = 16;

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

Action next_colouring(const Session& session) {
  return SetColourBy{static_cast<ColourBy>((static_cast<int>(session.look.colour_by) + 1) % kColourings)};
}

void add_keys(std::vector<Command>& out, const Session& session) {
  const Look& look = session.look;
  const bool both = session.settings.compare, dark = look.theme == Theme::dark;
  const auto next_kept = session.kept.empty() ? 0 : (session.kept_shown + 1) % session.kept.size();
  const Command kKeys[] = {
      {'w', "Time: closer", Zoom{Plane::time, kCloser, 0.5, 0.5}},
      {'s', "Time: further", Zoom{Plane::time, 1 / kCloser, 0.5, 0.5}},
      {'a', "Time: earlier", Pan{Plane::time, -kStep, 0}},
      {'d', "Time: later", Pan{Plane::time, kStep, 0}},
      {'f', "Show all", FitAll{}},
      {'g', "Show the selection", FitSelection{}},
      {'m', look.range ? "Measure no longer" : "Measure what is shown", look.range ? Measure{} : Measure{look.time}},
      {'c', "Next colouring", next_colouring(session)},
      {'t', dark ? "Light" : "Dark", SetTheme{dark ? Theme::light : Theme::dark}},
      {'b', both ? "One side" : "Compare two sides", Choose{{Knob::compare, SideId::a, {}, both ? 0.0 : 1.0}, false}},
      {'x', "Swap the sides", Choose{{Knob::swap, SideId::a, {}, 0}, false}},
      {'e', "Controls of the other side", EditSide{look.edited == SideId::a && both ? SideId::b : SideId::a}},
      {'.', "Decode 16 tokens", Decode{kDecodeStep}},
      {',', "Take 16 tokens back", Decode{-kDecodeStep}},
      {'p', look.playing ? "Stop decoding" : "Decode on", Play{!look.playing}},
      {'1', "Timeline", ShowPanel{Panel::timeline}},
      {'2', "Table of tasks", ShowPanel{Panel::tasks}},
      {'3', "Table of nodes", ShowPanel{Panel::nodes}},
      {'4', "Table of requests", ShowPanel{Panel::requests}},
      {'r', "Table of strategies", ShowPanel{Panel::strategies}},
      {'5', "Why", ShowInsight{Insight::why}},
      {'6', "What helps", ShowInsight{Insight::helps}},
      {'7', "Roofline", ShowInsight{Insight::roofline}},
      {'8', "Fit to a measurement", ShowInsight{Insight::fit}},
      {'k', "Keep this view", KeepView{}},
      {'v', "Next kept view", ShowKept{next_kept}},
      {'/', "Find a command", ShowPalette{!look.palette}},
      {'?', "Keys", ShowHelp{!look.help}},
  };
  out.insert(out.end(), std::begin(kKeys), std::end(kKeys));
}

void add_names(std::vector<Command>& out, const Session& session) {
  out.push_back({0, "Undo", Undo{}});
  out.push_back({0, "Redo", Redo{}});
  out.push_back({0, "Select nothing", Select{}});
  for (int i = 0; i < kColourings; ++i) {
    const auto by = static_cast<ColourBy>(i);
    out.push_back({0, fmt::format("Colour by {}", colour_by_name(by)), SetColourBy{by}});
  }
  if (session.selection.kind == ItemKind::task) {
    for (int k = 0; k < kEditKinds; ++k) {
      const auto kind = static_cast<EditKind>(k);
      const PlanEdit edit{kind, session.selection.index, session.look.copy, kEmptiestQueue};
      const std::string text = edit_text(edit);
      const Change change{
          Knob::edit, session.selected_side, std::string(edit_name(kind)), static_cast<double>(edit.task), edit.copy,
          edit.queue};
      out.push_back({0, fmt::format("Edit: {}", text), Choose{change, false}});
    }
    out.push_back({0, "Edit: the next copy of the task", ChooseCopy{session.look.copy + 1}});
  }
  for (const SideId side : kSides) {
    if (!session.settings.side(side).edits.empty()) {
      out.push_back({0, fmt::format("Edit: take back all of {}", side_name(side)),
                     Choose{{Knob::edit_reset, side, {}, 0}, false}});
    }
  }
  for (const auto& [name, format] : export_menu()) out.push_back({0, fmt::format("Export: {}", name), Export{format}});
  const SideId side = session.look.edited;
  const auto choose = [&](Knob knob, const std::string& what, std::string_view name) {
    out.push_back({0, fmt::format("{}: {}", what, name), Choose{{knob, side, std::string(name), 0}, false}});
  };
  for (const scheduler::Strategy* s : scheduler::strategies()) {
    choose(Knob::strategy, fmt::format("Strategy of {}", side_name(side)), s->info().name);
  }
  for (const costmodel::DeviceSpec& device : costmodel::device_catalog()) {
    choose(Knob::device, fmt::format("Device of {}", side_name(side)), device.name);
  }
  for (const traces::Family& family : traces::families()) choose(Knob::family, "Batch", family.name);
  for (const traces::Model& model : traces::models()) choose(Knob::model, "Heads", model.name);
}

}  // namespace

const std::vector<std::pair<std::string, std::string>>& export_menu() {
  static const std::vector<std::pair<std::string, std::string>> kFormats = {
      {"Picture (PNG)", "png"},
      {"Picture (SVG)", "svg"},
      {"Page (HTML)", "html"},
      {"Both sides (HTML)", "both.html"},
      {"Tasks (CSV)", "csv"},
      {"Trace (Perfetto)", "perfetto"},
      {"Both sides (Perfetto)", "both.perfetto"},
      {"Plan", "plan"},
  };
  return kFormats;
}

const std::vector<HelpLine>& help_lines() {
  static const std::vector<HelpLine> kLines = {
      {"wheel, W S", "zoom"},
      {"drag, A D", "move"},
      {"F", "show all"},
      {"G", "show the selection"},
      {"Esc", "select nothing"},
      {"Ctrl Z, Ctrl Y", "undo, redo"},
      {"B", "compare or one side"},
      {"X", "swap the sides"},
      {"E", "edit the other side"},
      {"C", "next colouring; click a legend's colour for it alone"},
      {"M, Shift drag", "measure what is shown, or a range of time"},
      {"drag in Roofline", "light up its tasks"},
      {"1 2 3 4 R", "timeline, tasks, nodes, requests, strategies"},
      {"5 6 7 8", "why, what helps, roofline, fit to a measurement"},
      {"P", "decode on, or stop"},
      {". ,", "16 tokens on, back"},
      {"T", "dark or light"},
      {"Tab, arrows", "from control to control"},
      {"Ctrl click", "type a slider's value"},
      {"K, V", "keep this view, go to the next kept one"},
      {"/", "find a command by its name"},
      {"?", "these keys"},
  };
  return kLines;
}

std::vector<Command> commands_of(const Session& session) {
  std::vector<Command> out;
  add_keys(out, session);
  add_names(out, session);
  return out;
}

std::vector<Command> matching_commands(const Session& session, std::string_view text) {
  std::vector<Command> out = commands_of(session);
  const std::vector<std::string> words = core::split(lower(text), ' ');
  std::erase_if(out, [&](const Command& command) {
    const std::string name = lower(command.name);
    return !std::all_of(words.begin(), words.end(),
                        [&](const std::string& word) { return name.find(word) != std::string::npos; });
  });
  std::stable_partition(out.begin(), out.end(),
                        [&](const Command& command) { return lower(command.name).starts_with(words.front()); });
  return out;
}

}  // namespace espalier::viz

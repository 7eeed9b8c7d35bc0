// The row above the cards: what is planned, and what can be done with all of it.
#include <fmt/format.h>

#include <algorithm>

#include "core/text.h"
#include "viz/explore/copied_command.h"
#include "viz/picture/drawing.h"
#include "viz/ui/panels.h"

namespace espalier::viz {
namespace {

/// Most important first.
std::vector<std::string> batch_parts(const PanelContext& c) {
  const Outcome& o = c.outcome;
  if (o.forest == nullptr) return {};
  const auto unique = static_cast<double>(traces::unique_tokens(*o.forest)),
             logical = static_cast<double>(traces::logical_tokens(*o.forest));
  const traces::HeadConfig& heads = o.settings.heads;
  return {o.forest->name,
          fmt::format("{}, {}", core::counted(static_cast<std::int64_t>(o.forest->request_count()), "request"),
                      core::counted(static_cast<std::int64_t>(o.forest->node_count()), "node")),
          fmt::format("dedupe {:.2f}", logical / std::max(1.0, unique)),
          fmt::format("{} {} {}", o.settings.model.empty() ? "heads" : o.settings.model, traces::heads_text(heads),
                      traces::dtype_name(heads.kv_dtype))};
}

/// Parts for which there is room, in pixels at scale 1; the first in any case, cut if it must be.
std::string fitting(const Widgets& ui, const std::vector<std::string>& parts, double room) {
  std::string shown;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::string longer = i == 0 ? parts[i] : fmt::format("{}  ·  {}", shown, parts[i]);
    if (static_cast<double>(ImGui::CalcTextSize(longer.c_str()).x / ui.px(1)) > room) {
      return i == 0 ? fitted(longer, 12.5, room) : shown;
    }
    shown = longer;
  }
  return shown;
}

struct HeaderButton {
  const char* label;
  bool enabled;
  Action action;
};
std::vector<HeaderButton> buttons_of(const Session& session) {
  const bool dark = session.look.theme == Theme::dark, both = session.settings.compare;
  return {
      {both ? "One side" : "Compare", true, Choose{{Knob::compare, SideId::a, {}, both ? 0.0 : 1.0}, false}},
      {"Swap", both, Choose{{Knob::swap, SideId::a, {}, 0}, false}},
      {"Undo", session.history.can_undo(), Undo{}},
      {"Redo", session.history.can_redo(), Redo{}},
      {dark ? "Light" : "Dark", true, SetTheme{dark ? Theme::light : Theme::dark}},
      {"?", true, ShowHelp{!session.look.help}},
  };
}

void copy_command(const PanelContext& c, const CopiedCommand& command) {
  if (!command.why_not.empty()) return c.act(Say{command.why_not});
  ImGui::SetClipboardText(command.text.c_str());
  c.act(Say{"Copied: " + command.text});
}

void views_menu(const PanelContext& c) {
  std::vector<std::string> names = {"Keep this view", "Copy its command"};
  for (std::size_t i = 0; i < c.session.kept.size(); ++i) {
    names.push_back(fmt::format("{}: {}", i + 1, c.session.kept[i].name));
  }
  const auto picked = c.ui.menu("Views", names);
  if (!picked) return;
  if (*picked == 0) return c.act(KeepView{});
  const bool of_plan = c.session.selection.kind == ItemKind::task || c.session.selection.kind == ItemKind::merge;
  if (*picked == 1 && c.planning && of_plan) {
    return c.act(Say{"The plan is being made anew: copy the command when it is there."});
  }
  if (*picked == 1) return copy_command(c, view_command_of(c.session));
  c.act(ShowKept{*picked - 2});
}

void export_of(const PanelContext& c) {
  std::vector<std::string> names;
  for (const auto& [name, format] : export_menu()) names.push_back(name);
  names.emplace_back("Copy the command");
  const auto picked = c.ui.menu("Export", names);
  if (!picked) return;
  if (*picked < export_menu().size()) return c.act(Export{export_menu()[*picked].second});
  copy_command(c, plan_command_of(c.session.settings, c.session.look.edited, c.session.given));
}

}  // namespace

void header_panel(const PanelContext& c) {
  constexpr double kLeft = 106, kGap = 6;
  Widgets& ui = c.ui;
  const Area& area = c.regions.header;
  const std::vector<HeaderButton> buttons = buttons_of(c.session);
  const auto wide = [&](const char* label) {
    return ImGui::CalcTextSize(label).x + 2 * ImGui::GetStyle().FramePadding.x + ui.px(kGap);
  };
  float width = wide("Views") + wide("Export");
  for (const HeaderButton& button : buttons) width += wide(button.label);
  const float begin = ui.px(area.w - 10) - width + ui.px(kGap);
  ImGui::SetCursorPos({ui.px(area.x + 22), ui.px(14)});
  ui.text("Espalier", Paint::ink, 14, true);
  ImGui::SetCursorPos({ui.px(area.x + kLeft), ui.px(15.5)});
  const std::vector<std::string> parts = !c.message.empty() ? std::vector{c.message}
                                         : c.planning       ? std::vector<std::string>{"Planning …"}
                                                            : batch_parts(c);
  const double room = static_cast<double>(begin / ui.px(1)) - area.x - kLeft - 12;
  const std::string shown = fitting(ui, parts, room);
  ui.text(shown, c.message.empty() ? Paint::muted : Paint::select, 12.5);
  if (ImGui::IsItemHovered() && shown != core::join(parts, "  ·  ")) ui.tooltip(parts);
  ImGui::SetCursorPos({begin, ui.px(12)});
  for (const HeaderButton& button : buttons) {
    if (ui.button(button.label, button.enabled)) c.act(button.action);
    ImGui::SameLine(0, ui.px(kGap));
  }
  views_menu(c);
  ImGui::SameLine(0, ui.px(kGap));
  export_of(c);
}

}  // namespace espalier::viz

// What lies over the window: the keys, and commands by name.
#include <fmt/format.h>

#include <algorithm>

#include "viz/explore/commands.h"
#include "viz/ui/panels.h"

namespace espalier::viz {
namespace {

/// In the middle across, at a share of the height; end_popup() always follows.
void begin_popup(const Widgets& ui, const char* name, float down) {
  const ImVec2 size = ImGui::GetIO().DisplaySize;
  ImGui::SetNextWindowPos({size.x / 2, size.y * down}, 0, {0.5F, down});
  ImGui::SetNextWindowFocus();
  ImGui::PushStyleColor(ImGuiCol_WindowBg, ImGui::GetStyle().Colors[ImGuiCol_PopupBg]);
  ImGui::PushStyleVar(ImGuiStyleVar_WindowBorderSize, ImGui::GetStyle().PopupBorderSize);
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, {ui.px(24), ui.px(20)});
  ImGui::Begin(name, nullptr,
               ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_AlwaysAutoResize | ImGuiWindowFlags_NoMove);
}

void end_popup() {
  ImGui::End();
  ImGui::PopStyleVar(2);
  ImGui::PopStyleColor();
}

}  // namespace

void help_panel(const PanelContext& c) {
  if (!c.session.look.help) return;
  Widgets& ui = c.ui;
  begin_popup(ui, "keys", 0.5F);
  ui.text("Keys", Paint::ink, 14, true);
  ImGui::Dummy({0, ui.px(2)});
  for (const auto& [key, meaning] : help_lines()) {
    ui.text(key, Paint::ink, 12.5, true);
    ui.note(fmt::format("key {}", key));
    ImGui::SameLine(ui.px(160));
    ui.text(meaning, Paint::muted, 12.5);
  }
  ImGui::Dummy({0, ui.px(4)});
  if (ui.button("Close")) c.act(ShowHelp{false});
  end_popup();
}

void palette_panel(const PanelContext& c) {
  constexpr std::size_t kMost = 12;
  constexpr double kWidth = 360;
  if (!c.session.look.palette) return;
  Widgets& ui = c.ui;
  begin_popup(ui, "palette", 0.2F);
  if (ImGui::IsWindowAppearing()) ImGui::SetKeyboardFocusHere();
  if (const auto text = ui.input("command", "what to do", c.session.look.palette_text, kWidth)) {
    c.act(TypePalette{*text});
  }
  const std::vector<Command> commands = matching_commands(c.session, c.session.look.palette_text);
  std::optional<std::size_t> picked;
  for (std::size_t i = 0; i < std::min(kMost, commands.size()); ++i) {
    const Command& command = commands[i];
    const bool waits = c.planning && edits_plan(command.action);
    if (ImGui::Selectable(fmt::format("{}##{}", command.name, i).c_str(), false,
                          waits ? ImGuiSelectableFlags_Disabled : ImGuiSelectableFlags_None)) {
      picked = i;
    }
    ui.note("command/" + command.name);
    if (command.key == 0) continue;
    const std::string key(1, command.key);
    ImGui::SameLine(ui.px(kWidth));
    ui.text(key, Paint::muted, 12.5, true);
  }
  if (commands.empty()) ui.text("Nothing is called so.", Paint::muted, 12.5);
  if (!commands.empty() && ImGui::IsKeyPressed(ImGui::GetKeyIndex(ImGuiKey_Enter))) picked = 0;
  const bool left = ImGui::IsKeyPressed(ImGui::GetKeyIndex(ImGuiKey_Escape));
  end_popup();
  if (picked || left) c.act(ShowPalette{false});
  if (picked) c.act(commands[*picked].action);
}

}  // namespace espalier::viz

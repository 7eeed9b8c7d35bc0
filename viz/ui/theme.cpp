#include "viz/ui/theme.h"

#include <imgui.h>

namespace espalier::viz {
namespace {

ImVec4 colour(Paint paint, Theme theme, float alpha = 1) {
  const Rgb c = colour_of(paint, theme);
  return {static_cast<float>(c.r) / 255, static_cast<float>(c.g) / 255, static_cast<float>(c.b) / 255, alpha};
}

void set_sizes(ImGuiStyle& style) {
  style.WindowPadding = {12, 10};
  style.FramePadding = {8, 3};
  style.ItemSpacing = {8, 6};
  style.ItemInnerSpacing = {6, 4};
  style.WindowRounding = style.ChildRounding = 8;
  style.FrameRounding = style.GrabRounding = style.PopupRounding = 5;
  style.ScrollbarRounding = 5;
  style.ScrollbarSize = 9;
  style.GrabMinSize = 9;
  style.WindowBorderSize = 0;
  style.ChildBorderSize = 1;
  style.PopupBorderSize = 1;
  style.FrameBorderSize = 0;
  style.CellPadding = {6, 3};
  style.ButtonTextAlign = {0.5F, 0.5F};
  style.AntiAliasedLinesUseTex = false;
}

void set_colours(ImGuiStyle& style, Theme theme) {
  const ImVec4 none{0, 0, 0, 0}, card = colour(Paint::page, theme), well = colour(Paint::panel, theme),
                                 grid = colour(Paint::grid, theme);
  const ImVec4 ink = colour(Paint::ink, theme), muted = colour(Paint::muted, theme), accent = colour(Paint::hbm, theme);
  const auto set = [&](ImGuiCol at, const ImVec4& to) { style.Colors[at] = to; };
  set(ImGuiCol_Text, ink);
  set(ImGuiCol_TextDisabled, muted);
  set(ImGuiCol_WindowBg, colour(Paint::desk, theme));
  set(ImGuiCol_ChildBg, card);
  set(ImGuiCol_PopupBg, card);
  set(ImGuiCol_Border, grid);
  set(ImGuiCol_BorderShadow, none);
  set(ImGuiCol_FrameBg, well);
  set(ImGuiCol_FrameBgHovered, grid);
  set(ImGuiCol_FrameBgActive, grid);
  set(ImGuiCol_ScrollbarBg, none);
  set(ImGuiCol_ScrollbarGrab, grid);
  set(ImGuiCol_ScrollbarGrabHovered, muted);
  set(ImGuiCol_ScrollbarGrabActive, muted);
  set(ImGuiCol_CheckMark, accent);
  set(ImGuiCol_SliderGrab, accent);
  set(ImGuiCol_SliderGrabActive, colour(Paint::select, theme));
  set(ImGuiCol_Button, well);
  set(ImGuiCol_ButtonHovered, grid);
  set(ImGuiCol_ButtonActive, grid);
  set(ImGuiCol_Header, grid);
  set(ImGuiCol_HeaderHovered, grid);
  set(ImGuiCol_HeaderActive, grid);
  set(ImGuiCol_TableHeaderBg, well);
  set(ImGuiCol_TableBorderStrong, grid);
  set(ImGuiCol_TableBorderLight, grid);
  set(ImGuiCol_TableRowBg, none);
  set(ImGuiCol_TableRowBgAlt, none);
  set(ImGuiCol_NavHighlight, accent);
  set(ImGuiCol_TextSelectedBg, colour(Paint::hbm, theme, 0.4F));
  set(ImGuiCol_ModalWindowDimBg, {0, 0, 0, 0.45F});
}

}  // namespace

void set_style(Theme theme, float scale) {
  ImGuiStyle style;
  set_sizes(style);
  set_colours(style, theme);
  style.ScaleAllSizes(scale);
  style.ChildBorderSize = style.PopupBorderSize = scale >= 2 ? 2.0F : 1.0F;
  ImGui::GetStyle() = style;
}

}  // namespace espalier::viz

#include "viz/ui/widgets.h"

#include <fmt/format.h>
#include <imgui_internal.h>
#include <imgui_stdlib.h>

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>

#include "core/text.h"
#include "viz/explore/view_parts.h"
#include "viz/picture/drawing.h"
#include "viz/ui/draw_list_sink.h"

namespace espalier::viz {
namespace {

constexpr double kLabel = 0.38;  ///< of a row's width

}  // namespace

void Widgets::note(std::string_view name) {
  const ImVec2 low = ImGui::GetItemRectMin(), high = ImGui::GetItemRectMax();
  const Area area{static_cast<double>(low.x), static_cast<double>(low.y), static_cast<double>(high.x - low.x),
                  static_cast<double>(high.y - low.y)};
  placed_.insert_or_assign(std::string(name), area);
  rows_.push_back(area);
}

void Widgets::text(const std::string& text, Paint paint, double size, bool bold) {
  ImGui::PushFont(font(size, bold));
  ImGui::PushStyleColor(ImGuiCol_Text, packed(paint, theme_));
  ImGui::TextUnformatted(text.c_str(), text.c_str() + text.size());
  ImGui::PopStyleColor();
  ImGui::PopFont();
}

WidthOf Widgets::width_of(double size, bool bold) const {
  return [face = font(size, bold), scale = scale_](const std::string& line) {
    return static_cast<double>(
        face->CalcTextSizeA(face->FontSize, FLT_MAX, 0, line.c_str(), line.c_str() + line.size()).x / scale);
  };
}

std::vector<std::string> Widgets::lines_of(const std::string& text, double width, double size, bool bold) const {
  return wrapped(text, width, width_of(size, bold));
}

std::string Widgets::fitted_line(const std::string& text, double width, double size, bool bold) const {
  return fitted(text, width, width_of(size, bold));
}

void Widgets::paragraph(const std::string& text, Paint paint, double size) {
  // Broken at spaces only: ImGui breaks numbers at their point, too.
  const double width = static_cast<double>(ImGui::GetContentRegionAvail().x / scale_);
  this->text(core::join(lines_of(text, width, size), "\n"), paint, size);
}

void Widgets::heading(const char* text) {
  ImGui::Dummy({0, px(2)});
  this->text(text, Paint::ink, 12.5, true);
  note(fmt::format("heading {}", text));
}

/// A card's ground: a cross of boxes to clear, and four round corners.
void Widgets::clear_ground(const Area& area) {
  ImDrawList* list = ImGui::GetWindowDrawList();
  const ImU32 colour = packed(Paint::page, theme_);
  const float r = ImGui::GetStyle().ChildRounding;
  const ImVec2 low{std::floor(px(area.x)), std::floor(px(area.y))},
      high{std::floor(px(area.x)) + std::floor(px(area.w)), std::floor(px(area.y)) + std::floor(px(area.h))};
  const auto clear = [&](ImVec2 from, ImVec2 to) {
    list->PushClipRect(from, to);
    list->AddCallback(clear_, reinterpret_cast<void*>(static_cast<std::uintptr_t>(colour)));
    list->PopClipRect();
  };
  clear({low.x + r, low.y}, {high.x - r, high.y});
  clear({low.x, low.y + r}, {low.x + r, high.y - r});
  clear({high.x - r, low.y + r}, {high.x, high.y - r});
  const auto corner = [&](float x, float y, int quarter) {
    list->PathLineTo({x, y});
    list->PathArcToFast({x, y}, r, 3 * quarter, 3 * quarter + 3);
    list->PathFillConvex(colour);
  };
  corner(high.x - r, high.y - r, 0);
  corner(low.x + r, high.y - r, 1);
  corner(low.x + r, low.y + r, 2);
  corner(high.x - r, low.y + r, 3);
}

void Widgets::begin_card(const char* name, const Area& area, const char* title, const std::string& remark) {
  ImGui::SetCursorPos({px(area.x), px(area.y)});
  if (clear_ != nullptr) {
    clear_ground(area);
    ImGui::PushStyleColor(ImGuiCol_ChildBg, 0);
  }
  ImGui::BeginChild(name, {px(area.w), px(area.h)}, true, ImGuiWindowFlags_AlwaysUseWindowPadding);
  if (clear_ != nullptr) ImGui::PopStyleColor();
  placed_.insert_or_assign(std::string("card ") + name, area);
  rows_.clear();
  if (title == nullptr) return;
  text(title, Paint::ink, 12.5, true);
  if (remark.empty()) return;
  ImGui::SameLine(0, px(10));
  text(remark, Paint::muted, 11);
}

void Widgets::cover_cut_row(const Area& area) {
  const double bottom = (area.y + area.h) * static_cast<double>(scale_), room = static_cast<double>(px(4));
  double top = bottom;
  for (const Area& row : rows_) {
    if (row.y < bottom && row.y + row.h > bottom - room) top = std::min(top, row.y - room);
  }
  if (top == bottom) return;
  const auto x = [&](double at) { return px(at); };
  ImGui::GetWindowDrawList()->AddRectFilled({x(area.x + 1), static_cast<float>(top)},
                                            {x(area.x + area.w - 12), static_cast<float>(bottom) - px(1)},
                                            packed(Paint::page, theme_), px(7), ImDrawFlags_RoundCornersBottomLeft);
}

void Widgets::end_card() { ImGui::EndChild(); }

bool Widgets::button(const char* label, bool enabled) {
  ImGui::PushFont(font(12.5, false));
  ImGui::BeginDisabled(!enabled);
  const bool pressed = ImGui::Button(label);
  note(label);
  ImGui::EndDisabled();
  ImGui::PopFont();
  return pressed;
}

std::optional<std::size_t> Widgets::segments(const char* name, const std::vector<std::string>& labels,
                                             std::size_t chosen) {
  std::optional<std::size_t> picked;
  ImGui::PushFont(font(12.5, false));
  ImGui::PushID(name);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (i > 0) ImGui::SameLine(0, px(3));
    const bool on = i == chosen;
    ImGui::PushStyleColor(ImGuiCol_Button, packed(on ? Paint::hbm : Paint::panel, theme_));
    ImGui::PushStyleColor(ImGuiCol_ButtonHovered, packed(on ? Paint::hbm : Paint::grid, theme_));
    ImGui::PushStyleColor(ImGuiCol_Text, packed(on ? Paint::page : Paint::muted, theme_));
    if (ImGui::Button(labels[i].c_str()) && !on) picked = i;
    ImGui::PopStyleColor(3);
    note(fmt::format("{}/{}", name, labels[i]));
  }
  ImGui::PopID();
  ImGui::PopFont();
  return picked;
}

void Widgets::label(const char* text) {
  const float width = ImGui::GetContentRegionAvail().x;
  const ImVec2 corner = ImGui::GetCursorScreenPos();
  rows_.push_back({static_cast<double>(corner.x), static_cast<double>(corner.y), static_cast<double>(width),
                   static_cast<double>(ImGui::GetFrameHeight())});
  ImGui::AlignTextToFramePadding();
  ImGui::PushStyleColor(ImGuiCol_Text, packed(Paint::muted, theme_));
  ImGui::TextUnformatted(text);
  ImGui::PopStyleColor();
  ImGui::SameLine(ImGui::GetStyle().WindowPadding.x + width * static_cast<float>(kLabel));
}

void Widgets::chevron(const Area& box) {
  const double x = box.x + box.w - 14, y = box.y + box.h / 2 - 2;
  Scene scene;
  scene.shapes = {Line{x - 4, y, x, y + 4, Paint::muted, 1.5}, Line{x, y + 4, x + 4, y, Paint::muted, 1.5}};
  DrawListSink sink({ImGui::GetWindowDrawList(), {0, 0}, scale_, theme_, &fonts_});
  draw(scene, sink);
}

std::optional<std::size_t> Widgets::combo(const char* label_text, const std::vector<std::string>& entries,
                                          std::size_t chosen) {
  std::optional<std::size_t> picked;
  ImGui::PushFont(font(12.5, false));
  label(label_text);
  ImGui::SetNextItemWidth(-1);
  const ImVec2 corner = ImGui::GetCursorScreenPos();
  const Area box{static_cast<double>(corner.x / scale_), static_cast<double>(corner.y / scale_),
                 static_cast<double>(ImGui::GetContentRegionAvail().x / scale_),
                 static_cast<double>(ImGui::GetFrameHeight() / scale_)};
  const std::string shown = chosen < entries.size() ? fitted(entries[chosen], 12.5, box.w - 26) : "";
  const bool open = ImGui::BeginCombo(fmt::format("##{}", label_text).c_str(), shown.c_str(),
                                      ImGuiComboFlags_HeightLarge | ImGuiComboFlags_NoArrowButton);
  if (open) {
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (ImGui::Selectable(entries[i].c_str(), i == chosen)) picked = i;
      note(fmt::format("{}/{}", label_text, entries[i]));
    }
    ImGui::EndCombo();
  }
  const Area placed{box.x * scale_, box.y * scale_, box.w * scale_, box.h * scale_};
  placed_.insert_or_assign(label_text, placed);
  rows_.push_back(placed);
  chevron(box);
  ImGui::PopFont();
  return picked;
}

std::optional<std::size_t> Widgets::menu(const char* label, const std::vector<std::string>& entries,
                                         const std::string& shown) {
  std::optional<std::size_t> picked;
  const std::string text = shown.empty() ? std::string(label) : fmt::format("{}##{}", shown, label);
  if (button(text.c_str())) ImGui::OpenPopup(label);
  note(label);
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, {px(12), px(10)});
  if (ImGui::BeginPopup(label)) {
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (ImGui::Selectable(entries[i].c_str())) picked = i;
      note(fmt::format("{}/{}", label, entries[i]));
    }
    ImGui::EndPopup();
  }
  ImGui::PopStyleVar();
  return picked;
}

std::optional<std::string> Widgets::input(const char* name, const char* hint, const std::string& text, double width) {
  std::string typed = text;
  ImGui::PushFont(font(12.5, false));
  ImGui::SetNextItemWidth(px(width));
  const bool changed = ImGui::InputTextWithHint(fmt::format("##{}", name).c_str(), hint, &typed);
  note(name);
  ImGui::PopFont();
  return changed ? std::optional(typed) : std::nullopt;
}

bool Widgets::slider(const char* label_text, double& value, const Range& range) {
  ImGui::PushFont(font(12.5, false));
  label(label_text);
  const float row = ImGui::GetFrameHeight(), left = ImGui::GetCursorPosX(), top = ImGui::GetCursorPosY(),
              right = left + ImGui::GetContentRegionAvail().x;
  const std::string id = fmt::format("##{}", label_text);
  // The value stands beside the slider, except while it is typed.
  const bool typed = ImGui::GetIO().WantTextInput && ImGui::GetActiveID() == ImGui::GetID(id.c_str());
  std::array<char, 64> shown{};
  ImFormatString(shown.data(), shown.size(), range.format, value);
  const float value_width = ImGui::CalcTextSize(shown.data()).x;
  ImGui::PushFont(font(11, false));
  ImGui::PushStyleVar(ImGuiStyleVar_FramePadding, {px(2), 0});
  ImGui::SetCursorPosY(top + (row - ImGui::GetFrameHeight()) / 2);
  ImGui::SetNextItemWidth(typed ? right - left : std::min((right - left) * 0.44F, right - left - value_width - px(10)));
  ImGuiSliderFlags flags = ImGuiSliderFlags_AlwaysClamp | ImGuiSliderFlags_NoRoundToFormat;
  if (range.log) flags |= ImGuiSliderFlags_Logarithmic;
  ImGui::PushStyleColor(ImGuiCol_Text, typed ? packed(Paint::ink, theme_) : 0U);
  const bool changed =
      ImGui::SliderScalar(id.c_str(), ImGuiDataType_Double, &value, &range.low, &range.high, range.format, flags);
  ImGui::PopStyleColor();
  note(label_text);
  if (changed && range.whole) value = std::round(value);
  ImGui::PopStyleVar();
  ImGui::PopFont();
  if (!typed) {
    ImGui::SameLine();
    ImGui::SetCursorPos({right - value_width, top});
    ImGui::TextUnformatted(shown.data());
    note(fmt::format("{} value", label_text));
  }
  ImGui::SetCursorPosY(top + row + ImGui::GetStyle().ItemSpacing.y * 0.7F);
  ImGui::PopFont();
  return changed;
}

Widgets::Pointer Widgets::picture(const char* name, const Scene& scene) {
  Pointer pointer;
  const ImVec2 origin = ImGui::GetCursorScreenPos();
  ImGui::InvisibleButton(name, {std::max(1.0F, px(scene.width)), std::max(1.0F, px(scene.height))});
  note(name);
  DrawListSink sink({ImGui::GetWindowDrawList(), origin, scale_, theme_, &fonts_});
  draw(scene, sink);
  const ImGuiIO& io = ImGui::GetIO();
  pointer.over = ImGui::IsItemHovered();
  pointer.shift = io.KeyShift;
  pointer.from_x = static_cast<double>((io.MouseClickedPos[0].x - origin.x) / scale_);
  pointer.from_y = static_cast<double>((io.MouseClickedPos[0].y - origin.y) / scale_);
  pointer.x = static_cast<double>((io.MousePos.x - origin.x) / scale_);
  pointer.y = static_cast<double>((io.MousePos.y - origin.y) / scale_);
  if (ImGui::IsItemActive() && ImGui::IsMouseDragging(0, px(3))) {
    pointer.dragged = true;
    pointer.dx = static_cast<double>(io.MouseDelta.x / scale_);
    pointer.dy = static_cast<double>(io.MouseDelta.y / scale_);
  }
  const ImVec2 moved = ImGui::GetMouseDragDelta(0, 0);
  const bool still = std::abs(moved.x) + std::abs(moved.y) < px(4);
  pointer.clicked = ImGui::IsItemDeactivated() && pointer.over && still;
  pointer.double_clicked = pointer.over && ImGui::IsMouseDoubleClicked(0);
  if (pointer.over) pointer.wheel = static_cast<double>(io.MouseWheel);
  return pointer;
}

void Widgets::facts(const Facts& facts) {
  const float left = ImGui::GetCursorPosX();
  const float column = left + px(88);
  ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {px(8), px(3.5)});
  for (const Fact& fact : facts.facts) {
    text(fact.name, Paint::muted, 12.5);
    ImGui::SameLine(column);
    text(fact.value, Paint::ink, 12.5);
  }
  ImGui::PopStyleVar();
}

void Widgets::tooltip(const std::vector<std::string>& sentences) {
  constexpr double kWidth = 420;
  ImGui::BeginTooltip();
  for (const std::string& sentence : sentences) text(core::join(lines_of(sentence, kWidth), "\n"), Paint::ink);
  ImGui::EndTooltip();
}

void Widgets::tooltip(const Facts& shown, const std::string& hint) {
  if (shown.title.empty()) return;
  ImGui::BeginTooltip();
  text(shown.title, Paint::ink, 12.5, true);
  for (const Fact& fact : shown.facts) {
    text(fact.name, Paint::muted, 11);
    ImGui::SameLine(px(108));
    text(fact.value, Paint::ink, 11);
  }
  if (!hint.empty()) text(hint, Paint::muted, 11);
  ImGui::EndTooltip();
}

}  // namespace espalier::viz

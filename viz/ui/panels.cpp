// Header, figures, forest and plan, facts, insights.
#include "viz/ui/panels.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/text.h"
#include "viz/model/sharing.h"
#include "viz/picture/drawing.h"
#include "viz/picture/pictures.h"
#include "viz/scene/scene.h"

namespace espalier::viz {
namespace {

constexpr double kPad = 12, kPadY = 10;

/// What is left of a card below the cursor, in pixels at scale 1.
ViewSize room(const PanelContext& c) {
  const ImVec2 left = ImGui::GetContentRegionAvail();
  return {static_cast<double>(left.x) / static_cast<double>(c.ui.px(1)), std::max(1.0, static_cast<double>(left.y) / static_cast<double>(c.ui.px(1)))};
}

std::string batch_text(const PanelContext& c) {
  const Outcome& o = c.outcome;
  if (o.forest == nullptr) return "";
  const auto unique = static_cast<double>(traces::unique_tokens(*o.forest)), logical = static_cast<double>(traces::logical_tokens(*o.forest));
  const traces::HeadConfig& heads = o.settings.heads;
  return fmt::format("{}  ·  {}, {}  ·  dedupe {:.2f}  ·  {} {} {}", o.forest->name, core::counted(static_cast<std::int64_t>(o.forest->request_count()), "request"),
                     core::counted(static_cast<std::int64_t>(o.forest->node_count()), "node"), logical / std::max(1.0, unique),
                     o.settings.model.empty() ? "heads" : o.settings.model, traces::heads_text(heads), traces::dtype_name(heads.kv_dtype));
}

/// Wheel zooms, drags pan, double clicks fit.
void move_plane(const PanelContext& c, const Widgets::Pointer& p, Plane plane, Area area) {
  if (p.wheel != 0 && area.w > 0 && area.h > 0) {
    const double factor = p.wheel > 0 ? 0.8 : 1.25;
    c.act(Zoom{plane, factor, std::clamp((p.x - area.x) / area.w, 0.0, 1.0), std::clamp((p.y - area.y) / area.h, 0.0, 1.0)});
  }
  if (p.dragged && (p.dx != 0 || p.dy != 0)) c.act(Pan{plane, -p.dx / area.w, -p.dy / area.h});
  if (p.double_clicked) c.act(FitAll{});
}

/// What can be done to a task.
void edit_buttons(const PanelContext& c, Item item) {
  constexpr const char* kLabels[kEditKinds] = {"Split", "Split requests", "Join", "First", "Last", "Taller", "Lower"};
  for (int k = 0; k < kEditKinds; ++k) {
    const auto kind = static_cast<EditKind>(k);
    if (k != 0 && kind != EditKind::first) ImGui::SameLine(0, c.ui.px(5));
    const std::string name(edit_name(kind));
    if (c.ui.button(kLabels[k])) c.act(Choose{{Knob::edit, c.session.selected_side, name, static_cast<double>(item.index)}, false});
  }
}

}  // namespace

void PanelContext::change(Knob knob, std::string name, double value) const {
  out.push_back(Choose{{knob, session.look.edited, std::move(name), value}, false});
}

void header_panel(const PanelContext& c) {
  Widgets& ui = c.ui;
  const Area& area = c.regions.header;
  ImGui::SetCursorPos({ui.px(area.x + 22), ui.px(14)});
  ui.text("Espalier", Paint::ink, 14, true);
  ImGui::SetCursorPos({ui.px(area.x + 106), ui.px(15.5)});
  ui.text(!c.message.empty() ? c.message : c.planning ? "Planning …" : batch_text(c), c.message.empty() ? Paint::muted : Paint::select, 12.5);
  const bool dark = c.session.look.theme == Theme::dark, both = c.session.settings.compare;
  const struct {
    const char* label;
    bool enabled;
    Action action;
  } kButtons[] = {
      {both ? "One side" : "Compare", true, Choose{{Knob::compare, SideId::a, {}, both ? 0.0 : 1.0}, false}},
      {"Swap", both, Choose{{Knob::swap, SideId::a, {}, 0}, false}},
      {"Undo", c.session.history.can_undo(), Undo{}},
      {"Redo", c.session.history.can_redo(), Redo{}},
      {dark ? "Light" : "Dark", true, SetTheme{dark ? Theme::light : Theme::dark}},
      {"?", true, ShowHelp{!c.session.look.help}},
  };
  float width = ImGui::CalcTextSize("Export").x + 2 * ImGui::GetStyle().FramePadding.x + ui.px(6);
  for (const auto& button : kButtons) width += ImGui::CalcTextSize(button.label).x + 2 * ImGui::GetStyle().FramePadding.x + ui.px(6);
  ImGui::SetCursorPos({ui.px(area.w - 10) - width + ui.px(6), ui.px(12)});
  for (const auto& button : kButtons) {
    if (ui.button(button.label, button.enabled)) c.act(button.action);
    ImGui::SameLine(0, ui.px(6));
  }
  static const std::vector<std::pair<const char*, const char*>> kFormats = {{"Picture (PNG)", "png"}, {"Picture (SVG)", "svg"}, {"Page (HTML)", "html"}, {"Tasks (CSV)", "csv"},
                                                                          {"Trace (Perfetto)", "perfetto"}, {"Plan", "plan"}};
  std::vector<std::string> names;
  for (const auto& [name, format] : kFormats) names.emplace_back(name);
  names.emplace_back("Copy the command");
  const auto picked = ui.menu("Export", names);
  if (!picked) return;
  if (*picked < kFormats.size()) {
    c.act(Export{kFormats[*picked].second});
  } else {
    ImGui::SetClipboardText(command_of(c.session.settings, c.session.look.edited, c.session.given).c_str());
  }
}

void summary_panel(const PanelContext& c) {
  Widgets& ui = c.ui;
  ui.begin_card("summary", c.regions.summary, nullptr);
  const std::vector<std::string> lines = verdict_of(c.outcome);
  const bool none = c.outcome.forest == nullptr && c.outcome.problem.empty();
  const double width = c.regions.summary.w - 2 * kPad;

  if (!none && !lines.empty()) ui.text(fitted(lines[0], 14.5, width), Paint::ink, 14, true);
  if (!none && lines.size() > 1) ui.text(fitted(lines[1], 12.5, width), Paint::muted, 12.5);
  ImGui::SetCursorPosY(ui.px(c.regions.summary.h - kPadY - 70));
  if (c.outcome.leading() != nullptr) ui.picture("summary picture", summary_view(c.outcome, {width, 70}));
  ui.end_card();
}

void plane_panels(const PanelContext& c) {
  Widgets& ui = c.ui;
  const Outcome& o = c.outcome;
  ui.begin_card("forest", c.regions.forest, "Prefix forest", "across: requests · down: tokens");
  ViewSize size = room(c);
  const Scene legend = o.forest == nullptr ? Scene{} : step_legend("saved", saving_scale(*o.forest, o.forest_index.bytes_per_token).legend(), size.width).scene;
  size.height = std::max(40.0, size.height - legend.height - 6);
  Widgets::Pointer p = ui.picture("forest picture", forest_view(c.session, o, size));
  const Item node = p.over ? forest_item_at(c.session, o, size, p.x, p.y) : Item{};
  if (p.clicked) c.act(Select{node, SideId::a});
  if (p.over && !p.dragged) ui.tooltip(facts_of(o, SideId::a, node), "click to select");
  move_plane(c, p, Plane::forest, plane_area(size));
  if (o.forest != nullptr) ui.picture("forest legend", legend);
  ui.end_card();

  const SideId side = c.session.look.edited;
  ui.begin_card("plan", c.regions.cover, c.session.settings.compare ? fmt::format("Plan {}", side_name(side)).c_str() : "Plan", "boxes: what a task reads");
  size = room(c);
  const bool shown = o.side(side).shown();
  StepLegend legend_of_tasks;
  if (shown) {
    const ColourBy by = c.session.look.colour_by;
    legend_of_tasks = step_legend(std::string(colour_by_name(by)), colour_legend(*o.side(side).plan, o.side(side).explanation.result, by), size.width, c.session.look.isolated);
  }
  size.height = std::max(40.0, size.height - legend_of_tasks.scene.height - 6);
  p = ui.picture("plan picture", cover_view(c.session, o, side, size));
  const Item task = p.over ? cover_item_at(c.session, o, side, size, p.x, p.y) : Item{};
  if (p.clicked) c.act(Select{task, side});
  if (p.over && !p.dragged) ui.tooltip(facts_of(o, side, task), "click to select");
  move_plane(c, p, Plane::forest, plane_area(size));
  if (shown) {
    const Widgets::Pointer over = ui.picture("plan legend", legend_of_tasks.scene);
    const Paint paint = over.over ? legend_of_tasks.at(over.x, over.y) : Paint::none;
    if (over.clicked) c.act(Isolate{paint});
  }
  ui.end_card();
}

void facts_panel(const PanelContext& c) {
  Widgets& ui = c.ui;
  const Item item = c.session.selection;
  const SideId side = c.session.selected_side;
  if (c.session.look.range) {
    const Facts range = range_facts(c.outcome, *c.session.look.range);
    ui.begin_card("facts", c.regions.facts, range.title.c_str());
    ui.facts(range);
    ui.end_card();
    return;
  }
  const Facts facts = facts_of(c.outcome, side, item);
  if (!facts.title.empty()) {
    ui.begin_card("facts", c.regions.facts, facts.title.c_str());
    ui.facts(facts);
    const Linked linked = linked_of(c.session, c.outcome, side);
    ImGui::Dummy({0, ui.px(1)});
    const auto counted = [](const auto& ids, const char* noun) { return core::counted(static_cast<std::int64_t>(ids.size()), noun); };
    ui.text(core::join({counted(linked.nodes, "node"), counted(linked.requests, "request"), counted(linked.tasks, "task"), counted(linked.merges, "merge")}, " · "),
            Paint::muted, 11);
    if (item.kind == ItemKind::task) edit_buttons(c, item);
    ui.end_card();
    return;
  }
  const SideOutcome& shown = c.outcome.side(c.session.look.edited);
  ui.begin_card("facts", c.regions.facts, shown.shown() ? fmt::format("Why {} plans so", shown.title).c_str() : "Selection");
  if (shown.shown()) {
    for (const std::string& sentence : shown.plan->provenance.why) ui.paragraph(sentence, Paint::ink);
  }
  ui.paragraph("Click a node, a task or a row: what belongs to it lights up in forest, plan and timeline.", Paint::muted);
  ui.end_card();
}

namespace {

/// Points that stand for tasks of the side whose controls are shown.
void points_picture(const PanelContext& c, const char* name, const Scene& scene) {
  const SideId side = c.session.look.edited;
  const Widgets::Pointer p = c.ui.picture(name, scene);
  const Item item = p.over ? item_near(scene, p.x, p.y, 4) : Item{};
  if (p.clicked) c.act(Select{item, side});
  if (p.over) c.ui.tooltip(facts_of(c.outcome, side, item), "click to select");
}

}  // namespace

void insight_panel(const PanelContext& c) {
  Widgets& ui = c.ui;
  ui.begin_card("insight", c.regions.insight, nullptr);
  std::vector<std::string> names = {"Why", "What helps", "Roofline"};
  if (c.outcome.sides[1].measurement != nullptr) names = {"Why", "Helps", "Roofline", "Fit"};
  if (const auto picked = ui.segments("insight", names, static_cast<std::size_t>(c.session.look.insight))) c.act(ShowInsight{static_cast<Insight>(*picked)});
  ImGui::Dummy({0, ui.px(2)});
  const ViewSize size = room(c);
  switch (c.session.look.insight) {
    case Insight::why: ui.picture("why picture", why_view(c.outcome, size)); break;
    case Insight::helps: ui.picture("helps picture", helps_view(c.outcome, size)); break;
    case Insight::roofline: points_picture(c, "roofline picture", roofline_view(c.session, c.outcome, size)); break;
    case Insight::fit: points_picture(c, "fit picture", fit_view(c.session, c.outcome, size)); break;
  }
  ui.end_card();
}

void help_panel(const PanelContext& c) {
  if (!c.session.look.help) return;
  Widgets& ui = c.ui;
  static const std::vector<std::pair<const char*, const char*>> kKeys = {
      {"wheel, W S", "zoom"}, {"drag, A D", "move"}, {"F", "show all"}, {"G", "show the selection"}, {"Esc", "select nothing"},
      {"Ctrl Z, Ctrl Y", "undo, redo"}, {"B", "compare or one side"}, {"X", "swap the sides"}, {"E", "edit the other side"}, {"C", "next colouring; click a legend's colour for it alone"}, {"M, Shift drag", "measure what is shown, or a range of time"},
      {"1 2 3 4", "timeline, tasks, nodes, requests"}, {"5 6 7 8", "why, what helps, roofline, fit to a measurement"}, {"P", "decode on, or stop"}, {". ,", "16 tokens on, back"}, {"T", "dark or light"}, {"Tab, arrows", "from control to control"},
      {"Ctrl click", "type a slider's value"}, {"?", "these keys"},
  };
  const ImVec2 size = ImGui::GetIO().DisplaySize;
  ImGui::SetNextWindowPos({size.x / 2, size.y / 2}, 0, {0.5F, 0.5F});
  ImGui::SetNextWindowFocus();
  ImGui::PushStyleColor(ImGuiCol_WindowBg, ImGui::GetStyle().Colors[ImGuiCol_PopupBg]);
  ImGui::PushStyleVar(ImGuiStyleVar_WindowBorderSize, ImGui::GetStyle().PopupBorderSize);
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, {ui.px(24), ui.px(20)});
  ImGui::Begin("keys", nullptr, ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_AlwaysAutoResize | ImGuiWindowFlags_NoMove);
  ui.text("Keys", Paint::ink, 14, true);
  ImGui::Dummy({0, ui.px(2)});
  for (const auto& [key, meaning] : kKeys) {
    ui.text(key, Paint::ink, 12.5, true);
    ImGui::SameLine(ui.px(160));
    ui.text(meaning, Paint::muted, 12.5);
  }
  ImGui::Dummy({0, ui.px(4)});
  if (ui.button("Close")) c.act(ShowHelp{false});
  ImGui::End();
  ImGui::PopStyleVar(2);
  ImGui::PopStyleColor();
}

}  // namespace espalier::viz

// Header, figures, forest and plan, facts, insights.
#include "viz/ui/panels.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/text.h"
#include "viz/explore/queue_edit.h"
#include "viz/explore/view_parts.h"
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
  return {static_cast<double>(left.x) / static_cast<double>(c.ui.px(1)),
          std::max(1.0, static_cast<double>(left.y) / static_cast<double>(c.ui.px(1)))};
}

/// Wheel zooms, drags pan, double clicks fit.
void move_plane(const PanelContext& c, const Widgets::Pointer& p, Plane plane, Area area) {
  if (p.wheel != 0 && area.w > 0 && area.h > 0) {
    const double factor = p.wheel > 0 ? 0.8 : 1.25;
    c.act(Zoom{plane, factor, std::clamp((p.x - area.x) / area.w, 0.0, 1.0),
               std::clamp((p.y - area.y) / area.h, 0.0, 1.0)});
  }
  if (p.dragged && (p.dx != 0 || p.dy != 0)) c.act(Pan{plane, -p.dx / area.w, -p.dy / area.h});
  if (p.double_clicked) c.act(FitAll{});
}

void edit(const PanelContext& c, EditKind kind, std::int32_t copy = 0, std::int32_t queue = 0) {
  const auto task = static_cast<double>(c.session.selection.index);
  c.act(Choose{{Knob::edit, c.session.selected_side, std::string(edit_name(kind)), task, copy, queue}, false});
}

/// Which worker runs which copy of a task.
void queue_controls(const PanelContext& c, const scheduler::Plan& plan) {
  const std::vector<std::int32_t> own = queues_of(plan, c.session.selection.index);
  if (own.empty()) return;
  const auto copy = std::min(static_cast<std::size_t>(c.session.look.copy), own.size() - 1);
  std::vector<std::string> copies, queues;
  for (std::size_t i = 0; i < own.size(); ++i) copies.push_back(fmt::format("{}, in queue {}", i, own[i]));
  if (const auto picked = c.ui.combo("copy", copies, copy)) c.act(ChooseCopy{static_cast<std::int32_t>(*picked)});
  const std::vector<std::int64_t> tokens = queue_tokens(plan);
  queues.push_back(fmt::format("the emptiest: {}", emptiest_queue(plan)));
  for (std::size_t q = 0; q < tokens.size(); ++q) {
    queues.push_back(
        fmt::format("{}: {}, {}", q, core::counted(plan.queues[q].size(), "task"), core::counted(tokens[q], "token")));
  }
  if (const auto picked = c.ui.combo("to queue", queues, static_cast<std::size_t>(own[copy] + 1))) {
    edit(c, EditKind::to_queue, static_cast<std::int32_t>(copy),
         *picked == 0 ? kEmptiestQueue : static_cast<std::int32_t>(*picked) - 1);
  }
}

/// What can be done to a task.
void edit_controls(const PanelContext& c) {
  constexpr const char* kLabels[kEditKinds] = {"Split", "Split requests", "Join",  "First",  "Earlier",
                                               "Later", "Last",           nullptr, "Taller", "Lower"};
  for (int k = 0; k < kEditKinds; ++k) {
    const auto kind = static_cast<EditKind>(k);
    if (kind == EditKind::to_queue) continue;
    const float width = ImGui::CalcTextSize(kLabels[k]).x + 2 * ImGui::GetStyle().FramePadding.x;
    const float used = ImGui::GetItemRectMax().x + c.ui.px(4) + width - ImGui::GetWindowPos().x;
    if (k != 0 && used <= c.ui.px(c.regions.facts.w - kPad)) ImGui::SameLine(0, c.ui.px(4));
    if (c.ui.button(kLabels[k], !c.planning)) edit(c, kind);
  }
  const scheduler::Plan& plan = *c.outcome.side(c.session.selected_side).plan;
  if (plan.queues.empty()) return;
  ImGui::BeginDisabled(c.planning);
  queue_controls(c, plan);
  ImGui::EndDisabled();
}

}  // namespace

void PanelContext::change(Knob knob, std::string name, double value) const {
  out.push_back(Choose{{knob, session.look.edited, std::move(name), value}, false});
}

namespace {

constexpr double kFigures = 70, kVerdictRow = 20;

/// As many sentences of the verdict as there are rows for, the first in bold; all of them where the pointer rests if
/// any is cut.
void verdict_rows(const PanelContext& c) {
  const std::vector<std::string> sentences = verdict_of(c.outcome);
  const double width = c.regions.summary.w - 2 * kPad;
  auto rows = static_cast<std::size_t>((c.regions.summary.h - 2 * kPadY - kFigures) / kVerdictRow);
  bool whole = true;
  int shown = 0;
  for (std::size_t s = 0; s < sentences.size(); ++s) {
    const bool bold = s == 0;
    const double size = bold ? 14 : 12.5;
    std::vector<std::string> lines = c.ui.lines_of(sentences[s], width, size, bold);
    if (lines.size() > rows) {
      whole = false;
      if (rows == 0) break;
      std::string rest = lines[rows - 1];
      for (std::size_t l = rows; l < lines.size(); ++l) rest += " " + lines[l];
      lines.resize(rows);
      lines.back() = c.ui.fitted_line(rest, width, size, bold);
    }
    rows -= lines.size();
    for (const std::string& line : lines) {
      c.ui.text(line, bold ? Paint::ink : Paint::muted, size, bold);
      c.ui.note(fmt::format("verdict {}", shown++));
    }
  }
  if (!whole && ImGui::IsWindowHovered()) c.ui.tooltip(sentences);
}

}  // namespace

void summary_panel(const PanelContext& c) {
  Widgets& ui = c.ui;
  ui.begin_card("summary", c.regions.summary, nullptr);
  const bool none = c.outcome.forest == nullptr && c.outcome.problem.empty();
  if (!none) verdict_rows(c);
  ImGui::SetCursorPosY(ui.px(c.regions.summary.h - kPadY - kFigures));
  if (c.outcome.leading() != nullptr) {
    ui.picture("summary picture", summary_view(c.outcome, {c.regions.summary.w - 2 * kPad, kFigures}));
  }
  ui.end_card();
}

void plane_panels(const PanelContext& c) {
  Widgets& ui = c.ui;
  const Outcome& o = c.outcome;
  ui.begin_card("forest", c.regions.forest, "Prefix forest", "across: requests · down: tokens");
  ViewSize size = room(c);
  const Scene legend =
      o.forest == nullptr
          ? Scene{}
          : step_legend("saved", saving_scale(*o.forest, o.forest_index.bytes_per_token).legend(), size.width).scene;
  size.height = std::max(40.0, size.height - legend.height - 6);
  Widgets::Pointer p =
      ui.picture("forest picture", c.scenes.forest.get(c.held_outcome, plane_key(c.session, SideId::a, size),
                                                       [&] { return forest_view(c.session, o, size); }));
  const Item node = p.over ? forest_item_at(c.session, o, size, p.x, p.y) : Item{};
  if (p.clicked) c.act(Select{node, SideId::a});
  if (p.over && !p.dragged) ui.tooltip(facts_of(o, SideId::a, node), "click to select");
  move_plane(c, p, Plane::forest, plane_area(size));
  if (o.forest != nullptr) ui.picture("forest legend", legend);
  ui.end_card();

  const SideId side = c.session.look.edited;
  ui.begin_card("plan", c.regions.cover,
                c.session.settings.compare ? fmt::format("Plan {}", side_name(side)).c_str() : "Plan",
                "boxes: what a task reads");
  size = room(c);
  const bool shown = o.side(side).shown();
  StepLegend legend_of_tasks;
  if (shown) {
    const ColourBy by = c.session.look.colour_by;
    legend_of_tasks = step_legend(std::string(colour_by_name(by)),
                                  colour_legend(*o.side(side).plan, o.side(side).explanation.result, by), size.width,
                                  c.session.look.isolated);
  }
  size.height = std::max(40.0, size.height - legend_of_tasks.scene.height - 6);
  const Scene& cover = c.scenes.plan.get(c.held_outcome, plane_key(c.session, side, size),
                                         [&] { return cover_view(c.session, o, side, size); });
  p = ui.picture("plan picture", cover);
  const Item task = p.over ? item_near(cover, p.x, p.y, 0.5) : Item{};
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

namespace {

/// At the right of the card's title.
void copy_button(const PanelContext& c, SideId side, Item item) {
  constexpr const char* kLabel = "Copy as JSON";
  const float top = ImGui::GetCursorPosY();
  const float width = ImGui::CalcTextSize(kLabel).x + 2 * ImGui::GetStyle().FramePadding.x;
  ImGui::SetCursorPos({c.ui.px(c.regions.facts.w - kPad) - width, c.ui.px(6)});
  if (c.ui.button(kLabel)) ImGui::SetClipboardText(facts_json(c.outcome, side, item).c_str());
  ImGui::SetCursorPosY(top);
}

/// What the validator found, each a click away from what it names.
void violations_card(const PanelContext& c, const SideOutcome& side) {
  Widgets& ui = c.ui;
  // "9 violations", or "at least 9 violations", as the same sentence begins elsewhere.
  const std::string all = scheduler::violations_text(side.violations);
  ui.begin_card("facts", c.regions.facts, all.substr(0, all.find(':')).c_str());
  const double width = c.regions.facts.w - 2 * kPad - 12;
  for (std::size_t i = 0; i < side.violations.size(); ++i) {
    const scheduler::Violation& violation = side.violations[i];
    const Item item = item_of_violation(*side.faulty, violation);
    ui.text(fmt::format("{}", scheduler::violation_name(violation.violation)), Paint::tail, 11, true);
    const std::string text = core::join(c.ui.lines_of(violation.sentence, width), "\n");
    const bool selected = item.kind != ItemKind::none && item == c.session.selection;
    if (ImGui::Selectable(fmt::format("{}##violation{}", text, i).c_str(), selected) && item.kind != ItemKind::none) {
      c.act(Select{item, c.session.look.edited});
    }
    ui.note(fmt::format("violation {}", i));
  }
  ui.end_card();
}

}  // namespace

void facts_panel(const PanelContext& c) {
  Widgets& ui = c.ui;
  const Item item = c.session.selection;
  const SideId side = c.session.selected_side;
  const Look& look = c.session.look;
  if (look.range || (look.brush && item.kind == ItemKind::none)) {
    const Facts sums = look.range ? range_facts(c.outcome, *look.range) : brush_facts(c.outcome, *look.brush);
    ui.begin_card("facts", c.regions.facts, sums.title.c_str());
    ui.facts(sums);
    ui.end_card();
    return;
  }
  const Facts facts =
      c.outcome.side(c.session.look.edited).faulty == nullptr ? facts_of(c.outcome, side, item) : Facts{};
  if (!facts.title.empty()) {
    ui.begin_card("facts", c.regions.facts, facts.title.c_str());
    copy_button(c, side, item);
    ui.facts(facts);
    const Linked linked = linked_of(c.session, c.outcome, side);
    ImGui::Dummy({0, ui.px(1)});
    const auto counted = [](const auto& ids, const char* noun) {
      return core::counted(static_cast<std::int64_t>(ids.size()), noun);
    };
    ui.text(core::join({counted(linked.nodes, "node"), counted(linked.requests, "request"),
                        counted(linked.tasks, "task"), counted(linked.merges, "merge")},
                       " · "),
            Paint::muted, 11);
    if (const std::string changed = diff_text(c.outcome.side(side)); !changed.empty()) {
      ui.text("by hand: " + changed, Paint::muted, 11);
    }
    if (item.kind == ItemKind::task && c.outcome.side(side).measurement == nullptr) edit_controls(c);
    ui.end_card();
    return;
  }
  const SideOutcome& shown = c.outcome.side(c.session.look.edited);
  if (shown.faulty != nullptr) return violations_card(c, shown);
  ui.begin_card("facts", c.regions.facts,
                shown.shown() ? fmt::format("Why {} plans so", shown.title).c_str() : "Selection");
  if (shown.shown()) {
    for (const std::string& sentence : shown.plan->provenance.why) ui.paragraph(readable(sentence), Paint::ink);
  }
  ui.paragraph("Click a node, a task or a row: what belongs to it lights up in forest, plan and timeline.",
               Paint::muted);
  ui.end_card();
}

namespace {

/// Points that stand for tasks of the side whose controls are shown.
Widgets::Pointer points_picture(const PanelContext& c, const char* name, const Scene& scene) {
  const SideId side = c.session.look.edited;
  const Widgets::Pointer p = c.ui.picture(name, scene);
  const Item item = p.over ? item_near(scene, p.x, p.y, 4) : Item{};
  if (p.clicked) c.act(Select{item, side});
  if (p.over && !p.dragged) c.ui.tooltip(facts_of(c.outcome, side, item), "click to select");
  return p;
}

void roofline_picture(const PanelContext& c, ViewSize size) {
  const Scene& scene = c.scenes.roofline.get(c.held_outcome, plane_key(c.session, c.session.look.edited, size),
                                             [&] { return roofline_view(c.session, c.outcome, size); });
  const Widgets::Pointer p = points_picture(c, "roofline picture", scene);
  if (!p.dragged) return;
  const Area dragged{std::min(p.x, p.from_x), std::min(p.y, p.from_y), std::abs(p.x - p.from_x),
                     std::abs(p.y - p.from_y)};
  c.act(BrushTasks{roofline_brush(c.session, c.outcome, size, dragged)});
}

}  // namespace

void insight_panel(const PanelContext& c) {
  Widgets& ui = c.ui;
  ui.begin_card("insight", c.regions.insight, nullptr);
  std::vector<std::string> names = {"Why", "What helps", "Roofline"};
  if (c.outcome.sides[1].measurement != nullptr) names = {"Why", "Helps", "Roofline", "Fit"};
  if (const auto picked = ui.segments("insight", names, static_cast<std::size_t>(c.session.look.insight))) {
    c.act(ShowInsight{static_cast<Insight>(*picked)});
  }
  ImGui::Dummy({0, ui.px(2)});
  const ViewSize size = room(c);
  switch (c.session.look.insight) {
    case Insight::why:
      ui.picture("why picture", why_view(c.outcome, size));
      break;
    case Insight::helps:
      ui.picture("helps picture", helps_view(c.outcome, size));
      break;
    case Insight::roofline:
      roofline_picture(c, size);
      break;
    case Insight::fit:
      points_picture(c, "fit picture", fit_view(c.session, c.outcome, size));
      break;
  }
  ui.end_card();
}

}  // namespace espalier::viz

// The wide card: both timelines, or a table of tasks, nodes or requests.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "viz/ui/panels.h"

namespace espalier::viz {
namespace {

void timeline_tab(const PanelContext& c, ViewSize size) {
  Widgets& ui = c.ui;
  const Outcome& o = c.outcome;
  const Widgets::Pointer p =
      ui.picture("timeline picture", c.scenes.timeline.get(c.held_outcome, time_key(c.session, size),
                                                           [&] { return timeline_view(c.session, o, size); }));
  const TimelineHit hit = p.over ? timeline_item_at(c.session, o, size, p.x, p.y) : TimelineHit{};
  if (p.clicked) c.act(Select{hit.item, hit.side});
  if (p.over && !p.dragged) {
    ui.tooltip(hit.path != nullptr ? path_facts(*hit.path) : facts_of(o, hit.side, hit.item), "click to select");
  }
  const TimelinePlaces places = timeline_places(o, size);
  if (places.tracks.empty()) return;
  const Area lanes = places.tracks.front().lanes;
  if (p.wheel != 0) {
    c.act(Zoom{Plane::time, p.wheel > 0 ? 0.8 : 1.25, std::clamp((p.x - lanes.x) / lanes.w, 0.0, 1.0), 0.5});
  }
  const auto share = [&](double x) {
    return c.session.look.time.begin + std::clamp((x - lanes.x) / lanes.w, 0.0, 1.0) * c.session.look.time.size();
  };
  if (p.dragged && p.shift) {
    c.act(Measure{Span1{share(p.from_x), share(p.x)}});
  } else if (p.dragged && p.dx != 0) {
    c.act(Pan{Plane::time, -p.dx / lanes.w, 0});
  }
  if (p.double_clicked) c.act(FitAll{});
}

ItemKind kind_of(Panel panel) {
  switch (panel) {
    case Panel::tasks:
      return ItemKind::task;
    case Panel::nodes:
      return ItemKind::node;
    case Panel::requests:
      return ItemKind::request;
    case Panel::timeline:
    case Panel::strategies:
      break;
  }
  return ItemKind::none;
}

/// What a click on a row does: selects what it stands for, or makes a strategy the edited side's.
Action row_action(const PanelContext& c, const SortedTable& table, std::int32_t row) {
  const SideId side = c.session.look.edited;
  if (c.session.look.panel != Panel::strategies) return Select{{kind_of(c.session.look.panel), row}, side};
  return Choose{{Knob::strategy, side, table.data.rows[static_cast<std::size_t>(row)].front(), 0}, false};
}

bool is_chosen(const PanelContext& c, const SortedTable& table, std::int32_t row) {
  const Look& look = c.session.look;
  if (look.panel == Panel::strategies) {
    return c.session.settings.side(look.edited).strategy == table.data.rows[static_cast<std::size_t>(row)].front();
  }
  const bool own = look.panel != Panel::tasks || c.session.selected_side == look.edited;
  return own && c.session.selection == Item{kind_of(look.panel), row};
}

/// A row is a click away from a selection; rows linked to it are lit.
void table_row(const PanelContext& c, const SortedTable& table, std::int32_t row, const Linked& linked) {
  const bool selected = is_chosen(c, table, row), lit = linked.has({kind_of(c.session.look.panel), row});
  ImGui::TableNextRow();
  const std::vector<std::string>& cells = table.data.rows[static_cast<std::size_t>(row)];
  for (std::size_t i = 0; i < cells.size(); ++i) {
    ImGui::TableNextColumn();
    if (i == 0) {
      const std::string id = fmt::format("##row{}", row);
      if (ImGui::Selectable(id.c_str(), selected, ImGuiSelectableFlags_SpanAllColumns)) {
        c.act(row_action(c, table, row));
      }
      c.ui.note(fmt::format("row {}", row));
      ImGui::SameLine(0, 0);
    }
    const float free = ImGui::GetContentRegionAvail().x - ImGui::CalcTextSize(cells[i].c_str()).x;
    if (table.numeric[i] && free > 0) ImGui::SetCursorPosX(ImGui::GetCursorPosX() + free);
    c.ui.text(cells[i], lit ? Paint::select : Paint::ink, 12.5);
  }
}

/// A new selection is scrolled into view once.
void show_selected(const PanelContext& c, const SortedTable& table) {
  const Item item = c.session.selection;
  if (item == c.tables.scrolled_to) return;
  c.tables.scrolled_to = item;
  const auto at = std::find(table.order.begin(), table.order.end(), item.index);
  if (item.kind != kind_of(c.session.look.panel) || at == table.order.end()) return;
  const float row = ImGui::GetTextLineHeight() + 2 * ImGui::GetStyle().CellPadding.y;
  ImGui::SetScrollY(std::max(0.0F, static_cast<float>(at - table.order.begin() - 3) * row));
}

void table_tab(const PanelContext& c) {
  const SideId side = c.session.look.edited;
  const SortedTable& table = c.tables.get(c.held_outcome, side, c.session.look);
  if (table.order.empty() && !c.session.look.filter.empty()) {
    c.ui.paragraph("No row matches.", Paint::muted);
    return;
  }
  if (table.data.rows.empty() && c.session.look.panel == Panel::strategies) {
    c.ui.paragraph("Planning and simulating with every strategy …", Paint::muted);
    return;
  }
  if (table.data.rows.empty()) {
    c.ui.paragraph(c.outcome.side(side).shown() ? "No rows." : c.outcome.side(side).refusal, Paint::muted);
    return;
  }
  const auto columns = static_cast<int>(table.data.headings.size());
  constexpr ImGuiTableFlags kFlags = ImGuiTableFlags_ScrollX | ImGuiTableFlags_ScrollY | ImGuiTableFlags_BordersInnerH |
                                     ImGuiTableFlags_SizingFixedFit;
  const ImGuiStyle& style = ImGui::GetStyle();
  float width = style.ScrollbarSize;
  for (const std::string& widest : table.widest) {
    width += ImGui::CalcTextSize(widest.c_str()).x + 2 * style.CellPadding.x;
  }
  const float row = ImGui::GetTextLineHeight() + 2 * style.CellPadding.y,
              bar = width > ImGui::GetContentRegionAvail().x ? style.ScrollbarSize : 0;
  const float rows = std::max(2.0F, std::floor((ImGui::GetContentRegionAvail().y - bar) / row));  // none is cut
  if (!ImGui::BeginTable("rows", columns, kFlags, {0, rows * row + bar})) return;
  ImGui::TableSetupScrollFreeze(1, 1);
  for (std::size_t i = 0; i < table.titles.size(); ++i) {
    ImGui::TableSetupColumn(table.titles[i].c_str(), ImGuiTableColumnFlags_WidthFixed,
                            ImGui::CalcTextSize(table.widest[i].c_str()).x);
  }
  ImGui::TableNextRow(ImGuiTableRowFlags_Headers);
  for (int i = 0; i < columns; ++i) {
    ImGui::TableSetColumnIndex(i);
    const bool by = c.session.look.sort_column == i;
    const std::string name = fmt::format("{}{}##heading{}", table.titles[static_cast<std::size_t>(i)],
                                         !by                        ? ""
                                         : c.session.look.sort_down ? " ↓"
                                                                    : " ↑",
                                         i);
    ImGui::PushStyleColor(ImGuiCol_Text, ImGui::GetStyle().Colors[ImGuiCol_TextDisabled]);
    if (ImGui::Selectable(name.c_str())) c.act(SortBy{i});
    c.ui.note("heading " + table.titles[static_cast<std::size_t>(i)]);
    ImGui::PopStyleColor();
  }
  const Linked linked = linked_of(c.session, c.outcome, side);
  show_selected(c, table);
  ImGuiListClipper clipper;
  clipper.Begin(static_cast<int>(table.order.size()));
  while (clipper.Step()) {
    for (int i = clipper.DisplayStart; i < clipper.DisplayEnd; ++i) {
      table_row(c, table, table.order[static_cast<std::size_t>(i)], linked);
    }
  }
  ImGui::EndTable();
  c.ui.note("rows");
}

}  // namespace

void wide_panel(const PanelContext& c) {
  Widgets& ui = c.ui;
  ui.begin_card("wide", c.regions.wide, nullptr);
  const std::vector<std::string> names = {"Timeline", "Tasks", "Nodes", "Requests", "Strategies"};
  if (const auto picked = ui.segments("wide", names, static_cast<std::size_t>(c.session.look.panel))) {
    c.act(ShowPanel{static_cast<Panel>(*picked)});
  }
  const double scale = static_cast<double>(ui.px(1));
  if (c.session.look.panel == Panel::timeline) {
    const std::string shown = fmt::format("Colour: {}", colour_by_name(c.session.look.colour_by));
    ImGui::SameLine(ui.px(c.regions.wide.w - 12) - ImGui::CalcTextSize(shown.c_str()).x -
                    2 * ImGui::GetStyle().FramePadding.x);
    std::vector<std::string> colourings;
    for (int i = 0; i < kColourings; ++i) colourings.emplace_back(colour_by_name(static_cast<ColourBy>(i)));
    if (const auto picked = ui.menu("colour", colourings, shown)) c.act(SetColourBy{static_cast<ColourBy>(*picked)});
    ImGui::Dummy({0, ui.px(0)});
    const ImVec2 left = ImGui::GetContentRegionAvail();
    timeline_tab(c, {static_cast<double>(left.x) / scale, std::max(60.0, static_cast<double>(left.y) / scale)});
  } else {
    constexpr double kGap = 12, kWidest = 210, kLeast = 60;
    ImGui::SameLine(0, ui.px(kGap));
    const double right = c.regions.wide.w - kGap,
                 width = std::clamp(right - static_cast<double>(ImGui::GetCursorPosX()) / scale, kLeast, kWidest);
    ImGui::SetCursorPosX(ui.px(right - width));
    if (const auto text =
            ui.input("find", c.session.look.panel == Panel::strategies ? "find: time<100" : "find: kv>4096 kind=attend",
                     c.session.look.filter, width)) {
      c.act(Filter{*text});
    }
    table_tab(c);
  }
  ui.end_card();
}

}  // namespace espalier::viz

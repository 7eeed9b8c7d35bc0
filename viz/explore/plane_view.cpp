// Forest and cover on one plane, both at the same zoom.
#include <fmt/format.h>

#include <algorithm>

#include "core/text.h"
#include "viz/explore/view_parts.h"
#include "viz/model/cell_grid.h"
#include "viz/picture/drawing.h"

namespace espalier::viz {
namespace {

using traces::NodeId;

constexpr double kLeft = 44, kBottom = 20, kTop = 2;

ForestWindow window_of(const Session& session, const Outcome& outcome, Area area) {
  ForestWindow window = whole_forest(*outcome.forest, area.w, area.h);
  const Span1 &across = session.look.forest_requests, &down = session.look.forest_tokens;
  window.first_request = across.begin * window.requests;
  window.first_token = down.begin * window.tokens;
  window.requests *= across.size();
  window.tokens *= down.size();
  window.max_boxes = 20'000;
  return window;
}

void axes(Scene& scene, const ForestWindow& window, Area area) {
  constexpr double kRoom = 26;
  const Axis down{window.first_token, window.first_token + window.tokens, area.y, area.y + area.h, false, Unit::tokens};
  for (const Tick& tick : ticks(down, std::max(3, static_cast<int>(area.h / kRoom)))) {
    scene.shapes.push_back(Line{area.x, tick.pixel, area.x + area.w, tick.pixel, Paint::grid});
    scene.shapes.push_back(Text{area.x - 6, std::clamp(tick.pixel + 4, area.y + 9, area.y + area.h), tick.label,
                                Paint::muted, kSmall, Anchor::end});
  }
  bottom_axis(
      scene,
      {window.first_request, window.first_request + window.requests, area.x, area.x + area.w, false, Unit::plain},
      area.y + area.h, area.y + area.h);
}

/// The part of a box that lies in the area; empty where none does.
Rect clipped(Rect rect, Area area) {
  const double x1 = std::min(rect.x + rect.w, area.x + area.w), y1 = std::min(rect.y + rect.h, area.y + area.h);
  rect.x = std::max(rect.x, area.x);
  rect.y = std::max(rect.y, area.y);
  rect.w = std::max(0.0, x1 - rect.x);
  rect.h = std::max(0.0, y1 - rect.y);
  return rect;
}

/// Boxes too small for a frame that are lit one by one at most.
constexpr std::size_t kMostLit = 20'000;
/// Tasks whose tiles are framed at most.
constexpr std::size_t kMostFramed = 64;

struct Plane {
  ForestWindow window;
  Area area;
};

/// What is selected, over the dimmed rest: never folded away, at least a pixel and a half each way.
struct PlaneBox {
  double first_request, end_request, first_token, end_token;
};
Rect lit_box(const Plane& plane, const PlaneBox& box, Paint paint, Item item) {
  const auto& [window, area] = plane;
  const double x0 = window.x(box.first_request), x1 = window.x(box.end_request), y0 = window.y(box.first_token),
               y1 = window.y(box.end_token);
  Rect rect = clipped(inset({area.x + x0, area.y + y0, std::max(1.5, x1 - x0), std::max(1.5, y1 - y0), paint}), area);
  rect.item = item;
  if (x1 - x0 >= window.min_px && y1 - y0 >= window.min_px) {
    rect.stroke = Paint::select;
  } else {
    rect.fill = Paint::select;  // a tint of so few pixels isn't seen
  }
  return rect;
}

/// Nodes that boxes of their own don't show as lit.
void draw_lit_nodes(Scene& scene, const Outcome& outcome, const Linked& linked, const Plane& plane,
                    const std::vector<std::int32_t>& shown) {
  const traces::PrefixForest& forest = *outcome.forest;
  std::size_t drawn = 0;
  for (const std::int32_t n : linked.nodes) {
    if (std::binary_search(shown.begin(), shown.end(), n) || ++drawn > kMostLit) continue;
    const NodeId node(n);
    const auto top = static_cast<double>(forest.tokens_before[node]);
    const auto begin = static_cast<double>(forest.request_begin[node].value),
               end = static_cast<double>(forest.request_end[node].value);
    const Rect rect = lit_box(plane, {begin, end, top, top + static_cast<double>(forest.tokens[node])}, Paint::select,
                              {ItemKind::node, n});
    if (rect.w > 0 && rect.h > 0) scene.shapes.push_back(rect);
  }
}

void label(Scene& scene, const Rect& rect, const std::string& text) {
  if (rect.h < 15 || text_width(text, kSmall) > rect.w - 8) return;
  scene.shapes.push_back(
      Text{rect.x + rect.w / 2, rect.y + rect.h / 2 + 4, text, text_on(rect.fill), kSmall, Anchor::middle});
}

/// By queries a box has the colour of what it serves itself, which may be less than its task does.
const std::vector<Paint>* cover_paints(const Session& session, const SideOutcome& side) {
  return session.look.colour_by == ColourBy::queries ? nullptr : &side.paint_by(session.look.colour_by);
}

/// Tiles of linked tasks, however coarsely the rest is folded.
void draw_lit_tiles(Scene& scene, const Session& session, const SideOutcome& side, const Linked& linked,
                    const Plane& plane) {
  const std::vector<Paint>* paints = cover_paints(session, side);
  std::size_t small = 0;
  for (const CoverTile& tile : side.cover) {
    if (!linked.has({ItemKind::task, tile.task})) continue;
    const Paint paint = paints == nullptr ? tile.served : (*paints)[static_cast<std::size_t>(tile.task)];
    if (session.look.isolated != Paint::none && session.look.isolated != paint) continue;
    const PlaneBox box{static_cast<double>(tile.begin), static_cast<double>(tile.end), tile.top, tile.bottom};
    Rect rect = lit_box(plane, box, paint, {ItemKind::task, tile.task});
    if (rect.w <= 0 || rect.h <= 0 || (rect.stroke == Paint::none && ++small > kMostLit)) continue;
    if (linked.tasks.size() > kMostFramed) rect.stroke = Paint::none;  // so many frames would hide the colours
    scene.shapes.push_back(rect);
  }
}

Scene plane_scene(const Outcome& outcome, ViewSize size, const char* title) {
  Scene scene{size.width, size.height, title, {}};
  const Area area = plane_area(size);
  scene.shapes.push_back(Rect{area.x, area.y, area.w, area.h, Paint::panel});
  if (outcome.forest == nullptr) {
    message(scene, outcome.problem.empty() ? "Planning …" : outcome.problem, area);
  } else if (outcome.forest->request_count() == 0) {
    message(scene, "There are no requests.", area);
  }
  return scene;
}

/// A plan that isn't right: what violations name in red, what is selected of it framed.
void draw_faulty(Scene& scene, const Session& session, const SideOutcome& side, const ForestWindow& window, Area area) {
  const scheduler::Plan& plan = *side.faulty;
  std::vector<Item> named;
  for (const scheduler::Violation& violation : side.violations) named.push_back(item_of_violation(plan, violation));
  std::vector<Rect> red;
  const auto is_named = [&](Item item) { return std::find(named.begin(), named.end(), item) != named.end(); };
  for (const CoverBox& box : lay_out_cover(index_cover(plan), window)) {
    Rect rect = clipped(inset({area.x + box.x, area.y + box.y, box.w, box.h, box.paint}), area);
    if (rect.w <= 0 || rect.h <= 0) continue;
    rect.item = box.item;
    rect.alpha = kDimmed;
    if (box.item.kind != ItemKind::none && is_named(box.item)) {
      rect.fill = Paint::tail;
      rect.alpha = 255;
      if (box.item == session.selection) rect.stroke = Paint::ink;
      red.push_back(rect);
    } else {
      scene.shapes.push_back(rect);
    }
  }
  scene.shapes.insert(scene.shapes.end(), red.begin(), red.end());
  for (const Item item : named) {  // a request is a column
    if (item.kind != ItemKind::request) continue;
    Rect column = clipped({area.x + window.x(item.index), area.y,
                           std::max(2.0, window.x(item.index + 1) - window.x(item.index)), area.h, Paint::tail},
                          area);
    column.alpha = item == session.selection ? 150 : 70;
    if (column.w > 0) scene.shapes.push_back(column);
  }
}

}  // namespace

Area plane_area(ViewSize size) {
  return {kLeft, kTop, std::max(1.0, size.width - kLeft - 2), std::max(1.0, size.height - kBottom - kTop)};
}

Scene forest_view(const Session& session, const Outcome& outcome, ViewSize size) {
  Scene scene = plane_scene(outcome, size, "Prefix forest");
  if (outcome.forest == nullptr || outcome.forest->request_count() == 0) return scene;
  const Area area = plane_area(size);
  const ForestWindow window = window_of(session, outcome, area);
  axes(scene, window, area);
  const Linked linked = linked_of(session, outcome, SideId::a);
  const bool any = lights(session) && !linked.nodes.empty();
  std::vector<Rect> outlines;
  std::vector<std::int32_t> shown;
  for (const ForestBox& box : lay_out_forest(*outcome.forest, outcome.forest_index, window)) {
    Rect rect = clipped(inset({area.x + box.x, area.y + box.y, box.w, box.h, box.paint}), area);
    if (rect.w <= 0 || rect.h <= 0) continue;
    rect.item = box.item;
    const bool lit = !any || (box.folded == 1 && linked.has(box.item));
    if (!lit) rect.alpha = kDimmed;
    scene.shapes.push_back(rect);
    if (any && lit) outlines.push_back(rect);
    if (any && lit) shown.push_back(box.item.index);
    if (box.folded == 1 && lit) label(scene, rect, fmt::format("{}", outcome.forest->tokens[NodeId(box.item.index)]));
  }
  std::sort(shown.begin(), shown.end());
  if (any) draw_lit_nodes(scene, outcome, linked, {window, area}, shown);
  for (Rect& rect : outlines) {
    rect.fill = Paint::none;
    rect.stroke = Paint::select;
    scene.shapes.push_back(rect);
  }
  return scene;
}

Scene cover_view(const Session& session, const Outcome& outcome, SideId side, ViewSize size) {
  Scene scene = plane_scene(outcome, size, "Tasks of the plan");
  const Area area = plane_area(size);
  const SideOutcome& shown = outcome.side(side);
  if (outcome.forest == nullptr || outcome.forest->request_count() == 0) return scene;
  if (!shown.shown() && shown.faulty == nullptr) {
    message(scene, shown.refusal, area);
    return scene;
  }
  const ForestWindow window = window_of(session, outcome, area);
  if (!shown.shown()) {
    axes(scene, window, area);
    draw_faulty(scene, session, shown, window, area);
    return scene;
  }
  axes(scene, window, area);
  const Linked linked = linked_of(session, outcome, side);
  const bool any = lights(session);
  const Paint isolated = session.look.isolated;
  for (const CoverBox& box : lay_out_cover(shown.cover, window, cover_paints(session, shown))) {
    const bool folded = box.item.kind == ItemKind::none;
    Rect rect{area.x + box.x, area.y + box.y, box.w, box.h, box.paint};
    rect = clipped(folded ? rect : inset(rect), area);
    if (rect.w <= 0 || rect.h <= 0) continue;
    rect.item = box.item;
    rect.alpha = any || (isolated != Paint::none && box.paint != isolated) ? kDimmed : level_alpha(box.level);
    scene.shapes.push_back(rect);
  }
  if (any) draw_lit_tiles(scene, session, shown, linked, {window, area});
  return scene;
}

Item forest_item_at(const Session& session, const Outcome& outcome, ViewSize size, double x, double y) {
  const Area area = plane_area(size);
  if (outcome.forest == nullptr || !area.has(x, y)) return {};
  const ForestWindow window = window_of(session, outcome, area);
  const double request = window.first_request + (x - area.x) / area.w * window.requests;
  const double token = window.first_token + (y - area.y) / area.h * window.tokens;
  const std::int32_t node = node_at(*outcome.forest, request, token);
  return node < 0 ? Item{} : Item{ItemKind::node, node};
}

}  // namespace espalier::viz

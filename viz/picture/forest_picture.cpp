// The forest's plane: icicle and cover.
#include <fmt/format.h>

#include <algorithm>

#include "core/text.h"
#include "viz/model/cell_grid.h"
#include "viz/picture/drawing.h"
#include "viz/picture/pictures.h"

namespace espalier::viz {
namespace {

using traces::NodeId;
using traces::PrefixForest;

/// Where the plane lies in a picture.
struct Plane {
  double x, y, width, height;
};

Plane plane_of(const PictureSize& size) {
  const double left = size.axes ? kLeftMargin : 0, bottom = size.axes ? kBottomMargin : 0;
  return {left, 0, std::max(1.0, size.width - left), std::max(1.0, size.height - bottom)};
}

Scene plane_scene(const PictureSize& size, const Plane& plane, const ForestWindow& window, std::string title) {
  Scene scene{size.width, size.height, std::move(title), {}};
  scene.shapes.push_back(Rect{plane.x, plane.y, plane.width, plane.height, Paint::panel});
  if (!size.axes) return scene;
  left_axis(
      scene,
      {window.first_token, window.first_token + window.tokens, plane.y, plane.y + plane.height, false, Unit::tokens},
      plane.x, plane.x + plane.width);
  bottom_axis(scene,
              {window.first_request, window.first_request + window.requests, plane.x, plane.x + plane.width, false,
               Unit::plain},
              plane.y + plane.height, plane.y + plane.height);
  return scene;
}

std::string request_range(std::int32_t begin, std::int32_t end) {
  return end - begin == 1 ? fmt::format("request {}", begin) : fmt::format("requests {}–{}", begin, end - 1);
}

std::string box_title(const PrefixForest& forest, const ForestBox& box, std::int64_t bytes_per_token) {
  const std::string range = request_range(box.request_begin, box.request_end);
  if (box.folded > 1) {
    return fmt::format("{} nodes from node {} on, {}", core::count_text(box.folded), box.item.index, range);
  }
  const NodeId n(box.item.index);
  const double saved = bytes_saved(forest, n, bytes_per_token);
  return fmt::format(
      "node {}: {} tokens ({}), {}; {}", n.value, forest.tokens[n],
      value_text(static_cast<double>(forest.tokens[n] * bytes_per_token), Unit::bytes), range,
      saved > 0 ? fmt::format("reading it once saves {}", value_text(saved, Unit::bytes)) : "not shared");
}

void label_box(Scene& scene, const Rect& rect, const std::string& text) {
  constexpr double kSize = 11;
  if (rect.h < 15 || text_width(text, kSize) > rect.w - 8) return;
  scene.shapes.push_back(Text{rect.x + rect.w / 2, rect.y + rect.h / 2 + 4, text, text_on(rect.fill), kSize,
                              Anchor::middle, false, rect.w < 180});
}

std::string tile_title(const scheduler::Plan& plan, const CoverBox& box) {
  const scheduler::Task& task = plan.tasks[scheduler::TaskId(box.item.index)];
  std::int64_t tokens = 0;
  for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
    tokens += scheduler::segment_tokens(plan, plan.segments[static_cast<std::size_t>(s)]);
  }
  return fmt::format("task {}: {} tokens for {}, {}", box.item.index, tokens,
                     task.queries.size() == 1 ? "one query" : fmt::format("{} queries", task.queries.size()),
                     task.slot.valid() ? "partial rows" : "final rows");
}

}  // namespace

Scene forest_picture(const PrefixForest& forest, std::int64_t bytes_per_token, const PictureSize& size) {
  const Plane plane = plane_of(size);
  ForestWindow window = whole_forest(forest, plane.width, plane.height);
  window.max_boxes = size.max_boxes;
  const ForestIndex index = index_forest(forest, bytes_per_token);
  Scene scene = plane_scene(
      size, plane, window,
      fmt::format("Prefix forest: {} requests across, {} tokens down", forest.request_count(), window.tokens));
  for (const ForestBox& box : lay_out_forest(forest, index, window)) {
    Rect rect = inset({plane.x + box.x, plane.y + box.y, box.w, box.h, box.paint});
    rect.item = box.item;
    if (size.titles) rect.title = box_title(forest, box, bytes_per_token);
    scene.shapes.push_back(rect);
    if (box.folded == 1) label_box(scene, rect, fmt::format("{} tokens", forest.tokens[NodeId(box.item.index)]));
  }
  return scene;
}

Scene cover_picture(const scheduler::Plan& plan, const PictureSize& size) {
  const Plane plane = plane_of(size);
  ForestWindow window = whole_forest(plan.forest, plane.width, plane.height);
  window.max_boxes = size.max_boxes;
  Scene scene =
      plane_scene(size, plane, window, fmt::format("Tasks of {}: who reads which tokens", plan.provenance.strategy));
  for (const CoverBox& box : lay_out_cover(index_cover(plan), window)) {
    Rect rect{plane.x + box.x, plane.y + box.y, std::min(box.w, plane.width - box.x),
              std::min(box.h, plane.height - box.y), box.paint};
    const bool folded = box.item.kind == ItemKind::none;
    if (!folded) rect = inset(rect);
    rect.item = box.item;
    rect.alpha = level_alpha(box.level);
    if (size.titles && !folded) rect.title = tile_title(plan, box);
    scene.shapes.push_back(rect);
  }
  return scene;
}

}  // namespace espalier::viz

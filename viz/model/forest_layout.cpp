#include "viz/model/forest_layout.h"

#include <algorithm>
#include <cmath>

#include "viz/model/cell_grid.h"

namespace espalier::viz {
namespace {

using traces::NodeId;
using traces::PrefixForest;

/// A node is left out when it and all it could be folded with are flatter than this.
constexpr double kFlattest = 0.5;

std::int64_t end_of(const PrefixForest& forest, NodeId n) { return forest.tokens_before[n] + forest.tokens[n]; }

/// One pass at one `min_px`.
class ForestFolder {
 public:
  ForestFolder(const PrefixForest& forest, const ForestIndex& index, const ForestWindow& window)
      : forest_(forest), index_(index), window_(window) {}

  std::vector<ForestBox> run() {
    const auto nodes = static_cast<std::int32_t>(forest_.node_count());
    for (std::int32_t n = 0; n < nodes;) n = width(NodeId(n)) < window_.min_px ? fold_narrow(n) : place_wide(n);
    return std::move(boxes_);
  }

 private:
  double width(NodeId n) const { return forest_.readers(n) / window_.requests * window_.width_px; }

  void emit(std::int32_t first, std::int32_t past, std::int64_t bottom, std::int32_t request_end) {
    const NodeId n(first);
    ForestBox box;
    box.request_begin = forest_.request_begin[n].value;
    box.request_end = request_end;
    box.x = window_.x(box.request_begin);
    box.w = window_.x(request_end) - box.x;
    box.y = window_.y(static_cast<double>(forest_.tokens_before[n]));
    box.h = window_.y(static_cast<double>(bottom)) - box.y;
    if (box.h < kFlattest || box.x >= window_.width_px || box.x + box.w <= 0 || box.y >= window_.height_px ||
        box.y + box.h <= 0) {
      return;
    }
    double saved = 0;
    for (std::int32_t m = first; m < past; ++m) {
      saved = std::max(saved, bytes_saved(forest_, NodeId(m), index_.bytes_per_token));
    }
    box.paint = index_.scale.paint(saved);
    box.item = {ItemKind::node, first};
    box.folded = past - first;
    boxes_.push_back(box);
  }

  /// Narrow siblings that follow each other, with all below them, until the box is wide enough.
  std::int32_t fold_narrow(std::int32_t first) {
    const NodeId begin(first);
    std::int32_t n = first;
    std::int64_t bottom = 0;
    NodeId last = begin;
    const auto nodes = static_cast<std::int32_t>(forest_.node_count());
    while (n < nodes && forest_.parent[NodeId(n)] == forest_.parent[begin] && width(NodeId(n)) < window_.min_px) {
      last = NodeId(n);
      bottom = std::max(bottom, index_.deepest[last.index()]);
      n = index_.subtree_end[last.index()];
      if (window_.x(forest_.request_end[last].value) - window_.x(forest_.request_begin[begin].value) >=
          window_.min_px) {
        break;
      }
    }
    emit(first, n, bottom, forest_.request_end[last].value);
    return n;
  }

  /// A node, with the single children below it as long as the box is too flat.
  std::int32_t place_wide(std::int32_t first) {
    std::int32_t last = first;
    const auto flat = [&] {
      const auto tokens = static_cast<double>(end_of(forest_, NodeId(last)) - forest_.tokens_before[NodeId(first)]);
      return tokens / window_.tokens * window_.height_px < window_.min_px;
    };
    const auto only_child = [&] {
      const std::int32_t child = last + 1;
      return child < index_.subtree_end[static_cast<std::size_t>(last)] &&
             forest_.readers(NodeId(child)) == forest_.readers(NodeId(last));
    };
    while (flat() && only_child()) ++last;
    emit(first, last + 1, end_of(forest_, NodeId(last)), forest_.request_end[NodeId(first)].value);
    return last + 1;
  }

  const PrefixForest& forest_;
  const ForestIndex& index_;
  const ForestWindow& window_;
  std::vector<ForestBox> boxes_;
};

/// Calls `tile(begin, end)` for each run of neighbouring requests among the queries that see a segment.
template <class Tile>
void for_each_run(const scheduler::Plan& plan, const scheduler::Task& task, const scheduler::Segment& segment,
                  Tile tile) {
  const auto request = [&](std::int32_t row) {
    return plan.query_rows[static_cast<std::size_t>(task.queries.begin + row)].value;
  };
  for (std::int32_t row = segment.row_begin; row < segment.row_end;) {
    const std::int32_t begin = request(row);
    std::int32_t end = begin + 1;
    for (++row; row < segment.row_end && request(row) == end; ++row) ++end;
    tile(begin, end);
  }
}

/// Tiles that are folded, joined where one goes on below the other: requests read paths.
class Folds {
 public:
  Folds(const ForestWindow& window, double cell)
      : window_(window), cell_(cell), grid_(cells(window.width_px), cells(window.height_px)) {}

  void add(const CoverTile& tile, Paint paint) {
    if (any_ && tile.begin == last_.begin && tile.end == last_.end && tile.top == last_.bottom && paint == paint_) {
      last_.bottom = tile.bottom;
      return;
    }
    flush();
    any_ = true;
    last_ = tile;
    paint_ = paint;
  }
  void finish(std::vector<CoverBox>& boxes) {
    if (!any_) return;
    flush();
    for (const CellRun& run : grid_.runs()) {
      boxes.push_back(
          {run.begin * cell_, run.row * cell_, (run.end - run.begin) * cell_, cell_, run.paint, run.level, {}});
    }
  }

 private:
  std::int32_t cells(double pixels) const { return static_cast<std::int32_t>(std::ceil(pixels / cell_)); }
  void flush() {
    if (any_) {
      grid_.add({window_.x(last_.begin) / cell_, window_.x(last_.end) / cell_, window_.y(last_.top) / cell_,
                 window_.y(last_.bottom) / cell_},
                paint_);
    }
  }
  const ForestWindow& window_;
  double cell_;
  CellGrid grid_;
  CoverTile last_;
  Paint paint_ = Paint::none;
  bool any_ = false;
};

/// Tiles of at least `cell` pixels both ways, and the rest in cells of that size.
std::vector<CoverBox> cover_boxes(const CoverIndex& cover, const ForestWindow& window, const std::vector<Paint>* paints,
                                  double cell) {
  std::vector<CoverBox> boxes;
  Folds folds(window, cell);
  for (const CoverTile& tile : cover) {
    const double top = window.y(tile.top), bottom = window.y(tile.bottom), x = window.x(tile.begin),
                 w = window.x(tile.end) - x;
    if (top >= window.height_px || bottom <= 0 || x >= window.width_px || x + w <= 0) continue;
    const Paint paint = paints == nullptr ? tile.served : (*paints)[static_cast<std::size_t>(tile.task)];
    if (w >= cell && bottom - top >= cell) {
      boxes.push_back({x, top, w, bottom - top, paint, 4, {ItemKind::task, tile.task}});
    } else {
      folds.add(tile, paint);
    }
  }
  folds.finish(boxes);
  return boxes;
}

}  // namespace

ForestWindow whole_forest(const PrefixForest& forest, double width_px, double height_px) {
  std::int64_t deepest = 1;
  for (std::size_t n = 0; n < forest.node_count(); ++n) deepest = std::max(deepest, end_of(forest, NodeId(n)));
  ForestWindow window;
  window.requests = static_cast<double>(std::max<std::size_t>(1, forest.request_count()));
  window.tokens = static_cast<double>(deepest);
  window.width_px = width_px;
  window.height_px = height_px;
  return window;
}

ForestIndex index_forest(const PrefixForest& forest, std::int64_t bytes_per_token) {
  ForestIndex index;
  index.bytes_per_token = bytes_per_token;
  index.scale = saving_scale(forest, bytes_per_token);
  const std::size_t nodes = forest.node_count();
  index.subtree_end.resize(nodes);
  index.deepest.resize(nodes);
  for (std::size_t i = 0; i < nodes; ++i) {
    index.subtree_end[i] = static_cast<std::int32_t>(i + 1);
    index.deepest[i] = end_of(forest, NodeId(i));
  }
  for (std::size_t i = nodes; i-- > 0;) {  // children come after their parents
    const NodeId parent = forest.parent[NodeId(i)];
    if (!parent.valid()) continue;
    index.subtree_end[parent.index()] = std::max(index.subtree_end[parent.index()], index.subtree_end[i]);
    index.deepest[parent.index()] = std::max(index.deepest[parent.index()], index.deepest[i]);
  }
  return index;
}

std::vector<ForestBox> lay_out_forest(const PrefixForest& forest, const ForestIndex& index,
                                      const ForestWindow& window) {
  ForestWindow coarser = window;
  while (true) {
    std::vector<ForestBox> boxes = ForestFolder(forest, index, coarser).run();
    if (static_cast<std::int64_t>(boxes.size()) <= window.max_boxes || coarser.min_px > window.width_px) return boxes;
    coarser.min_px *= 2;
  }
}

std::int32_t node_at(const PrefixForest& forest, double request, double token) {
  if (!(request >= 0) || request >= static_cast<double>(forest.request_count()) || !(token >= 0)) return -1;
  NodeId n = forest.leaf[traces::RequestId(static_cast<std::int32_t>(request))];
  if (token >= static_cast<double>(end_of(forest, n))) return -1;
  while (token < static_cast<double>(forest.tokens_before[n])) n = forest.parent[n];
  return n.value;
}

CoverIndex index_cover(const scheduler::Plan& plan) {
  CoverIndex cover;
  for (std::size_t t = 0; t < plan.tasks.size(); ++t) {
    const scheduler::Task& task = plan.tasks[scheduler::TaskId(t)];
    const bool reads = task.kind == scheduler::TaskKind::attend ||
                       task.kind == scheduler::TaskKind::scores;  // values read the same tokens again
    if (!reads || task.head_begin != 0) continue;
    for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
      const scheduler::Segment& segment = plan.segments[static_cast<std::size_t>(s)];
      const auto before = static_cast<double>(plan.forest.tokens_before[segment.node]);
      const double top = before + segment.token_begin,
                   bottom = before + static_cast<double>(scheduler::segment_end(plan, segment));
      const Paint served = paint_of_queries(segment.row_end - segment.row_begin);
      for_each_run(plan, task, segment, [&](std::int32_t begin, std::int32_t end) {
        cover.push_back({top, bottom, begin, end, static_cast<std::int32_t>(t), served});
      });
    }
  }
  return cover;
}

std::vector<CoverBox> lay_out_cover(const CoverIndex& cover, const ForestWindow& window,
                                    const std::vector<Paint>* paints) {
  for (double cell = window.min_px;; cell *= 2) {
    std::vector<CoverBox> boxes = cover_boxes(cover, window, paints, cell);
    if (static_cast<std::int64_t>(boxes.size()) <= window.max_boxes || cell > window.width_px) return boxes;
  }
}

}  // namespace espalier::viz

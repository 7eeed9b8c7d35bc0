#include "viz/model/forest_layout.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <set>

#include "../property/forests.h"
#include "viz/model/cell_grid.h"
#include "viz_samples.h"

namespace espalier::viz {
namespace {

using traces::NodeId;

constexpr std::int64_t kBytes = 4096;

std::vector<ForestBox> boxes_of(const traces::PrefixForest& forest, const ForestWindow& window) {
  return lay_out_forest(forest, index_forest(forest, kBytes), window);
}

TEST(ForestLayout, WidthIsRequestsAndHeightIsTokens) {
  const traces::PrefixForest forest = traces::parse_tree("1,2,4|100,50,50");
  const std::vector<ForestBox> boxes = boxes_of(forest, whole_forest(forest, 400, 200));
  ASSERT_EQ(boxes.size(), 7U);
  EXPECT_EQ(boxes[0].item, (Item{ItemKind::node, 0}));
  EXPECT_DOUBLE_EQ(boxes[0].w, 400);
  EXPECT_DOUBLE_EQ(boxes[0].h, 100);
  EXPECT_DOUBLE_EQ(boxes[1].x, 0);
  EXPECT_DOUBLE_EQ(boxes[1].y, 100);
  EXPECT_DOUBLE_EQ(boxes[1].w, 200);
  EXPECT_DOUBLE_EQ(boxes[4].x, 200);
  EXPECT_EQ(boxes[0].paint, Paint::step6);  // saves most
  EXPECT_EQ(boxes[2].paint, Paint::step0);  // a leaf of one request
}

TEST(ForestLayout, BoxesDoNotOverlapAndLargeNodesAreDrawnAlone) {
  for (std::uint64_t seed = 1; seed <= property::cases(60); ++seed) {
    const traces::PrefixForest forest = traces::make_forest(property::random_source(seed, 3000));
    const ForestWindow window = whole_forest(forest, 90, 60);
    const std::vector<ForestBox> boxes = boxes_of(forest, window);
    std::set<std::int32_t> alone;
    for (std::size_t i = 0; i < boxes.size(); ++i) {
      if (boxes[i].folded == 1) alone.insert(boxes[i].item.index);
      EXPECT_LE(boxes[i].y + boxes[i].h, window.height_px + 1e-6) << "seed " << seed;
      for (std::size_t j = i + 1; j < boxes.size(); ++j) {
        const double w = std::min(boxes[i].x + boxes[i].w, boxes[j].x + boxes[j].w) - std::max(boxes[i].x, boxes[j].x);
        const double h = std::min(boxes[i].y + boxes[i].h, boxes[j].y + boxes[j].h) - std::max(boxes[i].y, boxes[j].y);
        EXPECT_FALSE(w > 1e-6 && h > 1e-6) << "seed " << seed << " boxes " << i << " and " << j;
      }
    }
    for (std::size_t n = 0; n < forest.node_count(); ++n) {
      const NodeId id(n);
      const double w = window.x(forest.request_end[id].value) - window.x(forest.request_begin[id].value);
      const double h = static_cast<double>(forest.tokens[id]) / window.tokens * window.height_px;
      const NodeId up = forest.parent[id];
      const bool folded_up =
          up.valid() && forest.readers(up) == forest.readers(id);  // a flat single parent may take it along
      if (w >= window.min_px && h >= window.min_px && !folded_up) {
        EXPECT_TRUE(alone.contains(id.value)) << "seed " << seed << " node " << n;
      }
    }
  }
}

TEST(ForestLayout, NarrowSubtreesAreFoldedToABoundedNumber) {
  const traces::PrefixForest forest = traces::parse_tree("1,100,20000|1000,10,10");
  const ForestWindow window = whole_forest(forest, 900, 300);
  const std::vector<ForestBox> boxes = boxes_of(forest, window);
  EXPECT_LE(boxes.size(), 1U + 100 + 300);
  std::int64_t nodes = 0;
  for (const ForestBox& box : boxes) nodes += box.folded;
  EXPECT_EQ(nodes, 20101);
  ForestWindow few = window;
  few.max_boxes = 50;
  EXPECT_LE(boxes_of(forest, few).size(), 50U);
}

TEST(ForestLayout, NodeUnderAPointIsTheOneDrawnThere) {
  for (std::uint64_t seed = 1; seed <= property::cases(40); ++seed) {
    const traces::PrefixForest forest = traces::make_forest(property::random_source(seed, 2000));
    for (std::size_t n = 0; n < forest.node_count(); ++n) {
      const NodeId id(n);
      const double request = forest.request_begin[id].value + 0.5 * forest.readers(id);
      const double token = static_cast<double>(forest.tokens_before[id]) + 0.5;
      // The request in the middle may end above this node only if the node isn't on its path, which an interval
      // excludes.
      EXPECT_EQ(node_at(forest, request, token), id.value) << "seed " << seed;
    }
    EXPECT_EQ(node_at(forest, -1, 0), -1);
    EXPECT_EQ(node_at(forest, 0, 1e9), -1);
    EXPECT_EQ(node_at(forest, static_cast<double>(forest.request_count()), 0), -1);
  }
}

TEST(ForestLayout, ScaleIsFourfoldFromThePowerOfTwoAbove) {
  const traces::PrefixForest forest = traces::parse_tree("1,5|64,8");
  const SavingScale scale = saving_scale(forest, 4096);  // 4 x 64 x 4096 = 1 MiB
  EXPECT_EQ(scale.top_bytes, 1048576);
  EXPECT_EQ(scale.paint(1048576), Paint::step6);
  EXPECT_EQ(scale.paint(1048576 / 4 + 1), Paint::step6);
  EXPECT_EQ(scale.paint(1048576 / 4), Paint::step5);
  EXPECT_EQ(scale.paint(1), Paint::step1);
  EXPECT_EQ(scale.paint(0), Paint::step0);
  EXPECT_EQ(scale.legend().back().label, "≤ 1 MiB");
  EXPECT_EQ(saving_scale(traces::parse_tree("3|64"), 4096).legend().size(), 1U);
}

TEST(Cover, TilesFillTheForestExactly) {
  for (const char* strategy :
       {"espalier", "flash_decoding", "cascade", "codec", "bifurcated", "chunk_attention", "deft_flatten"}) {
    const scheduler::Plan plan = plan_of(strategy, "1,4,16|2000,300,128");
    ForestWindow window = whole_forest(plan.forest, 1600, 1200);
    window.min_px = 0.01;  // nothing is small enough to be folded
    window.max_boxes = std::int64_t{1} << 60;
    double area = 0;
    for (const CoverBox& box : lay_out_cover(index_cover(plan), window)) {
      EXPECT_EQ(box.item.kind, ItemKind::task) << strategy;
      area += box.w * box.h;
    }
    double want = 0;
    for (std::size_t n = 0; n < plan.forest.node_count(); ++n) {
      const NodeId id(n);
      want += static_cast<double>(plan.forest.tokens[id]) / window.tokens * window.height_px * plan.forest.readers(id) /
              window.requests * window.width_px;
    }
    EXPECT_NEAR(area, want, want * 1e-9) << strategy;
  }
}

TEST(Cover, SmallTilesAreFoldedIntoCells) {
  const scheduler::Plan plan = plan_of("flash_decoding", "1,4096|4096,256");
  const ForestWindow window = whole_forest(plan.forest, 900, 300);
  const std::vector<CoverBox> boxes = lay_out_cover(index_cover(plan), window);
  EXPECT_LE(boxes.size(), 300U * 100U);
  double area = 0;
  for (const CoverBox& box : boxes) area += box.w * box.h * box.level / 4;
  EXPECT_NEAR(area, 900 * 300, 900 * 300 * 0.02);
  const scheduler::Plan many = plan_of("deft_node_chunk", "1,8,64,512|2000,1000,700,300");
  ForestWindow few = whole_forest(many.forest, 900, 300);
  few.max_boxes = 200;
  EXPECT_LE(lay_out_cover(index_cover(many), few).size(), 200U);
}

TEST(Cover, FoldedTilesFillWhatTheyCoverAndNoMore) {
  ForestWindow window;
  window.requests = window.tokens = window.width_px = window.height_px = 8;
  window.min_px = 4;
  const CoverIndex cover = {
      {0, 2, 0, 2, 0, Paint::step1}, {2, 4, 0, 2, 0, Paint::step1},  // goes on below
      {4, 6, 0, 2, 1, Paint::step2},                                 // so does this, but in another colour
      {0, 2, 4, 8, 2, Paint::step1}, {2, 4, 6, 8, 2, Paint::step1},  // of fewer requests
      {4, 5, 4, 8, 3, Paint::step1}, {7, 8, 4, 8, 3, Paint::step1},  // not below each other
  };
  std::string boxes;
  for (const CoverBox& box : lay_out_cover(cover, window)) {
    boxes += fmt::format("{},{} paint {} level {}; ", box.x, box.y,
                         static_cast<int>(box.paint) - static_cast<int>(Paint::step1), box.level);
  }
  EXPECT_EQ(boxes, "0,0 paint 0 level 2; 4,0 paint 0 level 3; 0,4 paint 1 level 1; 4,4 paint 0 level 2; ");
}

TEST(CellGrid, SumsPartsOfCells) {
  CellGrid grid(10, 2);
  grid.add({0.5, 4.0, 0, 1}, Paint::hbm);
  grid.add({4.0, 4.5, 0, 1}, Paint::l2);
  grid.add({-5, 100, 1, 2}, Paint::compute, 0.5);
  grid.add({0, 1, 7, 8}, Paint::hbm);
  const std::vector<CellRun> runs = grid.runs();
  ASSERT_EQ(runs.size(), 4U);
  EXPECT_EQ(runs[0].level, 2);
  EXPECT_EQ(runs[1].begin, 1);
  EXPECT_EQ(runs[1].end, 4);
  EXPECT_EQ(runs[1].level, 4);
  EXPECT_EQ(runs[2].paint, Paint::l2);
  EXPECT_EQ(runs[3].row, 1);
  EXPECT_EQ(runs[3].end, 10);
  EXPECT_EQ(runs[3].level, 2);
}

TEST(CellGrid, CutCellsGetTheirShareInBothDirections) {
  CellGrid grid(4, 4);
  grid.add({0.5, 3.5, 0.5, 3.25}, Paint::hbm);
  std::vector<std::vector<int>> levels(4, std::vector<int>(4));
  for (const CellRun& run : grid.runs()) {
    for (std::int32_t c = run.begin; c < run.end; ++c) {
      levels[static_cast<std::size_t>(run.row)][static_cast<std::size_t>(c)] = run.level;
    }
  }
  EXPECT_EQ(levels, (std::vector<std::vector<int>>{{1, 2, 2, 1}, {2, 4, 4, 2}, {2, 4, 4, 2}, {1, 1, 1, 1}}));
}

}  // namespace
}  // namespace espalier::viz

#include "viz/model/timeline_layout.h"

#include <gtest/gtest.h>

#include <cmath>

#include "viz/model/time_split.h"
#include "viz_samples.h"

namespace espalier::viz {
namespace {

TimelineWindow whole(const TimelineIndex& index, double width, double height) {
  TimelineWindow window;
  window.end_us = index.makespan_us;
  window.lane_count = static_cast<std::int32_t>(index.lanes.size());
  window.width_px = width;
  window.height_px = height;
  return window;
}

TEST(Timeline, LanesStandBySmThenSlot) {
  scheduler::Plan plan;
  plan.hash = 3;
  sim::SimResult result;
  result.timeline.plan_hash = 3;
  result.timeline.lanes = {"launches", "SM 10 slot 0", "SM 2 slot 1", "SM 2 slot 0"};
  const TimelineIndex index = index_timeline(result, plan);
  EXPECT_EQ(index.lanes, (std::vector<std::int32_t>{3, 2, 1}));
  EXPECT_EQ(index.sm, (std::vector<std::int32_t>{2, 2, 10}));
}

TEST(Timeline, EverySpanIsInTheIndexOnce) {
  const scheduler::Plan plan = plan_of("cascade", "1,4,64|2048,512,128");
  const sim::SimResult result = timeline_of(plan);
  const TimelineIndex index = index_timeline(result, plan);
  EXPECT_EQ(index.span.size() + index.gaps.size(), result.timeline.spans.size());
  EXPECT_GT(index.gaps.size(), 0U);
}

TEST(Timeline, BoxesOfARowStandApartAndInside) {
  const MadeUpRun run = made_up_run(5000, 40, 1);
  const TimelineIndex index = index_timeline(run.result, run.plan);
  const TimelineLayout layout = lay_out_timeline(index, whole(index, 1000, 400));
  EXPECT_EQ(layout.rows(), 40);
  std::int64_t spans = 0;
  double covered = 0;
  for (std::size_t i = 0; i < layout.boxes.size(); ++i) {
    const TimelineBox& box = layout.boxes[i];
    EXPECT_GE(box.x, 0);
    EXPECT_LE(box.x + box.w, 1000 + 1e-2);
    spans += box.folded;
    covered += static_cast<double>(box.w) * box.level / 4;
    if (i > 0 && layout.boxes[i - 1].row == box.row) {
      EXPECT_LE(layout.boxes[i - 1].x + layout.boxes[i - 1].w, box.x + 1e-2);
    }
    if (box.folded == 1) {
      EXPECT_GE(box.entry, 0);
    }
    if (box.w >= 6.1 && box.folded > 1) ADD_FAILURE() << "a wide box was folded";
  }
  EXPECT_EQ(spans, 5000);
  double want = 0;
  for (const auto& span : run.result.timeline.spans) {
    want += (span.end_us - span.begin_us) / run.result.makespan_us * 1000;
  }
  EXPECT_NEAR(covered, want, want * 0.03);
}

TEST(Timeline, LanesShareRowsWhereThereIsNoRoom) {
  const MadeUpRun run = made_up_run(20'000, 1000, 2);
  const TimelineIndex index = index_timeline(run.result, run.plan);
  const TimelineLayout layout = lay_out_timeline(index, whole(index, 900, 200));
  ASSERT_EQ(layout.rows(), 63);  // four SMs of four slots each
  EXPECT_EQ(layout.row_begin[1], 16);
  EXPECT_GE(layout.row_px, 3);
  double covered = 0, want = 0;
  for (const TimelineBox& box : layout.boxes) covered += static_cast<double>(box.w) * box.level / 4 * 16;
  for (const auto& span : run.result.timeline.spans) {
    want += (span.end_us - span.begin_us) / run.result.makespan_us * 900;
  }
  EXPECT_NEAR(covered, want, want * 0.1);
}

TEST(Timeline, NeverMoreThanSixtyThousandBoxesAtAnyZoom) {
  const MadeUpRun run = made_up_run(100'000, 1056, 3);
  const TimelineIndex index = index_timeline(run.result, run.plan);
  for (const double height : {200.0, 800.0, 4000.0}) {
    for (double zoom = 1; zoom <= 1e4; zoom *= 10) {
      TimelineWindow window = whole(index, 1280, height);
      window.end_us /= zoom;
      EXPECT_LT(lay_out_timeline(index, window).boxes.size(), 60'000U) << height << " " << zoom;
      window.max_boxes = 2000;
      EXPECT_LE(lay_out_timeline(index, window).boxes.size(), 2000U) << height << " " << zoom;
    }
  }
}

TEST(Timeline, EntryUnderAPointIsTheSpanThere) {
  const MadeUpRun run = made_up_run(3000, 30, 4);
  const TimelineIndex index = index_timeline(run.result, run.plan);
  for (const double height : {300.0, 30.0}) {  // one lane a row, an SM a row
    const TimelineWindow window = whole(index, 1000, height);
    const TimelineLayout layout = lay_out_timeline(index, window);
    for (std::int32_t entry = 0; entry < static_cast<std::int32_t>(index.span.size()); entry += 7) {
      const auto at = static_cast<std::size_t>(entry);
      std::int32_t lane = 0;
      while (index.lane_begin[static_cast<std::size_t>(lane) + 1] <= entry) ++lane;
      const double us = (index.begin_us[at] + index.end_us[at]) / 2;
      std::int32_t row = 0;
      while (layout.row_begin[static_cast<std::size_t>(row) + 1] <= lane) ++row;
      const double y = (row + 0.5) * layout.row_px;
      const std::int32_t found = entry_at(index, window, layout, us / window.end_us * 1000, y);
      ASSERT_GE(found, 0);
      EXPECT_LE(index.begin_us[static_cast<std::size_t>(found)], us + 1e-9);
      EXPECT_GE(index.end_us[static_cast<std::size_t>(found)], us - 1e-9);
      if (height == 300) {
        EXPECT_EQ(found, entry);
      }
    }
    EXPECT_EQ(entry_at(index, window, layout, -1, 5), -1);
    EXPECT_EQ(entry_at(index, window, layout, 5, 1e6), -1);
  }
}

TEST(Timeline, ColumnsOfACounterAreTimeWeightedMeans) {
  scheduler::CounterSeries series{"HBM", "GB/s", {0, 1, 3}, {10, 20, 0}};
  const std::vector<double> columns = counter_columns(series, 0, 4, 2);
  ASSERT_EQ(columns.size(), 2U);
  EXPECT_DOUBLE_EQ(columns[0], 15);
  EXPECT_DOUBLE_EQ(columns[1], 10);
}

TEST(TimeSplit, SharesSumToOneForAnyPlan) {
  for (const char* strategy : {"espalier", "flash_decoding", "cascade", "hydragen", "flashinfer_persistent"}) {
    const scheduler::Plan plan = plan_of(strategy, "1,8,64|3000,200,77");
    const costmodel::DeviceSpec device = costmodel::find_device("a100-80");
    const sim::Explanation e = sim::explain(plan, device);
    double sum = 0;
    for (const SplitPart& part : time_split(e.sm_time)) {
      EXPECT_GE(part.share, 0);
      sum += part.share;
    }
    EXPECT_NEAR(sum, 1, 1e-12) << strategy;
    EXPECT_NEAR(e.sm_time.total(), e.result.makespan_us * device.sms, 1e-6 * e.sm_time.total()) << strategy;
  }
  for (const SplitPart& part : time_split({})) EXPECT_EQ(part.share, 0);
}

}  // namespace
}  // namespace espalier::viz

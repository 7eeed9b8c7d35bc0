// Pictures: the model drawn as scenes. One function a picture; documents are pictures placed side by side.
//
// With `axes` a picture has labelled axes in margins of its own, for files. Without, it fills its size: for pages,
// which stretch it.
#pragma once

#include <string>
#include <vector>

#include "sim/explain.h"
#include "viz/model/forest_layout.h"
#include "viz/model/timeline_layout.h"
#include "viz/scene/scene.h"

namespace espalier::viz {

struct PictureSize {
  double width = 960, height = 240;
  bool axes = true;
  bool titles = true;  ///< tooltips on boxes
  std::int64_t max_boxes = 50'000;
};

/// Icicle coloured by the bytes that sharing saves.
Scene forest_picture(const traces::PrefixForest& forest, std::int64_t bytes_per_token, const PictureSize& size);
/// The forest's plane tiled by tasks, coloured by the queries a tile serves.
Scene cover_picture(const scheduler::Plan& plan, const PictureSize& size);
/// SMs over time; `end_us` (at least the makespan) is where the axis ends, so that two can be compared.
Scene timeline_picture(const scheduler::Plan& plan, const sim::SimResult& result, double end_us,
                       const PictureSize& size);
/// HBM bandwidth on the axis of the timeline; `most_gbps` is the top, `achievable_gbps` a line.
Scene bandwidth_picture(const sim::SimResult& result, double end_us, const costmodel::DeviceSpec& device,
                        const PictureSize& size);
/// One bar of SM time, and its legend.
Scene split_picture(const sim::SmTimeReasons& reasons, const PictureSize& size);

/// Swatches and labels in rows of `width`, beginning at the scene's lower edge.
Scene legend_picture(const std::string& name, const std::vector<LegendEntry>& entries, double width);
std::vector<LegendEntry> timeline_legend(const scheduler::Plan& plan, const sim::SimResult& result);

/// Whole files: a forest; a plan with its forest, tiles, SM time, timeline.
Scene forest_document(const traces::PrefixForest& forest, const traces::HeadConfig& heads);
Scene plan_document(const scheduler::Plan& plan, const costmodel::DeviceSpec& device,
                    const sim::Explanation& explanation);

}  // namespace espalier::viz

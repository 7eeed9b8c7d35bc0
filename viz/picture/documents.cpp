// Whole files: pictures under headings.
#include <fmt/format.h>

#include <algorithm>

#include "core/hash.h"
#include "core/text.h"
#include "scheduler/plan_statistics.h"
#include "viz/picture/drawing.h"
#include "viz/picture/pictures.h"

namespace espalier::viz {
namespace {

constexpr double kWidth = 1200, kMargin = 28, kBetween = 32;
constexpr double kInner = kWidth - 2 * kMargin;

void heading(Scene& scene, const std::string& title, const std::vector<std::string>& lines) {
  scene.shapes.push_back(Text{kMargin, 44, fitted(title, 22, kInner), Paint::ink, 22, Anchor::start, true});
  double y = 66;
  for (const std::string& line : lines) {
    scene.shapes.push_back(Text{kMargin, y, fitted(line, 13, kInner), Paint::muted, 13});
    y += 19;
  }
  scene.height = y;
}

/// A picture under its name, with a remark on how to read it; returns where the next may begin.
double section(Scene& scene, const std::string& name, const std::string& remark, const Scene& picture, double x,
               double y) {
  scene.shapes.push_back(Text{x, y + 14, name, Paint::ink, 14, Anchor::start, true});
  scene.shapes.push_back(Text{x, y + 32, fitted(remark, 11.5, picture.width), Paint::muted, 11.5});
  place(scene, picture, x, y + 42);
  return y + 42 + picture.height;
}

std::string forest_line(const traces::PrefixForest& forest) {
  const auto unique = traces::unique_tokens(forest), logical = traces::logical_tokens(forest);
  return fmt::format("{}, {}, {} KV tokens, dedupe {:.2f}",
                     core::counted(static_cast<std::int64_t>(forest.request_count()), "request"),
                     core::counted(static_cast<std::int64_t>(forest.node_count()), "node"), core::count_text(unique),
                     static_cast<double>(logical) / static_cast<double>(std::max<std::int64_t>(1, unique)));
}

const char* const kForestRemark = "across: requests · down: tokens · colour: KV bytes saved by reading once";

}  // namespace

Scene forest_document(const traces::PrefixForest& forest, const traces::HeadConfig& heads) {
  Scene scene{kWidth, 0, "Prefix forest " + forest.name, {}};
  heading(scene, forest.name,
          {fmt::format("{}, heads {}: {} of KV a layer", forest_line(forest), traces::heads_text(heads),
                       value_text(static_cast<double>(traces::unique_tokens(forest) * heads.kv_bytes_per_token()),
                                  Unit::bytes))});
  const std::int64_t bytes = heads.kv_bytes_per_token();
  double y =
      section(scene, "Forest", kForestRemark, forest_picture(forest, bytes, {kInner, 480}), kMargin, scene.height + 8);
  const Scene legend = legend_picture("", saving_scale(forest, bytes).legend(), kInner);
  place(scene, legend, kMargin, y + 8);
  scene.height += kMargin;
  return scene;
}

Scene plan_document(const scheduler::Plan& plan, const costmodel::DeviceSpec& device,
                    const sim::Explanation& explanation) {
  const sim::SimResult& result = explanation.result;
  const std::int64_t bytes = plan.heads.kv_bytes_per_token();
  const double bound_us = scheduler::lower_bound(plan.forest, plan.heads, device).us;
  Scene scene{kWidth, 0, fmt::format("{} on {}", plan.provenance.strategy, device.name), {}};
  const std::string share =
      result.makespan_us > 0 ? fmt::format(", {:.0f} % of the lower bound", 100 * bound_us / result.makespan_us) : "";
  heading(scene,
          fmt::format("{} on {}: {}{}", plan.provenance.strategy, device.name,
                      value_text(result.makespan_us, Unit::time_us), share),
          {fmt::format("{}: {}, heads {}", plan.forest.name, forest_line(plan.forest), traces::heads_text(plan.heads)),
           fmt::format("plan {}: {} tasks, {} merges in {}; HBM {}, L2 {}; simulated", core::hash_text(plan.hash),
                       plan.tasks.size(), plan.steps.size(),
                       plan.launches.size() == 1 ? "one launch" : fmt::format("{} launches", plan.launches.size()),
                       value_text(static_cast<double>(result.hbm_bytes), Unit::bytes),
                       value_text(static_cast<double>(result.l2_bytes), Unit::bytes))});
  const double half = (kInner - kBetween) / 2, top = scene.height + 8, right = kMargin + half + kBetween;
  const PictureSize plane{half, 340};
  double y = section(scene, "Forest", kForestRemark, forest_picture(plan.forest, bytes, plane), kMargin, top);
  section(scene, "Plan", "boxes: what a task reads (query head 0) · colour: queries served by one read",
          cover_picture(plan, plane), right, top);
  place(scene, legend_picture("", saving_scale(plan.forest, bytes).legend(), half), kMargin, y + 6);
  place(scene, legend_picture("", timeline_legend(plan, result), half), right, y + 6);
  y = section(scene, "SM time",
              fmt::format("{:.0f} SMs × {}, by what each is doing or why it is empty", device.sms,
                          value_text(result.makespan_us, Unit::time_us)),
              split_picture(explanation.sm_time, {kInner, 0}), kMargin, scene.height + kBetween);
  const double lanes = static_cast<double>(index_timeline(result, plan).lanes.size());
  const double end_us = std::max(result.makespan_us, 1e-3);
  y = section(scene, "Timeline",
              "rows: SMs and their CTA slots · colour as in the plan above · fainter: not all slots taken",
              timeline_picture(plan, result, end_us, {kInner, std::clamp(lanes * 4, 120.0, 1056.0) + kBottomMargin}),
              kMargin, y + kBetween);
  place(scene, bandwidth_picture(result, end_us, device, {kInner, 72}), kMargin, y + 8);
  scene.height += kMargin;
  return scene;
}

}  // namespace espalier::viz

// The explorer's pictures as scenes: what the panels draw, with what is selected lit up and the rest dimmed, and what
// lies under the mouse. Sizes are pixels at scale 1.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "viz/explore/session.h"
#include "viz/scene/scene.h"

namespace espalier::viz {

struct ViewSize {
  double width = 1, height = 1;
  friend bool operator==(const ViewSize&, const ViewSize&) = default;
};
struct Area {
  double x = 0, y = 0, w = 0, h = 0;
  bool has(double px, double py) const { return px >= x && px < x + w && py >= y && py < y + h; }
};

/// Figures of both sides under short names, the first side's large.
Scene summary_view(const Outcome& outcome, ViewSize size);

/// The forest, and the plane tiled by the tasks of a side; axes on the left and below.
Area plane_area(ViewSize size);
Scene forest_view(const Session& session, const Outcome& outcome, ViewSize size);
Scene cover_view(const Session& session, const Outcome& outcome, SideId side, ViewSize size);
/// Node under a point; none outside. Tasks: item_near() of the cover.
Item forest_item_at(const Session& session, const Outcome& outcome, ViewSize size, double x, double y);

/// Both sides on one time axis: lanes, counters below them; SM time as a bar and the critical path above.
struct Track {
  SideId side = SideId::a;
  double title_y = 0, split_y = 0, path_y = 0;
  Area lanes;
  std::vector<Area> counters;  ///< as many of HBM, L2 and resident CTAs as there is room for
};
struct TimelinePlaces {
  std::vector<Track> tracks;  ///< of sides that are shown
  double axis_y = 0;
  double end_us = 1;  ///< of the whole axis
};
/// What the whole axis stands for: the longer of both makespans.
double axis_us(const Outcome& outcome);
TimelinePlaces timeline_places(const Outcome& outcome, ViewSize size);
Scene timeline_view(const Session& session, const Outcome& outcome, ViewSize size);
struct TimelineHit {
  Item item;
  SideId side = SideId::a;
  std::int32_t span = -1;               ///< of the side's timeline
  const sim::PathPart* path = nullptr;  ///< of the side's critical path; the item is then its longest
};
TimelineHit timeline_item_at(const Session& session, const Outcome& outcome, ViewSize size, double x, double y);

/// SM time of both sides part by part; what a tenth more would buy; tasks under the roofs of their SM.
Scene why_view(const Outcome& outcome, ViewSize size);
Scene helps_view(const Outcome& outcome, ViewSize size);
Scene roofline_view(const Session& session, const Outcome& outcome, ViewSize size);
/// What a rectangle dragged over the roofline holds; nothing where no side is shown.
std::optional<Brush> roofline_brush(const Session& session, const Outcome& outcome, ViewSize size, const Area& dragged);

/// One task or merge of a measured plan: mean times of its copies.
struct FitPoint {
  Item item;
  double foretold_us = 0, measured_us = 0;
  double error() const { return foretold_us / measured_us - 1; }
};
/// Empty unless side B is a run of side A's plan.
std::vector<FitPoint> fit_points(const Outcome& outcome);
/// Foretold against measured times, and below what is left of each: how far it is off.
Scene fit_view(const Session& session, const Outcome& outcome, ViewSize size);

/// Item of the last box within `slack` pixels of a point; none.
Item item_near(const Scene& scene, double x, double y, double slack);

/// A legend in one row: steps of one sequence side by side between the labels of the first and the last, other entries
/// behind them. An isolated colour is marked.
struct StepLegend {
  Scene scene;
  struct Swatch {
    Area area;
    Paint paint;
  };
  std::vector<Swatch> swatches;
  Paint at(double x, double y) const;  ///< none outside
};
StepLegend step_legend(const std::string& name, const std::vector<LegendEntry>& entries, double width,
                       Paint isolated = Paint::none);

/// What is known of an item: a heading, then names and values with units.
struct Fact {
  std::string name, value;
};
struct Facts {
  std::string title;
  std::vector<Fact> facts;
};
Facts facts_of(const Outcome& outcome, SideId side, Item item);
/// One JSON object, with what it is of.
std::string facts_json(const Outcome& outcome, SideId side, Item item);

/// What both sides do in a range of the time axis.
struct RangeFigures {
  std::int64_t tasks = 0, merges = 0;  ///< that run in it, copies not counted
  double kv_bytes = 0, flops = 0;      ///< by the share of each copy that lies in it
  double hbm_bytes = 0;                ///< that came from HBM
  double busy = 0;                     ///< share of SM time with a CTA
};
RangeFigures figures_in(const SideOutcome& side, double begin_us, double end_us);
Facts range_facts(const Outcome& outcome, Span1 range);
/// What the tasks under a brush are in sum.
Facts brush_facts(const Outcome& outcome, const Brush& brush);
Facts path_facts(const sim::PathPart& part);

}  // namespace espalier::viz

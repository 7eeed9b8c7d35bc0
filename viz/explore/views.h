// The explorer's pictures as scenes: what the panels draw, with what is selected lit up and the rest dimmed, and what lies under the
// mouse. Sizes are pixels at scale 1.
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
/// Node or task under a point; none outside.
Item forest_item_at(const Session& session, const Outcome& outcome, ViewSize size, double x, double y);
Item cover_item_at(const Session& session, const Outcome& outcome, SideId side, ViewSize size, double x, double y);

/// Both sides on one time axis: lanes, bandwidth below them, SM time as a bar above.
struct Track {
  SideId side = SideId::a;
  double title_y = 0, split_y = 0;
  Area lanes, bandwidth;
};
struct TimelinePlaces {
  std::vector<Track> tracks;  ///< of sides that are shown
  double axis_y = 0;
  double end_us = 1;          ///< of the whole axis
};
TimelinePlaces timeline_places(const Outcome& outcome, ViewSize size);
Scene timeline_view(const Session& session, const Outcome& outcome, ViewSize size);
struct TimelineHit {
  Item item;
  SideId side = SideId::a;
  std::int32_t span = -1;  ///< of the side's timeline
};
TimelineHit timeline_item_at(const Session& session, const Outcome& outcome, ViewSize size, double x, double y);

/// SM time of both sides part by part; what a tenth more would buy; tasks under the roofs of their SM.
Scene why_view(const Outcome& outcome, ViewSize size);
Scene helps_view(const Outcome& outcome, ViewSize size);
Scene roofline_view(const Session& session, const Outcome& outcome, ViewSize size);

/// Item of the last box within `slack` pixels of a point; none.
Item item_near(const Scene& scene, double x, double y, double slack);

/// A legend in one row: steps of one sequence side by side between the labels of the first and the last, other entries behind them.
Scene step_legend(const std::string& name, const std::vector<LegendEntry>& entries, double width);

/// What is known of an item: a heading, then names and values with units.
struct Fact {
  std::string name, value;
};
struct Facts {
  std::string title;
  std::vector<Fact> facts;
};
Facts facts_of(const Outcome& outcome, SideId side, Item item);

}  // namespace espalier::viz

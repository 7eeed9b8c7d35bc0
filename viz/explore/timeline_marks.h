// What is drawn around and over the lanes of a timeline: counters, the critical path, a measured range.
#pragma once

#include "viz/explore/views.h"
#include "viz/model/axis.h"

namespace espalier::viz {

inline constexpr double kPathHeight = 5;

/// One strip a counter, each up to the most it can be or was.
void draw_counters(Scene& scene, const SideOutcome& side, const Axis& axis, const Track& track);

/// The chain of tasks, merges and gaps that nothing could have shortened but shortening one of them; each part is of
/// what it waits for. Where a part has a longest task or merge, it stands for it.
void draw_path(Scene& scene, const SideOutcome& side, const Axis& axis, const Track& track);
/// Part of the critical path under a point; null outside.
const sim::PathPart* path_part_at(const SideOutcome& side, const Axis& axis, const Track& track, double x, double y);

void draw_range(Scene& scene, Span1 range, const Axis& axis, const TimelinePlaces& places);

}  // namespace espalier::viz

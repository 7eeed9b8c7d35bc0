// What the colour of a task says: how many it serves, what limits it, which kernel runs it, how deep, which node or
// whose it is, what edits did to it.
#pragma once

#include <string_view>
#include <vector>

#include "sim/simulator.h"
#include "viz/model/sharing.h"
#include "viz/model/task_diff.h"

namespace espalier::viz {

enum class ColourBy : std::uint8_t { queries, bound, kernel, depth, node, request, edits };
inline constexpr int kColourings = static_cast<int>(ColourBy::edits) + 1;
std::string_view colour_by_name(ColourBy colour_by);

/// By task id, but for edits: they are no matter of one plan. Nodes and requests take turns with few colours, so that
/// neighbours differ; tasks that have to do with several are grey.
std::vector<Paint> task_paints(const scheduler::Plan& plan, const sim::SimResult& result, ColourBy colour_by);
/// The same for what edits changed.
std::vector<Paint> edit_paints(const TaskDiff& diff);
/// What the colours of task_paints() and edit_paints() mean, then merges, empty CTAs and gaps where there are any.
std::vector<LegendEntry> colour_legend(const scheduler::Plan& plan, const sim::SimResult& result, ColourBy colour_by);

}  // namespace espalier::viz

// What settings lead to: the batch, and for each side a plan, its simulation and everything views need of them.
// Computed away from the window, shown when ready; a value that is never changed afterwards.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "scheduler/plan_statistics.h"
#include "scheduler/validate.h"
#include "sim/explain.h"
#include "viz/explore/settings.h"
#include "viz/model/forest_layout.h"
#include "viz/model/selection.h"
#include "viz/model/timeline_layout.h"

namespace espalier::viz {

/// What one copy of a task does.
struct TaskWork {
  double kv_bytes = 0, flops = 0;
};

/// A task under the roofs of its SM.
struct RooflinePoint {
  double intensity = 0;  ///< FLOPs a byte of KV
  double rate = 0;       ///< GFLOP/s, mean of its copies
  std::int32_t task = 0;
};

struct SideOutcome {
  std::string title;  ///< strategy with its options
  costmodel::DeviceSpec device;
  std::int32_t edits_made = 0, edits_left_out = 0;  ///< of the side's; those that can't be are passed over
  std::string edit_problem;                         ///< why the last one left out can't be
  double unedited_us = 0;                           ///< of the plan before edits; 0: none
  std::shared_ptr<const scheduler::Plan> unedited;  ///< that plan; null: none
  TaskDiff diff;                                    ///< of its tasks and the edited plan's; empty without edits
  std::string refusal;                              ///< why there is no plan; then nothing below is set
  std::shared_ptr<const scheduler::Plan> plan;
  sim::Explanation explanation;  ///< with a timeline; sensitivities only after add_sensitivities()
  scheduler::LowerBound bound;
  scheduler::PlanStatistics statistics;
  std::vector<scheduler::Violation> violations;   ///< of plans that came from elsewhere; then there is no plan but
  std::shared_ptr<const scheduler::Plan> faulty;  ///< one that can be drawn, not simulated; null where not even that
  PlanLinks links;
  std::vector<TaskWork> work;         ///< by task id
  std::vector<RooflinePoint> points;  ///< of tasks that ran and compute something
  TaskPaints paints;
  TimelineIndex timeline;
  CoverIndex cover;
  const std::vector<Paint>& paint_by(ColourBy colour_by) const { return paints[static_cast<std::size_t>(colour_by)]; }
  std::shared_ptr<const scheduler::Measurement> measurement;  ///< the result is a measured run: no counters, bytes or
                                                              ///< reasons, and `device` is what was foretold for
  bool shown() const { return plan != nullptr; }
  double us() const { return explanation.result.makespan_us; }
};

/// A strategy as side A would have it.
struct RankedStrategy {
  std::string name;
  std::string refusal;  ///< then the rest isn't set
  double us = 0, share_of_bound = 0, hbm_bytes = 0;
  std::int64_t tasks = 0, partial_rows = 0;
};

struct Outcome {
  Settings settings;    ///< that it is of
  Given given;          ///< with which they were answered
  std::string problem;  ///< why there isn't even a batch; one sentence
  std::shared_ptr<const traces::PrefixForest> forest;
  std::int32_t most_running = 0;  ///< requests that the batch could have
  std::int64_t steps = 0;         ///< of the trace that it is a step of; 0: none
  ForestIndex forest_index;
  std::array<SideOutcome, 2> sides;     ///< the second is empty without comparison
  std::vector<RankedStrategy> ranking;  ///< in the strategies' order; only after add_ranking()
  const SideOutcome& side(SideId id) const { return sides[static_cast<std::size_t>(id)]; }
  /// The plan whose ids selections speak of: that of the first side that has one; null: none.
  const SideOutcome* leading() const;
};

/// Never throws for what settings can say: problems become sentences of the outcome.
Outcome compute(const Settings& settings, const Given& given);
/// A dozen simulations a side: what a tenth more of each thing would buy.
void add_sensitivities(Outcome& outcome);

/// Plans and simulates with every strategy, if the settings want it; ends early, with what it has, when `stop` says so.
void add_ranking(Outcome& outcome, const Given& given, const std::function<bool()>& stop = {});

/// Task, node or request that a violation names, in the plan's own ids; none where it names nothing of the kind.
Item item_of_violation(const scheduler::Plan& plan, const scheduler::Violation& violation);

/// "1 task gone, 2 new, 3 moved": what edits did to the tasks of a plan; empty without edits.
std::string diff_text(const SideOutcome& side);

/// The verdict in a sentence or two, most important first.
std::vector<std::string> verdict_of(const Outcome& outcome);

}  // namespace espalier::viz

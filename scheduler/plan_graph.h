// The plan as a graph of launches, tasks, slots and steps: acyclicity, critical path, Graphviz.
//
// Edges are launch dependencies, launch begin -> its tasks and steps -> launch end, grid barriers between phases, and
// slot writer
// -> slot reader. The order of work in per-worker queues is not an edge: the graph says what must wait, not what
// happens to.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "scheduler/plan.h"

namespace espalier::scheduler {

/// A vertex: a launch's begin or end, a task, or a step.
struct PlanVertex {
  enum class Kind : std::uint8_t { launch_begin, launch_end, task, step } kind;
  std::int32_t index;
};

struct CriticalPath {
  double length = 0;
  std::vector<PlanVertex> vertices;  ///< in order of execution
};

/// True when data (slot by slot) and launch dependencies contain no cycle.
bool is_acyclic(const Plan& plan);
/// Longest path with the given weight a vertex. CHECKs acyclicity.
CriticalPath critical_path(const Plan& plan, const std::function<double(PlanVertex)>& weight);
/// Graphviz text; at most `max_tasks` tasks and as many steps are drawn singly, the rest folded into one vertex a
/// launch.
std::string graphviz(const Plan& plan, std::int64_t max_tasks = 200);

}  // namespace espalier::scheduler

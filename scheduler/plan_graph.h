// The plan as a graph of launches, tasks, slots and steps: acyclicity, critical path, Graphviz.
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

/// True when data and launch dependencies contain no cycle.
bool is_acyclic(const Plan& plan);
/// Longest path with the given weight a vertex. CHECKs acyclicity.
CriticalPath critical_path(const Plan& plan, const std::function<double(PlanVertex)>& weight);
/// Graphviz text; at most `max_tasks` tasks are drawn singly, the rest folded into one vertex a launch.
std::string graphviz(const Plan& plan, std::int64_t max_tasks = 200);

}  // namespace espalier::scheduler

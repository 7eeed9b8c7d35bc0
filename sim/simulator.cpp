// Puts the parts together: counts and reuse, then events.
#include "sim/simulator.h"

#include <algorithm>
#include <optional>

#include "scheduler/host_form.h"
#include "sim/engine.h"
#include "sim/work_list.h"

namespace espalier::sim {

SimResult simulate(const scheduler::Plan& plan, const costmodel::DeviceSpec& device, const SimOptions& options,
                   RunLog* log) {
  if (const std::optional<scheduler::Plan> own = scheduler::host_form(plan, device)) {
    SimResult result = simulate(*own, device, options, log);
    result.plan_hash = plan.hash;
    if (options.timeline) result.timeline.plan_hash = plan.hash;
    return result;
  }
  const WorkList list = make_work_list(plan, device, options.reuse);
  EngineResult run = run_events(plan, device, list, options, log);
  SimResult result;
  result.device = device.name;
  result.plan_hash = plan.hash;
  result.makespan_us = run.makespan_us;
  result.counts = list.counts;
  result.hbm_bytes = list.hbm_bytes;
  result.l2_bytes = list.l2_bytes;
  result.l2_hit_fraction = list.l2_hit_fraction;
  const auto most = std::max_element(std::begin(run.split.busy), std::end(run.split.busy));
  result.bound_by = *most > 0 ? static_cast<Bound>(most - std::begin(run.split.busy)) : Bound::fixed;
  result.split = run.split;
  result.phases = std::move(run.phases);
  result.task_bound = std::move(run.task_bound);
  result.timeline = std::move(run.timeline);
  if (options.timeline) {
    result.timeline.device = device.name;
    result.timeline.plan_hash = plan.hash;
  }
  return result;
}

}  // namespace espalier::sim

// Counters of unwritten slots and of the steps that wait for them.
#include "sim/arrivals.h"

#include <algorithm>

namespace espalier::sim {

using scheduler::Plan;
using scheduler::SlotId;
using scheduler::StepId;

namespace {

template <class Visit>
void for_arrival_inputs(const Plan& plan, Visit visit) {
  for (const scheduler::Phase& phase : plan.phases) {
    if (phase.kind != scheduler::PhaseKind::steps || phase.start != scheduler::PhaseStart::on_arrival) continue;
    for (StepId s(phase.range.begin); s.value < phase.range.end; ++s.value) {
      const scheduler::Interval inputs = plan.steps[s].inputs;
      for (std::int32_t i = inputs.begin; i < inputs.end; ++i) {
        visit(s, plan.reduction_inputs[static_cast<std::size_t>(i)].slot);
      }
    }
  }
}

}  // namespace

Arrivals::Arrivals(const Plan& plan) : plan_(plan) {
  const bool any = std::any_of(plan.phases.begin(), plan.phases.end(), [](const scheduler::Phase& phase) {
    return phase.start == scheduler::PhaseStart::on_arrival;
  });
  if (!any) return;
  writers_.assign(plan.slots.size(), 0);
  missing_.assign(plan.steps.size(), 0);
  for (const scheduler::Task& task : plan.tasks) {
    if (task.slot.valid()) ++writers_[task.slot.index()];
  }
  for (const scheduler::ReductionStep& step : plan.steps) {
    if (step.out.valid()) ++writers_[step.out.index()];
  }
  first_.assign(plan.slots.size() + 1, 0);
  for_arrival_inputs(plan, [&](StepId s, SlotId slot) {
    if (writers_[slot.index()] > 0) ++missing_[s.index()];
    ++first_[slot.index() + 1];
  });
  for (std::size_t i = 1; i < first_.size(); ++i) first_[i] += first_[i - 1];
  waiting_.resize(static_cast<std::size_t>(first_.back()));
  std::vector<std::int32_t> fill(first_.begin(), first_.end() - 1);
  for_arrival_inputs(plan,
                     [&](StepId s, SlotId slot) { waiting_[static_cast<std::size_t>(fill[slot.index()]++)] = s; });
}

void Arrivals::written(SlotId slot, std::vector<StepId>& ready) {
  if (!slot.valid() || --writers_[slot.index()] != 0) return;
  for (std::int32_t i = first_[slot.index()]; i < first_[slot.index() + 1]; ++i) {
    const StepId step = waiting_[static_cast<std::size_t>(i)];
    if (--missing_[step.index()] == 0) ready.push_back(step);
  }
}

}  // namespace espalier::sim

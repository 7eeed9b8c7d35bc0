// Which reduction steps of on_arrival phases become ready when a task or step has written its rows.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/plan.h"

namespace espalier::sim {

class Arrivals {
 public:
  explicit Arrivals(const scheduler::Plan& plan);
  bool any() const {
    return !first_.empty();
  }  ///< some phase is on_arrival; otherwise there is nothing to tell and nothing to ask

  /// Every copy of the task, or CTA of the step, is done. Steps that have nothing to wait for any more are appended to
  /// `ready`.
  void task_done(scheduler::TaskId task, std::vector<scheduler::StepId>& ready) {
    written(plan_.tasks[task].slot, ready);
  }
  void step_done(scheduler::StepId step, std::vector<scheduler::StepId>& ready) {
    written(plan_.steps[step].out, ready);
  }
  /// True when the inputs of a step of an on_arrival phase are all written.
  bool is_ready(scheduler::StepId step) const { return missing_[step.index()] == 0; }

 private:
  void written(scheduler::SlotId slot, std::vector<scheduler::StepId>& ready);

  const scheduler::Plan& plan_;
  std::vector<std::int32_t> writers_;  ///< by slot: tasks and steps that haven't written yet
  std::vector<std::int32_t> missing_;  ///< by step: input slots that aren't complete, each reference counted
  std::vector<std::int32_t> first_;    ///< by slot: first of waiting_; empty when no phase is on_arrival
  std::vector<scheduler::StepId> waiting_;
};

}  // namespace espalier::sim

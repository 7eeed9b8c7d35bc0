// The simulator's closed-form twin: a makespan without events, for searches that can't afford the engine.
//
// It reads the same work list and device, hence the same counts, hit shares and limits, and only replaces the event
// loop: rates are those of a steady mix, CTAs are laid onto slots once, and the drain of the last wave is integrated.
// See docs/model.md for how far it is off. O(runs of equal CTAs x log slots + classes).
#pragma once

#include "costmodel/device_spec.h"
#include "scheduler/plan.h"
#include "sim/work_list.h"

namespace espalier::sim {

double closed_form_us(const scheduler::Plan& plan, const costmodel::DeviceSpec& device, const WorkList& list);

}  // namespace espalier::sim

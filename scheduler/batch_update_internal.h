// Shared by leaving (batch_leave.cpp) and joining (batch_join.cpp). Private to scheduler.
#pragma once

#include "scheduler/plan.h"

namespace espalier::scheduler::updating {

/// True for plans whose columns can be rewritten in one pass: segments and inputs in the order of their tasks and
/// steps, one slot a task with the task's rows, steps that write final rows of their first input's requests.
bool rewritable(const Plan& plan);

/// Nodes one behind the other from page 0 on, as generated forests have them: such a layout is kept.
bool pages_are_packed(const traces::PrefixForest& forest);
void pack_pages(traces::PrefixForest& forest);

}  // namespace espalier::scheduler::updating

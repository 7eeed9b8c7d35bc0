// espalier run --steps: a batch that decodes, every step through launches that were captured once.
#pragma once

#include "apps/commands.h"
#include "scheduler/plan.h"

namespace espalier::apps {

/// Every request gets a token a step; before every fourth step one leaves and another joins, where the plan can follow.
/// Every step's rows are compared with the oracle's. Backends cuda and emulate. Throws Error (check failed) for rows
/// that are off.
int run_decode_steps(const PlanFileCommand& command, scheduler::Plan plan);

}  // namespace espalier::apps

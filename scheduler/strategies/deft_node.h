// DeFT's node plans: node mode and node-chunk mode differ in one number.
#pragma once

#include "scheduler/strategies/common.h"

namespace espalier::scheduler::planning {

/// `chunk`: tokens of an item; 0: whole nodes.
Plan deft_node_plan(const PlanRequest& request, const StrategyInfo& info, std::int64_t chunk);

}  // namespace espalier::scheduler::planning

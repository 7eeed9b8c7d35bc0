// The validator's opponent: expands a tiny plan into every (request, head, token) and every slot row, counts, and says
// yes or no.
#pragma once

#include "scheduler/plan.h"

namespace espalier::scheduler::samples {

/// True when coverage and data flow of the plan are right (indices, groups, heads, segments, slots, merges, order,
/// phases). Kernels, queues, storage, memory and the hash are not looked at. Cost: everything times everything.
bool brute_force_valid(const Plan& plan);

/// Of such a plan: true when no element of the workspace is overwritten before its last reader is certainly done.
bool brute_force_storage_valid(const Plan& plan);

}  // namespace espalier::scheduler::samples

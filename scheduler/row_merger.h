// Decides which attend tasks write final rows and which write slots, and merges the slots. Part of
// PlanBuilder::finish_rows().
#pragma once

#include "scheduler/plan_builder.h"

namespace espalier::scheduler {

/// See PlanBuilder::finish_rows(); tasks before `first` are left alone.
void merge_rows(PlanBuilder& builder, TaskId first, traces::Dtype dtype);

}  // namespace espalier::scheduler

// Pieces that the sample plans are put together from.
#pragma once

#include <vector>

#include "core/rng.h"
#include "scheduler/plan_builder.h"

namespace espalier::scheduler::samples {

using core::Rng;
using costmodel::KernelConfig;
using costmodel::KernelRole;
using traces::HeadConfig;
using traces::PrefixForest;

KernelConfig kernel_of(KernelRole role);
Provenance provenance(const char* name);
/// Borders of random pieces of [begin, end), each at most `longest`.
std::vector<std::int64_t> cuts(Rng& rng, std::int64_t begin, std::int64_t end, std::int64_t longest);
/// Groups of at most `most` of the requests [begin, end): runs, or every other request.
std::vector<std::vector<RequestId>> groups(Rng& rng, std::int32_t begin, std::int32_t end, std::int32_t most);
std::int64_t longest_piece(Rng& rng);
/// All heads, by the head count that the builder's first kernel takes.
Task task_of(PlanBuilder& builder, TaskKind kind, Interval segments, Interval queries);
Slot slot_of(const HeadConfig& heads, SlotKind kind, Interval queries, std::int64_t columns);
ReductionStep step_of(const HeadConfig& heads, std::int32_t rows, SlotId out, std::int32_t out_row);

}  // namespace espalier::scheduler::samples

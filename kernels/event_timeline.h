// From the records that kernels stamp while they run to the Timeline in which runs are compared.
#pragma once

#include <span>
#include <string>

#include "kernels/device_image.h"
#include "scheduler/timeline.h"

namespace espalier::kernels {

/// Records of one run on the host; places as event_layout() says. Spans: each task copy, each step on arrival (its
/// copy: which unit of heads), each block of a launch of steps (its item: the step, where the block has but one).
/// Blocks of an SM that overlap in time stand in different lanes. Time 0 is the first stamp.
scheduler::Timeline event_timeline(const scheduler::Plan& plan, const DevicePlan& lowered,
                                   std::span<const EventRecord> records, const std::string& device);

}  // namespace espalier::kernels

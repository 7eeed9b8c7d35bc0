// Which steps may run inside the launch that writes their inputs, and who has to arrive before they do.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/device_plan.h"

namespace espalier::kernels {

/// Fills the arrival columns for the steps of `phases` (on-arrival phases of the plan). False, with nothing filled,
/// where a step can't be counted in units of heads or its result is read by more than one step: such phases run after
/// their launch instead.
bool count_arrivals(const scheduler::Plan& plan, const std::vector<scheduler::Interval>& step_ranges,
                    DevicePlan& lowered);

/// Steps of a range by how many others of the range must come before: each level can be one launch.
std::vector<std::vector<std::int32_t>> step_levels(const scheduler::Plan& plan, scheduler::Interval steps);

}  // namespace espalier::kernels

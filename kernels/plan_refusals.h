// What a plan may ask that no kernel can do, whichever kernel is chosen for it: slots, heads, scores in another order
// than they are read.
#pragma once

#include <string>

#include "kernels/device_plan.h"

namespace espalier::kernels {

/// Throws PlanRefused.
[[noreturn]] void refuse(const std::string& sentence);

bool fits_heads(const AttendInstance& instance, const traces::HeadConfig& heads);

/// Throws PlanRefused.
void require_runnable(const scheduler::Plan& plan, const KernelSet& kernels);

}  // namespace espalier::kernels

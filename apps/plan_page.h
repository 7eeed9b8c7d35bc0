// export html: one plan as a self-contained page.
#pragma once

#include <string>

#include "scheduler/plan.h"
#include "sim/explain.h"

namespace espalier::apps {

/// `explanation` holds a timeline and sensitivities of this plan on this device.
std::string plan_page(const scheduler::Plan& plan, const costmodel::DeviceSpec& device, const sim::Explanation& explanation);

}  // namespace espalier::apps

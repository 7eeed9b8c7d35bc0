// A plan as this machine's cores run it.
#pragma once

#include <optional>

#include "costmodel/device_spec.h"
#include "scheduler/plan.h"

namespace espalier::scheduler {

/// The plan with every kernel replaced by what the host executor runs in its place (costmodel/host_kernel.h).
Plan as_host_plan(const Plan& plan);
/// That, for a device that is a CPU and a plan that isn't in this form; else none.
std::optional<Plan> host_form(const Plan& plan, const costmodel::DeviceSpec& device);

}  // namespace espalier::scheduler

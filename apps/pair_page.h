// A page of two plans beside each other: which is faster, pictures on one time scale, where SM time goes.
#pragma once

#include <string>

#include "costmodel/device_spec.h"
#include "scheduler/plan.h"
#include "sim/explain.h"

namespace espalier::apps {

/// A plan with its simulation on a device.
struct PageSide {
  const scheduler::Plan& plan;
  const costmodel::DeviceSpec& device;
  const sim::Explanation& explanation;  ///< of both with a timeline, of the faster one with sensitivities
};
std::string pair_page(const PageSide& a, const PageSide& b);

}  // namespace espalier::apps

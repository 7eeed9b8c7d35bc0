// export html: one plan as a self-contained page.
#pragma once

#include <string>

#include "scheduler/plan.h"
#include "sim/explain.h"

namespace espalier::apps {

/// `explanation` holds a timeline and sensitivities of this plan on this device.
std::string plan_page(const scheduler::Plan& plan, const costmodel::DeviceSpec& device, const sim::Explanation& explanation);

/// A page's beginning up to and with its heading; "</section>", a footer and the end come after.
std::string page_head(const std::string& title);
/// What a tenth more of each thing would buy.
std::string helps_html(const sim::Explanation& explanation);

}  // namespace espalier::apps

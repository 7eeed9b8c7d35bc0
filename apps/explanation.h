// An explanation as one screen of text: at most 40 lines of at most 100 columns.
#pragma once

#include <string>

#include "sim/explain.h"

namespace espalier::apps {

std::string render_explanation(const sim::Explanation& explanation, const scheduler::Plan& plan,
                               const costmodel::DeviceSpec& device);

}  // namespace espalier::apps

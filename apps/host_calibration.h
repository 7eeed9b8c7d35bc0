// Measures this machine and fits it, telling on stderr that it does: for calibrate and validate.
#pragma once

#include <cstdint>

#include "costmodel/host_calibration.h"

namespace espalier::apps {

costmodel::HostFit calibrate_host(std::int32_t repeats);

}  // namespace espalier::apps

// Measures this machine and fits it, telling on stderr that it does: for calibrate, validate and view.
#pragma once

#include <cstdint>

#include "costmodel/host_calibration.h"
#include "kernels/host_bench.h"

namespace espalier::apps {

costmodel::HostFit calibrate_host(kernels::HostBench& bench, std::int32_t rounds);

}  // namespace espalier::apps

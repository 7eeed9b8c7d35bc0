// How the pipes of an SM share the time of a tile: the one equation of the SM steady state, for kernels and for
// calibration's mixed loops.
#pragma once

#include "costmodel/work_counts.h"

namespace espalier::costmodel {

/// The busiest pipe, and what of the others doesn't hide under it: max + (1 - overlap)(sum - max).
double overlapped_cycles(const TileCycles& pipes, double overlap);

}  // namespace espalier::costmodel

// When tasks read their KV: the clock that L2 reuse is judged by.
//
// It counts KV tokens: a CTA holds its slot for as many ticks as it reads tokens, and who waits takes the slot that
// gets free first. No time is simulated; a clock of tokens tells waves apart, and who of unequal CTAs runs beside whom.
#pragma once

#include <vector>

#include "scheduler/plan.h"

namespace espalier::sim {

/// A task's place in the order. Two readers overlap in time when the earlier's end lies beyond the later's begin.
struct Turn {
  scheduler::TaskId task;
  double begin = 0, end = 0;  ///< of its first copy, and of its last
};

/// Tasks that read KV, by begin. A task stands where its first copy does.
std::vector<Turn> reading_order(const scheduler::Plan& plan, const costmodel::DeviceSpec& device);

}  // namespace espalier::sim

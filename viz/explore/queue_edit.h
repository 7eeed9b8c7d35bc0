// Queues of persistent workers, changed by hand: which worker runs which copy of a task, and in which order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scheduler/plan.h"

namespace espalier::viz {

/// Queue of each copy of a task, as an index of Plan::queues; -1 where the hardware places it.
std::vector<std::int32_t> queues_of(const scheduler::Plan& plan, std::int32_t task);
/// KV tokens that each queue's worker reads.
std::vector<std::int64_t> queue_tokens(const scheduler::Plan& plan);
/// The first with the fewest; -1: there are none.
std::int32_t emptiest_queue(const scheduler::Plan& plan);

// Each changes the plan, which isn't sealed then, and returns nothing; or leaves it as it is and returns why it can't
// be.

/// One copy to the end of another worker's queue, but before what waits there for a later phase.
std::string move_to_queue(scheduler::Plan& plan, std::int32_t task, std::int32_t copy, std::int32_t queue);
/// All copies of a task by `places` within their queues, among the tasks of its phase: -1 one up, 1 one down, further:
/// to the end.
std::string move_in_queues(scheduler::Plan& plan, std::int32_t task, std::int32_t places);

/// After tasks were changed and dealt anew: those that `before` has, too, go back to where they stood there, the others
/// to the emptiest queues. Plans whose only queues can't be the same stay as they are.
void keep_queues(const scheduler::Plan& before, scheduler::Plan& after);

}  // namespace espalier::viz

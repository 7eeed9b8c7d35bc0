// A plan that follows its batch: requests leave and join without planning anew. With grow() (plan.h), what a serving
// engine does between two plans. Every update gives a valid plan with a new hash; what it costs is balance, so an
// engine plans anew now and then.
//
// Both rewrite the plan's columns once: linear in the plan, nothing is priced. They serve plans of attention tasks that
// write final rows or slots merged by log-sum-exp in single steps (espalier and the flat planners among them; not score
// slots, folds or merges in rounds). Where an update can't be made they return false (or nothing), leave the plan as it
// is, and the caller plans anew.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "scheduler/plan.h"

namespace espalier::scheduler {

/// Takes a request out: its nodes that nobody else reads, its rows and merges. A task that nobody reads any more
/// becomes padding, so queues and phases stay as they are. False when it is the last request, or when a launch would be
/// left with nothing to merge.
bool leave(Plan& plan, RequestId request);

/// A request that joins: `tokens` tokens of its own below `prefix` (an invalid id: it shares nothing). `prefix` must
/// not grow afterwards, that is, no other request may be decoding at its end.
struct Newcomer {
  NodeId prefix;
  std::int64_t tokens = 1;
  std::string label;
};

/// The newcomer reads its context in tasks of its own, none longer than the longest task so far, beside the tasks of
/// the others; tiles that read its prefix don't take it in. The page table continues behind the highest page in use.
/// Returns its id: the requests behind it in depth-first order move by one. Nothing when it would need partial rows in
/// a plan that merges none.
std::optional<RequestId> join(Plan& plan, const Newcomer& newcomer);

/// KV tokens of the longest task: what the end of a plan waits for. An engine that plans anew when this has grown by a
/// quarter, or after a number of steps, bounds how stale its balance gets.
std::int64_t longest_task_tokens(const Plan& plan);

}  // namespace espalier::scheduler

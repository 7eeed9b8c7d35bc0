// Linked selection: what belongs together across forest, plan and timeline.
//
// A selection is one Item. Linked says which nodes, requests, tasks and merges it touches, in both directions: from a
// node to the tasks that read it, from a task back to its nodes. Every view draws from Linked and keeps no selection of
// its own.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/plan.h"
#include "viz/scene/scene.h"

namespace espalier::viz {

using Selection = Item;

/// Ascending ids of each kind.
struct Linked {
  std::vector<std::int32_t> nodes, requests, tasks, merges;
  bool has(Item item) const;
};

/// Lists of ids, one list a row.
struct Adjacency {
  std::vector<std::int32_t> begin;  ///< rows + 1 places in `ids`
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> of(std::int32_t row) const;
};

/// What of a plan points at what, made once a plan: O(segments + query rows + merge inputs).
struct PlanLinks {
  Adjacency tasks_of_node, tasks_of_request, merges_of_request;
  Adjacency merges_of_slot;   ///< that read it
  Adjacency readers_of_slot;  ///< tasks that fold it in
  Adjacency merges_into_slot;
  std::vector<std::int32_t> writer_of_slot;  ///< task; -1: a merge or nobody
};
PlanLinks link(const scheduler::Plan& plan);

/// node: its requests, tasks and their merges; request: its path, the tasks that serve it, its merges; task: its nodes,
/// its requests, the merges its rows go into; merge: the tasks its rows come from and their nodes, its requests. Ids
/// outside the plan: nothing.
Linked linked(const scheduler::Plan& plan, const PlanLinks& links, Selection selection);
/// Several tasks of the plan, ascending: them, their nodes and their requests. O(their segments + their queries).
Linked linked_tasks(const scheduler::Plan& plan, std::vector<std::int32_t> tasks);

}  // namespace espalier::viz

// Grouping the queries of a tree by its edges: at each edge the child is kept apart, or absorbed, which takes its
// queries out of its parent's group and makes them read the parent's KV together with their own. FastTree and PAT
// decide the edges, each by its rule.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/strategies/boxes.h"

namespace espalier::scheduler::planning {

/// Queries that read a chain together.
struct Pack {
  Chain chain;
  Interval queries;  ///< of Plan::query_rows
};

/// What a decision may look at: queries that are still with the parent and the tokens they read, queries and own tokens
/// of the child.
struct Edge {
  std::int64_t parent_queries, parent_tokens, child_queries, child_tokens;
};

class Packing {
 public:
  explicit Packing(const traces::PrefixForest& forest);

  /// Absorbs every child for which `absorb(edge)`, in depth-first order: a decision sees the final state of its
  /// parent's own edge and of the siblings before it. (Breadth-first order gives the same, as no other edge is looked
  /// at.)
  template <class Absorb>
  void decide(Absorb&& absorb) {
    for (const NodeId n : core::ids<NodeId>(forest_.node_count())) {
      const NodeId parent = forest_.parent[n];
      if (parent.valid() && absorb(Edge{queries_[parent], tokens_[parent], queries_[n], tokens_[n]})) take(n, parent);
    }
  }

  /// Calls `see(queries, tokens)` for each group.
  template <class See>
  void each(See&& see) const {
    for (const NodeId n : core::ids<NodeId>(forest_.node_count())) {
      if (queries_[n] > 0) see(queries_[n], tokens_[n]);
    }
  }

  std::int64_t absorbed() const { return absorbed_; }
  /// The groups, parents before their children. Their query lists are registered with the builder.
  std::vector<Pack> packs(PlanBuilder& builder) const;

 private:
  void take(NodeId child, NodeId parent);

  const traces::PrefixForest& forest_;
  core::Column<NodeId, NodeId> top_;            ///< first node of the chain that ends at each node
  core::Column<NodeId, std::int64_t> tokens_;   ///< of that chain
  core::Column<NodeId, std::int64_t> queries_;  ///< that are still with the node
  core::Column<NodeId, NodeId> first_taken_, last_taken_, next_taken_;  ///< absorbed children of each node, in order
  std::int64_t absorbed_ = 0;
};

}  // namespace espalier::scheduler::planning

// Bookkeeping of absorbed edges; see the header.
#include "scheduler/strategies/packing.h"

namespace espalier::scheduler::planning {

Packing::Packing(const traces::PrefixForest& forest)
    : forest_(forest), top_(forest.node_count()), tokens_(forest.tokens), queries_(forest.node_count()),
      first_taken_(forest.node_count()), last_taken_(forest.node_count()), next_taken_(forest.node_count()) {
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    top_[n] = n;
    queries_[n] = forest.readers(n);
  }
}

void Packing::take(NodeId child, NodeId parent) {
  queries_[parent] -= queries_[child];
  tokens_[child] += tokens_[parent];
  top_[child] = top_[parent];
  (first_taken_[parent].valid() ? next_taken_[last_taken_[parent]] : first_taken_[parent]) = child;
  last_taken_[parent] = child;
  ++absorbed_;
}

std::vector<Pack> Packing::packs(PlanBuilder& builder) const {
  std::vector<Pack> packs;
  std::vector<RequestId> remaining;
  for (const NodeId n : core::ids<NodeId>(forest_.node_count())) {
    if (queries_[n] == 0) continue;
    const Chain chain{top_[n], n, tokens_[n]};
    if (!first_taken_[n].valid()) {
      packs.push_back({chain, builder.queries(forest_.request_begin[n], forest_.request_end[n])});
      continue;
    }
    remaining.clear();
    RequestId at = forest_.request_begin[n];
    for (NodeId child = first_taken_[n]; child.valid(); child = next_taken_[child]) {
      for (; at < forest_.request_begin[child]; ++at.value) remaining.push_back(at);
      at = forest_.request_end[child];
    }
    for (; at < forest_.request_end[n]; ++at.value) remaining.push_back(at);
    packs.push_back({chain, builder.queries(remaining)});
  }
  return packs;
}

}  // namespace espalier::scheduler::planning

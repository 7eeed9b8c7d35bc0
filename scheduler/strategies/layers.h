// Shared prefixes as dense attention, a layer at a time: all queries of a segment are one long query against it, the
// unique rest of each request is ordinary decode, everything is joined at the end. Relay and Hydragen are this, with
// one layer and with many.
#pragma once

#include <string_view>
#include <vector>

#include "scheduler/strategies/boxes.h"

namespace espalier::scheduler::planning {

/// Segments that are read by disjoint intervals of requests, in order; each request's own rest in the last layer.
struct Layer {
  std::vector<Run> segments;
  bool dense = true;  ///< many queries a segment; else one
};

struct LayeredMethod {
  Follow dense_follow, rest_follow;  ///< as published
  std::string_view rest_kernel;      ///< published
  bool rest_by_dim;                  ///< of which there is one a range of head dims
  std::string_view combine_kernel;   ///< joins the splits of the rest
  std::string_view join_kernel;      ///< joins the layers
};

/// The plan; its first sentence is `first`, then one a layer.
Plan layered_plan(const PlanRequest& request, const StrategyInfo& info, const std::vector<Layer>& layers,
                  const LayeredMethod& method, std::string first);

/// The layer of what each request reads alone: runs with one reader. Empty segments are left out.
Layer rest_layer(const Runs& runs);

}  // namespace espalier::scheduler::planning

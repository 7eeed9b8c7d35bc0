// Exact search on small instances: the fastest plan of a stated space, by branch and bound with the simulator as judge.
//
// The space: (1) tasks are boxes: nodes top … last of one path, whole, for an interval of requests that all read
// `last`; the boxes hold each (node, request) once. (2) Each box is cut into 1 … `most_parts` even parts at KV tile
// borders, larger ones first. (3) Each box runs in one of the two lowest of `kernels` whose query tile holds its
// requests; boxes that are alike (below one node, equal lengths and numbers of requests, all or none of them alone on
// their requests' paths) take (parts, kernel) in falling order, as who of equals is cut more makes no difference but to
// the order. (4) Tasks are launched longest first (estimated) or in forest order, by the hardware or dealt to
// persistent workers; kernels share a launch or have one each, side by side. (5) Merging follows in a launch, in a
// programmatic launch, or on arrival. All combinations are tried or shown to be no faster than the incumbent.
// Outside: uneven cuts, masked tiles, head-wise cuts, other orders.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "sim/plan_draft.h"

namespace espalier::sim {

inline constexpr std::size_t kMostExactNodes = 8;
inline constexpr std::int32_t kMostExactSms = 6;

struct ExactOptions {
  std::int32_t most_parts = 4;
  std::vector<std::int32_t> kernels;  ///< of DraftSpace::kernels; empty: the first of each query tile
  std::int64_t most_plans = 200'000;  ///< plans simulated; beyond, the search ends incomplete
};

struct ExactResult {
  double best_us = 0;              ///< the incumbent's, or less
  std::optional<PlanDraft> best;   ///< none: no plan of the space is faster than the incumbent
  bool complete = true;            ///< the whole space was tried or ruled out
  std::int64_t covers = 0;         ///< partitions into boxes
  std::int64_t covers_pruned = 0;  ///< of them, ruled out by their bound alone
  std::int64_t plans = 0;          ///< simulated
};

/// Throws Error (usage) beyond kMostExactNodes nodes or kMostExactSms SMs, and for CPUs.
void require_small(const traces::PrefixForest& forest, const costmodel::DeviceSpec& device);
/// The same limits. `incumbent_us`: time of a known plan.
ExactResult search_exactly(const DraftSpace& space, double incumbent_us, const ExactOptions& options = {});

/// Least time of any plan that holds these tasks, whatever the order, launches and merging: the ports, pipes and CTA
/// slots they need, and the longest task. For the pruning's tests.
double draft_bound_us(const DraftSpace& space, const PlanDraft& draft);

}  // namespace espalier::sim

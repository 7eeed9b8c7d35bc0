// The plan without sharing: FlashDecoding's. Also what sharing strategies fall back to when nothing is shared.
#pragma once

#include <string>

#include "scheduler/strategies/common.h"

namespace espalier::scheduler::planning {

/// FlashAttention-2's split-KV decode for this request (see flash_decoding.cpp). `splits` 0: its own rule. Throws
/// Refused. `why` comes first among the plan's sentences when it isn't empty.
Plan flat_plan(const PlanRequest& request, const StrategyInfo& info, std::int64_t splits, const std::string& why);

/// Query tile rows the FA2 rule counts with.
inline constexpr std::int64_t kFa2TileRows = 64;
/// The rule's split count and the tokens of one split, for this forest.
struct FlatCut {
  std::int64_t splits, split_tokens, longest, work, slots;
};
FlatCut flat_cut(const PlanRequest& request, std::int64_t splits);

}  // namespace espalier::scheduler::planning

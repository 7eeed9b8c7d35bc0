// vLLM's rule for cascade attention, as pure functions.
#pragma once

#include <cstdint>
#include <string>

#include "traces/head_config.h"
#include "traces/prefix_forest.h"

namespace espalier::scheduler::planning {

/// Tokens that all requests share, in whole pages, and at least one token less than the shortest context.
std::int64_t vllm_common_prefix(const traces::PrefixForest& forest);

struct VllmRule {
  bool on = false;
  std::int64_t cascade_units = 0,
               flash_units = 0;  ///< CTA waves x KV tiles the rule compares; 0 when it decides before
  std::string why;
};
VllmRule vllm_rule(std::int64_t prefix, std::int64_t requests, const traces::HeadConfig& heads, std::int64_t sms);

}  // namespace espalier::scheduler::planning

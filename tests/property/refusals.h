// The written list of refusals: which strategy may refuse what, and when. A refusal that isn't here fails the tests,
// and so does a plan where the list says that the method can't serve the case.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler/strategy.h"

namespace espalier::property {

struct RefusalRule {
  std::string_view strategy;
  scheduler::RefusalClass refusal;
  std::string_view when;
  bool (*applies)(const scheduler::PlanRequest& request);
  bool always;  ///< whenever it applies; else the method may still serve the case
};

inline std::int64_t roots_of(const traces::PrefixForest& forest) {
  return std::count_if(forest.parent.begin(), forest.parent.end(), [](traces::NodeId p) { return !p.valid(); });
}

inline bool no_warp_groups(const scheduler::PlanRequest& request) {
  return request.device.wgmma_flop_per_clk <= 0 && request.kernels == scheduler::KernelSet::published;
}

inline const std::vector<RefusalRule>& refusal_rules() {
  using scheduler::KernelSet;
  using scheduler::PlanRequest;
  using scheduler::RefusalClass;
  static const std::vector<RefusalRule> rules = {
      {"bifurcated", RefusalClass::structure, "the forest has several roots",
       [](const PlanRequest& request) { return roots_of(request.forest) > 1; }, true},
      {"bifurcated", RefusalClass::kernel,
       "heads of 576 dims: the 64 x 64 tiles of its products exceed the shared memory of a CTA",
       [](const PlanRequest& request) { return request.heads.qk_dim > 256; }, true},
      {"flash_decoding", RefusalClass::kernel, "more than 256 value columns: the published split kernel would spill",
       [](const PlanRequest& request) { return request.heads.v_dim > 256 && request.kernels == KernelSet::published; },
       true},
      {"fa3_static", RefusalClass::kernel, "no warp-group MMA for the published kernel", no_warp_groups, true},
      {"fa3_dynamic", RefusalClass::kernel, "no warp-group MMA for the published kernel", no_warp_groups, true},
      {"flashinfer_decode", RefusalClass::kernel, "heads of more than 256 dims: the published kernel has no such shape",
       [](const PlanRequest& request) { return request.heads.qk_dim > 256 && request.kernels == KernelSet::published; },
       true},
      {"flashinfer_decode", RefusalClass::kernel, "latent attention: the published kernel reads values of their own",
       [](const PlanRequest& request) { return request.heads.v_in_k && request.kernels == KernelSet::published; },
       true},
      {"codec", RefusalClass::kernel, "more than 256 value columns: the published kernel would spill",
       [](const PlanRequest& request) { return request.heads.v_dim > 256 && request.kernels == KernelSet::published; },
       true},
      {"relay", RefusalClass::structure, "the forest has several roots",
       [](const PlanRequest& request) { return roots_of(request.forest) > 1; }, true},
      {"relay", RefusalClass::kernel, "more than 256 value columns: the published split kernel would spill",
       [](const PlanRequest& request) { return request.heads.v_dim > 256 && request.kernels == KernelSet::published; },
       true},
      {"fasttree", RefusalClass::kernel, "more than 256 value columns: the published 64-row kernel would spill",
       [](const PlanRequest& request) { return request.heads.v_dim > 256 && request.kernels == KernelSet::published; },
       false},
      {"deft_flatten", RefusalClass::kernel, "heads of 576 dims and less than 180 KiB of shared memory a CTA",
       [](const PlanRequest& request) {
         return request.heads.qk_dim > 256 && request.device.smem_kib_per_cta < 180 &&
                request.kernels == KernelSet::published;
       },
       true},
  };
  return rules;
}

/// By the list, the strategy can't serve the request.
inline bool must_refuse(std::string_view strategy, const scheduler::PlanRequest& request) {
  const auto& rules = refusal_rules();
  return std::any_of(rules.begin(), rules.end(), [&](const RefusalRule& rule) {
    return rule.always && rule.strategy == strategy && request.forest.request_count() > 0 && rule.applies(request);
  });
}

/// What is wrong with this answer by the list; empty when it is as it should be.
inline std::string refusal_fault(std::string_view strategy, const scheduler::PlanRequest& request,
                                 const scheduler::PlanResult& result) {
  const auto* refusal = std::get_if<scheduler::Refusal>(&result);
  bool listed = false;
  for (const RefusalRule& rule : refusal_rules()) {
    if (rule.strategy != strategy || !rule.applies(request)) continue;
    if (refusal == nullptr && rule.always) return std::string("a plan, although ") + std::string(rule.when);
    listed = listed || (refusal != nullptr && rule.refusal == refusal->refusal);
  }
  if (refusal == nullptr || (listed && !refusal->sentence.empty())) return "";
  return std::string("a refusal that is not on the list: ") + std::string(scheduler::refusal_name(refusal->refusal)) +
         ": " + refusal->sentence;
}

}  // namespace espalier::property

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

/// Nodes with at least two readers that have other readers than their parent, by depth among such: the levels of shared
/// segments. True when every level has equally many readers in all its segments and serves every request.
inline bool equally_branched(const traces::PrefixForest& forest) {
  std::vector<std::int32_t> depth(forest.node_count(), 0);
  std::vector<std::vector<std::int32_t>> levels;
  for (const traces::NodeId n : core::ids<traces::NodeId>(forest.node_count())) {
    const traces::NodeId parent = forest.parent[n];
    const bool same = parent.valid() && forest.readers(parent) == forest.readers(n);
    depth[n.index()] = !parent.valid() ? 0 : depth[parent.index()] + (same ? 0 : 1);
    if (same || forest.readers(n) < 2) continue;
    if (levels.size() <= static_cast<std::size_t>(depth[n.index()])) {
      levels.resize(static_cast<std::size_t>(depth[n.index()]) + 1);
    }
    levels[static_cast<std::size_t>(depth[n.index()])].push_back(forest.readers(n));
  }
  for (const auto& level : levels) {
    const auto equal = static_cast<std::size_t>(std::count(level.begin(), level.end(), level.front()));
    if (equal != level.size() || equal * static_cast<std::size_t>(level.front()) != forest.request_count()) {
      return false;
    }
  }
  return true;
}

inline std::int64_t deepest(const traces::PrefixForest& forest) {
  std::int64_t most = 0;
  for (const std::int32_t depth : traces::depths(forest)) most = std::max<std::int64_t>(most, depth + 1);
  return most;
}

/// A node is much longer than the mean: PAT cuts it by the mean, however many partial rows that gives.
inline bool has_long_node(const traces::PrefixForest& forest) {
  std::int64_t longest = 0;
  for (const std::int64_t tokens : forest.tokens) longest = std::max(longest, tokens);
  return longest >= 128;
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
      {"flashinfer_persistent", RefusalClass::kernel, "latent heads and less than 145 KiB of shared memory a CTA",
       [](const PlanRequest& request) {
         return request.heads.qk_dim > 256 && request.device.smem_kib_per_cta < 145 &&
                request.kernels == KernelSet::published;
       },
       true},
      {"lean", RefusalClass::kernel, "more than 256 value columns: the published kernel would spill",
       [](const PlanRequest& request) { return request.heads.v_dim > 256 && request.kernels == KernelSet::published; },
       true},
      {"flashmla", RefusalClass::heads, "the published kernel serves latent attention of 576 and 512 dims only",
       [](const PlanRequest& request) {
         const bool latent = request.heads.v_in_k && request.heads.qk_dim == 576 && request.heads.v_dim == 512;
         return !latent && request.kernels == KernelSet::published && request.forest.request_count() > 0;
       },
       true},
      {"flashmla", RefusalClass::kernel, "no warp-group MMA for the published kernel", no_warp_groups, true},
      {"vllm_cascade", RefusalClass::kernel, "no warp-group MMA, and more than 256 value columns for FlashAttention-2",
       [](const PlanRequest& request) { return request.heads.v_dim > 256 && no_warp_groups(request); }, true},
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
      {"pat", RefusalClass::size, "more than 32 partial rows a request",
       [](const PlanRequest& request) { return deepest(request.forest) > 32 || has_long_node(request.forest); }, false},
      {"pat", RefusalClass::heads,
       "the published kernels are compiled for head dims 64 and 128 and groups of 1, 2, 4 and 8",
       [](const PlanRequest& request) {
         const std::int32_t group = request.heads.group();
         const bool compiled = (request.heads.qk_dim == 64 || request.heads.qk_dim == 128) &&
                               request.heads.v_dim == request.heads.qk_dim && !request.heads.v_in_k &&
                               (group == 1 || group == 2 || group == 4 || group == 8);
         return !compiled && request.kernels == KernelSet::published;
       },
       true},
      {"hydragen", RefusalClass::structure, "unequal branching",
       [](const PlanRequest& request) { return !equally_branched(request.forest); }, true},
      {"hydragen", RefusalClass::kernel, "more than 256 value columns: the published dense kernel would spill",
       [](const PlanRequest& request) { return request.heads.v_dim > 256 && request.kernels == KernelSet::published; },
       false},
      {"chunk_attention", RefusalClass::heads, "the published kernels are compiled for groups of 1 and head dim 128",
       [](const PlanRequest& request) {
         return (request.heads.group() != 1 || request.heads.qk_dim != 128 || request.heads.v_dim != 128) &&
                request.kernels == KernelSet::published;
       },
       true},
      {"chunk_attention", RefusalClass::size, "the published kernels are compiled for batches of up to 128",
       [](const PlanRequest& request) {
         return request.forest.request_count() > 128 && request.kernels == KernelSet::published;
       },
       false},
      {"codec_release", RefusalClass::kernel, "more than 256 value columns: the published kernel would spill",
       [](const PlanRequest& request) { return request.heads.v_dim > 256 && request.kernels == KernelSet::published; },
       true},
      {"codec_release", RefusalClass::size, "the published merge takes at most 128 pages a node",
       [](const PlanRequest& request) {
         return traces::unique_tokens(request.forest) > 128 * 1024 && request.kernels == KernelSet::published;
       },
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
    // No requests: an empty plan, whatever the method can't serve.
    if (rule.strategy != strategy || request.forest.request_count() == 0 || !rule.applies(request)) continue;
    if (refusal == nullptr && rule.always) return std::string("a plan, although ") + std::string(rule.when);
    listed = listed || (refusal != nullptr && rule.refusal == refusal->refusal);
  }
  if (refusal == nullptr || (listed && !refusal->sentence.empty())) return "";
  return std::string("a refusal that is not on the list: ") + std::string(scheduler::refusal_name(refusal->refusal)) +
         ": " + refusal->sentence;
}

}  // namespace espalier::property

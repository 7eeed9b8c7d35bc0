// Plans and devices small enough to reckon by hand.
#pragma once

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "scheduler/plan_builder.h"
#include "sim/simulator.h"

namespace espalier::sim::testing {

using costmodel::DeviceSpec;
using costmodel::KernelConfig;
using scheduler::Plan;
using scheduler::PlanBuilder;
using scheduler::Segment;
using scheduler::TaskId;
using traces::HeadConfig;
using traces::NodeId;
using traces::PrefixForest;
using traces::RequestId;

/// A chunk that no node is cut by.
inline constexpr std::int64_t kTokensOfAll = std::int64_t{1} << 30;

/// One KV head: a task is one CTA.
inline HeadConfig one_head() { return {.q_heads = 1, .kv_heads = 1}; }

inline DeviceSpec device_with(double sms = 132) {
  DeviceSpec device;
  device.name = "test";
  device.sms = sms;
  return device;
}

/// Work on it costs no SM time worth mentioning.
inline KernelConfig streaming_kernel(std::int32_t tile = 16) {
  KernelConfig kernel;
  kernel.name = "stream";
  kernel.query_tile = tile;
  kernel.stages = 3;
  return kernel;
}

inline KernelConfig merge_kernel() {
  KernelConfig kernel;
  kernel.name = "merge";
  kernel.role = costmodel::KernelRole::reduce;
  kernel.engine = costmodel::Engine::cuda_core;
  kernel.query_tile = 4;
  kernel.kv_tile = 1;
  kernel.stages = 1;
  kernel.registers = 64;
  return kernel;
}

/// CTAs of this kernel fill an SM `per_sm` at a time.
inline KernelConfig with_occupancy(KernelConfig kernel, const DeviceSpec& device, int per_sm) {
  kernel.smem_bytes = static_cast<std::int32_t>(device.smem_kib_per_sm * 1024 / per_sm) - 1024;
  return kernel;
}

/// Unshared requests of the given contexts.
inline PrefixForest unshared(const std::vector<std::int64_t>& tokens) {
  traces::ForestSource source;
  source.name = "unshared";
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    source.parent.push_back(-1);
    source.tokens.push_back(tokens[i]);
    source.leaf.push_back(static_cast<std::int64_t>(i));
  }
  return traces::make_forest(source);
}

/// A root read by `requests` requests that each have a leaf.
inline PrefixForest shared_root(std::int64_t root, std::int32_t requests, std::int64_t leaf) {
  traces::ForestSource source;
  source.name = "shared root";
  source.parent = {-1};
  source.tokens = {root};
  for (std::int32_t r = 0; r < requests; ++r) {
    source.parent.push_back(0);
    source.tokens.push_back(leaf);
    source.leaf.push_back(r + 1);
  }
  return traces::make_forest(source);
}

inline PrefixForest random_forest(core::Rng& rng, std::int64_t most_nodes, std::int64_t most_tokens) {
  traces::ForestSource source;
  source.name = "random";
  const std::int64_t nodes = rng.integer(1, most_nodes);
  for (std::int64_t n = 0; n < nodes; ++n) {
    source.parent.push_back(rng.chance(0.1) ? -1 : rng.integer(-1, n - 1));
    source.tokens.push_back(rng.integer(1, most_tokens));
    source.leaf.push_back(n);
  }
  return traces::make_forest(source);
}

/// The merges of all rows as a second launch.
inline void add_merges(PlanBuilder& builder) {
  const auto begin = builder.finish_rows(traces::Dtype::fp32);
  const scheduler::LaunchId after[] = {scheduler::LaunchId(0)};
  builder.launch(scheduler::Follow::graph, 0, after);
  builder.step_phase(builder.kernel(merge_kernel()), begin);
}

/// Every node is read once for each tile of its readers, in chunks of at most `chunk` tokens.
inline Plan node_plan(const PrefixForest& forest, const HeadConfig& heads, const KernelConfig& kernel,
                      std::int64_t chunk) {
  PlanBuilder builder(forest, heads);
  const auto k = builder.kernel(kernel);
  const std::int32_t tile = scheduler::queries_per_tile(kernel, heads);
  builder.launch();
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    for (RequestId r = forest.request_begin[n]; r < forest.request_end[n]; r.value += tile) {
      const RequestId end(std::min(r.value + tile, forest.request_end[n].value));
      const auto group = builder.queries(r, end);
      for (std::int64_t t = 0; t < forest.tokens[n]; t += chunk) {
        const Segment segment = builder.segment(n, t, std::min(t + chunk, forest.tokens[n]), group.size());
        builder.attend(k, std::span(&segment, 1), group);
      }
    }
  }
  builder.task_phase(k, TaskId(0));
  add_merges(builder);
  return std::move(builder).finish({});
}

/// Every request reads its whole path alone, a task for each chunk of each node (what attention without sharing does).
inline Plan request_plan(const PrefixForest& forest, const HeadConfig& heads, const KernelConfig& kernel,
                         std::int64_t chunk) {
  PlanBuilder builder(forest, heads);
  const auto k = builder.kernel(kernel);
  builder.launch();
  for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
    const auto group = builder.queries(r, RequestId(r.value + 1));
    for (const NodeId n : path_of(forest, forest.leaf[r])) {
      for (std::int64_t t = 0; t < forest.tokens[n]; t += chunk) {
        const Segment segment = builder.segment(n, t, std::min(t + chunk, forest.tokens[n]), 1);
        builder.attend(k, std::span(&segment, 1), group);
      }
    }
  }
  builder.task_phase(k, TaskId(0));
  add_merges(builder);
  return std::move(builder).finish({});
}

}  // namespace espalier::sim::testing

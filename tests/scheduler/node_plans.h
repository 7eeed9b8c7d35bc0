// Small forests and plans that the tests of this folder share.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/rng.h"
#include "scheduler/plan_builder.h"

namespace espalier::scheduler::node_plans {

/// root 100 tokens (request 0 ends there) -> a 20 (requests 1 and 2), b 30 (request 3).
inline traces::PrefixForest small_forest() {
  traces::ForestSource source;
  source.name = "small";
  source.parent = {-1, 0, 0};
  source.tokens = {100, 20, 30};
  source.leaf = {0, 1, 1, 2};
  return traces::make_forest(source);
}

/// Random parents, lengths and ends: several roots, inner ends and twins all occur.
inline traces::PrefixForest random_forest(std::uint64_t seed, std::int64_t most_nodes = 40,
                                          std::int64_t most_tokens = 300) {
  core::Rng rng(seed);
  traces::ForestSource source;
  source.name = "random" + std::to_string(seed);
  const std::int64_t nodes = rng.integer(1, most_nodes);
  for (std::int64_t i = 0; i < nodes; ++i) {
    source.parent.push_back(rng.integer(-1, i - 1));
    source.tokens.push_back(rng.integer(1, most_tokens));
  }
  const std::int64_t requests = rng.integer(1, 2 * nodes);
  for (std::int64_t r = 0; r < requests; ++r) source.leaf.push_back(rng.integer(0, nodes - 1));
  return traces::make_forest(source);
}

inline traces::HeadConfig heads(std::int32_t q_heads = 4, std::int32_t kv_heads = 2) {
  traces::HeadConfig config;
  config.q_heads = q_heads;
  config.kv_heads = kv_heads;
  config.qk_dim = config.v_dim = 64;
  return config;
}

inline costmodel::KernelConfig attend_kernel(std::int32_t query_tile = 16) {
  costmodel::KernelConfig kernel;
  kernel.name = "attend" + std::to_string(query_tile);
  kernel.query_tile = query_tile;
  return kernel;
}

inline costmodel::KernelConfig reduce_kernel() {
  costmodel::KernelConfig kernel;
  kernel.name = "reduce";
  kernel.role = costmodel::KernelRole::reduce;
  return kernel;
}

inline Provenance provenance() {
  return {"sample", {{"chunk", "64"}}, "", "h100-sxm", "ours", 7, true, {"a test asked for it"}};
}

/// One task a node, cut into query tiles and, with chunk > 0, into runs of at most `chunk` tokens; one merge launch.
inline Plan node_plan(const traces::PrefixForest& forest, const traces::HeadConfig& heads, std::int32_t query_tile = 16,
                      std::int64_t chunk = 0) {
  PlanBuilder builder(forest, heads);
  const KernelId attend = builder.kernel(attend_kernel(query_tile));
  const std::int32_t tile = queries_per_tile(attend_kernel(query_tile), heads);
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    const std::int64_t step = chunk > 0 ? chunk : forest.tokens[n];
    for (RequestId r = forest.request_begin[n]; r < forest.request_end[n]; r.value += tile) {
      const RequestId end(std::min(r.value + tile, forest.request_end[n].value));
      for (std::int64_t at = 0; at < forest.tokens[n]; at += step) {
        const Segment piece = builder.segment(n, at, std::min(at + step, forest.tokens[n]), end.value - r.value);
        builder.attend(attend, std::span(&piece, 1), builder.queries(r, end));
      }
    }
  }
  const StepId steps = builder.finish_rows(traces::Dtype::fp32);
  builder.launch();
  builder.task_phase(attend, TaskId(0));
  builder.launch();
  builder.step_phase(builder.kernel(reduce_kernel()), steps);
  return std::move(builder).finish(provenance());
}

/// Ids of the attend tasks whose partial rows end up in each (request, head) final row, by walking the plan; unsorted.
inline std::vector<std::vector<std::int32_t>> final_sources(const Plan& plan) {
  const auto n_heads = static_cast<std::size_t>(plan.heads.q_heads);
  std::vector<std::vector<std::int32_t>> sources(plan.forest.request_count() * n_heads);
  std::vector<TaskId> writer(plan.slots.size());
  const auto request = [&](std::int32_t row) { return plan.query_rows[static_cast<std::size_t>(row)].index(); };
  for (const TaskId t : core::ids<TaskId>(plan.tasks.size())) {
    const Task& task = plan.tasks[t];
    if (task.slot.valid()) {
      EXPECT_FALSE(writer[task.slot.index()].valid()) << "slot written twice";
      writer[task.slot.index()] = t;
      continue;
    }
    for (std::int32_t q = task.queries.begin; q < task.queries.end; ++q) {
      for (std::int32_t h = 0; h < task.head_count * task.copies; ++h) {
        sources[request(q) * n_heads + static_cast<std::size_t>(task.head_begin + h)].push_back(t.value);
      }
    }
  }
  for (const ReductionStep& step : plan.steps) {
    for (std::int32_t i = step.inputs.begin; i < step.inputs.end; ++i) {
      const RowRef input = plan.reduction_inputs[static_cast<std::size_t>(i)];
      const Slot& slot = plan.slots[input.slot];
      EXPECT_GE(step.head_begin, slot.head_begin);
      EXPECT_LE(step.head_begin + step.head_count, slot.head_begin + slot.head_count);
      for (std::int32_t r = 0; r < step.rows; ++r) {
        EXPECT_LT(input.row + r, slot.queries.size());
        EXPECT_EQ(request(slot.queries.begin + input.row + r), request(step.out_row + r))
            << "rows of different requests";
        for (std::int32_t h = step.head_begin; h < step.head_begin + step.head_count; ++h) {
          sources[request(step.out_row + r) * n_heads + static_cast<std::size_t>(h)].push_back(
              writer[input.slot.index()].value);
        }
      }
    }
  }
  return sources;
}

/// The same from the tasks alone: who covers (request, head).
inline std::vector<std::vector<std::int32_t>> expected_sources(const Plan& plan) {
  const auto n_heads = static_cast<std::size_t>(plan.heads.q_heads);
  std::vector<std::vector<std::int32_t>> sources(plan.forest.request_count() * n_heads);
  for (const TaskId t : core::ids<TaskId>(plan.tasks.size())) {
    const Task& task = plan.tasks[t];
    for (std::int32_t q = task.queries.begin; q < task.queries.end; ++q) {
      const std::size_t r = plan.query_rows[static_cast<std::size_t>(q)].index();
      for (std::int32_t h = 0; h < task.head_count * task.copies; ++h) {
        sources[r * n_heads + static_cast<std::size_t>(task.head_begin + h)].push_back(t.value);
      }
    }
  }
  return sources;
}

}  // namespace espalier::scheduler::node_plans

// Figures of hand-made plans, and the lower bound at its limits.
#include "scheduler/plan_statistics.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/scheduler/node_plans.h"

namespace espalier::scheduler {
namespace {

using node_plans::node_plan;
using node_plans::small_forest;

TEST(Statistics, CountATreePlan) {
  const Plan plan = node_plan(small_forest(), node_plans::heads());
  const PlanStatistics s = statistics(plan);
  EXPECT_EQ(s.tasks, 6);  // 3 nodes x 2 KV heads
  EXPECT_EQ(s.padding, 0);
  EXPECT_EQ(s.launches, 2);
  EXPECT_EQ(s.steps, 3);
  EXPECT_EQ(s.partial_rows, (4 + 2 + 1) * 4);
  EXPECT_EQ(s.max_partials_per_request, 2);
  EXPECT_EQ(s.requested_kv_tokens, 150);
  EXPECT_DOUBLE_EQ(s.requested_over_unique, 1.0);
  EXPECT_EQ(s.longest_task_tokens, 100);
  EXPECT_EQ(s.workspace_bytes, plan.workspace_bytes);
  EXPECT_EQ(s.counts.kv_bytes, 150 * plan.heads.kv_bytes_per_token());
  EXPECT_EQ(s.counts.logical_flops, 2 * (64 + 64) * 4 * traces::logical_tokens(plan.forest));
  EXPECT_EQ(s.counts.output_bytes, 4 * 4 * 64 * 2);
  EXPECT_EQ(s.counts.partial_write_bytes, 28 * (64 * 4 + 4));
  EXPECT_EQ(s.counts.partial_read_bytes, s.counts.partial_write_bytes);
}

TEST(Statistics, CountEachReadOfATokenAndLeavePaddingOut) {
  const auto forest = small_forest();
  PlanBuilder builder(forest, node_plans::heads());
  const KernelId kernel = builder.kernel(node_plans::attend_kernel());
  for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
    std::vector<Segment> path;
    for (const NodeId n : traces::path_of(forest, forest.leaf[r])) {
      path.push_back(builder.segment(n, 0, forest.tokens[n], 1));
    }
    builder.attend(kernel, path, builder.queries(r, RequestId(r.value + 1)));
  }
  builder.padding(5);
  builder.launch();
  builder.task_phase(kernel, TaskId(0));
  builder.finish_rows(traces::Dtype::fp32);
  const PlanStatistics s = statistics(std::move(builder).finish({}));
  EXPECT_EQ(s.tasks, 8);
  EXPECT_EQ(s.padding, 5);
  EXPECT_EQ(s.partial_rows, 0);
  EXPECT_EQ(s.max_partials_per_request, 0);
  EXPECT_EQ(s.requested_kv_tokens, 100 + 120 + 120 + 130);
  EXPECT_DOUBLE_EQ(s.requested_over_unique, 470.0 / 150.0);
  EXPECT_EQ(s.longest_task_tokens, 130);
}

TEST(Statistics, CountGroupTimesWhenHeadsAreNotPacked) {
  const auto forest = small_forest();
  PlanBuilder builder(forest, node_plans::heads(8, 2));
  costmodel::KernelConfig config = node_plans::attend_kernel();
  config.packs_heads = false;
  const KernelId kernel = builder.kernel(config);
  const Segment root = builder.segment(NodeId(0), 0, 100, 4);
  builder.attend(kernel, std::span(&root, 1), builder.queries(RequestId(0), RequestId(4)));
  builder.launch();
  builder.task_phase(kernel, TaskId(0));
  EXPECT_EQ(statistics(std::move(builder).finish({})).requested_kv_tokens, 400);
}

TEST(Statistics, CountScoresAndValuesAsOneReadOfKAndV) {
  Plan plan = node_plan(small_forest(), node_plans::heads());
  Task scores = plan.tasks[TaskId(0)];
  scores.kind = TaskKind::scores;
  Task values = scores;
  values.kind = TaskKind::values;
  plan.tasks.raw() = {scores, values};
  plan.phases.clear();
  EXPECT_EQ(statistics(plan).requested_kv_tokens, 100);
}

TEST(Statistics, OfAnEmptyPlanAreZero) {
  const PlanStatistics s = statistics(node_plan({}, node_plans::heads()));
  EXPECT_EQ(s.tasks, 0);
  EXPECT_DOUBLE_EQ(s.requested_over_unique, 1.0);
}

costmodel::DeviceSpec device() {
  costmodel::DeviceSpec d;
  d.sms = 100;
  d.clock_ghz = 1;
  d.hbm_gbps = 2000;
  d.hbm_read_fraction = 0.5;
  d.mma_flop_per_clk = 1000;
  d.wgmma_flop_per_clk = 2000;
  d.fp8_rate_factor = 2;
  d.launch_graph_us = 3;
  return d;
}

TEST(LowerBound, IsUniqueBytesOverTheAchievableRate) {
  const auto forest = small_forest();
  const LowerBound bound = lower_bound(forest, node_plans::heads(), device());
  const double bytes = 150.0 * 2 * (64 + 64) * 2;
  EXPECT_DOUBLE_EQ(bound.memory_us, bytes / 1e6);
  EXPECT_DOUBLE_EQ(bound.launch_us, device().least_launch_gap_us());
  EXPECT_DOUBLE_EQ(bound.us, bound.launch_us + bound.memory_us);
  EXPECT_DOUBLE_EQ(bound.datasheet_us, bound.launch_us + bytes / 2e6);
  EXPECT_TRUE(bound.memory_bound);
}

TEST(LowerBound, IsFlopsOverTheFastestEngineWhenManyRequestsShareOneNode) {
  traces::ForestSource source;
  source.name = "shared";
  source.parent = {-1};
  source.tokens = {1000};
  source.leaf.assign(4000, 0);
  const auto forest = traces::make_forest(source);
  traces::HeadConfig heads = node_plans::heads(32, 1);
  LowerBound bound = lower_bound(forest, heads, device());
  const double flops = 2.0 * 128 * 32 * 4e6;
  EXPECT_DOUBLE_EQ(bound.compute_us, flops / (2000.0 * 100 * 1e3));
  EXPECT_DOUBLE_EQ(bound.us, bound.launch_us + bound.compute_us);
  EXPECT_FALSE(bound.memory_bound);
  heads.q_dtype = heads.kv_dtype = traces::Dtype::fp8_e4m3;
  EXPECT_DOUBLE_EQ(lower_bound(forest, heads, device()).compute_us, bound.compute_us / 2);
}

TEST(LowerBound, IsZeroForNothingAndRefusesWhatCantBeCounted) {
  EXPECT_EQ(lower_bound({}, node_plans::heads(), device()).us, 0);
  traces::ForestSource source;
  source.name = "absurd";
  for (int n = 0; n < 1000; ++n) {
    source.parent.push_back(n - 1);
    source.tokens.push_back(traces::kMaxNodeTokens);
  }
  source.leaf = {999};
  traces::HeadConfig heads = node_plans::heads(4096, 4096);
  heads.qk_dim = heads.v_dim = 1024;
  EXPECT_THROW(lower_bound(traces::make_forest(source), heads, device()), core::Error);
}

}  // namespace
}  // namespace espalier::scheduler

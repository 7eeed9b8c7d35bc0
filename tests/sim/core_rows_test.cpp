// Plans on the cores of a host: in their own form of kernels, rows read and written one after another.
#include <gmock/gmock.h>

#include <algorithm>

#include "scheduler/host_form.h"
#include "scheduler/validate.h"
#include "sim/bandwidth.h"
#include "sim/explain.h"
#include "sim/interval.h"
#include "sim_plans.h"

namespace espalier::sim::testing {
namespace {

using costmodel::Engine;
using costmodel::Origin;

/// One request, `heads` query heads on one KV head, in `pieces` pieces of 64 tokens.
SimResult run(std::int32_t heads, std::int64_t pieces, Engine engine, double row_ns = 0) {
  KernelConfig kernel = streaming_kernel(64);
  kernel.engine = engine;
  DeviceSpec device = device_with(1);
  device.row_ns = row_ns;
  device.fma_flop_per_clk = device.ex2_per_clk = device.mma_flop_per_clk = 1e6;
  device.smem_bytes_per_clk = 1e6;
  SimOptions options;
  options.timeline = true;
  return simulate(node_plan(unshared({64 * pieces}), {.q_heads = heads, .kv_heads = 1}, kernel, 64), device, options);
}

TEST(Cores, RunTheirOwnFormOfAnyKernel) {
  const Plan plan = node_plan(unshared({640, 30}), {.q_heads = 4, .kv_heads = 1}, streaming_kernel(), 64);
  DeviceSpec core = device_with(2);
  core.compute_capability = 1;
  SimOptions options;
  options.timeline = true;
  const SimResult run = simulate(plan, core, options), own = simulate(scheduler::as_host_plan(plan), core, options);
  EXPECT_EQ(run.makespan_us, own.makespan_us);
  EXPECT_EQ(run.counts.conversions, own.counts.conversions);
  EXPECT_EQ(run.plan_hash, plan.hash);
  EXPECT_EQ(run.timeline.plan_hash, plan.hash);
  EXPECT_NE(own.plan_hash, plan.hash);
  EXPECT_FALSE(scheduler::host_form(scheduler::as_host_plan(plan), core).has_value());
  EXPECT_FALSE(scheduler::host_form(plan, device_with(2)).has_value());
  EXPECT_NE(run.makespan_us, simulate(plan, device_with(2)).makespan_us);
}

TEST(Cores, AreNotAskedForWhatOnlyGpusHave) {
  KernelConfig large = streaming_kernel();
  large.stages = 6;
  large.smem_bytes = 300 << 10;
  const Plan plan = node_plan(unshared({640, 30}), {.q_heads = 4, .kv_heads = 1}, large, 64);
  DeviceSpec device = device_with(2);
  EXPECT_FALSE(scheduler::validate(plan, device).empty());
  device.compute_capability = 1;
  device.row_ns = 500;
  EXPECT_TRUE(scheduler::validate(plan, device).empty());
  std::vector<std::string> keys;
  for (const Sensitivity& s : sensitivities(plan, device, simulate(plan, device).makespan_us)) {
    EXPECT_EQ(s.why_not, "");
    keys.push_back(s.key);
    const double least = s.key == "rows" ? 0.02 : -1;
    EXPECT_GT(s.gain, least) << s.key;
    if (s.key == "sms") {
      EXPECT_EQ(s.change, "one SM more");
    }
  }
  EXPECT_THAT(keys, ::testing::Not(::testing::AnyOf(::testing::Contains("smem"), ::testing::Contains("stage"))));
  EXPECT_THAT(keys, ::testing::Contains("rows"));
  Plan broken = plan;
  ++broken.workspace_bytes;
  EXPECT_FALSE(scheduler::validate(broken, device).empty()) << "changed after it was sealed";
}

TEST(Cores, MayHaveDearRowsWhereTheirFileIsSilent) {
  const Plan plan = node_plan(unshared({64, 64}), {.q_heads = 16, .kv_heads = 1}, streaming_kernel(), 64);
  DeviceSpec device = device_with(2);
  device.compute_capability = 1;
  const auto width = [&](Origin origin) {
    device.provenance["row_ns"].origin = origin;
    return log_half_width(parameter_effects(plan, device, simulate(plan, device)));
  };
  EXPECT_GT(width(Origin::assumed), 1.01 * width(Origin::measured));
  device.compute_capability = 9;
  EXPECT_EQ(width(Origin::assumed), width(Origin::measured));
}

double us_of(const SimResult& result, scheduler::SpanKind kind) {
  double us = 0;
  for (const scheduler::Span& span : result.timeline.spans) us += span.kind == kind ? span.end_us - span.begin_us : 0;
  return us;
}

TEST(Cores, ComputeOnNoTokensThatAreNotThere) {
  // Tiles of eight tokens; the model of arithmetic is linear in them.
  DeviceSpec device = device_with(1);
  device.compute_capability = 1;
  device.hbm_latency_ns = device.l2_latency_ns = 1e-3;
  device.fma_flop_per_clk = 1;
  const auto us = [&](std::int64_t tokens) {
    return simulate(node_plan(unshared({tokens}), one_head(), streaming_kernel(), kTokensOfAll), device).makespan_us;
  };
  EXPECT_NEAR((us(9) - us(8)) / (us(16) - us(8)), 1 / 8.0, 0.01);
}

TEST(CoreRows, AreMergedOneAfterAnother) {
  // Eight more rows of eight partial rows each, of which four come together, in one latency of the shared cache.
  const double us = us_of(run(16, 8, Engine::cpu), scheduler::SpanKind::step) -
                    us_of(run(8, 8, Engine::cpu), scheduler::SpanKind::step);
  const double latency_us = device_with().l2_latency_ns * 1e-3;
  EXPECT_NEAR(us, 8 * 8 / 4 * latency_us, 0.05 * us);
  const SimResult steps = run(16, 8, Engine::cpu);
  EXPECT_EQ(std::count_if(steps.timeline.spans.begin(), steps.timeline.spans.end(),
                          [](const scheduler::Span& span) { return span.kind == scheduler::SpanKind::step; }),
            1);
}

TEST(CoreRows, AreFetchedBeforeTheyAreWritten) {
  const SimResult core = run(16, 8, Engine::cpu), sm = run(16, 8, Engine::mma_sync);
  EXPECT_EQ(core.counts.partial_write_bytes, sm.counts.partial_write_bytes);
  EXPECT_GT(core.counts.partial_write_bytes, 0);
  EXPECT_EQ(core.hbm_bytes, sm.hbm_bytes + core.counts.partial_write_bytes);
}

TEST(CoreRows, TakeTheirTimeByTheirColumns) {
  const auto us = [](std::int32_t dim, double row_ns) {
    DeviceSpec device = device_with(1);
    device.row_ns = row_ns;
    const HeadConfig heads{.q_heads = 8, .kv_heads = 1, .qk_dim = dim, .v_dim = dim};
    return simulate(node_plan(unshared({64}), heads, streaming_kernel(64), 64), device).makespan_us;
  };
  EXPECT_NEAR(us(128, 50) - us(128, 0), 8 * 0.05, 1e-9);
  EXPECT_NEAR(us(64, 50) - us(64, 0), 8 * 0.025, 1e-9);
}

TEST(CoreRows, TakeTheirTimeInTasksNotInMerges) {
  for (const Engine engine : {Engine::cpu, Engine::mma_sync}) {
    const SimResult dear = run(16, 8, engine, 50), free = run(16, 8, engine);
    EXPECT_NEAR(us_of(dear, scheduler::SpanKind::task) - us_of(free, scheduler::SpanKind::task), 8 * 16 * 0.05, 1e-9);
    EXPECT_NEAR(us_of(dear, scheduler::SpanKind::step), us_of(free, scheduler::SpanKind::step), 1e-9);
  }
}

/// What a core takes for `bytes` of which a share comes from memory.
double io_us(double bytes, double memory_bytes) {
  const DeviceSpec device = device_with();
  const double port = device.sm_port_bytes_per_clk * device.clock_ghz * 1e3;
  return bytes / port * path_latency_us(memory_bytes / bytes, device) / path_latency_us(0.0, device);
}

TEST(CoreRows, WaitForMemoryWithNoMoreUnderWayThanForTheCache) {
  // Eight more rows of queries and results, all from memory.
  const SimResult many = run(16, 1, Engine::cpu), few = run(8, 1, Engine::cpu);
  const double us = us_of(many, scheduler::SpanKind::task) - us_of(few, scheduler::SpanKind::task);
  const auto bytes = static_cast<double>(many.counts.query_bytes + many.counts.output_bytes - few.counts.query_bytes -
                                         few.counts.output_bytes);
  EXPECT_NEAR(us, io_us(bytes, bytes), 0.05 * us);
}

TEST(CoreRows, WaitForTheLinesOfPartialRows) {
  // Eight more rows in eight pieces: one piece's queries and all partial rows are from memory.
  const SimResult many = run(16, 8, Engine::cpu), few = run(8, 8, Engine::cpu);
  const double us = us_of(many, scheduler::SpanKind::task) - us_of(few, scheduler::SpanKind::task);
  const auto queries = static_cast<double>(many.counts.query_bytes - few.counts.query_bytes);
  const auto rows = static_cast<double>(many.counts.partial_write_bytes - few.counts.partial_write_bytes);
  EXPECT_NEAR(us, io_us(queries + rows, queries / 8 + rows), 0.05 * us);
}

}  // namespace
}  // namespace espalier::sim::testing

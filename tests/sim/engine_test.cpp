// Launches, phases, queues, merges, accounting and the timeline.
#include <gmock/gmock.h>

#include <map>

#include "scheduler/plan_statistics.h"
#include "sim_plans.h"

namespace espalier::sim::testing {
namespace {

using scheduler::Follow;
using scheduler::LaunchId;
using scheduler::PhaseStart;
using scheduler::QueueItem;

/// One task a request, in a launch the test describes.
class Batch {
 public:
  explicit Batch(std::size_t requests, std::int64_t tokens = 4096)
      : forest_(unshared(std::vector<std::int64_t>(requests, tokens))), builder_(forest_, one_head()),
        kernel_(builder_.kernel(with_occupancy(streaming_kernel(), device_with(), 1))) {}

  PlanBuilder& builder() { return builder_; }
  LaunchId launch(Follow follow = Follow::graph, std::int32_t stream = 0, std::span<const LaunchId> after = {}) {
    return builder_.launch(follow, stream, after);
  }
  /// A phase of tasks for the next `requests` requests.
  void tasks(std::int32_t requests, PhaseStart start = PhaseStart::together) {
    const TaskId begin = builder_.next_task();
    for (std::int32_t i = 0; i < requests; ++i, ++next_) {
      const Segment segment = builder_.segment(NodeId(next_), 0, forest_.tokens[NodeId(next_)], 1);
      builder_.attend(kernel_, std::span(&segment, 1), builder_.queries(RequestId(next_), RequestId(next_ + 1)));
    }
    builder_.task_phase(kernel_, begin, start);
  }
  Plan finish() && { return std::move(builder_).finish({}); }
  Plan finish(std::vector<std::vector<QueueItem>> workers) && {
    builder_.queues(workers);
    return std::move(builder_).finish({});
  }

 private:
  PrefixForest forest_;
  PlanBuilder builder_;
  scheduler::KernelId kernel_;
  std::int32_t next_ = 0;
};

/// Time of one lone task in the batches above, without launch gap.
double task_us(const DeviceSpec& device) {
  Batch batch(1);
  batch.launch();
  batch.tasks(1);
  return simulate(std::move(batch).finish(), device).makespan_us - device.launch_graph_us;
}

TEST(Launches, FollowEachOtherAfterTheirGap) {
  const DeviceSpec device = device_with();
  const double task = task_us(device);
  for (const auto& [follow, gap] : std::map<Follow, double>{{Follow::stream, device.launch_stream_us},
                                                            {Follow::graph, device.launch_graph_us},
                                                            {Follow::programmatic, device.launch_pdl_us}}) {
    Batch batch(2);
    const LaunchId first[] = {batch.launch()};
    batch.tasks(1);
    batch.launch(follow, 0, first);
    batch.tasks(1);
    const SimResult result = simulate(std::move(batch).finish(), device);
    EXPECT_NEAR(result.makespan_us, device.launch_graph_us + task + gap + task, 1e-6);
    EXPECT_NEAR(result.split.launch, (device.launch_graph_us + gap) * device.sms, 1e-3);
    EXPECT_NEAR(result.phases[1].begin_us, device.launch_graph_us + task + gap, 1e-6);
  }
}

TEST(Launches, StartNoSoonerThanTheLeastGapWhenFirst) {
  const DeviceSpec device = device_with();
  Batch batch(1);
  batch.launch(Follow::programmatic);
  batch.tasks(1);
  EXPECT_NEAR(simulate(std::move(batch).finish(), device).makespan_us, device.launch_graph_us + task_us(device), 1e-6);
}

TEST(Launches, OverlapOnTwoStreamsAndQueueUpOnOne) {
  const DeviceSpec device = device_with();
  const double task = task_us(device);
  for (const std::int32_t stream : {0, 1}) {
    Batch batch(2);
    batch.launch();
    batch.tasks(1);
    batch.launch(Follow::graph, stream);
    batch.tasks(1);
    Plan plan = std::move(batch).finish();
    plan.launches[LaunchId(1)].dependencies = {};
    const double us = simulate(plan, device).makespan_us;
    const double expected = stream == 1 ? device.launch_graph_us + task : 2 * (device.launch_graph_us + task);
    EXPECT_NEAR(us / expected, 1, 0.01) << "stream " << stream;
  }
}

TEST(Launches, LeaveOnlyWhatIsLeftOverToLaterOnes) {
  // Two SMs of one CTA. Launch 0 has three tasks, launch 1 (other stream) one: it starts when the third leaves room.
  const DeviceSpec device = device_with(2);
  Batch batch(4);
  batch.launch();
  batch.tasks(3);
  batch.launch(Follow::graph, 1);
  batch.tasks(1);
  const SimResult result = simulate(std::move(batch).finish(), device);
  EXPECT_NEAR(result.phases[1].begin_us - device.launch_graph_us, task_us(device), 0.05 * task_us(device));
}

TEST(Launches, LetNobodyPassACtaThatDoesNotFitYet) {
  // One SM. Launch 0: half an SM, then a whole one; launch 1 could use the other half at once but stands behind.
  const DeviceSpec device = device_with(1);
  const PrefixForest forest = unshared({4096, 4096, 4096});
  PlanBuilder builder(forest, one_head());
  KernelConfig half = with_occupancy(streaming_kernel(), device, 2),
               whole = with_occupancy(streaming_kernel(), device, 1);
  half.name = "half";
  whole.name = "whole";
  const auto add = [&](const KernelConfig& kernel, std::int32_t n) {
    const TaskId begin = builder.next_task();
    const Segment segment = builder.segment(NodeId(n), 0, 4096, 1);
    builder.attend(builder.kernel(kernel), std::span(&segment, 1), builder.queries(RequestId(n), RequestId(n + 1)));
    builder.task_phase(builder.kernel(kernel), begin);
  };
  builder.launch();
  add(half, 0);
  add(whole, 1);
  builder.launch(Follow::graph, 1);
  add(half, 2);
  Plan plan = std::move(builder).finish({});
  plan.launches[LaunchId(1)].dependencies = {};
  const SimResult result = simulate(plan, device);
  EXPECT_GE(result.phases[1].begin_us, result.phases[0].end_us);
  EXPECT_GE(result.phases[2].begin_us, result.phases[1].end_us);
}

TEST(Phases, RunTogetherOrAfterABarrier) {
  const DeviceSpec device = device_with();
  const double task = task_us(device);
  for (const PhaseStart start : {PhaseStart::together, PhaseStart::barrier}) {
    Batch batch(2);
    batch.launch();
    batch.tasks(1);
    batch.tasks(1, start);
    const double us = simulate(std::move(batch).finish(), device).makespan_us;
    // After a barrier the CTAs are there already: no dispatch.
    const double expected = start == PhaseStart::together
                                ? device.launch_graph_us + task
                                : device.launch_graph_us + 2 * task + device.grid_sync_us - device.cta_start_ns * 1e-3;
    EXPECT_NEAR(us / expected, 1, 0.01);
  }
}

std::vector<QueueItem> items(std::initializer_list<int> tasks) {
  std::vector<QueueItem> out;
  for (const int t : tasks) out.push_back({TaskId(t), 0});
  return out;
}

TEST(Queues, DecideWhoDoesWhat) {
  const DeviceSpec device = device_with();
  const double task = task_us(device), start = device.cta_start_ns * 1e-3;
  const auto time = [&](std::vector<std::vector<QueueItem>> workers) {
    Batch batch(4);
    batch.launch();
    batch.tasks(4);
    return simulate(std::move(batch).finish(std::move(workers)), device).makespan_us - device.launch_graph_us;
  };
  EXPECT_NEAR(time({items({0}), items({1}), items({2}), items({3})}) / task, 1, 0.01);
  EXPECT_NEAR(time({items({0, 1}), items({2, 3})}) / (2 * task - start), 1, 0.01);
  EXPECT_NEAR(time({items({0, 1, 2}), items({3}), {}}) / (3 * task - 2 * start), 1, 0.01);
}

TEST(Queues, WaitAtTheBarrierBetweenPhases) {
  const DeviceSpec device = device_with();
  const double task = task_us(device), start = device.cta_start_ns * 1e-3;
  Batch batch(5);
  batch.launch();
  batch.tasks(3);
  batch.tasks(2, PhaseStart::barrier);
  const Plan plan = std::move(batch).finish({items({0, 1, 3}), items({2, 4})});
  const double us = simulate(plan, device).makespan_us;
  EXPECT_NEAR(us / (device.launch_graph_us + 3 * task - 2 * start + device.grid_sync_us), 1, 0.01);
}

TEST(Queues, ThatNameATaskOfAnotherLaunchAreAnError) {
  Batch batch(2);
  batch.launch();
  batch.tasks(1);
  batch.launch();
  batch.tasks(1);
  const Plan plan = std::move(batch).finish({items({0})});
  EXPECT_THROW(simulate(plan, device_with()), core::Error);
}

TEST(Queues, ThatMissATaskAreAnErrorNotAHang) {
  Batch batch(2);
  batch.launch();
  batch.tasks(2);
  const Plan plan = std::move(batch).finish({items({0})});
  EXPECT_THROW(simulate(plan, device_with()), core::Error);
}

/// Two requests under one root, in chunks, merged on arrival or in a launch of its own.
Plan merged_plan(PhaseStart start, bool own_launch, std::vector<std::vector<QueueItem>> workers = {}) {
  const PrefixForest forest = shared_root(4096, 2, 30'000);
  PlanBuilder builder(forest, one_head());
  const auto k = builder.kernel(with_occupancy(streaming_kernel(), device_with(), 1));
  builder.launch();
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    const auto group = builder.queries(forest.request_begin[n], forest.request_end[n]);
    const Segment segment = builder.segment(n, 0, n.value == 2 ? 1000 : forest.tokens[n], group.size());
    builder.attend(k, std::span(&segment, 1), group);
  }
  const Segment rest = builder.segment(NodeId(2), 1000, 30'000, 1);
  builder.attend(k, std::span(&rest, 1), builder.queries(RequestId(1), RequestId(2)));
  builder.task_phase(k, TaskId(0));
  if (!workers.empty()) builder.queues(workers);
  const auto first = builder.finish_rows(traces::Dtype::fp32);
  if (own_launch) {
    const LaunchId after[] = {LaunchId(0)};
    builder.launch(Follow::graph, 0, after);
  }
  builder.step_phase(builder.kernel(merge_kernel()), first, start);
  return std::move(builder).finish({});
}

TEST(Merges, OnArrivalSaveTheGap) {
  const DeviceSpec device = device_with();
  const SimResult launched = simulate(merged_plan(PhaseStart::together, true), device);
  const SimResult barrier = simulate(merged_plan(PhaseStart::barrier, false), device);
  const SimResult arrival = simulate(merged_plan(PhaseStart::on_arrival, false), device);
  EXPECT_NEAR(launched.makespan_us - barrier.makespan_us,
              device.launch_graph_us - device.grid_sync_us + device.cta_start_ns * 1e-3, 0.01);
  EXPECT_NEAR(barrier.makespan_us - arrival.makespan_us, device.grid_sync_us, 0.1);
  EXPECT_GT(launched.split.merge, 0);
  // The first request's merge need not wait for the second's tasks: the phase begins before the tasks are over.
  EXPECT_LE(arrival.phases[1].begin_us, arrival.phases[0].end_us);
  EXPECT_EQ(launched.counts, arrival.counts);
}

TEST(Merges, OnArrivalComeBeforeAWorkersNextItem) {
  // One worker: the first request's rows are complete after its second item, long before its queue is empty.
  const SimResult result = simulate(merged_plan(PhaseStart::on_arrival, false, {items({0, 1, 2, 3})}), device_with(1));
  EXPECT_LT(result.phases[1].begin_us, 0.6 * result.phases[0].end_us);
  EXPECT_GT(result.makespan_us, result.phases[0].end_us);
  EXPECT_NEAR(result.split.total() / result.makespan_us, 1, 1e-9);
}

TEST(Simulate, WaitsForEverThrowsInsteadOfHanging) {
  Batch batch(2);
  batch.launch();
  batch.tasks(1);
  const LaunchId first[] = {LaunchId(0)};
  batch.launch(Follow::graph, 1, first);
  batch.tasks(1);
  Plan plan = std::move(batch).finish();
  plan.dependencies.push_back(LaunchId(1));
  const auto count = static_cast<std::int32_t>(plan.dependencies.size());
  plan.launches[LaunchId(0)].dependencies = {count - 1, count};
  EXPECT_THROW(simulate(plan, device_with()), core::Error);
}

TEST(Simulate, RefusesAKernelThatDoesNotFit) {
  DeviceSpec device = device_with();
  KernelConfig kernel = streaming_kernel();
  kernel.smem_bytes = 500 * 1024;
  EXPECT_THROW(simulate(node_plan(unshared({100}), one_head(), kernel, 64), device), core::Error);
}

Plan ragged_plan(std::uint64_t seed) {
  core::Rng rng(seed);
  const PrefixForest forest = random_forest(rng, 60, 5000);
  return node_plan(forest, {.q_heads = 8, .kv_heads = 2}, streaming_kernel(), 1024);
}

TEST(Accounting, SplitsAllSmTimeAndConservesBytes) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const Plan plan = ragged_plan(seed);
    const DeviceSpec device = device_with(seed % 3 == 0 ? 7 : 132);
    const SimResult result = simulate(plan, device);
    EXPECT_NEAR(result.split.total() / (result.makespan_us * device.sms), 1, 1e-9);
    EXPECT_EQ(result.counts, scheduler::statistics(plan).counts);
    EXPECT_EQ(result.l2_bytes, result.counts.read_bytes() + result.counts.write_bytes());
    const double kv = static_cast<double>(result.counts.kv_bytes);
    const std::int64_t unique = unique_tokens(plan.forest) * plan.heads.kv_bytes_per_token();
    EXPECT_GE(result.hbm_bytes, unique);
    EXPECT_LE(result.hbm_bytes, result.l2_bytes);
    EXPECT_GE(kv * (1 - result.l2_hit_fraction), static_cast<double>(unique) * (1 - 1e-12));
    ASSERT_EQ(result.task_bound.size(), plan.tasks.size());
    for (const PhaseTime& phase : result.phases) EXPECT_LE(phase.begin_us, phase.end_us);
  }
}

TEST(Accounting, NamesWhyAnSmIsIdle) {
  const DeviceSpec device = device_with(100);
  const auto split = [&](std::int32_t tasks) {
    Batch batch(static_cast<std::size_t>(tasks));
    batch.launch();
    batch.tasks(tasks);
    return simulate(std::move(batch).finish(), device).split;
  };
  const TimeSplit few = split(40), more = split(140);
  EXPECT_GT(few.underfill, 0);
  EXPECT_EQ(few.tail, 0);
  EXPECT_EQ(more.underfill, 0);
  EXPECT_GT(more.tail, 0);
  EXPECT_EQ(few.merge, 0);

  // Reasons are a launch's own: a full one before doesn't make a tail of a small one, however soon that follows.
  DeviceSpec at_once = device;
  at_once.launch_graph_us = at_once.launch_stream_us = at_once.launch_pdl_us = 0;
  for (const DeviceSpec& d : {device, at_once}) {
    Batch batch(180);
    const LaunchId first[] = {batch.launch()};
    batch.tasks(140);
    batch.launch(Follow::graph, 0, first);
    batch.tasks(40);
    const TimeSplit both = simulate(std::move(batch).finish(), d).split;
    EXPECT_NEAR(both.underfill / few.underfill, 1, 1e-6);
    EXPECT_NEAR(both.tail / more.tail, 1, 1e-6);
  }
}

TEST(Simulate, GivesEqualBytesForEqualPlans) {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const Plan plan = ragged_plan(seed), again = ragged_plan(seed);
    EXPECT_EQ(write_sim(simulate(plan, device_with()), plan), write_sim(simulate(again, device_with()), again));
  }
}

TEST(Simulate, DoesNotCareWhichOfEqualTasksComesFirst) {
  const PrefixForest forest = unshared(std::vector<std::int64_t>(500, 3000));
  const auto time = [&](std::int32_t stride) {
    PlanBuilder builder(forest, one_head());
    const auto k = builder.kernel(streaming_kernel());
    builder.launch();
    for (std::int32_t i = 0; i < 500; ++i) {
      const std::int32_t n = i * stride % 500;
      const Segment segment = builder.segment(NodeId(n), 0, 3000, 1);
      builder.attend(k, std::span(&segment, 1), builder.queries(RequestId(n), RequestId(n + 1)));
    }
    builder.task_phase(k, TaskId(0));
    return simulate(std::move(builder).finish({}), device_with()).makespan_us;
  };
  EXPECT_EQ(time(1), time(7));
  EXPECT_EQ(time(1), time(499));
}

TEST(Simulate, KeepsMemoryBusyWithManyShortTasks) {
  // Twenty waves of equal CTAs that spend more than half their lives in start and epilogue: no lockstep, the loads of
  // some hide the rest of others.
  const DeviceSpec device = device_with();
  const HeadConfig heads{.q_heads = 32, .kv_heads = 32};
  const KernelConfig kernel = with_occupancy(streaming_kernel(), device, 4);
  const SimResult result = simulate(node_plan(unshared(std::vector<std::int64_t>(512, 64)), heads, kernel, 64), device);
  const double ideal = static_cast<double>(result.hbm_bytes) / device.hbm_achievable_bytes_per_us();
  EXPECT_LT(result.makespan_us - device.launch_graph_us, 1.1 * ideal);
}

TEST(Simulate, WritesItsSchemaFirst) {
  const Plan plan = ragged_plan(1);
  const std::string text = write_sim(simulate(plan, device_with()), plan);
  EXPECT_THAT(text, ::testing::StartsWith("{\n  \"schema\": \"sim/1\""));
  EXPECT_THAT(text, ::testing::HasSubstr("\"makespan_us\""));
}

TEST(Timeline, ShowsEveryCtaOnALaneOfItsOwn) {
  core::Rng rng(3);
  const Plan plan = node_plan(random_forest(rng, 60, 20'000), {.q_heads = 32, .kv_heads = 8}, streaming_kernel(), 512);
  const SimResult result = simulate(plan, device_with(5), {.timeline = true});
  std::int64_t tasks = 0, steps = 0, copies = 0;
  std::map<std::int32_t, double> free_at;
  for (const scheduler::Span& span : result.timeline.spans) {
    tasks += span.kind == scheduler::SpanKind::task;
    steps += span.kind == scheduler::SpanKind::step;
    EXPECT_LE(span.begin_us, span.end_us);
    EXPECT_LE(span.end_us, result.makespan_us * (1 + 1e-12));
    EXPECT_GE(span.begin_us, free_at[span.lane] - 1e-9)
        << "lane " << result.timeline.lanes[static_cast<std::size_t>(span.lane)];
    free_at[span.lane] = span.end_us;
  }
  for (const scheduler::Task& task : plan.tasks) copies += task.copies;
  EXPECT_EQ(tasks, copies);
  EXPECT_GT(copies, 100);
  EXPECT_LE(result.timeline.lanes.size(), 1u + 5 * 8) << "slots are used again";
  EXPECT_GE(steps, static_cast<std::int64_t>(plan.steps.size()));
  EXPECT_EQ(result.makespan_us, simulate(plan, device_with(5)).makespan_us) << "watching changes nothing";
}

TEST(Timeline, LeavesOutSpansBeyondTheLimitAndSaysSo) {
  const SimResult result = simulate(ragged_plan(3), device_with(), {.timeline = true, .max_spans = 10});
  EXPECT_EQ(result.timeline.spans.size(), 10u);
  EXPECT_EQ(result.timeline.counters.back().name, "spans left out");
  for (const scheduler::CounterSeries& series : result.timeline.counters) {
    EXPECT_LE(series.value.size(), 10U) << series.name;
    EXPECT_EQ(series.value.size(), series.time_us.size()) << series.name;
    EXPECT_GT(series.time_us.back(), 0.8 * result.makespan_us) << series.name << " goes on to the end";
    EXPECT_TRUE(std::is_sorted(series.time_us.begin(), series.time_us.end())) << series.name;
  }
}

TEST(Timeline, CountersIntegrateToTheBytes) {
  Batch batch(40);
  batch.launch();
  batch.tasks(40);
  const SimResult result = simulate(std::move(batch).finish(), device_with(), {.timeline = true});
  const scheduler::CounterSeries& l2 = result.timeline.counters[1];
  ASSERT_EQ(l2.name, "L2");
  double bytes = 0;
  for (std::size_t i = 0; i + 1 < l2.time_us.size(); ++i) {
    bytes += l2.value[i] * 1e3 * (l2.time_us[i + 1] - l2.time_us[i]);
  }
  EXPECT_NEAR(bytes / static_cast<double>(result.l2_bytes), 1, 1e-6);
}

}  // namespace
}  // namespace espalier::sim::testing

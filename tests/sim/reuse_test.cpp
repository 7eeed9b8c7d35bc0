#include "sim/reuse.h"

#include <gmock/gmock.h>

#include "sim_plans.h"

namespace espalier::sim::testing {
namespace {

TEST(SoftCapacity, IsHalfAtTheKnee) {
  const DeviceSpec device = device_with();
  const double knee = device.l2_knee_mib * 1024 * 1024;
  EXPECT_DOUBLE_EQ(soft_capacity_hit(0, device), 1);
  EXPECT_DOUBLE_EQ(soft_capacity_hit(knee, device), 0.5);
  EXPECT_NEAR(soft_capacity_hit(0.7 * knee, device), 0.97, 0.01);
  EXPECT_LT(soft_capacity_hit(2 * knee, device), 0.001);
}

TEST(Reuse, MissesEverythingWhenNothingIsShared) {
  const Plan plan = node_plan(unshared({1000, 2000, 500}), one_head(), streaming_kernel(), 256);
  for (const double hit : kv_hit_fractions(plan, device_with(), false)) EXPECT_EQ(hit, 0);
}

TEST(Reuse, MergesReadersThatRunTogether) {
  const DeviceSpec device = device_with();
  // 8 requests read a root of 1000 tokens and a leaf of 1000, in chunks of 1000: 16 CTAs, all resident at once.
  const Plan plan = request_plan(shared_root(1000, 8, 1000), one_head(), streaming_kernel(), 1000);
  const auto hits = kv_hit_fractions(plan, device, false);
  ASSERT_EQ(hits.size(), 16u);
  EXPECT_EQ(hits[TaskId(0)], 0);
  for (int r = 1; r < 8; ++r) {
    EXPECT_DOUBLE_EQ(hits[TaskId(2 * r)], device.l2_merge_fraction) << r;
    EXPECT_EQ(hits[TaskId(2 * r + 1)], 0) << r;
  }
}

TEST(Reuse, FollowsTheFootprintBetweenReadersThatDoNot) {
  // One CTA at a time. Root of 1 MiB, leaves of `leaf` bytes between its readers: the footprint is the leaf alone.
  DeviceSpec device = device_with(1);
  const KernelConfig kernel = with_occupancy(streaming_kernel(), device, 1);
  const HeadConfig heads = one_head();
  const std::int64_t token = heads.kv_bytes_per_token();
  for (const double leaf : {0.1, 0.8, 1.0, 1.2, 3.0}) {
    const auto leaf_tokens = static_cast<std::int64_t>(leaf * device.l2_knee_mib * 1024 * 1024) / token;
    const Plan plan = request_plan(shared_root(2048, 3, leaf_tokens), heads, kernel, 1 << 30);
    const auto hits = kv_hit_fractions(plan, device, false);
    ASSERT_EQ(hits.size(), 6u);
    const double expected = soft_capacity_hit(static_cast<double>(leaf_tokens * token), device);
    EXPECT_DOUBLE_EQ(hits[TaskId(2)], expected) << leaf;
    EXPECT_DOUBLE_EQ(hits[TaskId(4)], expected) << leaf;
    EXPECT_EQ(hits[TaskId(5)], 0);
  }
}

TEST(Reuse, CountsBytesBetweenReadersOnce) {
  // Order: A, then B four times, then A: the footprint between the readers of A is B once.
  DeviceSpec device = device_with(1);
  device.l2_knee_mib = 1;
  const KernelConfig kernel = with_occupancy(streaming_kernel(), device, 1);
  const HeadConfig heads = one_head();
  traces::ForestSource source;
  source.parent = {-1, -1};
  source.tokens = {512, 1500};
  source.leaf = {0, 0, 1, 1, 1, 1};
  const PrefixForest forest = traces::make_forest(source);
  PlanBuilder builder(forest, heads);
  const auto k = builder.kernel(kernel);
  builder.launch();
  for (const int request : {0, 2, 3, 4, 5, 1}) {
    const NodeId node = forest.leaf[RequestId(request)];
    const auto group = builder.queries(RequestId(request), RequestId(request + 1));
    const Segment segment = builder.segment(node, 0, forest.tokens[node], 1);
    builder.attend(k, std::span(&segment, 1), group);
  }
  builder.task_phase(k, TaskId(0));
  const Plan plan = std::move(builder).finish({});
  const auto hits = kv_hit_fractions(plan, device, false);
  EXPECT_DOUBLE_EQ(hits[TaskId(5)],
                   soft_capacity_hit(1500.0 * static_cast<double>(heads.kv_bytes_per_token()), device));
  EXPECT_DOUBLE_EQ(hits[TaskId(2)], 1.0);  // nothing in between
}

TEST(Reuse, WeighsPiecesThatWereReadBefore) {
  // The second reader takes 600 tokens of which the first has read 200.
  const HeadConfig heads = one_head();
  traces::ForestSource source;
  source.parent = {-1};
  source.tokens = {1000};
  source.leaf = {0, 0};
  const PrefixForest forest = traces::make_forest(source);
  PlanBuilder builder(forest, heads);
  const auto k = builder.kernel(streaming_kernel());
  builder.launch();
  const auto add = [&](int request, std::int64_t begin, std::int64_t end) {
    const Segment segment = builder.segment(NodeId(0), begin, end, 1);
    builder.attend(k, std::span(&segment, 1), builder.queries(RequestId(request), RequestId(request + 1)));
  };
  add(0, 0, 300);
  add(1, 100, 700);
  builder.task_phase(k, TaskId(0));
  const Plan plan = std::move(builder).finish({});
  const DeviceSpec device = device_with();
  EXPECT_DOUBLE_EQ(kv_hit_fractions(plan, device, false)[TaskId(1)], device.l2_merge_fraction / 3);
}

TEST(Reuse, LetsGroupCopiesShareWhenHeadsAreNotPacked) {
  KernelConfig kernel = streaming_kernel();
  kernel.packs_heads = false;
  const HeadConfig heads{.q_heads = 8, .kv_heads = 2};
  const DeviceSpec device = device_with();
  const Plan plan = node_plan(unshared({1000}), heads, kernel, 1000);
  EXPECT_DOUBLE_EQ(kv_hit_fractions(plan, device, false)[TaskId(0)], 0.75 * device.l2_merge_fraction);
}

/// Two launches of one task each that read the same 1000 tokens, the second on `stream`.
Plan two_readers(std::int32_t stream, bool dependent) {
  traces::ForestSource source;
  source.parent = {-1};
  source.tokens = {1000};
  source.leaf = {0, 0};
  const PrefixForest forest = traces::make_forest(source);
  PlanBuilder builder(forest, one_head());
  const auto k = builder.kernel(streaming_kernel());
  const Segment segment = builder.segment(NodeId(0), 0, 1000, 1);
  const scheduler::LaunchId first[] = {scheduler::LaunchId(0)};
  builder.launch();
  builder.attend(k, std::span(&segment, 1), builder.queries(RequestId(0), RequestId(1)));
  builder.task_phase(k, TaskId(0));
  builder.launch(scheduler::Follow::graph, stream,
                 dependent ? std::span<const scheduler::LaunchId>(first) : std::span<const scheduler::LaunchId>());
  builder.attend(k, std::span(&segment, 1), builder.queries(RequestId(1), RequestId(2)));
  builder.task_phase(k, TaskId(1));
  return std::move(builder).finish({});
}

TEST(Reuse, LetsReadersOnTwoStreamsMeet) {
  const DeviceSpec device = device_with();
  const auto second = [&](const Plan& plan) { return kv_hit_fractions(plan, device, false)[TaskId(1)]; };
  EXPECT_DOUBLE_EQ(second(two_readers(1, false)), device.l2_merge_fraction) << "side by side";
  EXPECT_DOUBLE_EQ(second(two_readers(1, true)), 1) << "one waits for the other, nothing is read between";
  EXPECT_DOUBLE_EQ(second(two_readers(0, false)), 1) << "one stream";
}

/// Tasks of one row each over tokens [begin, end) of a node, in the order of their launch.
struct Reads {
  NodeId node;
  std::int64_t begin, end;
  int request;
};

TaskId add_reads(PlanBuilder& builder, const KernelConfig& kernel, const std::vector<Reads>& reads,
                 std::int32_t stream = 0) {
  const TaskId first = builder.next_task();
  const auto k = builder.kernel(kernel);
  builder.launch(scheduler::Follow::graph, stream);
  for (const Reads& r : reads) {
    const Segment segment = builder.segment(r.node, r.begin, r.end, 1);
    builder.attend(k, std::span(&segment, 1), builder.queries(RequestId(r.request), RequestId(r.request + 1)));
  }
  builder.task_phase(k, first);
  return first;
}

/// Two requests that end with the root.
PrefixForest twins(std::int64_t tokens) {
  traces::ForestSource source;
  source.parent = {-1};
  source.tokens = {tokens};
  source.leaf = {0, 0};
  return traces::make_forest(source);
}

TEST(Reuse, TellsWavesApart) {
  // Three pieces for each of two requests, one request after the other, four at a time: only the first piece's readers
  // meet.
  DeviceSpec device = device_with(4);
  device.l2_knee_mib = 1;
  const PrefixForest forest = twins(12000);
  PlanBuilder builder(forest, one_head());
  std::vector<Reads> reads;
  for (int request = 0; request < 2; ++request) {
    for (std::int64_t at = 0; at < 12000; at += 4000) reads.push_back({NodeId(0), at, at + 4000, request});
  }
  add_reads(builder, with_occupancy(streaming_kernel(), device, 1), reads);
  const auto hits = kv_hit_fractions(std::move(builder).finish({}), device, false);
  EXPECT_DOUBLE_EQ(hits[TaskId(3)], device.l2_merge_fraction);
  const double others = soft_capacity_hit(8000.0 * static_cast<double>(one_head().kv_bytes_per_token()), device);
  EXPECT_LT(others, 0.01);
  EXPECT_DOUBLE_EQ(hits[TaskId(4)], others);
  EXPECT_DOUBLE_EQ(hits[TaskId(5)], others);
}

TEST(Reuse, LetsALongReaderMeetWhoComesLater) {
  // Two at a time. The root's first reader is still there when the short ones are done.
  DeviceSpec device = device_with(2);
  device.l2_knee_mib = 1;
  const PrefixForest forest = shared_root(9000, 2, 3000);
  const NodeId first_leaf = forest.leaf[RequestId(0)], second_leaf = forest.leaf[RequestId(1)];
  PlanBuilder builder(forest, one_head());
  add_reads(builder, with_occupancy(streaming_kernel(), device, 1),
            {{NodeId(0), 0, 9000, 0}, {first_leaf, 0, 3000, 0}, {second_leaf, 0, 3000, 1}, {NodeId(0), 0, 9000, 1}});
  const auto hits = kv_hit_fractions(std::move(builder).finish({}), device, false);
  EXPECT_DOUBLE_EQ(hits[TaskId(3)], device.l2_merge_fraction);
}

TEST(Reuse, AsksWhenALaunchMayBeginNotWhereItIsListed) {
  // Launch 0 reads the root, launch 1 something else after it, launch 2 the root again on another stream: it runs
  // beside launch 0, however they are listed.
  DeviceSpec device = device_with(4);
  device.l2_knee_mib = 1;
  const PrefixForest forest = shared_root(8000, 2, 8000);
  const KernelConfig kernel = with_occupancy(streaming_kernel(), device, 1);
  PlanBuilder builder(forest, one_head());
  add_reads(builder, kernel, {{NodeId(0), 0, 8000, 0}});
  add_reads(builder, kernel, {{forest.leaf[RequestId(0)], 0, 8000, 0}, {forest.leaf[RequestId(1)], 0, 8000, 1}});
  add_reads(builder, kernel, {{NodeId(0), 0, 8000, 1}}, 1);
  const auto hits = kv_hit_fractions(std::move(builder).finish({}), device, false);
  EXPECT_DOUBLE_EQ(hits[TaskId(3)], device.l2_merge_fraction);
}

TEST(Reuse, LetsAPhaseBehindABarrierBeginWhenAllAreGone) {
  DeviceSpec device = device_with(4);
  device.l2_knee_mib = 1;
  const PrefixForest forest = twins(8000);
  for (const bool barrier : {false, true}) {
    PlanBuilder builder(forest, one_head());
    const auto k = builder.kernel(with_occupancy(streaming_kernel(), device, 1));
    builder.launch();
    for (int request = 0; request < 2; ++request) {
      const TaskId first = builder.next_task();
      const Segment segment = builder.segment(NodeId(0), 0, 8000, 1);
      builder.attend(k, std::span(&segment, 1), builder.queries(RequestId(request), RequestId(request + 1)));
      builder.task_phase(k, first);
    }
    Plan plan = std::move(builder).finish({});
    ASSERT_EQ(plan.phases.size(), 2u);
    if (barrier) plan.phases[1].start = scheduler::PhaseStart::barrier;
    EXPECT_DOUBLE_EQ(kv_hit_fractions(plan, device, false)[TaskId(1)], barrier ? 1 : device.l2_merge_fraction);
  }
}

TEST(Reuse, LetsOthersBeginWhileAPhaseWaitsAtABarrier) {
  // Behind its barrier launch 0 goes on with a leaf; launch 1, on another stream, reads the root beside its first
  // phase.
  DeviceSpec device = device_with(4);
  device.l2_knee_mib = 1;
  const PrefixForest forest = shared_root(8000, 2, 8000);
  PlanBuilder builder(forest, one_head());
  const KernelConfig kernel = with_occupancy(streaming_kernel(), device, 1);
  const auto k = builder.kernel(kernel);
  builder.launch();
  for (const NodeId node : {NodeId(0), forest.leaf[RequestId(0)]}) {
    const TaskId first = builder.next_task();
    const Segment segment = builder.segment(node, 0, 8000, 1);
    builder.attend(k, std::span(&segment, 1), builder.queries(RequestId(0), RequestId(1)));
    builder.task_phase(k, first);
  }
  add_reads(builder, kernel, {{NodeId(0), 0, 8000, 1}}, 1);
  Plan plan = std::move(builder).finish({});
  plan.phases[1].start = scheduler::PhaseStart::barrier;
  EXPECT_DOUBLE_EQ(kv_hit_fractions(plan, device, false)[TaskId(2)], device.l2_merge_fraction);
}

TEST(Reuse, LetsSmallCtasTakeTheRoomThatLargeOnesLeave) {
  // Three large CTAs on two SMs: when the third begins, half a device is left, and two small ones of the other stream
  // begin with it.
  DeviceSpec device = device_with(2);
  device.l2_knee_mib = 1;
  const PrefixForest forest = twins(12000);
  PlanBuilder builder(forest, one_head());
  add_reads(builder, with_occupancy(streaming_kernel(), device, 1),
            {{NodeId(0), 0, 4000, 0}, {NodeId(0), 4000, 8000, 0}, {NodeId(0), 8000, 12000, 0}});
  KernelConfig small = with_occupancy(streaming_kernel(), device, 2);
  small.name = "small";
  add_reads(builder, small, {{NodeId(0), 8000, 12000, 1}, {NodeId(0), 0, 4000, 1}, {NodeId(0), 4000, 8000, 1}}, 1);
  const auto hits = kv_hit_fractions(std::move(builder).finish({}), device, false);
  EXPECT_DOUBLE_EQ(hits[TaskId(3)], device.l2_merge_fraction);
  EXPECT_LT(hits[TaskId(4)], 0.01);
  EXPECT_LT(hits[TaskId(5)], 0.01) << "in the third wave";
}

TEST(Reuse, DispatchesLaunchesSideBySideInOrder) {
  // The first launch leaves no room: 4 CTAs on an SM for one. The other stream's reader comes after all of them.
  DeviceSpec device = device_with(1);
  device.l2_knee_mib = 1;
  const KernelConfig kernel = with_occupancy(streaming_kernel(), device, 1);
  const HeadConfig heads = one_head();
  const PrefixForest forest = unshared({1000, 1500, 1500, 1500});
  PlanBuilder builder(forest, heads);
  const auto k = builder.kernel(kernel);
  const auto add = [&](int request) {
    const Segment segment = builder.segment(NodeId(request), 0, forest.tokens[NodeId(request)], 1);
    builder.attend(k, std::span(&segment, 1), builder.queries(RequestId(request), RequestId(request + 1)));
  };
  builder.launch();
  for (int request = 0; request < 4; ++request) add(request);
  builder.task_phase(k, TaskId(0));
  builder.launch(scheduler::Follow::graph, 1);
  add(0);
  builder.task_phase(k, TaskId(4));
  const auto hits = kv_hit_fractions(std::move(builder).finish({}), device, false);
  EXPECT_DOUBLE_EQ(hits[TaskId(4)],
                   soft_capacity_hit(4500.0 * static_cast<double>(heads.kv_bytes_per_token()), device));
}

TEST(Reuse, KeepsKAndVApartInTwoGemms) {
  // A scores task reads K, the values task of the same tokens reads V: neither finds the other's bytes.
  const HeadConfig heads = one_head();
  const PrefixForest forest = unshared({1000});
  PlanBuilder builder(forest, heads);
  KernelConfig scores = streaming_kernel(), values = streaming_kernel();
  scores.name = "scores";
  scores.role = costmodel::KernelRole::scores;
  values.name = "values";
  values.role = costmodel::KernelRole::values;
  const auto ks = builder.kernel(scores), kv = builder.kernel(values);
  const auto group = builder.queries(RequestId(0), RequestId(1));
  const scheduler::SlotId slot = builder.slot({scheduler::SlotKind::scores, group, 0, 1, traces::Dtype::bf16, 1000, 0});
  const Segment segment = builder.segment(NodeId(0), 0, 1000, 1);
  const auto segments = builder.plan().segments.size();
  builder.plan().segments.push_back(segment);
  scheduler::Task task;
  task.segments = {static_cast<std::int32_t>(segments), static_cast<std::int32_t>(segments) + 1};
  task.queries = group;
  task.head_count = 1;
  task.kind = scheduler::TaskKind::scores;
  task.slot = slot;
  builder.launch();
  builder.task(task);
  builder.task_phase(ks, TaskId(0));
  task.kind = scheduler::TaskKind::values;
  task.slot = scheduler::SlotId();
  task.folds = builder.folds(std::span(&slot, 1));
  const scheduler::LaunchId after[] = {scheduler::LaunchId(0)};
  builder.launch(scheduler::Follow::graph, 0, after);
  builder.task(task);
  builder.task_phase(kv, TaskId(1));
  const Plan plan = std::move(builder).finish({});
  const auto hits = kv_hit_fractions(plan, device_with(), false);
  EXPECT_EQ(hits[TaskId(0)], 0);
  EXPECT_EQ(hits[TaskId(1)], 0);
}

TEST(Reuse, CanBeLeftOut) {
  // Eight tasks over one root take what eight roots of that length would; copies of a task miss, too.
  DeviceSpec device = device_with();
  device.hbm_gbps = 100;  // what misses takes longest
  KernelConfig apart = streaming_kernel(1);
  apart.packs_heads = false;
  const HeadConfig two_heads{.q_heads = 2, .kv_heads = 1};
  SimOptions none;
  none.reuse = KvReuse::none;
  const auto time = [&](const PrefixForest& forest, const HeadConfig& heads, const SimOptions& options) {
    return simulate(node_plan(forest, heads, apart, kTokensOfAll), device, options);
  };
  const PrefixForest shared = shared_root(3000, 8, 3000), own = unshared(std::vector<std::int64_t>(16, 3000));
  const SimResult left_out = time(shared, one_head(), none);
  EXPECT_EQ(left_out.l2_hit_fraction, 0);
  const auto kv_us = [](const SimResult& result) { return result.phases[0].end_us - result.phases[0].begin_us; };
  // Their rows go to partial results, those of requests that share nothing don't.
  EXPECT_NEAR(kv_us(left_out) / kv_us(time(own, one_head(), {})), 1, 0.01);
  EXPECT_LT(kv_us(time(shared, one_head(), {})), 0.9 * kv_us(left_out));
  EXPECT_GT(time(shared, two_heads, {}).l2_hit_fraction, 0.5);
  EXPECT_EQ(time(shared, two_heads, none).l2_hit_fraction, 0);
}

TEST(Reuse, FindsWarmKvOnlyWhenItFits) {
  const Plan small = node_plan(unshared({1000}), one_head(), streaming_kernel(), 1000);
  EXPECT_NEAR(kv_hit_fractions(small, device_with(), true)[TaskId(0)], 1, 1e-9);
  const Plan large = node_plan(unshared({1 << 20}), one_head(), streaming_kernel(), 1 << 30);
  EXPECT_LT(kv_hit_fractions(large, device_with(), true)[TaskId(0)], 1e-6);
  SimOptions warm;
  warm.reuse = KvReuse::warm;
  EXPECT_NEAR(simulate(small, device_with(), warm).l2_hit_fraction, 1, 1e-9);
  EXPECT_EQ(simulate(small, device_with()).l2_hit_fraction, 0);
}

TEST(Reuse, StaysNearLinearWhenBordersNeverAgree) {
  // 512 requests cut one root at borders of their own: 512 x 16 segments, 8192 borders, 4 million overlaps if taken
  // exactly.
  const std::int32_t requests = 512, splits = 16;
  const std::int64_t root = 1 << 20;
  traces::ForestSource source;
  source.parent = {-1};
  source.tokens = {root};
  source.leaf.assign(requests, 0);
  const PrefixForest forest = traces::make_forest(source);
  PlanBuilder builder(forest, one_head());
  const auto k = builder.kernel(streaming_kernel());
  builder.launch();
  for (std::int32_t r = 0; r < requests; ++r) {
    const auto group = builder.queries(RequestId(r), RequestId(r + 1));
    std::int64_t begin = 0;
    for (std::int32_t s = 0; s < splits; ++s) {
      const std::int64_t end = s + 1 == splits ? root : (root * (s + 1)) / splits - r - 1;
      const Segment segment = builder.segment(NodeId(0), begin, end, 1);
      builder.attend(k, std::span(&segment, 1), group);
      begin = end;
    }
  }
  builder.task_phase(k, TaskId(0));
  const Plan plan = std::move(builder).finish({});
  const DeviceSpec device = device_with();
  const auto hits = kv_hit_fractions(plan, device, false);
  EXPECT_EQ(hits[TaskId(0)], 0);
  EXPECT_NEAR(hits[TaskId(splits)], device.l2_merge_fraction, 1e-9);
}

}  // namespace
}  // namespace espalier::sim::testing

// Launches of blocks that load for each other: how they are laid out, and the kernels that run in them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "costmodel/device_spec.h"
#include "kernels/cluster_layout.h"
#include "kernels/emulate.h"
#include "kernels/row_error.h"
#include "scheduler/multicast.h"
#include "scheduler/strategy.h"
#include "sim/simulator.h"
#include "tests/cuda/emulator_ways.h"
#include "tests/cuda/oracle_check.h"
#include "tests/kernels/hand_plans.h"
#include "tests/property/forests.h"

namespace espalier::kernels {
namespace {

using emulator::CopyMoment;
using emulator::EmulatorOptions;
using emulator::MemoryKind;
using emulator::Order;
using property::full_run;
using scheduler::Plan;

constexpr char kHeads[] = "8/2/128";

Plan plan_of(const std::string& strategy, const traces::PrefixForest& forest) {
  const traces::HeadConfig heads = traces::parse_heads(kHeads);
  const scheduler::PlanRequest request{.forest = forest,
                                       .heads = heads,
                                       .device = costmodel::find_device("h100-sxm"),
                                       .kernels = scheduler::KernelSet::ours,
                                       .options = {}};
  scheduler::PlanResult result = scheduler::make_plan(scheduler::parse_strategy(strategy), request);
  return std::holds_alternative<Plan>(result) ? std::get<Plan>(std::move(result)) : Plan{};
}

/// Everybody behind one node: many tasks over the same tokens.
traces::PrefixForest shared_by(std::int32_t requests, std::int64_t tokens = 150) {
  return traces::make_forest(property::star(tokens, requests, 20));
}

EmulateOptions bulk(const EmulatorOptions& way) {
  EmulateOptions options;
  options.machine = way;
  options.machine.seed = 5;
  options.machine.resident_blocks = 4;
  options.machine.count_accesses = false;
  options.path = KernelPath::bulk;
  return options;
}

DevicePlan lowered(const Plan& plan, KernelPath path = KernelPath::bulk) {
  return lower_plan(plan, {.set = host_kernels(), .path = path});
}

/// Blocks of a lowered plan that load with others.
std::int64_t blocks_with_mates(const DevicePlan& plan) {
  return std::count_if(plan.mates.begin(), plan.mates.end(), [](const Mates& m) { return m.count > 1; });
}

TEST(ClusterLayout, HoldsEveryCopyOnceAndKeepsMatesTogether) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    const auto size = static_cast<std::int32_t>(2 + seed % 4);
    const Plan plan = plan_of("deft_node:queries=4,cluster=" + std::to_string(size),
                              traces::make_forest(property::random_source(seed, 400)));
    std::map<std::int32_t, std::int32_t> group_of;  // task -> first of its group
    for (const scheduler::Multicast& m : scheduler::multicasts(plan)) {
      for (std::int32_t i = 0; i < m.count; ++i) group_of[m.first.value + i] = m.first.value;
    }
    for (const scheduler::Phase& phase : plan.phases) {
      if (phase.kind != scheduler::PhaseKind::tasks) continue;
      const ClusterLayout layout = lay_out_clusters(plan, phase);
      if (layout.cluster == 1) continue;
      ASSERT_LE(layout.cluster, size);
      ASSERT_EQ(layout.items.size() % static_cast<std::size_t>(layout.cluster), 0U);
      ASSERT_EQ(layout.items.size(), layout.mates.size());
      std::map<std::pair<std::int32_t, std::int32_t>, int> seen;
      for (std::size_t b = 0; b < layout.items.size(); ++b) {
        const Mates mates = layout.mates[b];
        if (mates.count == 0) {
          EXPECT_FALSE(layout.items[b].task.valid());
          continue;
        }
        const auto [task, copy] = std::pair(layout.items[b].task.value, layout.items[b].copy);
        ++seen[{task, copy}];
        const auto rank = static_cast<std::int32_t>(b) % layout.cluster, place = rank - mates.first;
        ASSERT_TRUE(place >= 0 && place < mates.count && mates.first + mates.count <= layout.cluster) << "block " << b;
        const auto& leader = layout.items[b - static_cast<std::size_t>(place)];
        EXPECT_EQ(leader.task.value, task - place);
        EXPECT_EQ(leader.copy, copy);
        EXPECT_EQ(mates.count > 1 ? group_of.at(task) : task, leader.task.value);
      }
      std::size_t copies = 0;
      for (std::int32_t t = phase.range.begin; t < phase.range.end; ++t) {
        copies += static_cast<std::size_t>(plan.tasks[scheduler::TaskId(t)].copies);
      }
      EXPECT_EQ(seen.size(), copies);
      EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](const auto& entry) { return entry.second == 1; }));
    }
  }
}

TEST(ClusterKernels, RunWhereAPlanAsksForThemAndMatesAreThere) {
  const Plan asked = plan_of("deft_node:queries=4,cluster=3", shared_by(20)),
             not_asked = plan_of("deft_node:queries=4", shared_by(20));
  const DevicePlan with = lowered(asked);
  EXPECT_EQ(with.launches.front().cluster, 3);
  EXPECT_STREQ(with.launches.front().attend->name, "attend_cluster_d128_bf16_m16");
  EXPECT_EQ(blocks_with_mates(with), 5 * 2) << "five tiles over the root in a three and a two, for two KV heads";
  EXPECT_STREQ(lowered(not_asked).launches.front().attend->name, "attend_bulk_d128_bf16_m16");
  EXPECT_EQ(lowered(asked, KernelPath::plain).launches.front().cluster, 1);
  EXPECT_TRUE(lowered(plan_of("flash_decoding:cluster=4", shared_by(1))).mates.empty()) << "nothing is shared";
  EXPECT_STREQ(lowered(asked, KernelPath::wgmma).launches.front().attend->name, "attend_cluster_d128_bf16_m16");
  const DevicePlan wide = lowered(plan_of("deft_node:queries=16,cluster=2", shared_by(40)), KernelPath::wgmma);
  EXPECT_STREQ(wide.launches.front().attend->name, "attend_wgmma_d128_bf16_m64") << "whose products were asked for";
  EXPECT_EQ(wide.launches.front().cluster, 1);
}

TEST(ClusterKernels, EqualTheOracleInEveryTile) {
  std::size_t turn = 0;
  for (const int queries : {4, 8, 16, 32}) {
    const int cluster = queries == 8 ? 3 : 2;
    // Each stage three times and a token more, which only the first of the mates copies.
    const int root = (queries <= 8 ? 9 : 6) * 64 + 1;
    const traces::PrefixForest forest = traces::make_forest(property::star(root, (cluster - 1) * queries + 1, 3));
    const Plan plan =
        plan_of("deft_node:queries=" + std::to_string(queries) + ",cluster=" + std::to_string(cluster), forest);
    const DevicePlan device = lowered(plan);
    ASSERT_EQ(device.launches.front().attend->query_tile, 4 * queries);
    ASSERT_EQ(blocks_with_mates(device), 2 * cluster);
    // All orders and both moments of copies for the smallest tile, half of them for the others.
    const std::size_t tried = property::kSanitized ? 1 : queries == 4 ? ways().size() : 3;
    for (std::size_t i = 0; i < tried; ++i) {
      expect_right(plan, "tile of " + std::to_string(4 * queries), bulk(ways()[turn++ % ways().size()]));
    }
  }
}

TEST(ClusterKernels, EqualTheOracleOnRaggedForestsHoweverCopiesLand) {
  std::int64_t mates = 0;
  for (std::uint64_t seed = 1; seed <= (full_run() ? 20U : property::kSanitized ? 1U : 3U); ++seed) {
    const traces::PrefixForest forest = traces::make_forest(property::random_source(seed, 150));
    for (const char* strategy : {"deft_node:queries=1,cluster=4", "deft_node_chunk:queries=2,cluster=2",
                                 "cascade:cluster=2", "codec:cluster=5", "fasttree:cluster=3", "espalier:cluster=2"}) {
      const Plan plan = plan_of(strategy, forest);
      if (plan.tasks.empty()) continue;
      mates += blocks_with_mates(lowered(plan));
      for (const CopyMoment copies : {CopyMoment::latest, CopyMoment::earliest}) {
        expect_right(plan, std::string(strategy) + ", " + forest.name,
                     bulk({.order = Order::shuffled, .copies = copies}));
      }
    }
  }
  EXPECT_GT(mates, property::kSanitized ? 10 : 100);
}

/// Two tasks of three requests each read a root and a node below it, which the first request of the one and the last of
/// the other don't see.
Plan mates_with_masks() {
  traces::ForestSource source;
  source.parent = {-1, 0, 0, 2, 2, 2, 2, 0};
  source.tokens = {130, 5, 90, 1, 7, 2, 3, 4};
  source.leaf = {1, 3, 4, 5, 6, 7};
  const traces::PrefixForest forest = traces::make_forest(source);
  scheduler::PlanBuilder b(forest, traces::parse_heads(kHeads));
  costmodel::KernelConfig kernel = testing::attend_kernel();
  kernel.cluster = 2;
  const scheduler::KernelId attend = b.kernel(kernel), reduce = b.kernel(testing::reduce_kernel());
  b.launch();
  for (std::int32_t first = 0; first < 6; first += 3) {
    const std::vector<scheduler::Segment> segments = {
        {traces::NodeId(0), 0, scheduler::kToNodeEnd, 0, 3},
        {traces::NodeId(2), 0, scheduler::kToNodeEnd, first == 0 ? 1 : 0, first == 0 ? 3 : 2}};
    b.attend(attend, segments, b.queries(traces::RequestId(first), traces::RequestId(first + 3)));
  }
  for (const traces::NodeId n : forest.leaf) {
    b.attend(attend, std::vector{b.segment(n, 0, forest.tokens[n], 1)},
             b.queries(forest.request_begin[n], forest.request_end[n]));
  }
  b.task_phase(attend, scheduler::TaskId(0));
  const scheduler::StepId step = b.finish_rows(traces::Dtype::fp32);
  b.launch();
  b.step_phase(reduce, step);
  return std::move(b).finish({});
}

TEST(ClusterKernels, EqualTheOracleWhereMatesSeeDifferentTokens) {
  const Plan plan = mates_with_masks();
  ASSERT_EQ(blocks_with_mates(lowered(plan)), 2 * 2);
  for (const EmulatorOptions& way : ways()) expect_right(plan, "row intervals", bulk(way));
}

TEST(ClusterKernels, AreOnTimelinesWithoutTheBlocksThatFillClustersUp) {
  const Plan plan = plan_of("deft_node:queries=4,cluster=4", shared_by(13));
  const DevicePlan device = lowered(plan);
  ASSERT_TRUE(std::any_of(device.items.begin(), device.items.end(),
                          [](const scheduler::QueueItem& item) { return !item.task.valid(); }));
  EmulateOptions options = bulk({});
  options.timeline = true;
  std::map<std::pair<std::int32_t, std::int32_t>, int> seen;
  for (const scheduler::Span& span : emulate(plan, TensorSource{1}, options).timeline.spans) {
    if (span.kind == scheduler::SpanKind::task) ++seen[{span.item, span.copy}];
  }
  std::size_t copies = 0;
  for (const scheduler::Task& task : plan.tasks) copies += static_cast<std::size_t>(task.copies);
  EXPECT_EQ(seen.size(), copies);
  EXPECT_TRUE(std::all_of(seen.begin(), seen.end(),
                          [](const auto& entry) { return entry.first.first >= 0 && entry.second == 1; }));
}

TEST(ClusterKernels, ReadWhatTheSimulatorCounts) {
  for (const char* strategy : {"deft_node:queries=4,cluster=3", "deft_node:queries=8,cluster=2",
                               "deft_node_chunk:queries=4,cluster=4", "deft_node:queries=4"}) {
    const Plan plan = plan_of(strategy, shared_by(17, 333));
    EmulateOptions options = bulk({});
    options.row_dtype = plan.heads.q_dtype;
    const emulator::Counters got = emulate(plan, TensorSource{1}, options).counters;
    const std::int64_t bytes = got.read(MemoryKind::kv).bytes + got.read(MemoryKind::query).bytes +
                               got.read(MemoryKind::partials).bytes + got.written(MemoryKind::partials).bytes +
                               got.written(MemoryKind::output).bytes;
    EXPECT_EQ(bytes, sim::simulate(plan, costmodel::find_device("h100-sxm")).l2_bytes) << strategy;
  }
}

}  // namespace
}  // namespace espalier::kernels

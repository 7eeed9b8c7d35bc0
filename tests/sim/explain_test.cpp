// Each reason for lost SM time provoked by a plan made for it, the critical path of chains known beforehand, what-ifs
// of clear cases.
#include "sim/explain.h"

#include <gmock/gmock.h>

#include <map>

#include "core/json.h"
#include "scheduler/strategy.h"
#include "sim_plans.h"
#include "traces/families.h"

namespace espalier::sim::testing {
namespace {

using scheduler::Follow;
using scheduler::LaunchId;
using scheduler::QueueItem;
using Kind = PathPart::Kind;

/// Nothing is shared but SMs: a CTA's time depends on itself alone.
DeviceSpec private_device(double sms = 100) {
  DeviceSpec device = device_with(sms);
  device.hbm_gbps = device.l2_bytes_per_clk = 1e6;
  return device;
}

KernelConfig one_per_sm() { return with_occupancy(streaming_kernel(), device_with(), 1); }

Explanation explain_tasks(const std::vector<std::int64_t>& tokens, const DeviceSpec& device) {
  return explain(node_plan(unshared(tokens), one_head(), one_per_sm(), kTokensOfAll), device);
}

double of(const Explanation& e, std::string_view key) {
  for (const Sensitivity& s : e.sensitivities) {
    if (s.key == key) return s.gain;
  }
  ADD_FAILURE() << key;
  return 0;
}

TEST(Explain, CallsSmsThatNeverHaveACtaTooFewCtas) {
  const DeviceSpec device = private_device();
  const Explanation e = explain_tasks(std::vector<std::int64_t>(40, 50'000), device);
  EXPECT_NEAR(e.sm_time.few, 60 * (e.result.makespan_us - device.launch_graph_us), 1e-4);
  EXPECT_NEAR(e.sm_time.launch, 100 * device.launch_graph_us, 1e-6);
  EXPECT_LT(e.sm_time.tail + e.sm_time.imbalance, 1e-4 * e.sm_time.few) << "turns at memory";
  EXPECT_EQ(e.sm_time.merge, 0);
}

TEST(Explain, CallsALastWaveOfEqualCtasTail) {
  const DeviceSpec device = private_device();
  const Explanation e = explain_tasks(std::vector<std::int64_t>(140, 50'000), device);
  const double wave = (e.result.makespan_us - device.launch_graph_us) / 2;
  EXPECT_NEAR(e.sm_time.tail / (60 * wave), 1, 0.02);
  EXPECT_LT(e.sm_time.imbalance, 0.02 * e.sm_time.tail);
  EXPECT_EQ(e.sm_time.few, 0);
}

TEST(Explain, CallsALongCtaImbalance) {
  std::vector<std::int64_t> tokens(100, 50'000);
  tokens[17] *= 10;
  const DeviceSpec device = private_device();
  const Explanation e = explain_tasks(tokens, device);
  // All end after a tenth of the time; the mean is a little above what the short ones take.
  const double tenth = (e.result.makespan_us - device.launch_graph_us) / 10;
  EXPECT_NEAR(e.sm_time.imbalance / (99 * 9 * tenth), 1, 0.02);
  EXPECT_LT(e.sm_time.tail, 0.02 * e.sm_time.imbalance);
  ASSERT_EQ(e.path.size(), 2U);
  EXPECT_EQ(e.path[1].longest, 17);
}

TEST(Explain, CallsUnevenQueuesImbalance) {
  const PrefixForest forest = unshared(std::vector<std::int64_t>(11, 50'000));
  PlanBuilder builder(forest, one_head());
  const auto k = builder.kernel(one_per_sm());
  builder.launch();
  for (std::int32_t n = 0; n < 11; ++n) {
    const Segment segment = builder.segment(NodeId(n), 0, 50'000, 1);
    builder.attend(k, std::span(&segment, 1), builder.queries(RequestId(n), RequestId(n + 1)));
  }
  builder.task_phase(k, TaskId(0));
  const auto item = [](std::int32_t t) { return QueueItem{TaskId(t), 0}; };
  const std::vector<std::vector<QueueItem>> queues = {
      {item(0)}, {item(1)}, {item(2)}, {item(3), item(4), item(5), item(6), item(7), item(8), item(9), item(10)}};
  builder.queues(queues);
  const Plan plan = std::move(builder).finish({});
  const Explanation e = explain(plan, private_device(4));
  EXPECT_LT(e.sm_time.tail, 1e-9 * e.sm_time.total());
  EXPECT_NEAR(e.sm_time.imbalance / e.sm_time.total(), 0.75 * 7 / 8, 0.02);
  ASSERT_EQ(e.path.size(), 2U) << "the queue of the last worker";
  EXPECT_EQ(e.path[1].ctas, 8);
}

TEST(Explain, CallsIdleSmsBesideMergesMergeWait) {
  const DeviceSpec device = private_device();
  const Explanation e = explain(node_plan(shared_root(40'000, 100, 40'000), one_head(), one_per_sm(), 20'000), device);
  EXPECT_GT(e.sm_time.merge, 0);
  const PhaseTime& merges = e.result.phases.back();
  EXPECT_LE(e.sm_time.merge, 100 * (merges.end_us - merges.begin_us) + 1e-9);
  EXPECT_NEAR(e.sm_time.launch, 100 * 2 * device.launch_graph_us, 1e-3);
  std::vector<Kind> kinds;
  for (const PathPart& part : e.path) kinds.push_back(part.kind);
  EXPECT_THAT(kinds, ::testing::ElementsAre(Kind::launch_gap, Kind::tasks, Kind::launch_gap, Kind::steps));
}

TEST(Explain, NamesWhatHeldSmsWaitFor) {
  DeviceSpec slow = private_device();
  slow.hbm_latency_ns = 1e5;
  const SmTimeReasons ramp = explain_tasks(std::vector<std::int64_t>(100, 10'000), slow).sm_time;
  EXPECT_GT(ramp.latency, 0.95 * ramp.total());

  const SmTimeReasons hbm = explain_tasks(std::vector<std::int64_t>(1320, 20'000), device_with()).sm_time;
  EXPECT_GT(hbm.hbm, 0.85 * hbm.total());

  const HeadConfig heads{.q_heads = 1, .kv_heads = 1};
  const SmTimeReasons l2 =
      explain(request_plan(shared_root(20'000, 600, 16), heads, streaming_kernel(), kTokensOfAll), device_with())
          .sm_time;
  EXPECT_GT(l2.l2, 0.7 * l2.total());

  DeviceSpec weak = private_device();
  weak.mma_flop_per_clk = 50;
  const SmTimeReasons compute = explain_tasks(std::vector<std::int64_t>(100, 10'000), weak).sm_time;
  EXPECT_GT(compute.compute, 0.9 * compute.total());
}

TEST(Explain, PartsAddUpAndThePathHasNoHole) {
  const DeviceSpec device = costmodel::find_device("h100-sxm");
  std::map<Kind, int> kinds;
  for (const char* family : {"doc_qa:docs=1", "bfs_search:problems=2"}) {
    const PrefixForest forest = traces::generate_family(family, 3);
    for (const scheduler::Strategy* strategy : scheduler::strategies()) {
      const HeadConfig heads{.q_heads = 32, .kv_heads = 8};
      const auto made = scheduler::make_plan({strategy, {}}, {.forest = forest, .heads = heads, .device = device});
      const Plan* plan = std::get_if<Plan>(&made);
      if (plan == nullptr) continue;
      SCOPED_TRACE(std::string(strategy->info().name) + " on " + family);
      const Explanation e = explain(*plan, device);
      EXPECT_NEAR(e.sm_time.total() / (e.result.makespan_us * device.sms), 1, 1e-9);
      for (const double part :
           {e.sm_time.few, e.sm_time.tail, e.sm_time.imbalance, e.sm_time.merge, e.sm_time.launch}) {
        EXPECT_GE(part, 0);
      }
      // The same idle time as the coarse split that every simulation has.
      const TimeSplit& split = e.result.split;
      EXPECT_NEAR(e.sm_time.few + e.sm_time.tail + e.sm_time.imbalance, split.underfill + split.tail,
                  1e-9 * split.total());
      EXPECT_NEAR(e.sm_time.merge, split.merge, 1e-9 * split.total());
      ASSERT_FALSE(e.path.empty());
      EXPECT_NEAR(e.path.back().end_us, e.result.makespan_us, 1e-9);
      for (std::size_t i = 0; i < e.path.size(); ++i) {
        EXPECT_NEAR(e.path[i].begin_us, i > 0 ? e.path[i - 1].end_us : 0, 1e-5);
        double spent = 0;
        for (const double us : e.path[i].spent.us) spent += us;
        EXPECT_NEAR(spent, e.path[i].end_us - e.path[i].begin_us, 1e-3);
        ++kinds[e.path[i].kind];
      }
    }
  }
  EXPECT_GT(kinds[Kind::steps], 0);
}

TEST(Explain, PutsBarriersOnThePath) {
  const PrefixForest forest = unshared({5000, 6000});
  PlanBuilder builder(forest, one_head());
  const auto k = builder.kernel(one_per_sm());
  builder.launch();
  for (std::int32_t n = 0; n < 2; ++n) {
    const Segment segment = builder.segment(NodeId(n), 0, forest.tokens[NodeId(n)], 1);
    builder.attend(k, std::span(&segment, 1), builder.queries(RequestId(n), RequestId(n + 1)));
    builder.task_phase(k, TaskId(n), n == 0 ? scheduler::PhaseStart::together : scheduler::PhaseStart::barrier);
  }
  const DeviceSpec device = private_device();
  const Explanation e = explain(std::move(builder).finish({}), device);
  std::vector<Kind> kinds;
  for (const PathPart& part : e.path) kinds.push_back(part.kind);
  EXPECT_THAT(kinds, ::testing::ElementsAre(Kind::launch_gap, Kind::tasks, Kind::barrier, Kind::tasks));
  EXPECT_NEAR(e.path[2].end_us - e.path[2].begin_us, device.grid_sync_us, 1e-6);
}

TEST(Explain, PathOfOneSmIsEveryCtaInTurn) {
  const Explanation e = explain_tasks({500, 10'000, 3, 64, 7777}, device_with(1));
  ASSERT_EQ(e.path.size(), 2U);
  EXPECT_EQ(e.path[0].kind, Kind::launch_gap);
  EXPECT_EQ(e.path[1].ctas, 5);
  EXPECT_EQ(e.path[1].longest, 1);
}

TEST(Sensitivities, OfAnHbmBoundPlanAreHbm) {
  const Explanation e = explain_tasks(std::vector<std::int64_t>(1320, 20'000), device_with());
  EXPECT_GT(of(e, "hbm"), 0.07);
  EXPECT_LT(of(e, "hbm"), 1 - 1 / 1.1 + 1e-9);
  EXPECT_NEAR(of(e, "clock"), 0, 0.01);
  EXPECT_NEAR(of(e, "l2_bandwidth"), 0, 0.01);
  EXPECT_NEAR(of(e, "launch_gap"), 0, 0.01);
}

TEST(Sensitivities, OfAnL2BoundPlanAreL2) {
  const Explanation e =
      explain(request_plan(shared_root(20'000, 600, 16), one_head(), streaming_kernel(), kTokensOfAll), device_with());
  EXPECT_GT(of(e, "l2_bandwidth"), 0.06);
  EXPECT_NEAR(of(e, "hbm"), 0, 0.02);
}

TEST(Sensitivities, OfAComputeBoundPlanAreTheClock) {
  DeviceSpec weak = private_device();
  weak.mma_flop_per_clk = 50;
  const Explanation e = explain_tasks(std::vector<std::int64_t>(100, 10'000), weak);
  EXPECT_GT(of(e, "clock"), 0.08);
  EXPECT_NEAR(of(e, "hbm"), 0, 0.01);
}

TEST(Sensitivities, OfALaunchBoundPlanAreTheGaps) {
  const DeviceSpec device = device_with();
  const Explanation e =
      explain(node_plan(shared_root(16, 2, 16), one_head(), streaming_kernel(), kTokensOfAll), device);
  EXPECT_NEAR(of(e, "launch_gap"), device.launch_graph_us / e.result.makespan_us, 1e-3);
}

TEST(Sensitivities, OfPagesStandWhereTheyCost) {
  const Plan plan = node_plan(floor_to_pages(unshared({20'000}), 2), one_head(), streaming_kernel(), kTokensOfAll);
  DeviceSpec device = device_with();
  const auto last = [&] { return sensitivities(plan, device, simulate(plan, device).makespan_us).back(); };
  EXPECT_NE(last().key, "pages");
  device.page_ns = 20;
  EXPECT_EQ(last().key, "pages");
  EXPECT_GT(last().gain, 0.3);
}

TEST(Sensitivities, SayWhenAStageMoreDoesNotFit) {
  const DeviceSpec device = private_device();
  KernelConfig small = streaming_kernel();
  small.stages = 1;
  const Explanation one =
      explain(node_plan(unshared(std::vector<std::int64_t>(100, 10'000)), one_head(), small, kTokensOfAll), device);
  EXPECT_GT(of(one, "stage"), 0.1) << "load and compute overlap with two stages";
  KernelConfig full = streaming_kernel();
  full.stages = 6;  // 6 x 32 KiB and the queries, of 227
  const Explanation e = explain(node_plan(unshared({10'000}), one_head(), full, kTokensOfAll), device);
  for (const Sensitivity& s : e.sensitivities) {
    EXPECT_EQ(s.why_not.empty(), s.key != "stage") << s.why_not;
  }
}

TEST(Explain, OfAnEmptyPlanIsEmpty) {
  const Explanation e = explain(PlanBuilder(unshared({}), one_head()).finish({}), device_with());
  EXPECT_TRUE(e.path.empty());
  EXPECT_EQ(e.sm_time.total(), 0);
}

TEST(Explain, GoesIntoTheFile) {
  const Plan plan = node_plan(shared_root(16, 2, 16), one_head(), streaming_kernel(), kTokensOfAll);
  const Explanation e = explain(plan, device_with());
  const auto document = core::JsonDocument::parse(write_sim(e.result, plan, &e), "sim");
  const auto root = document.root().at("explanation");
  EXPECT_EQ(root.at("critical_path").size(), e.path.size());
  EXPECT_EQ(root.at("sensitivities").size(), e.sensitivities.size());
  EXPECT_EQ(root.at("sm_time_us").at("idle_imbalance").number(), e.sm_time.imbalance);
  EXPECT_FALSE(core::JsonDocument::parse(write_sim(e.result, plan), "sim").root().find("explanation").has_value());
}

}  // namespace
}  // namespace espalier::sim::testing

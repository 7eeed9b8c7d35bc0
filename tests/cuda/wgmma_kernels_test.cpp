// The attend kernels by products of warpgroups, in the emulator: against the oracle over heads, tiles, pages and
// everything a plan can say.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "costmodel/device_spec.h"
#include "kernels/emulate.h"
#include "kernels/row_error.h"
#include "scheduler/strategy.h"
#include "tests/cuda/oracle_check.h"
#include "tests/kernels/hand_plans.h"
#include "tests/property/forests.h"

namespace espalier::kernels {
namespace {

using emulator::CopyMoment;
using emulator::MemoryKind;
using emulator::Order;
using traces::Dtype;

EmulateOptions wgmma(Order order = Order::forward, CopyMoment copies = CopyMoment::latest, Dtype rows = Dtype::fp32) {
  EmulateOptions options;
  options.machine = {.order = order, .seed = 5, .copies = copies, .resident_blocks = 3, .count_accesses = false};
  options.row_dtype = rows;
  options.path = KernelPath::wgmma;
  return options;
}

/// Between two edits each plan runs one of the ways, and neighbours different ones.
EmulateOptions some_way(Dtype rows = Dtype::fp32) {
  static std::size_t turn = 0;
  constexpr Order kOrders[] = {Order::forward, Order::backward, Order::shuffled};
  const std::size_t i = turn++;
  return wgmma(kOrders[i % 3], i / 3 % 2 == 0 ? CopyMoment::latest : CopyMoment::earliest, rows);
}

/// The plan with tiles of at least so many rows: all of its tasks then run by products of warpgroups.
scheduler::Plan with_tiles(scheduler::Plan plan, std::int32_t rows) {
  for (costmodel::KernelConfig& kernel : plan.kernels) {
    if (kernel.role == costmodel::KernelRole::attend) kernel.query_tile = std::max(kernel.query_tile, rows);
  }
  return plan;
}

std::set<std::string> kernels_of(const scheduler::Plan& plan, const EmulateOptions& options) {
  std::set<std::string> names;
  for (const DeviceLaunch& launch :
       lower_plan(plan, {host_kernels(), options.most_shared_bytes, options.path}).launches) {
    if (launch.attend != nullptr && launch.attend->kind == scheduler::TaskKind::attend) {
      names.emplace(launch.attend->name);
    }
  }
  return names;
}

void expect_right_wgmma(const scheduler::Plan& plan, const std::string& what, const EmulateOptions& options) {
  for (const std::string& name : kernels_of(plan, options)) {
    EXPECT_TRUE(name.starts_with("attend_wgmma")) << what << " ran " << name;
  }
  expect_right(plan, what, options);
}

struct Kind {
  const char* heads;
  Dtype dtype;
};
constexpr Kind kKinds[] = {{"4/2/64", Dtype::bf16}, {"4/2/128", Dtype::bf16}, {"6/2/128", Dtype::fp16}};

traces::HeadConfig heads_of(const Kind& kind) {
  traces::HeadConfig heads = traces::parse_heads(kind.heads);
  heads.q_dtype = heads.kv_dtype = kind.dtype;
  return heads;
}

TEST(WgmmaKernels, EqualTheOracleEachWhereAPlanNamesIt) {
  std::set<std::string> seen;
  for (const Kind& kind : kKinds) {
    for (const std::int32_t tile : {64, 128}) {
      const scheduler::Plan plan =
          testing::node_halves(testing::small_forest(), heads_of(kind), testing::attend_kernel(true, tile));
      for (const Dtype rows : {Dtype::fp32, kind.dtype}) {
        expect_right_wgmma(plan, std::string(kind.heads) + ", tile " + std::to_string(tile), some_way(rows));
      }
      seen.merge(kernels_of(plan, wgmma()));
    }
  }
  EXPECT_EQ(seen.size(), 6U);
}

TEST(WgmmaKernels, EqualTheOracleOnWhateverAPlanSays) {
  for (const Kind& kind : kKinds) {
    const traces::HeadConfig heads = heads_of(kind);
    expect_right_wgmma(with_tiles(testing::one_mixed_task(testing::small_forest(), heads), 64), "row intervals",
                       some_way());
    expect_right_wgmma(with_tiles(testing::folded(testing::small_forest(), heads), 64), "folds", some_way());
  }
  for (const auto& [start, tile] :
       {std::pair(scheduler::PhaseStart::on_arrival, 64), std::pair(scheduler::PhaseStart::barrier, 128)}) {
    expect_right_wgmma(
        with_tiles(testing::tree_merge(testing::small_forest(), traces::parse_heads("4/1/128"), start), tile), "steps",
        some_way());
  }
}

/// Nothing where the strategy refuses the forest.
std::optional<scheduler::Plan> plan_of(const std::string& strategy, const traces::PrefixForest& forest,
                                       const traces::HeadConfig& heads) {
  costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  device.sms = 4;
  const scheduler::PlanRequest request{
      .forest = forest, .heads = heads, .device = device, .kernels = scheduler::KernelSet::ours, .options = {}};
  scheduler::PlanResult result = scheduler::make_plan(scheduler::parse_strategy(strategy), request);
  if (std::holds_alternative<scheduler::Refusal>(result)) return {};
  return std::get<scheduler::Plan>(std::move(result));
}

TEST(WgmmaKernels, EqualTheOracleOnPlansOfAllStrategies) {
  const traces::PrefixForest forest = traces::make_forest(property::random_source(3, 200));
  for (const scheduler::Strategy* strategy : scheduler::strategies()) {
    const std::string name(strategy->info().name);
    const auto plan = plan_of(name, forest, heads_of(kKinds[0]));
    if (plan) expect_right_wgmma(with_tiles(*plan, 64), name, some_way(Dtype::bf16));
  }
}

TEST(WgmmaKernels, RunQueuesOfManyTasksInEveryOrder) {
  // Tasks of one tile and of many, one behind the other in the same block, and results merged behind a barrier or on
  // arrival.
  const traces::PrefixForest forest = traces::make_forest(property::star(330, 3, 40));
  for (const char* strategy : {"lean", "flashinfer_persistent", "espalier"}) {
    const scheduler::Plan plan = plan_of(strategy, forest, heads_of(kKinds[1])).value();
    expect_right_wgmma(with_tiles(plan, 64), strategy, wgmma(Order::shuffled, CopyMoment::latest));
    expect_right_wgmma(with_tiles(plan, 128), strategy, wgmma(Order::backward, CopyMoment::earliest, Dtype::bf16));
  }
}

TEST(WgmmaKernels, FillTilesOf128Rows) {
  // Five requests of 24 heads share a root: 120 rows, in several tiles of tokens, the last one short.
  const scheduler::Plan plan = testing::node_halves(traces::make_forest(property::star(300, 5, 3)),
                                                    traces::parse_heads("24/1/128"), testing::attend_kernel(true, 128));
  EXPECT_TRUE(std::any_of(plan.tasks.begin(), plan.tasks.end(),
                          [](const scheduler::Task& t) { return t.queries.size() * t.head_count == 120; }));
  expect_right_wgmma(plan, "120 rows", wgmma(Order::shuffled, CopyMoment::earliest));
}

TEST(WgmmaKernels, FindTokensInPagesOfAnySize) {
  for (const std::int32_t size : {1, 3, 16, 200}) {
    traces::PrefixForest forest = traces::floor_to_pages(traces::make_forest(property::star(70, 3, 45)), size);
    std::int64_t pages = 0;
    for (const traces::NodeId n : core::ids<traces::NodeId>(forest.node_count())) {
      pages = std::max(pages, 1 + traces::last_page(forest.pages, n, forest.tokens[n]));
    }
    for (std::int64_t p = 0; p < pages; ++p) forest.pages.page_ids.push_back(2 * (pages - p));
    for (const char* strategy : {"flash_decoding", "espalier", "deft_flatten"}) {
      const auto plan = plan_of(strategy, forest, heads_of(kKinds[1]));
      ASSERT_TRUE(plan) << strategy;
      expect_right_wgmma(with_tiles(*plan, 64), std::string(strategy) + ", pages of " + std::to_string(size),
                         some_way(Dtype::bf16));
    }
  }
}

TEST(WgmmaKernels, ReadWhatThePlainOnesReadWithoutConflicts) {
  const scheduler::Plan plan =
      with_tiles(plan_of("espalier", traces::make_forest(property::star(200, 4, 30)), heads_of(kKinds[1])).value(), 64);
  EmulateOptions options;
  options.row_dtype = Dtype::bf16;
  const emulator::Counters plain = emulate(plan, TensorSource{1}, options).counters;
  options.path = KernelPath::wgmma;
  const emulator::Counters fast = emulate(plan, TensorSource{1}, options).counters;
  for (const MemoryKind kind : {MemoryKind::kv, MemoryKind::query}) {
    EXPECT_EQ(fast.read(kind).bytes, plain.read(kind).bytes);
    EXPECT_EQ(fast.read(kind).sectors, plain.read(kind).sectors);
  }
  EXPECT_EQ(fast.mmas, plain.mmas);
  EXPECT_EQ(fast.exps, plain.exps);
  EXPECT_EQ(fast.shared_writes.conflicts(), 0);
  EXPECT_EQ(fast.shared_reads.conflicts(), 0);
  // Keys and values leave shared memory once for 64 rows instead of once for 16, and queries once a tile.
  EXPECT_LT(fast.shared_reads.bytes, plain.shared_reads.bytes * 6 / 10);
}

}  // namespace
}  // namespace espalier::kernels

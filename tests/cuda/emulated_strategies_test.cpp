// Plans of every strategy through the emulated kernels: equal to the oracle, and to the exact counts of bytes and
// products.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <variant>

#include "costmodel/device_spec.h"
#include "kernels/emulate.h"
#include "kernels/row_error.h"
#include "scheduler/batch_update.h"
#include "scheduler/strategy.h"
#include "tests/cuda/oracle_check.h"
#include "tests/property/forests.h"

namespace espalier::kernels {
namespace {

using emulator::MemoryKind;
using property::full_run;
using scheduler::KernelSet;
using scheduler::Plan;
using traces::HeadConfig;
using traces::NodeId;
using traces::PrefixForest;

/// Scores that the plan keeps in 16 bits are off by up to 2^-9 of themselves.
double lse_tolerance(const Plan& plan) {
  const bool rounded_scores = std::any_of(plan.slots.begin(), plan.slots.end(), [](const scheduler::Slot& s) {
    return s.kind == scheduler::SlotKind::scores && s.dtype != traces::Dtype::fp32;
  });
  return rounded_scores ? 2e-3 : 1e-4;
}

void expect_near(const Plan& plan, const std::string& what, const EmulateOptions& options) {
  expect_right(plan, what, options, lse_tolerance(plan));
}

EmulateOptions shuffled(std::uint64_t seed) {
  EmulateOptions options;
  options.machine = {.order = emulator::Order::shuffled,
                     .seed = seed,
                     .copies = seed % 2 == 0 ? emulator::CopyMoment::latest : emulator::CopyMoment::earliest,
                     .resident_blocks = 3,
                     .count_accesses = false};
  return options;
}

std::variant<std::monostate, Plan> plan_of(const std::string& strategy, const PrefixForest& forest,
                                           const HeadConfig& heads, KernelSet kernels) {
  costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  device.sms = 6;  // persistent launches of a size that is quickly emulated
  const scheduler::PlanRequest request{
      .forest = forest, .heads = heads, .device = device, .kernels = kernels, .options = {}};
  scheduler::PlanResult result = scheduler::make_plan(scheduler::parse_strategy(strategy), request);
  if (std::holds_alternative<scheduler::Refusal>(result)) return {};
  return std::move(std::get<Plan>(result));
}

TEST(EmulatedStrategies, EqualTheOracleWithBothKernelSets) {
  const HeadConfig heads = traces::parse_heads("4/2/64");
  for (std::uint64_t seed = 1; seed <= (full_run() ? 12U : property::kSanitized ? 1U : 2U); ++seed) {
    const PrefixForest forest = traces::make_forest(property::random_source(seed, 200));
    for (const scheduler::Strategy* strategy : scheduler::strategies()) {
      const std::string name(strategy->info().name);
      for (const KernelSet kernels : {KernelSet::ours, KernelSet::published}) {
        if (!full_run() && kernels == KernelSet::published && seed != 1) continue;
        const auto plan = plan_of(name, forest, heads, kernels);
        if (std::holds_alternative<Plan>(plan)) {
          expect_near(std::get<Plan>(plan), name + ", " + forest.name, shuffled(seed));
        }
      }
    }
  }
}

TEST(EmulatedStrategies, FindTokensInPagesOfAnySize) {
  const HeadConfig heads = traces::parse_heads("4/2/64");
  for (const std::int32_t size : {1, 3, 16, 200}) {
    PrefixForest forest = traces::floor_to_pages(traces::make_forest(property::star(70, 3, 45)), size);
    std::int64_t pages = 0;
    for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
      pages = std::max(pages, 1 + traces::last_page(forest.pages, n, forest.tokens[n]));
    }
    // Back to front, and every other page of the cache belongs to someone else.
    for (std::int64_t p = 0; p < pages; ++p) forest.pages.page_ids.push_back(2 * (pages - p));
    for (const char* strategy : {"flash_decoding", "espalier", "deft_flatten"}) {
      const auto plan = plan_of(strategy, forest, heads, KernelSet::ours);
      ASSERT_TRUE(std::holds_alternative<Plan>(plan)) << strategy;
      expect_near(std::get<Plan>(plan), std::string(strategy) + ", pages of " + std::to_string(size), shuffled(2));
    }
  }
}

TEST(EmulatedStrategies, FindNodesThatBeginInsideAPage) {
  PrefixForest forest = traces::make_forest(property::chain(4, 33, true));
  forest.pages.page_size = 5;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    forest.pages.first_page[n] = forest.tokens_before[n] / 5;
    forest.pages.first_offset[n] = static_cast<std::int32_t>(forest.tokens_before[n] % 5);
  }
  for (const char* strategy : {"flash_decoding", "deft_node"}) {
    const auto plan = plan_of(strategy, forest, traces::parse_heads("2/1/64"), KernelSet::ours);
    expect_near(std::get<Plan>(plan), strategy, shuffled(1));
  }
}

TEST(EmulatedStrategies, PassOverThePaddingThatLeaversLeft) {
  const PrefixForest forest = traces::make_forest(property::random_source(3, 150));
  std::int64_t padding = 0;
  for (const char* strategy : {"flash_decoding", "espalier", "deft_flatten", "lean"}) {
    auto made = plan_of(strategy, forest, traces::parse_heads("4/2/64"), KernelSet::ours);
    ASSERT_TRUE(std::holds_alternative<Plan>(made)) << strategy;
    Plan& plan = std::get<Plan>(made);
    for (std::int32_t left = 0; left < 3 && scheduler::leave(plan, traces::RequestId(0)); ++left) {
    }
    padding += std::count_if(plan.tasks.begin(), plan.tasks.end(),
                             [](const scheduler::Task& t) { return t.kind == scheduler::TaskKind::padding; });
    expect_near(plan, std::string(strategy) + ", three requests fewer", shuffled(2));
    EXPECT_LT(plan.forest.request_count(), forest.request_count()) << strategy;
  }
  EXPECT_GT(padding, 0);
}

costmodel::WorkCounts counts_of(const Plan& plan) {
  costmodel::WorkCounts sum;
  const auto kernels = scheduler::task_kernels(plan);
  const auto merges = scheduler::step_kernels(plan);
  for (const scheduler::TaskId t : core::ids<scheduler::TaskId>(plan.tasks.size())) {
    if (plan.tasks[t].kind == scheduler::TaskKind::padding) continue;
    sum.add_times(
        costmodel::count_task(scheduler::task_shape(plan, plan.tasks[t]), plan.kernels[kernels[t]], plan.heads),
        plan.tasks[t].copies);
  }
  for (const scheduler::StepId s : core::ids<scheduler::StepId>(plan.steps.size())) {
    sum += costmodel::count_reduction(scheduler::step_shape(plan, plan.steps[s]), plan.kernels[merges[s]], plan.heads);
  }
  return sum;
}

TEST(EmulatedStrategies, MoveTheBytesAndRunTheProductsThatTheModelsCount) {
  const PrefixForest forest = traces::make_forest(property::random_source(4, 300));
  for (const char* text : {"8/2/128", "4/1/576:512"}) {
    const HeadConfig heads = traces::parse_heads(text);
    for (const char* strategy :
         {"flash_decoding", "codec", "fasttree", "espalier", "lean", "deft_flatten", "cascade"}) {
      const auto made = plan_of(strategy, forest, heads, KernelSet::ours);
      ASSERT_TRUE(std::holds_alternative<Plan>(made)) << strategy;
      const Plan& plan = std::get<Plan>(made);
      const costmodel::WorkCounts want = counts_of(plan);
      EmulateOptions options;
      options.machine.count_accesses = false;
      options.row_dtype = heads.q_dtype;
      const emulator::Counters got = emulate(plan, TensorSource{1}, options).counters;
      SCOPED_TRACE(std::string(strategy) + ", heads " + text);
      EXPECT_EQ(got.read(MemoryKind::kv).bytes, want.kv_bytes);
      EXPECT_EQ(got.read(MemoryKind::query).bytes, want.query_bytes);
      EXPECT_EQ(got.read(MemoryKind::partials).bytes, want.partial_read_bytes);
      EXPECT_EQ(got.written(MemoryKind::partials).bytes, want.partial_write_bytes);
      EXPECT_EQ(got.written(MemoryKind::output).bytes, want.output_bytes);
      EXPECT_EQ(got.mma_flops(), want.mma_flops);
    }
  }
}

TEST(EmulatedStrategies, ReadEverySectorOfTheCacheOnceAtLeast) {
  const HeadConfig heads = traces::parse_heads("8/2/128");
  const PrefixForest forest = traces::make_forest(property::star(150, 5, 37));
  const std::int64_t unique = traces::unique_tokens(forest) * heads.kv_bytes_per_token() / 32;
  for (const char* strategy : {"flash_decoding", "hydragen:cluster=2"}) {
    for (const KernelPath path : {KernelPath::plain, KernelPath::bulk}) {
      EmulateOptions options;
      options.path = path;
      const auto made = plan_of(strategy, forest, heads, KernelSet::ours);
      const emulator::Counters got = emulate(std::get<Plan>(made), TensorSource{1}, options).counters;
      EXPECT_EQ(got.distinct(MemoryKind::kv), unique) << strategy;
      EXPECT_EQ(got.read(MemoryKind::kv).sectors > unique, std::string(strategy) == "flash_decoding") << strategy;
    }
  }
}

TEST(EmulatedStrategies, RunBifurcatedAttentionAsPublished) {
  const PrefixForest forest = traces::make_forest(property::star(150, 5, 37));
  for (const char* text : {"8/2/128", "4/4/64"}) {
    for (const KernelSet kernels : {KernelSet::ours, KernelSet::published}) {
      const auto made = plan_of("bifurcated", forest, traces::parse_heads(text), kernels);
      ASSERT_TRUE(std::holds_alternative<Plan>(made)) << text;
      const Plan& plan = std::get<Plan>(made);
      SCOPED_TRACE(std::string("heads ") + text);
      expect_near(plan, "bifurcated", shuffled(1));
      const costmodel::WorkCounts want = counts_of(plan);
      EmulateOptions options;
      options.row_dtype = plan.heads.q_dtype;
      const emulator::Counters got = emulate(plan, TensorSource{1}, options).counters;
      EXPECT_EQ(got.launches, static_cast<std::int64_t>(plan.launches.size()));
      EXPECT_EQ(got.read(MemoryKind::kv).bytes, want.kv_bytes);
      EXPECT_EQ(got.read(MemoryKind::query).bytes, want.query_bytes);
      EXPECT_EQ(got.mma_flops(), want.mma_flops);
      EXPECT_EQ(got.written(MemoryKind::output).bytes, want.output_bytes);
      EXPECT_LE(static_cast<double>(got.shared_reads.conflicts()),
                0.02 * static_cast<double>(got.shared_reads.wavefronts));
    }
  }
}

TEST(EmulatedStrategies, ReadSharedMemoryWithoutBankConflicts) {
  for (const char* text : {"8/2/128", "4/2/64", "4/2/256", "4/1/576:512"}) {
    const auto made = plan_of("espalier", traces::make_forest(property::star(100, 4, 30)), traces::parse_heads(text),
                              KernelSet::ours);
    const emulator::Counters got = emulate(std::get<Plan>(made), TensorSource{1}).counters;
    EXPECT_GT(got.shared_reads.wavefronts, 0) << text;
    EXPECT_LE(static_cast<double>(got.shared_reads.conflicts()),
              0.02 * static_cast<double>(got.shared_reads.wavefronts))
        << text;
    // Every sector that is touched is read whole.
    EXPECT_EQ(got.read(MemoryKind::kv).sectors * 32, got.read(MemoryKind::kv).bytes) << text;
  }
}

TEST(EmulatedStrategies, GiveRowsOfFp32WhoseErrorIsFarBelowThatOf16BitProbabilities) {
  for (const char* text : {"8/2/128", "4/1/576:512"}) {
    const auto made =
        plan_of("espalier", traces::make_forest(property::star(40, 4, 3)), traces::parse_heads(text), KernelSet::ours);
    const Plan& plan = std::get<Plan>(made);
    const TensorSource source{5};
    const AttentionOutput want = naive_attention(plan.forest, plan.heads, source);
    EmulateOptions options;
    EXPECT_LE(row_error(emulate(plan, source, options).output, want).worst, 5e-5) << text;
    options.row_dtype = traces::Dtype::bf16;
    const double rounded = row_error(emulate(plan, source, options).output, want).worst;
    EXPECT_GT(rounded, 1e-3) << text;
    EXPECT_LE(rounded, 4e-3) << text;
  }
}

}  // namespace
}  // namespace espalier::kernels

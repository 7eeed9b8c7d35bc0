// The kernels' own source in the emulator, against the oracle: hand-written plans for every thing a plan can say, then
// strategies.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "core/error.h"
#include "kernels/emulate.h"
#include "kernels/row_error.h"
#include "scheduler/strategy.h"
#include "tests/cuda/oracle_check.h"
#include "tests/kernels/hand_plans.h"
#include "tests/property/forests.h"

namespace espalier::kernels {
namespace {

using namespace testing;
using emulator::CopyMoment;
using emulator::Order;
using property::full_run;
using traces::Dtype;

struct Kind {
  const char* heads;
  Dtype q_dtype = Dtype::bf16, kv_dtype = Dtype::bf16;
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = {
      {"8/2/128"},
      {"4/1/64"},
      {"4/2/256"},
      {"4/1/576:512"},
      {"6/2/128", Dtype::fp16, Dtype::fp16},
      {"8/2/128", Dtype::bf16, Dtype::fp8_e4m3},
  };
  return all;
}

HeadConfig heads_of(const Kind& kind) {
  HeadConfig heads = traces::parse_heads(kind.heads);
  heads.q_dtype = kind.q_dtype;
  heads.kv_dtype = kind.kv_dtype;
  return heads;
}

std::string name_of(const Kind& kind) {
  return std::string(kind.heads) + " " + std::string(traces::dtype_name(kind.q_dtype)) + "/" +
         std::string(traces::dtype_name(kind.kv_dtype));
}

/// Ways to run that must not matter.
std::vector<EmulateOptions> ways() {
  std::vector<EmulateOptions> all;
  all.push_back({});
  all.push_back({.machine = {.order = Order::backward, .copies = CopyMoment::earliest}, .row_dtype = Dtype::bf16});
  for (std::uint64_t seed = 1; seed <= (full_run() ? 8U : 1U); ++seed) {
    all.push_back({.machine = {.order = Order::shuffled,
                               .seed = seed,
                               .copies = seed % 2 == 0 ? CopyMoment::earliest : CopyMoment::latest,
                               .resident_blocks = 5}});
  }
  for (EmulateOptions& way : all) way.machine.count_accesses = false;
  return all;
}

/// Between two edits each plan runs one of the ways, and neighbours in a test different ones.
void expect_right_some_way(const Plan& plan, const std::string& what, const EmulateOptions& base = {}) {
  static std::size_t turn = 0;
  const std::vector<EmulateOptions> all = ways();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!full_run() && i != turn % all.size()) continue;
    EmulateOptions way = all[i];
    way.most_shared_bytes = base.most_shared_bytes;
    if (way.row_dtype == Dtype::bf16) way.row_dtype = plan.heads.q_dtype;
    expect_right(plan, what + ", way " + std::to_string(i), way);
  }
  ++turn;
}

/// Heads that a kernel is for, a few of them.
HeadConfig heads_for(const AttendInstance& kernel) {
  HeadConfig heads;
  heads.q_heads = 4;
  heads.kv_heads = kernel.v_in_k ? 1 : 2;
  heads.qk_dim = kernel.qk_dim;
  heads.v_dim = kernel.v_dim;
  heads.v_in_k = kernel.v_in_k;
  heads.q_dtype = kernel.q_dtype;
  heads.kv_dtype = kernel.kv_dtype;
  return heads;
}

TEST(EmulatedKernels, EqualTheOracleEachWhereAPlanNamesIt) {
  std::set<std::string> seen;
  for (const AttendInstance& kernel : host_kernels().attend) {
    if (kernel.kind != TaskKind::attend || kernel.path != KernelPath::plain) continue;
    costmodel::KernelConfig config = attend_kernel(true, kernel.query_tile);
    config.kv_tile = kernel.kv_tile;
    config.stages = kernel.stages;
    const Plan plan = node_halves(small_forest(), heads_for(kernel), config);
    EmulateOptions options;
    options.most_shared_bytes = kernel.shared_bytes;
    EXPECT_STREQ(lower_plan(plan, {host_kernels(), options.most_shared_bytes}).launches.front().attend->name,
                 kernel.name);
    // Of equal tiles, one is for where the other doesn't fit.
    if (!std::string(kernel.name).ends_with("_small")) {
      EXPECT_STREQ(lower_plan(plan, {host_kernels()}).launches.front().attend->name, kernel.name);
    }
    expect_right_some_way(plan, kernel.name, options);
    EXPECT_TRUE(seen.insert(kernel.name).second) << kernel.name;
  }
  EXPECT_GE(seen.size(), 35U);
}

/// What lowering a plan complains of; empty when it doesn't.
std::string refusal(const Plan& plan, std::int64_t most_shared_bytes = 1 << 20) {
  try {
    lower_plan(plan, {host_kernels(), most_shared_bytes});
  } catch (const core::Error& error) {
    return error.what();
  }
  return {};
}

TEST(EmulatedKernels, AreRefusedForHeadsThatOnlyTheSoftmaxFits) {
  EXPECT_THAT(refusal(node_halves(small_forest(), traces::parse_heads("4/2/96"))),
              ::testing::HasSubstr("no kernel for heads 4/2/96 with bf16 queries"));
}

TEST(EmulatedKernels, AreRefusedWhereABlockHasTooLittleSharedMemory) {
  const Plan plan = node_halves(small_forest(), traces::parse_heads("4/2/256"));
  EXPECT_EQ(refusal(plan), "");
  EXPECT_THAT(refusal(plan, 48 << 10), ::testing::HasSubstr("of shared memory, a block here has at most 48.0 KiB"));
}

TEST(EmulatedKernels, EqualTheOracleOnSegmentsWithRowIntervals) {
  for (const Kind& kind : kinds()) {
    expect_right_some_way(one_mixed_task(small_forest(), heads_of(kind)), name_of(kind));
  }
}

TEST(EmulatedKernels, EqualTheOracleOnFoldedPartials) {
  for (const Kind& kind : kinds()) expect_right_some_way(folded(small_forest(), heads_of(kind)), name_of(kind));
}

TEST(EmulatedKernels, EqualTheOracleOnTwoProductsWithOneSoftmax) {
  for (const Kind& kind : kinds()) {
    if (heads_of(kind).v_in_k) continue;
    // Scores of the root stand in two slots of odd numbers of columns, and its values are one task.
    Plan plan = two_gemms(small_forest(), heads_of(kind));
    expect_right_some_way(plan, name_of(kind));
  }
}

TEST(EmulatedKernels, AreRefusedWhereStoredScoresAreMaskedOrOutOfOrder) {
  const Plan plan = two_gemms(small_forest(), traces::parse_heads("8/2/128"));
  EXPECT_EQ(refusal(plan), "");
  const auto values =
      std::find_if(plan.tasks.begin(), plan.tasks.end(), [](const Task& t) { return t.kind == TaskKind::values; });
  Plan swapped = plan;
  const auto fold = swapped.fold_slots.begin() + values->folds.begin;
  std::swap(fold[0], fold[1]);
  EXPECT_THAT(refusal(swapped), ::testing::HasSubstr("reads tokens in another order than its scores stand in"));
  Plan masked = plan;
  masked.segments.front().row_begin = 1;
  EXPECT_THAT(refusal(masked), ::testing::HasSubstr("scores task 0, whose rows see different tokens"));
}

TEST(EmulatedKernels, EqualTheOracleOnTreesOfSteps) {
  for (const PhaseStart start : {PhaseStart::on_arrival, PhaseStart::barrier}) {
    expect_right_some_way(tree_merge(small_forest(), traces::parse_heads("8/2/128"), start), "steps");
  }
}

}  // namespace
}  // namespace espalier::kernels

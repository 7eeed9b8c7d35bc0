// The kernels' own source in the emulator, against the oracle: hand-written plans for every thing a plan can say, then strategies.
#include <gtest/gtest.h>

#include <string>

#include "kernels/emulate.h"
#include "kernels/row_error.h"
#include "scheduler/strategy.h"
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
  std::vector<std::int32_t> tiles = {16, 32, 64, 128};
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = {
      {"8/2/128"},
      {"4/1/64"},
      {"4/2/256"},
      {"4/1/576:512", Dtype::bf16, Dtype::bf16, {16, 32, 64}},
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
  return std::string(kind.heads) + " " + std::string(traces::dtype_name(kind.q_dtype)) + "/" + std::string(traces::dtype_name(kind.kv_dtype));
}

void expect_right(const Plan& plan, const std::string& what, const EmulateOptions& options = {}) {
  const TensorSource source{7};
  const AttentionOutput want = naive_attention(plan.forest, plan.heads, source);
  const RowError error = row_error(emulate(plan, source, options).output, want);
  EXPECT_LE(error.worst, row_tolerance(plan, options.row_dtype)) << what << ": request " << error.request << ", head " << error.head;
  EXPECT_LE(error.worst_lse, 1e-4) << what;
}

/// Ways to run that must not matter.
std::vector<EmulateOptions> ways() {
  std::vector<EmulateOptions> all;
  all.push_back({});
  all.push_back({.machine = {.order = Order::backward, .copies = CopyMoment::earliest}, .row_dtype = Dtype::bf16});
  for (std::uint64_t seed = 1; seed <= (full_run() ? 8U : 1U); ++seed) {
    all.push_back({.machine = {.order = Order::shuffled, .seed = seed, .copies = seed % 2 == 0 ? CopyMoment::earliest : CopyMoment::latest, .resident_blocks = 5}});
  }
  for (EmulateOptions& way : all) way.machine.count_accesses = false;
  return all;
}

/// Between two edits each plan runs one of the ways, and neighbours in a test different ones.
void expect_right_some_way(const Plan& plan, const std::string& what) {
  static std::size_t turn = 0;
  const std::vector<EmulateOptions> all = ways();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!full_run() && i != turn % all.size()) continue;
    EmulateOptions way = all[i];
    if (way.row_dtype == Dtype::bf16) way.row_dtype = plan.heads.q_dtype;
    expect_right(plan, what + ", way " + std::to_string(i), way);
  }
  ++turn;
}

TEST(EmulatedKernels, EqualTheOracleOnSplitNodes) {
  for (const Kind& kind : kinds()) {
    for (const std::int32_t tile : kind.tiles) {
      expect_right_some_way(node_halves(small_forest(), heads_of(kind), attend_kernel(true, tile)), name_of(kind) + ", tile " + std::to_string(tile));
    }
  }
}

TEST(EmulatedKernels, EqualTheOracleOnSegmentsWithRowIntervals) {
  for (const Kind& kind : kinds()) {
    expect_right_some_way(one_mixed_task(small_forest(), heads_of(kind)), name_of(kind));
  }
}

TEST(EmulatedKernels, EqualTheOracleOnFoldedPartials) {
  for (const Kind& kind : kinds()) expect_right_some_way(folded(small_forest(), heads_of(kind)), name_of(kind));
}

TEST(EmulatedKernels, EqualTheOracleOnTreesOfSteps) {
  for (const PhaseStart start : {PhaseStart::on_arrival, PhaseStart::barrier}) {
    expect_right_some_way(tree_merge(small_forest(), traces::parse_heads("8/2/128"), start), "steps");
  }
}

}  // namespace
}  // namespace espalier::kernels

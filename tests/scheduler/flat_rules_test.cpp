// The flat methods against the acceptance values of their published planners: split counts, chunk sizes, work items,
// and what the plans made of them hold.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "core/units.h"
#include "scheduler/plan_statistics.h"
#include "scheduler/strategies/split_rules.h"
#include "scheduler/strategy.h"
#include "scheduler/validate.h"
#include "tests/scheduler/unshared.h"
#include "traces/import.h"

namespace espalier::scheduler {
namespace {

using testing::HasSubstr;
using traces::PrefixForest;

const costmodel::DeviceSpec& h100() {
  static const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  return device;
}

PlanResult result_of(std::string_view strategy, const PrefixForest& forest, const char* heads, KernelSet kernels) {
  return make_plan(parse_strategy(strategy), PlanRequest{forest, traces::parse_heads(heads), h100(), kernels});
}

Plan plan_of(std::string_view strategy, const PrefixForest& forest, const char* heads = "32/8/128",
             KernelSet kernels = KernelSet::published) {
  PlanResult result = result_of(strategy, forest, heads, kernels);
  if (const auto* refusal = std::get_if<Refusal>(&result)) {
    ADD_FAILURE() << refusal->sentence;
    return {};
  }
  Plan plan = std::get<Plan>(std::move(result));
  EXPECT_EQ(violations_text(validate(plan, h100())), "valid");
  return plan;
}

/// Pieces of each request, in request order.
std::vector<std::int64_t> pieces_of(const Plan& plan) {
  std::vector<std::int64_t> pieces(plan.forest.request_count(), 0);
  for (const Task& task : plan.tasks) {
    if (task.kind == TaskKind::attend && task.head_begin == 0) {
      ++pieces[plan.query_rows[static_cast<std::size_t>(task.queries.begin)].index()];
    }
  }
  return pieces;
}

std::int64_t launches_of(const Plan& plan) { return static_cast<std::int64_t>(plan.launches.size()); }

/// 32/8 heads, d 128, P 16, 132 SMs, equal lengths.
struct Row {
  std::int64_t requests, length, fa2, fa2_on_108, fa3_static, fa3_bound, fa3_per_sm, fa3_splits, chunk_pages, items,
      sglang;
};
constexpr Row kRows[] = {{1, 1024, 8, 8, 7, 7, 1, 7, 8, 8, 8},          {1, 8192, 32, 22, 15, 15, 5, 13, 8, 64, 8},
                         {1, 32768, 29, 24, 15, 15, 18, 15, 32, 64, 8}, {4, 8192, 7, 6, 4, 15, 18, 4, 32, 64, 8},
                         {8, 8192, 4, 3, 2, 15, 35, 2, 64, 64, 8},      {16, 8192, 2, 3, 1, 15, 69, 1, 128, 64, 8},
                         {32, 8192, 1, 1, 1, 15, 137, 1, 256, 64, 4},   {64, 32768, 1, 1, 1, 15, 1093, 1, 2048, 64, 3}};

class FlatRules : public ::testing::TestWithParam<Row> {
 protected:
  const Row row = GetParam();
  const PrefixForest forest = unshared(equal_lengths(row.requests, row.length), 16);
  /// Non-empty pieces when `splits` share the blocks of a request.
  std::int64_t pieces(std::int64_t block, std::int64_t splits) const {
    return core::ceil_div(row.length, core::ceil_div(core::ceil_div(row.length, block), splits) * block);
  }
  void expect_pieces(const Plan& plan, std::int64_t pieces) const {
    EXPECT_THAT(pieces_of(plan), testing::Each(pieces));
    EXPECT_EQ(statistics(plan).tasks, 8 * row.requests * pieces);
    EXPECT_EQ(statistics(plan).max_partials_per_request, pieces > 1 ? pieces : 0);
  }
};

TEST_P(FlatRules, FlashDecodingSplitsAsFa2) {
  expect_pieces(plan_of("flash_decoding", forest), pieces(128, row.fa2));
  const costmodel::DeviceSpec small = costmodel::find_device("a100-80");
  const Plan plan = std::get<Plan>(make_plan(parse_strategy("flash_decoding"),
                                             {forest, traces::parse_heads("32/8/128"), small, KernelSet::published}));
  EXPECT_THAT(pieces_of(plan), testing::Each(pieces(128, row.fa2_on_108)));
}

TEST_P(FlatRules, Fa3StaticSplitsByItsRule) {
  EXPECT_EQ(planning::fa3_split_bound(row.requests * 8, 132, core::ceil_div(row.length, std::int64_t{128})),
            row.fa3_static);
  const Plan plan = plan_of("fa3_static", forest);
  expect_pieces(plan, pieces(128, row.fa3_static));
  EXPECT_EQ(statistics(plan).tasks + statistics(plan).padding, 8 * row.requests * row.fa3_static);
  EXPECT_EQ(launches_of(plan), row.fa3_static > 1 ? 2 : 1);
}

TEST_P(FlatRules, Fa3DynamicSplitsByTheBatch) {
  const std::int64_t blocks = core::ceil_div(row.length, std::int64_t{128}),
                     bound = planning::fa3_split_bound(8, 132, blocks);
  EXPECT_EQ(bound, row.fa3_bound);
  const auto splits = planning::fa3_dynamic_splits(equal_lengths(row.requests, blocks), 8, 132, bound);
  EXPECT_EQ(splits.blocks_per_sm, row.fa3_per_sm);
  EXPECT_THAT(splits.of, testing::Each(row.fa3_splits));
  expect_pieces(plan_of("fa3_dynamic", forest), pieces(128, row.fa3_splits));
}

TEST_P(FlatRules, FlashInferDecodeFillsTheDeviceOnce) {
  const Plan plan = plan_of("flashinfer_decode", forest);
  EXPECT_EQ(costmodel::ctas_per_sm(plan.kernels[KernelId(0)], plan.heads, h100()), 4);
  std::int64_t longest = 0;
  for (const Task& task : plan.tasks) longest = std::max(longest, task_shape(plan, task).kv_tokens);
  EXPECT_EQ(longest, row.chunk_pages * 16);
  EXPECT_EQ(statistics(plan).tasks, 8 * row.items);
}

TEST_P(FlatRules, SglangSplitsUpToEight) {
  const auto splits = planning::sglang_splits(equal_lengths(row.requests, row.length), {row.requests * 8, 132, 8});
  EXPECT_THAT(splits, testing::Each(row.sglang));
  const Plan plan = plan_of("sglang_triton", forest);
  EXPECT_THAT(pieces_of(plan), testing::Each(row.sglang));
  EXPECT_EQ(statistics(plan).tasks + statistics(plan).padding, 8 * row.requests * 8);
  EXPECT_EQ(launches_of(plan), 2);
}

INSTANTIATE_TEST_SUITE_P(Published, FlatRules, ::testing::ValuesIn(kRows), [](const auto& row) {
  return std::to_string(row.param.requests) + "x" + std::to_string(row.param.length);
});

/// One request of 32,768 tokens and 31 of 512.
PrefixForest ragged() {
  std::vector<std::int64_t> lengths = equal_lengths(32, 512);
  lengths[7] = 32768;
  return unshared(lengths);
}

TEST(Fa3Dynamic, SplitsTheLongRequestOfARaggedBatch) {
  std::vector<std::int64_t> blocks = equal_lengths(32, 4);
  blocks[7] = 256;
  const auto splits = planning::fa3_dynamic_splits(blocks, 8, 132, 16);
  EXPECT_EQ(splits.blocks_per_sm, 26);
  for (std::size_t i = 0; i < blocks.size(); ++i) EXPECT_EQ(splits.of[i], i == 7 ? 10 : 1);
  const Plan plan = plan_of("fa3_dynamic", ragged());
  EXPECT_EQ(pieces_of(plan)[7], 10);
  EXPECT_EQ(statistics(plan).tasks, 8 * (10 + 31));
  EXPECT_EQ(statistics(plan).max_partials_per_request, 10);
  // The long request's pieces go first.
  EXPECT_EQ(plan.query_rows[static_cast<std::size_t>(plan.tasks[TaskId(0)].queries.begin)], RequestId(7));
}

TEST(Fa3Dynamic, SplitsNothingAboveWhatOnePlannerCtaCounts) {
  EXPECT_EQ(statistics(plan_of("fa3_dynamic:planner=1", unshared(equal_lengths(992, 4)))).launches, 2);
  std::vector<std::int64_t> lengths = equal_lengths(993, 16);
  lengths[0] = 500000;
  const Plan plan = plan_of("fa3_dynamic:planner=1", unshared(lengths));
  EXPECT_THAT(pieces_of(plan), testing::Each(1));
  EXPECT_EQ(statistics(plan).padding, 2);
  EXPECT_THAT(plan.provenance.why.front(), HasSubstr("no split: 993 requests"));
}

TEST(Fa3, TakesTheTilesOfTheGatheringPath) {
  const struct {
    const char* heads;
    std::int32_t rows, tokens;
  } cases[] = {{"32/8/64", 192, 128},     {"32/8/96", 192, 128}, {"32/8/128", 128, 128},    {"32/8/192", 128, 96},
               {"64/4/192+128", 128, 96}, {"16/2/256", 128, 80}, {"128/1/576:512", 64, 64}, {"16/2/264", 0, 0}};
  for (const auto& c : cases) {
    const planning::Fa3Tile tile = planning::fa3_tile(traces::parse_heads(c.heads));
    EXPECT_EQ(tile.rows, c.rows) << c.heads;
    EXPECT_EQ(tile.tokens, c.tokens) << c.heads;
  }
  traces::HeadConfig bytes = traces::parse_heads("32/8/128");
  bytes.kv_dtype = traces::Dtype::fp8_e4m3;
  EXPECT_EQ(planning::fa3_tile(bytes).tokens, 160);
}

TEST(Fa3, DividesTheBlocksOfEachRequest) {
  // 64 blocks in 15 are pieces of 5; 8 blocks in 15 are pieces of one.
  const Plan plan = plan_of("fa3_static:splits=15", unshared({8192, 1000}));
  EXPECT_THAT(pieces_of(plan), testing::ElementsAre(13, 8));
  EXPECT_EQ(statistics(plan).padding, 8 * (2 + 7));
}

TEST(Fa3, NeedsWarpGroupMmaAsPublishedOnly) {
  const costmodel::DeviceSpec a100 = costmodel::find_device("a100-80");
  const PrefixForest forest = unshared({100});
  const traces::HeadConfig heads = traces::parse_heads("32/8/128");
  for (const char* strategy : {"fa3_static", "fa3_dynamic"}) {
    EXPECT_TRUE(std::holds_alternative<Plan>(make_plan(parse_strategy(strategy), {forest, heads, a100})));
    const PlanResult refused = make_plan(parse_strategy(strategy), {forest, heads, a100, KernelSet::published});
    ASSERT_TRUE(std::holds_alternative<Refusal>(refused));
    EXPECT_THAT(std::get<Refusal>(refused).sentence, HasSubstr("warp-group MMA"));
  }
}

TEST(FlashInferDecode, PadsTheGridToTheDeviceWhenAsked) {
  // 4 CTAs an SM: 66 items for each of 8 KV heads.
  const Plan plan = plan_of("flashinfer_decode:graph=1", unshared({8192}));
  EXPECT_EQ(statistics(plan).tasks, 8 * 64);
  EXPECT_EQ(statistics(plan).padding, 8 * 2);
  // A batch that fills the device isn't split, and its grid is the batch.
  EXPECT_EQ(statistics(plan_of("flashinfer_decode:graph=1", unshared(equal_lengths(66, 4096)))).padding, 0);
}

TEST(FlashInferDecode, ShapesItsCtaForTheHeads) {
  const struct {
    const char* heads;
    std::int32_t threads, tile;
  } cases[] = {{"32/32/128", 128, 32}, {"32/8/128", 128, 8}, {"64/8/128", 128, 8},
               {"32/8/64", 128, 16},   {"32/8/256", 128, 4}, {"16/1/128", 256, 16}};
  for (const auto& c : cases) {
    const planning::DecodeShape shape = planning::flashinfer_decode_shape(traces::parse_heads(c.heads));
    EXPECT_EQ(shape.threads, c.threads) << c.heads;
    EXPECT_EQ(shape.kv_tile, c.tile) << c.heads;
  }
}

TEST(FlashInferPrefill, KeepsToTwoCtasAnSm) {
  // 264 CTAs over 8 KV heads are 33 items; 32 chunks of 256 tokens fit, chunks of one page less would be 35.
  const Plan one = plan_of("flashinfer_prefill", unshared({8192}, 16));
  EXPECT_THAT(pieces_of(one), testing::ElementsAre(32));
  EXPECT_EQ(one.kernels[KernelId(0)].name, "flashinfer_prefill_m16");
  // More requests than the budget: nothing is split.
  const Plan many = plan_of("flashinfer_prefill", unshared(equal_lengths(40, 1000)));
  EXPECT_THAT(pieces_of(many), testing::Each(1));
  EXPECT_EQ(launches_of(many), 1);
  EXPECT_EQ(statistics(plan_of("flashinfer_prefill:graph=1", unshared({8192}, 16))).padding, 8);
}

TEST(FlashInferPrefill, TakesTheTileOfItsGroup) {
  EXPECT_EQ(plan_of("flashinfer_prefill", unshared({100}), "32/1/128").kernels[KernelId(0)].query_tile, 64);
  EXPECT_EQ(plan_of("flashinfer_prefill", unshared({100}), "128/1/128").kernels[KernelId(0)].query_tile, 128);
  EXPECT_EQ(plan_of("flashinfer_prefill", unshared({100}), "128/1/576:512").kernels[KernelId(0)].query_tile, 16);
}

TEST(Sglang, SplitsLongRequestsOfARaggedBatchOnly) {
  const Plan plan = plan_of("sglang_triton", ragged());
  // By length: 64 times as long as the shortest, hence 8 splits of 4,096 tokens; shorter contexts are one piece. By
  // device: 132 x 9 over 256 CTAs: 5.
  for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(pieces_of(plan)[i], i == 7 ? 8 : 1);
  // As published the second stage merges all of them.
  EXPECT_EQ(statistics(plan).partial_rows,
            statistics(plan_of("sglang_triton", ragged(), "32/8/128", KernelSet::ours)).partial_rows + 31 * 32);
}

TEST(Sglang, CutsEvenlyInTheDeterministicMode) {
  const Plan plan = plan_of("sglang_triton:deterministic=1", unshared({1000, 300, 20}));
  EXPECT_THAT(pieces_of(plan), testing::ElementsAre(4, 2, 1));
  EXPECT_EQ(statistics(plan).padding, 8 * (0 + 2 + 3));
}

}  // namespace
}  // namespace espalier::scheduler

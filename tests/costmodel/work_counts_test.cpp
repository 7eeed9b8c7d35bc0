// Counts worked out by hand.
#include "costmodel/work_counts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/rng.h"

namespace espalier::costmodel {
namespace {

using traces::HeadConfig;
using traces::parse_heads;

const HeadConfig kGqa = parse_heads("32/8/128");

TaskShape attend(std::int32_t queries, std::int32_t heads, std::int64_t tokens) {
  TaskShape shape;
  shape.queries = queries;
  shape.heads = heads;
  shape.kv_tokens = tokens;
  shape.visible_pairs = queries * tokens;
  return shape;
}

KernelConfig tile_kernel(std::int32_t query_tile, std::int32_t kv_tile) {
  KernelConfig kernel;
  kernel.name = "test";
  kernel.query_tile = query_tile;
  kernel.kv_tile = kv_tile;
  return kernel;
}

TEST(CountTask, CountsGroupedQueriesByHand) {
  // 3 requests x 4 heads = 12 rows in a tile of 16; 100 tokens = 2 tiles of 64.
  TaskShape shape = attend(3, 4, 100);
  shape.writes_partial = true;
  const WorkCounts c = count_task(shape, tile_kernel(16, 64), kGqa);
  EXPECT_EQ(c.kv_tiles, 2);
  EXPECT_EQ(c.kv_bytes, 100 * 256 * 2);
  EXPECT_EQ(c.query_bytes, 12 * 128 * 2);
  EXPECT_EQ(c.partial_write_bytes, 12 * (128 * 4 + 4));
  EXPECT_EQ(c.output_bytes, 0);
  EXPECT_EQ(c.partial_read_bytes, 0);
  EXPECT_EQ(c.logical_flops, 2 * 12 * 100 * 256);
  EXPECT_EQ(c.mma_flops, 2 * 16 * 128 * 256);
  EXPECT_EQ(c.exps, 16 * 128 + 16 * 2);
  EXPECT_EQ(c.fma_flops, 16 * 128 * 16 + 16 * 2 * 128 * 2);
  EXPECT_EQ(c.conversions, 0);
  EXPECT_EQ(c.smem_write_bytes, c.kv_bytes + c.query_bytes);
  EXPECT_EQ(c.smem_read_bytes, c.kv_bytes + c.query_bytes);
  EXPECT_EQ(c.read_bytes(), c.kv_bytes + c.query_bytes);
  EXPECT_EQ(c.write_bytes(), c.partial_write_bytes);
}

TEST(CountTask, CountsOneFullTileOfOneHead) {
  const WorkCounts c = count_task(attend(16, 1, 64), tile_kernel(16, 64), parse_heads("32/32/128"));
  EXPECT_EQ(c.kv_tiles, 1);
  EXPECT_EQ(c.mma_flops, c.logical_flops);
  EXPECT_EQ(c.output_bytes, 16 * 128 * 2);
  EXPECT_EQ(c.partial_write_bytes, 0);
  // One token more costs a whole tile of arithmetic and one token of bytes.
  const WorkCounts more = count_task(attend(16, 1, 65), tile_kernel(16, 64), parse_heads("32/32/128"));
  EXPECT_EQ(more.mma_flops, 2 * c.mma_flops);
  EXPECT_EQ(more.kv_bytes - c.kv_bytes, 512);
}

TEST(CountTask, ReadsSharedMemoryOncePerRowGroup) {
  const KernelConfig kernel = tile_kernel(64, 64);
  for (const auto& [rows, passes] : {std::pair{1, 4}, std::pair{64, 4}}) {
    const WorkCounts c = count_task(attend(rows, 1, 640), kernel, kGqa);
    EXPECT_EQ(c.smem_read_bytes, passes * c.kv_bytes + c.query_bytes);
  }
  KernelConfig wide = kernel;
  wide.rows_per_warp = 32;
  const WorkCounts c = count_task(attend(64, 1, 640), wide, kGqa);
  EXPECT_EQ(c.smem_read_bytes, 2 * c.kv_bytes + c.query_bytes);
}

TEST(CountTask, StoresLatentKeysAndValuesOnceButUsesThemTwice) {
  const WorkCounts c = count_task(attend(1, 128, 64), tile_kernel(128, 64), parse_heads("128/1/576:512"));
  EXPECT_EQ(c.kv_bytes, 64 * 576 * 2);
  EXPECT_EQ(c.logical_flops, 2 * 128 * 64 * (576 + 512));
  EXPECT_EQ(c.query_bytes, 128 * 576 * 2);
  EXPECT_EQ(c.output_bytes, 128 * 512 * 2);
  EXPECT_EQ(c.smem_write_bytes, c.kv_bytes + c.query_bytes);
  EXPECT_EQ(c.smem_read_bytes, 8 * 64 * (576 + 512) * 2 + c.query_bytes);
}

TEST(CountTask, ConvertsFp8OnlyUnderWiderQueries) {
  HeadConfig heads = kGqa;
  heads.kv_dtype = traces::Dtype::fp8_e4m3;
  const WorkCounts wide = count_task(attend(1, 4, 100), tile_kernel(16, 64), heads);
  EXPECT_EQ(wide.kv_bytes, 100 * 256);
  EXPECT_EQ(wide.conversions, 100 * 256);
  heads.q_dtype = traces::Dtype::fp8_e4m3;
  const WorkCounts native = count_task(attend(1, 4, 100), tile_kernel(16, 64), heads);
  EXPECT_EQ(native.conversions, 0);
  EXPECT_EQ(native.query_bytes, 4 * 128);
}

TEST(CountTask, CountsOnlyVisiblePairsAsLogical) {
  TaskShape shape = attend(4, 1, 128);
  shape.segments = 2;
  shape.visible_pairs = 4 * 64 + 1 * 64;
  const WorkCounts c = count_task(shape, tile_kernel(16, 64), kGqa);
  EXPECT_EQ(c.logical_flops, 2 * 320 * 256);
  EXPECT_EQ(c.mma_flops, 2 * 16 * 128 * 256);
}

TEST(CountTask, CountsFoldedPartials) {
  TaskShape shape = attend(2, 4, 64);
  shape.folded_rows = 6;
  KernelConfig kernel = tile_kernel(16, 64);
  kernel.partial_dtype = traces::Dtype::fp16;
  const WorkCounts plain = count_task(attend(2, 4, 64), kernel, kGqa);
  const WorkCounts c = count_task(shape, kernel, kGqa);
  EXPECT_EQ(c.partial_read_bytes, 6 * 4 * (128 * 2 + 4));
  EXPECT_EQ(c.exps - plain.exps, 24);
  EXPECT_EQ(c.fma_flops - plain.fma_flops, 24 * 128 * 2);
}

TEST(CountTask, MovesMmaToTheCudaCores) {
  KernelConfig kernel = tile_kernel(1, 4);
  const WorkCounts tensor = count_task(attend(1, 1, 10), kernel, kGqa);
  kernel.engine = Engine::cuda_core;
  const WorkCounts scalar = count_task(attend(1, 1, 10), kernel, kGqa);
  EXPECT_EQ(scalar.mma_flops, 0);
  EXPECT_EQ(scalar.fma_flops, tensor.fma_flops + tensor.mma_flops);
}

TEST(CountTask, CountsRowsAboveTheTileAsSeveralTiles) {
  const WorkCounts c = count_task(attend(20, 1, 64), tile_kernel(16, 64), kGqa);
  EXPECT_EQ(c.mma_flops, 2 * 32 * 64 * 256);
  EXPECT_EQ(c.kv_bytes, 64 * 512);
}

TEST(CountTask, CountsTheTwoGemmRolesByHand) {
  TaskShape shape = attend(5, 4, 100);
  shape.role = KernelRole::scores;
  const KernelConfig kernel = tile_kernel(64, 64);
  const WorkCounts scores = count_task(shape, kernel, kGqa);
  EXPECT_EQ(scores.kv_bytes, 100 * 128 * 2);
  EXPECT_EQ(scores.query_bytes, 20 * 128 * 2);
  EXPECT_EQ(scores.score_write_bytes, 20 * 100 * 2);
  EXPECT_EQ(scores.logical_flops, 2 * 20 * 100 * 128);
  EXPECT_EQ(scores.exps, 0);
  EXPECT_EQ(scores.write_bytes(), scores.score_write_bytes);

  TaskShape softmax;
  softmax.role = KernelRole::softmax;
  softmax.queries = 5;
  softmax.heads = 4;
  softmax.folded_rows = 5;
  softmax.folded_columns = 130;
  const WorkCounts s = count_task(softmax, kernel, kGqa);
  EXPECT_EQ(s.score_read_bytes, 20 * 130 * 2);
  EXPECT_EQ(s.score_write_bytes, 20 * 130 * 2);
  EXPECT_EQ(s.exps, 20 * 130);
  EXPECT_EQ(s.kv_bytes + s.query_bytes + s.mma_flops + s.kv_tiles, 0);

  shape.role = KernelRole::values;
  shape.folded_rows = 5;
  shape.folded_columns = 100;
  shape.writes_partial = true;
  const WorkCounts values = count_task(shape, kernel, kGqa);
  EXPECT_EQ(values.kv_bytes, 100 * 128 * 2);
  EXPECT_EQ(values.query_bytes, 0);
  EXPECT_EQ(values.score_read_bytes, 20 * 100 * 2);
  EXPECT_EQ(values.partial_write_bytes, 20 * 516);
  EXPECT_EQ(values.logical_flops + scores.logical_flops, count_task(attend(5, 4, 100), kernel, kGqa).logical_flops);
}

TEST(CountTask, CountsAbsurdLengthsExactlyOrThrows) {
  constexpr std::int64_t kBillion = 1'000'000'000;
  const WorkCounts c = count_task(attend(64, 1, kBillion), tile_kernel(64, 64), kGqa);
  EXPECT_EQ(c.kv_bytes, 512 * kBillion);
  EXPECT_EQ(c.logical_flops, 2 * 64 * kBillion * 256);
  TaskShape huge = attend(1 << 30, 1 << 12, kBillion);
  EXPECT_THROW(count_task(huge, tile_kernel(64, 64), kGqa), core::Error);
  EXPECT_THROW(WorkCounts(c).add_times(c, std::int64_t{1} << 40), core::Error);
}

TEST(CountTask, IsNothingForAnEmptyTask) {
  const WorkCounts c = count_task(attend(0, 4, 0), tile_kernel(16, 64), kGqa);
  EXPECT_EQ(c, WorkCounts());
}

TEST(CountReduction, ReadsEveryInputAndWritesOnce) {
  ReductionShape shape{.rows = 3, .heads = 4, .inputs = 5};
  const WorkCounts final_rows = count_reduction(shape, our_reduce_kernel(), kGqa);
  EXPECT_EQ(final_rows.partial_read_bytes, 5 * 12 * 516);
  EXPECT_EQ(final_rows.output_bytes, 12 * 128 * 2);
  EXPECT_EQ(final_rows.partial_write_bytes, 0);
  EXPECT_EQ(final_rows.exps, 60);
  EXPECT_EQ(final_rows.fma_flops, 60 * 128 * 2);
  shape.writes_partial = true;
  const WorkCounts partial = count_reduction(shape, find_kernel("codec_por"), kGqa);
  EXPECT_EQ(partial.partial_read_bytes, 5 * 12 * 260);
  EXPECT_EQ(partial.partial_write_bytes, 12 * 260);
  EXPECT_EQ(partial.output_bytes, 0);
}

TEST(WorkCounts, AddsEveryMember) {
  core::Rng rng(7);
  WorkCounts one;
  static_assert(sizeof(WorkCounts) % sizeof(std::int64_t) == 0);
  auto* members = reinterpret_cast<std::int64_t*>(&one);
  constexpr std::size_t kMembers = sizeof(WorkCounts) / sizeof(std::int64_t);
  for (std::size_t i = 0; i < kMembers; ++i) members[i] = rng.integer(1, 1000);
  WorkCounts sum = one;
  sum.add_times(one, 6) += one;
  const auto* sums = reinterpret_cast<const std::int64_t*>(&sum);
  for (std::size_t i = 0; i < kMembers; ++i) EXPECT_EQ(sums[i], 8 * members[i]) << i;
}

/// Cycles per token on one pipe, for full row tiles.
TileCycles per_token(std::int32_t rows, std::int32_t rows_per_warp, std::string_view device) {
  KernelConfig kernel = tile_kernel(rows, 64);
  kernel.rows_per_warp = rows_per_warp;
  TileCycles c = tile_cycles(attend(rows, 1, 640), kernel, kGqa, find_device(device));
  for (double* member : {&c.tensor, &c.exp, &c.fma, &c.convert, &c.smem, &c.total}) *member /= 64;
  return c;
}

TEST(TileCycles, GiveTheKnownRatesPerToken) {
  EXPECT_NEAR(per_token(16, 16, "h100-sxm").tensor, 3.2, 0.03);
  EXPECT_NEAR(per_token(16, 16, "a100-80").tensor, 4.0, 0.01);
  EXPECT_NEAR(per_token(16, 16, "l40s").tensor, 8.0, 0.01);
  EXPECT_NEAR(per_token(16, 16, "rtx4090").tensor, 16.0, 0.01);
  for (const std::int32_t rows : {16, 64, 128}) {
    EXPECT_NEAR(per_token(rows, 16, "h200").smem, 4.0 * (1 + rows / 16.0), 1e-9) << rows;
    EXPECT_NEAR(per_token(rows, 32, "h200").smem, 4.0 * (1 + std::max(1.0, rows / 32.0)), 1e-9) << rows;
    EXPECT_NEAR(per_token(rows, 16, "h200").exp, rows / 16.0, 0.05 * rows / 16.0) << rows;
    EXPECT_NEAR(per_token(rows, 16, "h200").fma, 8.0 * rows / 128, 0.3 * rows / 16.0) << rows;
  }
}

TEST(TileCycles, BreakEvenRowsMatchTheKnownOnes) {
  struct Row {
    const char* device;
    double rows;
  };
  // Rows at which MMA time equals the memory time of the same token.
  for (const Row& row :
       {Row{"h200", 137}, Row{"h100-sxm", 196}, Row{"a100-80", 176}, Row{"rtx4090", 178}, Row{"l40s", 434}}) {
    const DeviceSpec d = find_device(row.device);
    const double memory = 512 * d.sms * d.clocks_per_us() / d.hbm_achievable_bytes_per_us();
    EXPECT_NEAR(memory / (per_token(16, 16, row.device).tensor / 16) / row.rows, 1.0, 0.1) << row.device;
  }
}

TEST(TileCycles, OverlapAndEfficiencyShapeTheTotal) {
  const DeviceSpec d = find_device("h100-sxm");
  KernelConfig kernel = tile_kernel(64, 64);
  kernel.overlap = 1;
  const TileCycles c = tile_cycles(attend(64, 1, 1), kernel, kGqa, d);
  EXPECT_DOUBLE_EQ(c.total, std::max({c.tensor, c.exp, c.fma, c.smem}));
  kernel.overlap = 0;
  EXPECT_DOUBLE_EQ(tile_cycles(attend(64, 1, 1), kernel, kGqa, d).total, c.tensor + c.exp + c.fma + c.smem);
  kernel.efficiency = 0.5;
  EXPECT_DOUBLE_EQ(tile_cycles(attend(64, 1, 1), kernel, kGqa, d).total, 2 * (c.tensor + c.exp + c.fma + c.smem));
}

TEST(TileCycles, IncludeTheStoredScoresOfTheTile) {
  const DeviceSpec d = find_device("h100-sxm");
  TaskShape shape = attend(16, 4, 640);
  shape.role = KernelRole::values;
  // V in and out of shared memory for each of 4 row groups, and 64 x 64 probabilities once each way.
  EXPECT_DOUBLE_EQ(tile_cycles(shape, tile_kernel(64, 64), kGqa, d).smem, (5 * 64 * 128 * 2 + 2 * 64 * 64 * 2) / 128.0);
  shape.role = KernelRole::softmax;
  EXPECT_DOUBLE_EQ(tile_cycles(shape, tile_kernel(1, 1024), kGqa, d).exp, 64 * 1024 / 16.0);
}

TEST(TileCycles, ScaleTensorRateWithDtypeAndEngine) {
  const DeviceSpec d = find_device("h100-sxm");
  const KernelConfig kernel = tile_kernel(64, 64);
  const TaskShape shape = attend(64, 1, 64);
  const double base = tile_cycles(shape, kernel, kGqa, d).tensor;
  HeadConfig heads = kGqa;
  heads.kv_dtype = traces::Dtype::fp8_e4m3;
  const TileCycles widened = tile_cycles(shape, kernel, heads, d);
  EXPECT_DOUBLE_EQ(widened.tensor, base);
  EXPECT_NEAR(widened.convert, 64 * 256 / 10.2, 1e-6);
  heads.q_dtype = traces::Dtype::fp8_e4m3;
  EXPECT_DOUBLE_EQ(tile_cycles(shape, kernel, heads, d).tensor, base / 2);
  KernelConfig wgmma = kernel;
  wgmma.engine = Engine::wgmma;
  EXPECT_DOUBLE_EQ(tile_cycles(shape, wgmma, kGqa, d).tensor, base * 2540 / 4096);
}

}  // namespace
}  // namespace espalier::costmodel

// The exact counts of a task and of a reduction, and the cycles one KV tile takes on each pipe of an SM.
#include "costmodel/work_counts.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "core/error.h"
#include "core/units.h"
#include "costmodel/tile_overlap.h"

namespace espalier::costmodel {

namespace {

/// Of a query and its result, that DeviceSpec::row_ns is for.
constexpr double kRowColumns = 256;

using core::checked_add;
using core::checked_mul;

constexpr std::int64_t kLseBytes = 4;  // the log-sum-exp of a partial row is fp32 whatever the row's dtype
// Issue slots of the softmax for one score: scale, mask, running maximum, subtraction, running sum, conversion and
// moves; "about 8 M / 128 cycles a token" (our estimate). A slot counts 2, as an FMA does.
constexpr std::int64_t kSoftmaxFlopsPerScore = 2 * 8;
constexpr std::int64_t kRescaleFlopsPerValue = 2;  // one multiply of an accumulator a tile, one slot

std::int64_t product(std::initializer_list<std::int64_t> factors) {
  std::int64_t result = 1;
  for (const std::int64_t factor : factors) result = checked_mul(result, factor);
  return result;
}

/// Everything the counts need, worked out once.
struct Sizes {
  std::int64_t rows = 0, padded_rows = 0;
  std::int64_t tiles = 0, padded_tokens = 0;
  std::int64_t q_bytes = 0, kv_bytes = 0;  ///< of one element
  std::int64_t partial_row_bytes = 0, final_row_bytes = 0;
  std::int64_t passes = 0;  ///< reads of the K/V tile from shared memory
  std::int64_t scores =
      0;  ///< computed: of whole tiles; on a CPU, which skips what a row doesn't see, of visible pairs
};

Sizes sizes_of(const TaskShape& shape, const KernelConfig& kernel, const traces::HeadConfig& heads) {
  ESPALIER_CHECK_OP(shape.queries, >=, 0);
  ESPALIER_CHECK_OP(shape.heads, >=, 0);
  ESPALIER_CHECK_OP(shape.kv_tokens, >=, 0);
  ESPALIER_CHECK(kernel.query_tile > 0 && kernel.kv_tile > 0 && kernel.rows_per_warp > 0);
  Sizes s;
  s.rows = checked_mul(shape.queries, shape.heads);
  s.padded_rows = core::round_up(s.rows, kernel.engine == Engine::cpu ? kernel.rows_per_warp : kernel.query_tile);
  s.tiles = core::ceil_div(shape.kv_tokens, kernel.kv_tile);
  s.padded_tokens = checked_mul(s.tiles, kernel.kv_tile);
  s.q_bytes = traces::dtype_bytes(heads.q_dtype);
  s.kv_bytes = traces::dtype_bytes(heads.kv_dtype);
  s.partial_row_bytes = heads.v_dim * std::int64_t{traces::dtype_bytes(kernel.partial_dtype)} + kLseBytes;
  s.final_row_bytes = heads.v_dim * s.q_bytes;
  s.passes = core::ceil_div(s.padded_rows, kernel.rows_per_warp);
  s.scores = kernel.engine == Engine::cpu ? checked_mul(shape.visible_pairs, shape.heads)
                                          : checked_mul(s.padded_rows, s.padded_tokens);
  return s;
}

bool reads_keys(KernelRole role) { return role == KernelRole::attend || role == KernelRole::scores; }
bool reads_values(KernelRole role) { return role == KernelRole::attend || role == KernelRole::values; }

/// Multiply-adds of one row and token are half of this.
std::int64_t flops_per_pair(KernelRole role, const traces::HeadConfig& heads) {
  return 2 *
         ((reads_keys(role) ? std::int64_t{heads.qk_dim} : 0) + (reads_values(role) ? std::int64_t{heads.v_dim} : 0));
}

/// Elements of one token that travel from global to shared memory. V inside K is stored, and read, once.
std::int64_t stored_elements(KernelRole role, const traces::HeadConfig& heads) {
  if (role == KernelRole::attend) return heads.kv_elements_per_token_head();
  return flops_per_pair(role, heads) / 2;
}

/// Elements of one token that one pass reads from shared memory: K for the scores and V for the output, also when V
/// lies in K.
std::int64_t operand_elements(KernelRole role, const traces::HeadConfig& heads) {
  return flops_per_pair(role, heads) / 2;
}

bool widens_kv(const traces::HeadConfig& heads) {
  return heads.kv_dtype == traces::Dtype::fp8_e4m3 && heads.q_dtype != traces::Dtype::fp8_e4m3;
}

void add_flops(WorkCounts& counts, std::int64_t flops, const KernelConfig& kernel) {
  auto& sum = has_tensor_cores(kernel.engine) ? counts.mma_flops : counts.fma_flops;
  sum = checked_add(sum, flops);
}

/// Online softmax over the padded tile, once a KV tile: scores, then the correction of each row's accumulators.
void add_online_softmax(WorkCounts& counts, const Sizes& s, std::int64_t v_dim) {
  const std::int64_t scores = s.scores;
  const std::int64_t corrections = checked_mul(s.padded_rows, s.tiles);
  counts.exps = checked_add(counts.exps, checked_add(scores, corrections));
  counts.fma_flops = checked_add(counts.fma_flops, checked_add(checked_mul(scores, kSoftmaxFlopsPerScore),
                                                               product({corrections, v_dim, kRescaleFlopsPerValue})));
}

/// Partial rows merged into a running row: read, weighted by exp(lse - max), added.
void add_merged_rows(WorkCounts& counts, std::int64_t rows, const Sizes& s, std::int64_t v_dim) {
  counts.partial_read_bytes = checked_add(counts.partial_read_bytes, checked_mul(rows, s.partial_row_bytes));
  counts.exps = checked_add(counts.exps, rows);
  counts.fma_flops = checked_add(counts.fma_flops, product({rows, v_dim, 2}));
}

void add_written_rows(WorkCounts& counts, std::int64_t rows, bool partial, const Sizes& s) {
  auto& sum = partial ? counts.partial_write_bytes : counts.output_bytes;
  sum = checked_add(sum, checked_mul(rows, partial ? s.partial_row_bytes : s.final_row_bytes));
}

}  // namespace

WorkCounts& WorkCounts::operator+=(const WorkCounts& other) { return add_times(other, 1); }

WorkCounts& WorkCounts::add_times(const WorkCounts& other, std::int64_t times) {
  for (const auto member : {&WorkCounts::kv_bytes, &WorkCounts::query_bytes, &WorkCounts::partial_read_bytes,
                            &WorkCounts::partial_write_bytes, &WorkCounts::output_bytes, &WorkCounts::score_read_bytes,
                            &WorkCounts::score_write_bytes, &WorkCounts::logical_flops, &WorkCounts::mma_flops,
                            &WorkCounts::exps, &WorkCounts::fma_flops, &WorkCounts::conversions,
                            &WorkCounts::smem_write_bytes, &WorkCounts::smem_read_bytes, &WorkCounts::kv_tiles}) {
    this->*member = checked_add(this->*member, checked_mul(other.*member, times));
  }
  return *this;
}

WorkCounts count_task(const TaskShape& shape, const KernelConfig& kernel, const traces::HeadConfig& heads) {
  ESPALIER_CHECK(shape.role != KernelRole::reduce);
  const Sizes s = sizes_of(shape, kernel, heads);
  WorkCounts counts;
  if (shape.role == KernelRole::softmax) {
    // In place: every stored score is read, exponentiated and written back.
    const std::int64_t scores = product({shape.folded_rows, shape.heads, shape.folded_columns});
    counts.score_read_bytes = checked_mul(scores, s.q_bytes);
    counts.score_write_bytes = counts.score_read_bytes;
    counts.exps = scores;
    counts.fma_flops = checked_mul(scores, kSoftmaxFlopsPerScore);
    return counts;
  }
  counts.kv_tiles = s.tiles;
  const std::int64_t stored = checked_mul(shape.kv_tokens, stored_elements(shape.role, heads));
  counts.kv_bytes = checked_mul(stored, s.kv_bytes);
  // A CPU widens K for the scores and V for the output, also when V lies in K.
  if (kernel.engine == Engine::cpu) {
    counts.conversions = checked_mul(shape.kv_tokens, operand_elements(shape.role, heads));
  } else if (widens_kv(heads)) {
    counts.conversions = stored;
  }
  if (reads_keys(shape.role)) counts.query_bytes = product({s.rows, heads.qk_dim, s.q_bytes});
  counts.logical_flops = product({shape.visible_pairs, shape.heads, flops_per_pair(shape.role, heads)});
  add_flops(counts, checked_mul(s.scores, flops_per_pair(shape.role, heads)), kernel);

  if (shape.role == KernelRole::scores) counts.score_write_bytes = product({s.rows, shape.kv_tokens, s.q_bytes});
  if (shape.role == KernelRole::values) {
    counts.score_read_bytes = product({shape.folded_rows, shape.heads, shape.folded_columns, s.q_bytes});
  }
  if (shape.role == KernelRole::attend) {
    add_online_softmax(counts, s, heads.v_dim);
    add_merged_rows(counts, checked_mul(shape.folded_rows, shape.heads), s, heads.v_dim);
  }
  if (reads_values(shape.role)) add_written_rows(counts, s.rows, shape.writes_partial, s);

  // K and V pass through shared memory once in and once out for each group of rows that shares a read; Q (or the stored
  // probabilities) once each way.
  const std::int64_t operands = checked_mul(operand_elements(shape.role, heads), s.kv_bytes);
  // On a CPU a row alone takes a read as well.
  const std::int64_t reads = kernel.engine == Engine::cpu
                                 ? std::max(s.scores / kernel.rows_per_warp, std::min(s.scores, shape.kv_tokens))
                                 : checked_mul(shape.kv_tokens, s.passes);
  const std::int64_t row_operand = counts.query_bytes + counts.score_read_bytes;
  counts.smem_write_bytes = checked_add(counts.kv_bytes, row_operand);
  counts.smem_read_bytes = checked_add(checked_mul(reads, operands), row_operand);
  return counts;
}

WorkCounts count_reduction(const ReductionShape& shape, const KernelConfig& kernel, const traces::HeadConfig& heads) {
  ESPALIER_CHECK_OP(shape.rows, >=, 0);
  ESPALIER_CHECK_OP(shape.inputs, >=, 0);
  const Sizes s = sizes_of(TaskShape{.role = KernelRole::reduce}, kernel, heads);
  const std::int64_t rows = checked_mul(shape.rows, shape.heads);
  WorkCounts counts;
  add_merged_rows(counts, checked_mul(rows, shape.inputs), s, heads.v_dim);
  add_written_rows(counts, rows, shape.writes_partial, s);
  return counts;
}

double overlapped_cycles(const TileCycles& pipes, double overlap) {
  const double most = std::max({pipes.tensor, pipes.exp, pipes.fma, pipes.convert, pipes.smem});
  const double sum = pipes.tensor + pipes.exp + pipes.fma + pipes.convert + pipes.smem;
  return most + (1 - overlap) * (sum - most);
}

TileCycles tile_cycles(const TaskShape& shape, const KernelConfig& kernel, const traces::HeadConfig& heads,
                       const DeviceSpec& device) {
  TaskShape tile = shape;
  tile.kv_tokens = kernel.kv_tile;
  // The stored scores that go with this tile; partial rows are folded in once a task, not once a tile.
  const bool has_scores = shape.role == KernelRole::softmax || shape.role == KernelRole::values;
  tile.folded_rows = has_scores ? shape.queries : 0;
  tile.folded_columns = has_scores ? kernel.kv_tile : 0;
  // On a CPU work follows the pairs that are seen: this tile's share of them.
  tile.visible_pairs = kernel.engine != Engine::cpu || shape.kv_tokens == 0
                           ? 0
                           : std::llround(static_cast<double>(shape.visible_pairs) * kernel.kv_tile /
                                          static_cast<double>(shape.kv_tokens));
  const WorkCounts counts = count_task(tile, kernel, heads);
  // The query rows are staged once a task, not once a tile.
  const std::int64_t staged =
      counts.smem_write_bytes - counts.query_bytes + counts.smem_read_bytes - counts.query_bytes;

  double rate = kernel.engine == Engine::wgmma && device.wgmma_flop_per_clk > 0 ? device.wgmma_flop_per_clk
                                                                                : device.mma_flop_per_clk;
  const bool both_fp8 = heads.kv_dtype == traces::Dtype::fp8_e4m3 && heads.q_dtype == traces::Dtype::fp8_e4m3;
  if (both_fp8 && device.fp8_rate_factor > 0) rate *= device.fp8_rate_factor;
  if (heads.q_dtype == traces::Dtype::fp32) rate /= 2;  // TF32 runs at half the 16-bit rate

  TileCycles cycles;
  cycles.tensor = static_cast<double>(counts.mma_flops) / rate;
  cycles.exp = static_cast<double>(counts.exps) / device.ex2_per_clk;
  cycles.fma = static_cast<double>(counts.fma_flops) / device.fma_flop_per_clk;
  cycles.convert = static_cast<double>(counts.conversions) / device.fp8_convert_per_clk;
  cycles.smem = static_cast<double>(staged) / device.smem_bytes_per_clk;
  cycles.total = overlapped_cycles(cycles, kernel.overlap) / kernel.efficiency;
  return cycles;
}

double rows_us(const TaskShape& shape, const traces::HeadConfig& heads, const DeviceSpec& device) {
  if (shape.role != KernelRole::attend) return 0;
  const double columns = heads.qk_dim + heads.v_dim;
  return static_cast<double>(shape.queries) * shape.heads * device.row_ns * 1e-3 * columns / kRowColumns;
}

}  // namespace espalier::costmodel

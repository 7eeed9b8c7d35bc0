// Exact counts of what one task does, from its shape alone: bytes, FLOPs, exponentials, shared-memory traffic.
//
// Nothing here is fitted. Cost models and the simulator share these counts, and an emulator of the kernels must
// reproduce them. Counts are of one copy (one KV head, or one query head for kernels that don't pack heads). Bytes, and
// the shared-memory traffic they cause, are of live rows and tokens; MMA, exponentials and fp32 work are of whole
// tiles, as the hardware runs them. A row count above the query tile is counted as several tiles that share one read of
// the KV; the validator refuses such tasks.
#pragma once

#include <cstdint>

#include "costmodel/kernel_config.h"
#include "traces/head_config.h"

namespace espalier::costmodel {

/// What a task looks like to a cost model: never which task it is.
struct TaskShape {
  KernelRole role = KernelRole::attend;
  std::int32_t queries = 1;    ///< distinct requests
  std::int32_t heads = 1;      ///< query heads of one copy; rows = queries x heads
  std::int64_t kv_tokens = 0;  ///< tokens read (sum over segments)
  std::int64_t visible_pairs =
      0;  ///< sum over segments of tokens x queries that see them (= queries x kv_tokens unmasked)
  std::int32_t segments = 1;
  bool writes_partial = false;   ///< partial row + log-sum-exp instead of the final row
  std::int64_t folded_rows = 0;  ///< of one head: partial rows read back in; softmax, values: rows of stored scores
  std::int64_t folded_columns =
      0;  ///< softmax, values: stored scores of one such row, summed over the slots that hold it
  friend auto operator<=>(const TaskShape&, const TaskShape&) = default;
};

/// Merge of `inputs` partial rows into one, for `rows` rows of `heads` query heads.
struct ReductionShape {
  std::int64_t rows = 1;
  std::int32_t heads = 1;
  std::int32_t inputs = 2;
  bool writes_partial = false;
  friend auto operator<=>(const ReductionShape&, const ReductionShape&) = default;
};

struct WorkCounts {
  std::int64_t kv_bytes = 0;  ///< K and V read from global memory
  std::int64_t query_bytes = 0;
  std::int64_t partial_read_bytes = 0;
  std::int64_t partial_write_bytes = 0;
  std::int64_t output_bytes = 0;
  std::int64_t score_read_bytes = 0;  ///< materialised scores (two-GEMM methods), stored in the query's dtype
  std::int64_t score_write_bytes = 0;
  std::int64_t logical_flops = 0;  ///< visible pairs only: what the mathematics needs
  std::int64_t mma_flops = 0;      ///< with padding of rows and tokens: what the tensor cores execute
  std::int64_t exps = 0;           ///< of padded scores, and one a row and tile for rescaling
  std::int64_t fma_flops =
      0;  ///< fp32 work outside the tensor cores (softmax, rescaling, merging); an issue slot counts 2
  std::int64_t conversions = 0;  ///< KV elements widened (fp8; on a CPU all)
  std::int64_t smem_write_bytes = 0;
  std::int64_t smem_read_bytes = 0;
  std::int64_t kv_tiles = 0;  ///< steps of the main loop

  std::int64_t read_bytes() const { return kv_bytes + query_bytes + partial_read_bytes + score_read_bytes; }
  std::int64_t write_bytes() const { return partial_write_bytes + output_bytes + score_write_bytes; }
  WorkCounts& operator+=(const WorkCounts& other);
  WorkCounts& add_times(const WorkCounts& other, std::int64_t times);  ///< checked
  friend bool operator==(const WorkCounts&, const WorkCounts&) = default;
};

/// Throws Error (bad input) when a count doesn't fit 63 bits.
WorkCounts count_task(const TaskShape& shape, const KernelConfig& kernel, const traces::HeadConfig& heads);
WorkCounts count_reduction(const ReductionShape& shape, const KernelConfig& kernel, const traces::HeadConfig& heads);

/// SM cycles of one full KV tile (softmax: of kv_tile stored scores a row) by pipe, at the device's rates (gpu-model
/// layer 1); and of the whole tile with overlap (layer 2: c_tile = max + (1-w)(sum - max), divided by the kernel's
/// efficiency).
struct TileCycles {
  double tensor = 0, exp = 0, fma = 0, convert = 0, smem = 0;
  double total = 0;
};
TileCycles tile_cycles(const TaskShape& shape, const KernelConfig& kernel, const traces::HeadConfig& heads,
                       const DeviceSpec& device);

/// Microseconds that the query rows of a task that attends take to be set up and finished, their loads and writes
/// aside: row_ns for 128 columns of a query and as many of its result, others in proportion.
double rows_us(const TaskShape& shape, const traces::HeadConfig& heads, const DeviceSpec& device);

}  // namespace espalier::costmodel

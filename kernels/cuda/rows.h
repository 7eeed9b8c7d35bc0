// Partial and final rows in global memory: where they are, and their numbers in pairs of neighbouring columns.
#pragma once

#include "kernels/cuda/tile.h"

namespace espalier::kernels::ESPALIER_TARGET {

inline constexpr float kLog2E = 1.4426950408889634F, kLn2 = 0.6931471805599453F;

ESPALIER_DEVICE float minus_infinity() { return -__builtin_huge_valf(); }

/// One row of one head, partial or final.
struct RowPlace {
  char* values;  ///< null: no such row
  float* lse;
  Dtype dtype;
};

ESPALIER_DEVICE RowPlace partial_row(const Tensors& tensors, const scheduler::Slot& slot, std::int32_t row, std::int32_t head) {
  const std::int64_t rows = slot.queries.end - slot.queries.begin;
  const std::int64_t before = std::int64_t{row} * slot.head_count + head - slot.head_begin;
  const std::int64_t row_bytes = slot.columns * (slot.dtype == Dtype::fp32 ? 4 : 2);
  char* begin = static_cast<char*>(tensors.workspace) + slot.offset;
  return {begin + before * row_bytes, reinterpret_cast<float*>(begin + rows * slot.head_count * row_bytes) + before, slot.dtype};
}

template <int kVDim>
ESPALIER_DEVICE RowPlace final_row(const Tensors& tensors, std::int32_t request, std::int32_t head) {
  const std::int64_t row = std::int64_t{request} * tensors.q_heads + head;
  return {static_cast<char*>(tensors.rows) + row * kVDim * (tensors.row_dtype == Dtype::fp32 ? 4 : 2), tensors.lse + row, tensors.row_dtype};
}

/// Row of the slot that belongs to a request, -1 where none does. Requests stand in rising order; tasks that share a query group with
/// the slot find it at `hint`.
ESPALIER_DEVICE std::int32_t find_row(const PlanColumns& plan, const scheduler::Slot& slot, std::int32_t request, std::int32_t hint) {
  const std::int32_t* requests = plan.query_rows + slot.queries.begin;
  std::int32_t low = 0, high = slot.queries.end - slot.queries.begin;
  if (hint < high && load_global(requests + hint) == request) return hint;
  while (low < high) {
    const std::int32_t middle = (low + high) / 2;
    const std::int32_t found = load_global(requests + middle);
    if (found == request) return middle;
    if (found < request) low = middle + 1;
    else high = middle;
  }
  return -1;
}

ESPALIER_DEVICE Pair load_pair(const RowPlace& row, int column) {
  if (row.dtype == Dtype::fp32) return load_fresh(reinterpret_cast<const Pair*>(row.values) + column / 2);
  const std::uint32_t bits = load_fresh(reinterpret_cast<const std::uint32_t*>(row.values) + column / 2);
  return row.dtype == Dtype::bf16 ? unpack<Dtype::bf16>(bits) : unpack<Dtype::fp16>(bits);
}

ESPALIER_DEVICE void store_pair(const RowPlace& row, int column, Pair pair) {
  if (row.dtype == Dtype::fp32) {
    store_global(reinterpret_cast<Pair*>(row.values) + column / 2, pair);
  } else {
    const std::uint32_t bits = row.dtype == Dtype::bf16 ? pack<Dtype::bf16>(pair.low, pair.high) : pack<Dtype::fp16>(pair.low, pair.high);
    store_global(reinterpret_cast<std::uint32_t*>(row.values) + column / 2, bits);
  }
}

}  // namespace espalier::kernels::ESPALIER_TARGET

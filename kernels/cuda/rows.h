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

ESPALIER_DEVICE RowPlace partial_row(const Tensors& tensors, const scheduler::Slot& slot, std::int32_t row,
                                     std::int32_t head) {
  const std::int64_t rows = slot.queries.end - slot.queries.begin;
  const std::int64_t before = std::int64_t{row} * slot.head_count + head - slot.head_begin;
  const std::int64_t row_bytes = slot.columns * (slot.dtype == Dtype::fp32 ? 4 : 2);
  char* begin = static_cast<char*>(tensors.workspace) + slot.offset;
  return {begin + before * row_bytes, reinterpret_cast<float*>(begin + rows * slot.head_count * row_bytes) + before,
          slot.dtype};
}

template <int kVDim>
ESPALIER_DEVICE RowPlace final_row(const Tensors& tensors, std::int32_t request, std::int32_t head) {
  const std::int64_t row = std::int64_t{request} * tensors.q_heads + head;
  return {static_cast<char*>(tensors.rows) + row * kVDim * (tensors.row_dtype == Dtype::fp32 ? 4 : 2),
          tensors.lse + row, tensors.row_dtype};
}

/// Row of the slot that belongs to a request, -1 where none does. Requests stand in rising order; tasks that share a
/// query group with the slot find it at `hint`.
ESPALIER_DEVICE std::int32_t find_row(const PlanColumns& plan, const scheduler::Slot& slot, std::int32_t request,
                                      std::int32_t hint) {
  const std::int32_t* requests = plan.query_rows + slot.queries.begin;
  std::int32_t low = 0, high = slot.queries.end - slot.queries.begin;
  if (hint < high && load_global(requests + hint) == request) return hint;
  while (low < high) {
    const std::int32_t middle = (low + high) / 2;
    const std::int32_t found = load_global(requests + middle);
    if (found == request) return middle;
    if (found < request) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return -1;
}

/// Two neighbouring numbers of a row as they are stored: 16-bit ones in the first word.
struct alignas(8) StoredPair {
  std::uint32_t words[2];
};

/// Apart from pair_of(), so that several can be on their way.
ESPALIER_DEVICE StoredPair load_stored(const RowPlace& row, int column) {
  if (row.dtype == Dtype::fp32) return load_fresh(reinterpret_cast<const StoredPair*>(row.values) + column / 2);
  return {{load_fresh(reinterpret_cast<const std::uint32_t*>(row.values) + column / 2), 0}};
}

ESPALIER_DEVICE Pair pair_of(Dtype dtype, const StoredPair& stored) {
  if (dtype == Dtype::fp32) {
    return {__builtin_bit_cast(float, stored.words[0]), __builtin_bit_cast(float, stored.words[1])};
  }
  return dtype == Dtype::bf16 ? unpack<Dtype::bf16>(stored.words[0]) : unpack<Dtype::fp16>(stored.words[0]);
}

ESPALIER_DEVICE Pair load_pair(const RowPlace& row, int column) { return pair_of(row.dtype, load_stored(row, column)); }

ESPALIER_DEVICE void store_pair(const RowPlace& row, int column, Pair pair) {
  if (row.dtype == Dtype::fp32) {
    store_global(reinterpret_cast<Pair*>(row.values) + column / 2, pair);
  } else {
    const std::uint32_t bits =
        row.dtype == Dtype::bf16 ? pack<Dtype::bf16>(pair.low, pair.high) : pack<Dtype::fp16>(pair.low, pair.high);
    store_global(reinterpret_cast<std::uint32_t*>(row.values) + column / 2, bits);
  }
}

ESPALIER_DEVICE float load_number(const RowPlace& row, std::int32_t column) {
  if (row.dtype == Dtype::fp32) return load_fresh(reinterpret_cast<const float*>(row.values) + column);
  const std::uint32_t bits = load_global(reinterpret_cast<const std::uint16_t*>(row.values) + column);
  return row.dtype == Dtype::bf16 ? unpack<Dtype::bf16>(bits).low : unpack<Dtype::fp16>(bits).low;
}

ESPALIER_DEVICE void store_number(const RowPlace& row, std::int32_t column, float x) {
  if (row.dtype == Dtype::fp32) {
    store_global(reinterpret_cast<float*>(row.values) + column, x);
  } else {
    const std::uint32_t bits = row.dtype == Dtype::bf16 ? pack<Dtype::bf16>(x, 0.0F) : pack<Dtype::fp16>(x, 0.0F);
    store_global(reinterpret_cast<std::uint16_t*>(row.values) + column, static_cast<std::uint16_t>(bits));
  }
}

/// Row `row` of a task's tile (queries x heads) in a slot; none where the slot hasn't its request.
ESPALIER_DEVICE RowPlace slot_row(const AttendParams& params, const Work& work, const scheduler::Slot& slot,
                                  std::int32_t row) {
  const std::int32_t query = row / work.head_count;
  const std::int32_t request = load_global(params.plan.query_rows + work.queries.begin + query);
  const std::int32_t found = find_row(params.plan, slot, request, query);
  if (found < 0) return {};
  return partial_row(params.tensors, slot, found, work.head_begin + row % work.head_count);
}

/// Where row `row` of a task's tile goes: the task's slot.
ESPALIER_DEVICE RowPlace task_slot_row(const AttendParams& params, const Work& work, std::int32_t row) {
  return slot_row(params, work, load_global(params.plan.slots + work.slot), row);
}

/// As task_slot_row(), or the final row where the task has no slot.
template <int kVDim>
ESPALIER_DEVICE RowPlace task_row(const AttendParams& params, const Work& work, std::int32_t row) {
  if (work.slot >= 0) return task_slot_row(params, work, row);
  const std::int32_t request = load_global(params.plan.query_rows + work.queries.begin + row / work.head_count);
  return final_row<kVDim>(params.tensors, request, work.head_begin + row % work.head_count);
}

}  // namespace espalier::kernels::ESPALIER_TARGET

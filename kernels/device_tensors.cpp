// Numbers of the deterministic source as bytes of a cache, and rows back as numbers.
#include "kernels/device_tensors.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/error.h"
#include "core/text.h"
#include "core/units.h"
#include "kernels/emulator/numerics.h"

namespace espalier::kernels {
namespace {

using scheduler::Plan;
using traces::Dtype;
using traces::NodeId;
using traces::RequestId;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

/// Bits of a number that the dtype holds exactly.
std::uint32_t bits_of(Dtype dtype, double x) {
  const auto value = static_cast<float>(x);
  switch (dtype) {
    case Dtype::bf16:
      return emulator::float_to_bf16(value);
    case Dtype::fp16:
      return emulator::float_to_fp16(value);
    case Dtype::fp8_e4m3:
      return emulator::float_to_fp8_e4m3(value);
    case Dtype::fp32:
      return std::bit_cast<std::uint32_t>(value);
  }
  ESPALIER_CHECK(!"a known dtype");
}

double number_of(Dtype dtype, const std::byte* from) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, from, at(traces::dtype_bytes(dtype)));
  switch (dtype) {
    case Dtype::bf16:
      return emulator::bf16_to_float(static_cast<std::uint16_t>(bits));
    case Dtype::fp16:
      return emulator::fp16_to_float(static_cast<std::uint16_t>(bits));
    case Dtype::fp8_e4m3:
      return emulator::fp8_e4m3_to_float(static_cast<std::uint8_t>(bits));
    case Dtype::fp32:
      return std::bit_cast<float>(bits);
  }
  ESPALIER_CHECK(!"a known dtype");
}

void store(std::vector<std::byte>& bytes, std::int64_t element, Dtype dtype, double x) {
  store_number(&bytes[at(element) * at(traces::dtype_bytes(dtype))], dtype, x);
}

}  // namespace

void store_number(std::byte* to, Dtype dtype, double x) {
  const std::uint32_t bits = bits_of(dtype, x);
  std::memcpy(to, &bits, at(traces::dtype_bytes(dtype)));
}

std::int64_t cache_pages(const traces::PrefixForest& forest) {
  std::int64_t pages = 0;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    for (std::int64_t logical = forest.pages.first_page[n];
         logical <= traces::last_page(forest.pages, n, forest.tokens[n]); ++logical) {
      pages = std::max(pages, 1 + (forest.pages.page_ids.empty() ? logical : forest.pages.page_ids[at(logical)]));
    }
  }
  return pages;
}

std::int64_t cache_rows(const Plan& plan) {
  return core::checked_mul(core::checked_mul(cache_pages(plan.forest), plan.forest.pages.page_size),
                           plan.heads.kv_heads);
}

CacheBytes make_cache(const Plan& plan, const TensorSource& source, std::int64_t most_bytes) {
  const traces::HeadConfig& heads = plan.heads;
  const std::int64_t size = plan.forest.pages.page_size;
  const std::int64_t rows = cache_rows(plan);
  const std::int64_t bytes = core::checked_mul(rows, heads.kv_bytes_per_token_head());
  if (bytes > most_bytes) {
    throw core::Error(
        core::ErrorKind::check_failed,
        fmt::format("a KV cache of {} is too large (limit {}): use a smaller forest, or page ids without gaps",
                    core::bytes_text(bytes), core::bytes_text(most_bytes)));
  }
  const int element = traces::dtype_bytes(heads.kv_dtype);
  CacheBytes cache;
  cache.keys.assign(at(rows * heads.qk_dim * element), std::byte{0xFF});
  if (!heads.v_in_k) cache.values.assign(at(rows * heads.v_dim * element), std::byte{0xFF});
  std::vector<double> key(at(heads.qk_dim)), value(at(heads.v_dim));
  for (const NodeId n : core::ids<NodeId>(plan.forest.node_count())) {
    for (std::int64_t t = 0; t < plan.forest.tokens[n]; ++t) {
      const std::int64_t slot = traces::kv_slot(plan.forest.pages, n, t);
      for (std::int32_t h = 0; h < heads.kv_heads; ++h) {
        const std::int64_t row = (slot / size * heads.kv_heads + h) * size + slot % size;
        source.key(plan.forest, heads, n, t, h, key.data());
        for (std::int64_t c = 0; c < heads.qk_dim; ++c) {
          store(cache.keys, row * heads.qk_dim + c, heads.kv_dtype, key[at(c)]);
        }
        if (heads.v_in_k) continue;
        source.value(plan.forest, heads, n, t, h, value.data());
        for (std::int64_t c = 0; c < heads.v_dim; ++c) {
          store(cache.values, row * heads.v_dim + c, heads.kv_dtype, value[at(c)]);
        }
      }
    }
  }
  return cache;
}

std::vector<std::byte> make_queries(const Plan& plan, const TensorSource& source) {
  const traces::HeadConfig& heads = plan.heads;
  const auto rows = static_cast<std::int64_t>(plan.forest.request_count()) * heads.q_heads;
  std::vector<std::byte> bytes(at(rows * heads.qk_dim * traces::dtype_bytes(heads.q_dtype)));
  std::vector<double> query(at(heads.qk_dim));
  for (std::int64_t row = 0; row < rows; ++row) {
    source.query(plan.forest, heads, RequestId(static_cast<std::int32_t>(row / heads.q_heads)),
                 static_cast<std::int32_t>(row % heads.q_heads), query.data());
    for (std::int64_t c = 0; c < heads.qk_dim; ++c) store(bytes, row * heads.qk_dim + c, heads.q_dtype, query[at(c)]);
  }
  return bytes;
}

AttentionOutput read_rows(const Plan& plan, Dtype row_dtype, const std::byte* rows, const float* lse) {
  AttentionOutput out = make_output(plan.forest, plan.heads, 0.0);
  const auto size = at(traces::dtype_bytes(row_dtype));
  for (std::size_t i = 0; i < out.rows.size(); ++i) out.rows[i] = number_of(row_dtype, rows + i * size);
  for (std::size_t i = 0; i < out.lse.size(); ++i) out.lse[i] = static_cast<double>(lse[i]);
  return out;
}

}  // namespace espalier::kernels

// Attention inputs as a function of seed and place, so that tensors of any size need no memory and every executor can
// make the same ones; and the rounding of numbers to the formats that caches and partial rows are stored in.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string_view>

#include "core/error.h"
#include "core/rng.h"
#include "kernels/oracle.h"

namespace espalier::kernels {
namespace {

struct Format {
  int mantissa_bits;   ///< stored ones
  int least_exponent;  ///< of normal numbers
  double largest;
  bool infinite;  ///< overflow gives infinity, else the largest value
};

constexpr Format format_of(traces::Dtype dtype) {
  switch (dtype) {
    case traces::Dtype::bf16:
      return {7, -126, 0x1.FEp127, true};
    case traces::Dtype::fp16:
      return {10, -14, 65504.0, true};
    case traces::Dtype::fp8_e4m3:
      return {3, -6, 448.0, false};  // S.1111.111 is NaN, so the top binade ends at 1.75 * 2^8
    case traces::Dtype::fp32:
      break;
  }
  return {23, -126, 0x1.FFFFFEp127, true};
}

double power_of_two(int exponent) { return std::bit_cast<double>(static_cast<std::uint64_t>(exponent + 1023) << 52); }

/// To `mantissa_bits`, as if the exponent had no bounds; a carry moves into the exponent, as it should.
double round_mantissa(int mantissa_bits, double x) {
  const int dropped = 52 - mantissa_bits;
  auto bits = std::bit_cast<std::uint64_t>(x);
  bits += (std::uint64_t{1} << (dropped - 1)) - 1 + ((bits >> dropped) & 1);
  return std::bit_cast<double>(bits >> dropped << dropped);
}

double round_number(const Format& format, double x) {
  if (std::abs(x) < power_of_two(format.least_exponent)) {
    // Below the normal range the grid is fixed: adding 1.5 * 2^52 grid steps makes the addition itself round to it.
    const double shift = 1.5 * power_of_two(52 + format.least_exponent - format.mantissa_bits);
    return std::copysign((x + shift) - shift, x);
  }
  const double rounded = round_mantissa(format.mantissa_bits, x);
  if (std::abs(rounded) <= format.largest) return rounded;
  return std::copysign(format.infinite ? std::numeric_limits<double>::infinity() : format.largest, x);
}

enum class Kind : std::uint64_t { query = 1, key = 2, value = 3 };

std::uint64_t label_bits(std::string_view label) {
  std::uint64_t bits = label.size();
  for (const char c : label) bits = core::random_bits(bits, static_cast<unsigned char>(c));
  return bits;
}

/// Key of one vector: everything but the column.
std::uint64_t vector_key(std::uint64_t seed, Kind kind, std::uint64_t label, std::int64_t position, std::int32_t head) {
  const std::uint64_t named = core::random_bits(core::random_bits(seed, static_cast<std::uint64_t>(kind)), label);
  return core::random_bits(core::random_bits(named, static_cast<std::uint64_t>(position)),
                           static_cast<std::uint64_t>(head));
}

/// Four columns a random word, 16 bits each. The oracle's and the interpreter's inner loop, hence one copy a format:
/// numbers of this grid are never below 2^-16 nor above 1, so most formats need no look at their bounds.
template <traces::Dtype dtype>
void fill_as(std::uint64_t key, std::int32_t columns, double* out) {
  constexpr Format format = format_of(dtype);
  for (std::int32_t c = 0; c < columns; c += 4) {
    std::uint64_t word = core::random_bits(key, static_cast<std::uint64_t>(c) / 4);
    const std::int32_t end = std::min(columns, c + 4);
    for (std::int32_t i = c; i < end; ++i, word >>= 16) {
      const double x = static_cast<double>(static_cast<std::int32_t>(word & 0xFFFF)) * 0x1p-15 + (0x1p-16 - 1.0);
      if constexpr (format.least_exponent <= -16) {
        out[i] = round_mantissa(format.mantissa_bits, x);
      } else {
        out[i] = round_number(format, x);
      }
    }
  }
}

void fill(std::uint64_t key, traces::Dtype dtype, std::int32_t columns, double* out) {
  switch (dtype) {
    case traces::Dtype::fp32:
      return fill_as<traces::Dtype::fp32>(key, columns, out);
    case traces::Dtype::bf16:
      return fill_as<traces::Dtype::bf16>(key, columns, out);
    case traces::Dtype::fp16:
      return fill_as<traces::Dtype::fp16>(key, columns, out);
    case traces::Dtype::fp8_e4m3:
      return fill_as<traces::Dtype::fp8_e4m3>(key, columns, out);
  }
  ESPALIER_CHECK(!"a known dtype");
}

std::uint64_t token_key(const TensorSource& source, Kind kind, const traces::PrefixForest& forest, traces::NodeId node,
                        std::int64_t token, std::int32_t kv_head) {
  const auto label = static_cast<std::uint64_t>(forest.node_label[node]);
  return vector_key(source.seed, kind, label, forest.tokens_before[node] + token, kv_head);
}

}  // namespace

double round_to(traces::Dtype dtype, double x) { return std::isnan(x) ? x : round_number(format_of(dtype), x); }

void TensorSource::query(const traces::PrefixForest& forest, const traces::HeadConfig& heads, traces::RequestId request,
                         std::int32_t q_head, double* out) const {
  const std::uint64_t label = label_bits(forest.request_label[request]);
  fill(vector_key(seed, Kind::query, label, 0, q_head), heads.q_dtype, heads.qk_dim, out);
}

void TensorSource::key(const traces::PrefixForest& forest, const traces::HeadConfig& heads, traces::NodeId node,
                       std::int64_t token, std::int32_t kv_head, double* out) const {
  fill(token_key(*this, Kind::key, forest, node, token, kv_head), heads.kv_dtype, heads.qk_dim, out);
}

void TensorSource::value(const traces::PrefixForest& forest, const traces::HeadConfig& heads, traces::NodeId node,
                         std::int64_t token, std::int32_t kv_head, double* out) const {
  ESPALIER_CHECK(!heads.v_in_k || heads.v_dim <= heads.qk_dim);
  const Kind kind = heads.v_in_k ? Kind::key : Kind::value;
  fill(token_key(*this, kind, forest, node, token, kv_head), heads.kv_dtype, heads.v_dim, out);
}

}  // namespace espalier::kernels

// Layout and filling of the host executor's memory.
#include "kernels/host_memory.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>

#include "core/error.h"
#include "core/text.h"
#include "core/units.h"
#include "kernels/plan_access.h"

namespace espalier::kernels {
namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

/// Values that bf16 holds exactly: the upper half of the fp32.
std::uint16_t bf16_bits(double x) {
  return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(static_cast<float>(x)) >> 16);
}

}  // namespace

HostTensors::HostTensors(const traces::PrefixForest& forest, const traces::HeadConfig& heads,
                         const TensorSource* source, std::int64_t most_bytes)
    : heads_(heads), qk_columns_(core::round_up(heads.qk_dim, kHostColumns)),
      v_columns_(core::round_up(heads.v_dim, kHostColumns)) {
  if (heads.kv_dtype != traces::Dtype::bf16) {
    throw core::bad_input("host backend", "KV in bf16, the type it stores",
                          std::string(traces::dtype_name(heads.kv_dtype)));
  }
  for (const traces::NodeId n : core::ids<traces::NodeId>(forest.node_count())) {
    first_.push_back(tokens_);
    tokens_ = core::checked_add(tokens_, forest.tokens[n]);
  }
  const std::int64_t bytes = core::checked_mul(core::checked_mul(tokens_, heads.kv_heads),
                                               (qk_columns_ + (heads.v_in_k ? 0 : v_columns_)) * 2);
  if (bytes > most_bytes) {
    throw core::bad_input("host backend", fmt::format("a KV cache of at most {}", core::bytes_text(most_bytes)),
                          core::bytes_text(bytes));
  }
  keys_.assign(at(tokens_ * heads.kv_heads * qk_columns_), 0);
  if (!heads.v_in_k) values_.assign(at(tokens_ * heads.kv_heads * v_columns_), 0);
  queries_.assign(forest.request_count() * at(heads.q_heads * qk_columns_), 0.0F);
  if (source != nullptr) fill(forest, *source);
}

void HostTensors::fill(const traces::PrefixForest& forest, const TensorSource& source) {
  std::vector<double> row(at(std::max(heads_.qk_dim, heads_.v_dim)));
  for (std::int32_t head = 0; head < heads_.kv_heads; ++head) {
    for (const traces::NodeId n : core::ids<traces::NodeId>(forest.node_count())) {
      for (std::int64_t t = 0; t < forest.tokens[n]; ++t) {
        const std::int64_t place = head * tokens_ + first_[n] + t;
        source.key(forest, heads_, n, t, head, row.data());
        for (std::int32_t c = 0; c < heads_.qk_dim; ++c) keys_[at(place * qk_columns_ + c)] = bf16_bits(row[at(c)]);
        if (heads_.v_in_k) continue;
        source.value(forest, heads_, n, t, head, row.data());
        for (std::int32_t c = 0; c < heads_.v_dim; ++c) values_[at(place * v_columns_ + c)] = bf16_bits(row[at(c)]);
      }
    }
  }
  const double scale = heads_.softmax_scale() * std::numbers::log2e;
  for (const traces::RequestId r : core::ids<traces::RequestId>(forest.request_count())) {
    for (std::int32_t head = 0; head < heads_.q_heads; ++head) {
      source.query(forest, heads_, r, head, row.data());
      float* to = &queries_[at((r.value * std::int64_t{heads_.q_heads} + head) * qk_columns_)];
      for (std::int32_t c = 0; c < heads_.qk_dim; ++c) to[c] = static_cast<float>(row[at(c)] * scale);
    }
  }
}

HostTokens HostTensors::tokens(traces::NodeId node, std::int64_t begin, std::int64_t end, std::int32_t kv_head) const {
  const std::int64_t place = kv_head * tokens_ + first_[node] + begin;
  HostTokens run;
  run.key = keys_.data() + place * qk_columns_;
  run.key_stride = qk_columns_;
  run.value = heads_.v_in_k ? run.key : values_.data() + place * v_columns_;
  run.value_stride = heads_.v_in_k ? qk_columns_ : v_columns_;
  run.tokens = end - begin;
  return run;
}

const float* HostTensors::query(traces::RequestId request, std::int32_t q_head) const {
  return &queries_[at((request.value * std::int64_t{heads_.q_heads} + q_head) * qk_columns_)];
}

std::int64_t HostTensors::kv_bytes() const {
  return static_cast<std::int64_t>((keys_.size() + values_.size()) * sizeof(std::uint16_t));
}

HostRowsMemory::HostRowsMemory(const scheduler::Plan& plan, std::int64_t v_columns)
    : plan_(plan), v_columns_(v_columns) {
  for (const scheduler::Slot& slot : plan.slots) {
    first_.push_back(rows_);
    rows_ = core::checked_add(rows_, core::checked_mul(slot.queries.size(), slot.head_count));
  }
  final_first_ = rows_;
  rows_ += static_cast<std::int64_t>(plan.forest.request_count()) * plan.heads.q_heads;
  values_.resize(at(core::checked_mul(rows_, v_columns_)));
  lse2_.resize(at(rows_));
  poison();
}

HostRowsMemory::Row HostRowsMemory::partial(scheduler::SlotId id, std::int64_t row, std::int32_t head) {
  const scheduler::Slot& slot = row_of("slot", plan_.slots, id);
  check_interval("row of a slot", row, row + 1, slot.queries.size());
  check_interval("head of a slot", head - slot.head_begin, head - slot.head_begin + 1, slot.head_count);
  const std::int64_t place = first_[id] + row * slot.head_count + head - slot.head_begin;
  return {&values_[at(place * v_columns_)], &lse2_[at(place)]};
}

HostRowsMemory::Row HostRowsMemory::final_row(traces::RequestId request, std::int32_t head) {
  row_of("request of a final row", plan_.forest.leaf, request);
  const std::int64_t place = final_first_ + request.value * std::int64_t{plan_.heads.q_heads} + head;
  return {&values_[at(place * v_columns_)], &lse2_[at(place)]};
}

std::int64_t HostRowsMemory::find_row(scheduler::SlotId id, traces::RequestId request, std::int64_t hint) const {
  const scheduler::Slot& slot = row_of("slot", plan_.slots, id);
  const auto requests = slice("queries of a slot", plan_.query_rows, slot.queries);
  if (hint < slot.queries.size() && requests[at(hint)] == request) return hint;
  const auto found = std::lower_bound(requests.begin(), requests.end(), request);
  return found != requests.end() && *found == request ? found - requests.begin() : -1;
}

void HostRowsMemory::poison() {
  std::fill(values_.begin(), values_.end(), std::numeric_limits<float>::quiet_NaN());
  std::fill(lse2_.begin(), lse2_.end(), std::numeric_limits<float>::quiet_NaN());
}

AttentionOutput HostRowsMemory::output() const {
  AttentionOutput out = make_output(plan_.forest, plan_.heads, std::numeric_limits<double>::quiet_NaN());
  for (std::size_t i = 0; i < out.lse.size(); ++i) {
    const std::size_t place = at(final_first_) + i;
    out.lse[i] = static_cast<double>(lse2_[place]) * std::numbers::ln2;
    for (std::int32_t c = 0; c < out.v_dim; ++c) {
      out.rows[i * at(out.v_dim) + at(c)] = static_cast<double>(values_[place * at(v_columns_) + at(c)]);
    }
  }
  return out;
}

}  // namespace espalier::kernels

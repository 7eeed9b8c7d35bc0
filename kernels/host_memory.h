// What the host executor computes on: bf16 keys and values, fp32 queries, partial rows and results.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/host_attention.h"
#include "kernels/oracle.h"
#include "scheduler/plan.h"

namespace espalier::kernels {

/// Keys and values of all nodes in bf16, each KV head a contiguous run of tokens; queries scaled for exp2.
class HostTensors {
 public:
  /// Filled by `source`, or left zero (timing doesn't depend on values, generating them takes long). Throws Error (bad
  /// input) when the KV isn't bf16 or doesn't fit `most_bytes`.
  HostTensors(const traces::PrefixForest& forest, const traces::HeadConfig& heads, const TensorSource* source,
              std::int64_t most_bytes);

  HostTokens tokens(traces::NodeId node, std::int64_t begin, std::int64_t end, std::int32_t kv_head) const;
  const float* query(traces::RequestId request, std::int32_t q_head) const;
  std::int64_t qk_columns() const { return qk_columns_; }
  std::int64_t v_columns() const { return v_columns_; }
  std::int64_t kv_bytes() const;

 private:
  void fill(const traces::PrefixForest& forest, const TensorSource& source);

  traces::HeadConfig heads_;
  std::int64_t qk_columns_ = 0, v_columns_ = 0, tokens_ = 0;
  core::Column<traces::NodeId, std::int64_t> first_;  ///< of each node
  std::vector<std::uint16_t> keys_, values_;  ///< [kv_head][token][columns]; no values when they lie in the keys
  std::vector<float> queries_;                ///< [request][q_head][qk_columns]
};

/// Partial rows of every slot, and final rows: fp32, log-sum-exps in powers of two. Slots that share storage in the
/// plan have memory of their own here.
class HostRowsMemory {
 public:
  HostRowsMemory(const scheduler::Plan& plan, std::int64_t v_columns);

  struct Row {
    float* values;
    float* lse2;
  };
  Row partial(scheduler::SlotId slot, std::int64_t row, std::int32_t head);
  Row final_row(traces::RequestId request, std::int32_t head);
  /// Row of a slot that belongs to `request`, looking at `hint` first; -1 if none does.
  std::int64_t find_row(scheduler::SlotId slot, traces::RequestId request, std::int64_t hint) const;
  /// Everything to NaN, so that what isn't written shows.
  void poison();
  AttentionOutput output() const;

 private:
  const scheduler::Plan& plan_;
  std::int64_t v_columns_;
  core::Column<scheduler::SlotId, std::int64_t> first_;  ///< row of the slot's first element, over all slots
  std::int64_t final_first_ = 0, rows_ = 0;
  std::vector<float> values_, lse2_;
};

}  // namespace espalier::kernels

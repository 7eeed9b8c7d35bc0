// Exact attention on the CPU: the naive oracle, and the interpreter that executes a plan task by task.
//
// Inputs come from a counter-based generator (a function of seed, place and index), so nothing large is stored: a node's K and
// V are generated when they are read. All arithmetic is fp64.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/plan.h"
#include "traces/head_config.h"
#include "traces/prefix_forest.h"

namespace espalier::kernels {

/// Values in about [-1, 1], rounded to what `dtype` can hold.
struct TensorSource {
  std::uint64_t seed = 1;
  /// q of a request, [qk_dim]. Keyed by the request's label, so a request keeps its values wherever it stands in the batch.
  void query(const traces::PrefixForest& forest, const traces::HeadConfig& heads, traces::RequestId request,
             std::int32_t q_head, double* out /* [qk_dim] */) const;
  /// K and V of token `token` of `node`, keyed by the node's label path position: equal whether its pages move or not.
  void key(const traces::PrefixForest& forest, const traces::HeadConfig& heads, traces::NodeId node, std::int64_t token,
           std::int32_t kv_head, double* out /* [qk_dim] */) const;
  void value(const traces::PrefixForest& forest, const traces::HeadConfig& heads, traces::NodeId node, std::int64_t token,
             std::int32_t kv_head, double* out /* [v_dim] */) const;
};

/// Final rows of all requests: out[request][q_head][v_dim], and their natural-log-sum-exp [request][q_head].
struct AttentionOutput {
  std::int32_t requests = 0, q_heads = 0, v_dim = 0;
  std::vector<double> rows;
  std::vector<double> lse;
  double& at(std::int32_t request, std::int32_t head, std::int32_t column) {
    return rows[(static_cast<std::size_t>(request) * static_cast<std::size_t>(q_heads) + static_cast<std::size_t>(head)) *
                    static_cast<std::size_t>(v_dim) + static_cast<std::size_t>(column)];
  }
  double at(std::int32_t request, std::int32_t head, std::int32_t column) const {
    return const_cast<AttentionOutput*>(this)->at(request, head, column);
  }
};

/// Request by request over its whole path: two-pass softmax, no tiles, no merging.
AttentionOutput naive_attention(const traces::PrefixForest& forest, const traces::HeadConfig& heads, const TensorSource& source);

/// Executes the plan as written: launches in order, phases in order, tasks, folds, merges; outputs start as NaN. Partial rows are kept
/// in fp64. A plan that fails the validator may leave NaN or wrong rows; it never reads outside its columns (checked).
AttentionOutput interpret(const scheduler::Plan& plan, const TensorSource& source);

/// Comparison as a kernel test reports it: same NaN/inf positions, then the largest |a-b| / max(1, |b|), worst coordinate.
struct Difference {
  double worst = 0;
  std::int32_t request = -1, head = -1, column = -1;
  bool same_specials = true;
  bool within(double tolerance) const { return same_specials && worst <= tolerance; }
};
Difference compare(const AttentionOutput& got, const AttentionOutput& want);

/// Multiply-adds the interpreter needs: the command refuses absurd runs by this figure.
double interpret_cost(const scheduler::Plan& plan);

}  // namespace espalier::kernels

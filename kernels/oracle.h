// Exact attention on the CPU: the naive oracle, and the interpreter that executes a plan task by task.
//
// Inputs come from a counter-based generator (a function of seed, place and index), so nothing large is stored: a
// node's K and V are generated when they are read. All arithmetic is fp64.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/plan.h"
#include "traces/head_config.h"
#include "traces/prefix_forest.h"

namespace espalier::kernels {

/// `x` rounded to the nearest value of the format, ties to even, as GPU conversions do: subnormals are kept, fp32, bf16
/// and fp16 overflow to infinity, fp8_e4m3 (which has none) saturates at 448.
double round_to(traces::Dtype dtype, double x);

/// Values in (-1, 1), uniform on a grid of 2^16, then rounded to what q_dtype or kv_dtype can hold.
struct TensorSource {
  std::uint64_t seed = 1;
  /// q of a request, [qk_dim]. Keyed by the request's label, so a request keeps its values wherever it stands in the
  /// batch.
  void query(const traces::PrefixForest& forest, const traces::HeadConfig& heads, traces::RequestId request,
             std::int32_t q_head, double* out /* [qk_dim] */) const;
  /// K and V of token `token` of `node`, keyed by the node's label and the token's position in the path: equal wherever
  /// the node stands in the forest and its pages lie. With V inside K the value is the head of the key.
  void key(const traces::PrefixForest& forest, const traces::HeadConfig& heads, traces::NodeId node, std::int64_t token,
           std::int32_t kv_head, double* out /* [qk_dim] */) const;
  void value(const traces::PrefixForest& forest, const traces::HeadConfig& heads, traces::NodeId node,
             std::int64_t token, std::int32_t kv_head, double* out /* [v_dim] */) const;
};

/// Final rows of all requests: out[request][q_head][v_dim], and their natural-log-sum-exp [request][q_head].
struct AttentionOutput {
  std::int32_t requests = 0, q_heads = 0, v_dim = 0;
  std::vector<double> rows;
  std::vector<double> lse;
  double& at(std::int32_t request, std::int32_t head, std::int32_t column) {
    return rows[(static_cast<std::size_t>(request) * static_cast<std::size_t>(q_heads) +
                 static_cast<std::size_t>(head)) *
                    static_cast<std::size_t>(v_dim) +
                static_cast<std::size_t>(column)];
  }
  double at(std::int32_t request, std::int32_t head, std::int32_t column) const {
    return const_cast<AttentionOutput*>(this)->at(request, head, column);
  }
};

/// An output of the right shape, every number `fill`.
AttentionOutput make_output(const traces::PrefixForest& forest, const traces::HeadConfig& heads, double fill);

/// Request by request over its whole path: two-pass softmax, no tiles, no merging.
AttentionOutput naive_attention(const traces::PrefixForest& forest, const traces::HeadConfig& heads,
                                const TensorSource& source);

struct InterpretOptions {
  /// Not 0: launches, tasks, their copies and steps run in a random order among those that the plan leaves free, and
  /// queues are ignored. A right plan gives equal rows up to the rounding of fp64 sums.
  std::uint64_t shuffle_seed = 0;
  /// Slots live at their byte offsets of one workspace, so that slots that share bytes while both live spoil each
  /// other. Off: each slot has memory of its own.
  bool shared_storage = false;
};

/// Executes the plan as written: launches by dependency and stream, phases in order, tasks, folds, merges; slots and
/// outputs start as NaN. Partial rows are kept in fp64 whatever the slot's dtype. A plan that fails the validator may
/// leave NaN or wrong rows, or throws Error (bad input) where it points outside its columns; nothing is ever read
/// outside them.
AttentionOutput interpret(const scheduler::Plan& plan, const TensorSource& source,
                          const InterpretOptions& options = {});

/// Comparison as a kernel test reports it: same NaN/inf positions, then the largest |a-b| / max(1, |b|), worst
/// coordinate (the first special that differs, when some do). Column v_dim stands for the log-sum-exp.
struct Difference {
  double worst = 0;
  std::int32_t request = -1, head = -1, column = -1;
  bool same_specials = true;
  bool within(double tolerance) const { return same_specials && worst <= tolerance; }
};
Difference compare(const AttentionOutput& got, const AttentionOutput& want);

/// Multiply-adds the interpreter needs, K and V generation counted as one an element: the command refuses absurd runs
/// by this figure.
double interpret_cost(const scheduler::Plan& plan);

}  // namespace espalier::kernels

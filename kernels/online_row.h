// One row of attention in the making: online softmax over tokens, and the merge of partial rows, which is the same
// operation.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace espalier::kernels {

/// Weighted mean of vectors under a running softmax: tokens come in with their score, partial rows with their
/// log-sum-exp.
class OnlineRow {
 public:
  static constexpr double kNothing = -std::numeric_limits<double>::infinity();  ///< log-sum-exp of no tokens

  explicit OnlineRow(std::int64_t columns) : mean_(static_cast<std::size_t>(columns), 0.0) {}

  void push(double score, const double* vector) {
    if (score == kNothing) return;
    if (!(score <= most_)) {  // NaN goes in here and stays
      const double shrink = std::exp(most_ - score);
      most_ = score;
      weight_ *= shrink;
      for (double& x : mean_) x *= shrink;
    }
    const double weight = std::exp(score - most_);
    weight_ += weight;
    for (std::size_t c = 0; c < mean_.size(); ++c) mean_[c] += weight * vector[c];
  }
  /// A row that nothing was pushed into has log-sum-exp -inf and value 0: it weighs nothing in a merge.
  double lse() const { return weight_ == 0 ? kNothing : most_ + std::log(weight_); }
  double value(std::int64_t column) const {
    return weight_ == 0 ? 0.0 : mean_[static_cast<std::size_t>(column)] / weight_;
  }

 private:
  double most_ = kNothing, weight_ = 0;
  std::vector<double> mean_;
};

}  // namespace espalier::kernels

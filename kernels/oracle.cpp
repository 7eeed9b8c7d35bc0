// The naive oracle: for each request all scores of its whole path, one softmax, one weighted sum. Shares nothing with
// the interpreter but the inputs. Nodes are visited once a KV head so that K and V are generated once for all their
// readers.
#include "kernels/oracle.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace espalier::kernels {
namespace {

using traces::NodeId;
using traces::RequestId;

double dot(const double* a, const double* b, std::int32_t n) {
  double even = 0, odd = 0;
  std::int32_t i = 0;
  for (; i + 1 < n; i += 2) {
    even += a[i] * b[i];
    odd += a[i + 1] * b[i + 1];
  }
  return even + odd + (i < n ? a[i] * b[i] : 0.0);
}

/// One KV head of the whole batch.
class NaiveHead {
 public:
  NaiveHead(const traces::PrefixForest& forest, const traces::HeadConfig& heads, const TensorSource& source,
            std::int32_t kv_head)
      : forest_(forest), heads_(heads), source_(source), kv_head_(kv_head), first_score_(forest.request_count()) {
    std::int64_t scores = 0;
    for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
      first_score_[r] = scores;
      scores += forest.context_tokens(r) * heads.group();
    }
    scores_.resize(static_cast<std::size_t>(scores));
  }

  void run(AttentionOutput& out) {
    gather_scores();
    for (const RequestId r : core::ids<RequestId>(forest_.request_count())) {
      for (std::int32_t h = 0; h < heads_.group(); ++h) softmax(r, h, out);
    }
    weigh_values(out);
  }

 private:
  double* scores(RequestId r, std::int32_t h) {
    return scores_.data() + first_score_[r] + forest_.context_tokens(r) * h;
  }
  std::int32_t q_head(std::int32_t h) const { return kv_head_ * heads_.group() + h; }

  void gather_scores() {
    const auto qk = static_cast<std::size_t>(heads_.qk_dim);
    const auto group = static_cast<std::size_t>(heads_.group());
    std::vector<double> queries(forest_.request_count() * group * qk), key(qk);
    for (const RequestId r : core::ids<RequestId>(forest_.request_count())) {
      for (std::int32_t h = 0; h < heads_.group(); ++h) {
        source_.query(forest_, heads_, r, q_head(h), &queries[(r.index() * group + static_cast<std::size_t>(h)) * qk]);
      }
    }
    for (const NodeId n : core::ids<NodeId>(forest_.node_count())) {
      for (std::int64_t t = 0; t < forest_.tokens[n]; ++t) {
        source_.key(forest_, heads_, n, t, kv_head_, key.data());
        for (const RequestId r : core::IdRange<RequestId>(forest_.request_begin[n], forest_.request_end[n])) {
          for (std::int32_t h = 0; h < heads_.group(); ++h) {
            const double* query = &queries[(r.index() * group + static_cast<std::size_t>(h)) * qk];
            scores(r, h)[forest_.tokens_before[n] + t] = heads_.softmax_scale() * dot(query, key.data(), heads_.qk_dim);
          }
        }
      }
    }
  }

  void softmax(RequestId r, std::int32_t h, AttentionOutput& out) {
    double* row = scores(r, h);
    const std::int64_t n = forest_.context_tokens(r);
    const double most = *std::max_element(row, row + n);
    double sum = 0;
    for (std::int64_t t = 0; t < n; ++t) sum += row[t] = std::exp(row[t] - most);
    for (std::int64_t t = 0; t < n; ++t) row[t] /= sum;
    out.lse[r.index() * static_cast<std::size_t>(out.q_heads) + static_cast<std::size_t>(q_head(h))] =
        most + std::log(sum);
  }

  void weigh_values(AttentionOutput& out) {
    std::vector<double> value(static_cast<std::size_t>(heads_.v_dim));
    for (const NodeId n : core::ids<NodeId>(forest_.node_count())) {
      for (std::int64_t t = 0; t < forest_.tokens[n]; ++t) {
        source_.value(forest_, heads_, n, t, kv_head_, value.data());
        for (const RequestId r : core::IdRange<RequestId>(forest_.request_begin[n], forest_.request_end[n])) {
          for (std::int32_t h = 0; h < heads_.group(); ++h) {
            const double p = scores(r, h)[forest_.tokens_before[n] + t];
            double* row = &out.at(r.value, q_head(h), 0);
            for (std::int32_t c = 0; c < heads_.v_dim; ++c) row[c] += p * value[static_cast<std::size_t>(c)];
          }
        }
      }
    }
  }

  const traces::PrefixForest& forest_;
  const traces::HeadConfig& heads_;
  const TensorSource& source_;
  std::int32_t kv_head_;
  core::Column<RequestId, std::int64_t> first_score_;
  std::vector<double> scores_;  ///< [request][head of the group][context]
};

/// 0 for a number, else which special it is.
int special(double x) { return std::isnan(x) ? 1 : !std::isinf(x) ? 0 : x > 0 ? 2 : 3; }

}  // namespace

AttentionOutput naive_attention(const traces::PrefixForest& forest, const traces::HeadConfig& heads,
                                const TensorSource& source) {
  traces::check_heads(heads, "heads");
  AttentionOutput out = make_output(forest, heads, 0.0);
  for (std::int32_t kv = 0; kv < heads.kv_heads; ++kv) NaiveHead(forest, heads, source, kv).run(out);
  return out;
}

AttentionOutput make_output(const traces::PrefixForest& forest, const traces::HeadConfig& heads, double fill) {
  AttentionOutput out;
  out.requests = static_cast<std::int32_t>(forest.request_count());
  out.q_heads = heads.q_heads;
  out.v_dim = heads.v_dim;
  const std::size_t rows = forest.request_count() * static_cast<std::size_t>(heads.q_heads);
  out.rows.assign(rows * static_cast<std::size_t>(heads.v_dim), fill);
  out.lse.assign(rows, fill);
  return out;
}

Difference compare(const AttentionOutput& got, const AttentionOutput& want) {
  ESPALIER_CHECK(got.requests == want.requests && got.q_heads == want.q_heads && got.v_dim == want.v_dim);
  Difference difference;
  const auto look = [&](double a, double b, std::int32_t request, std::int32_t head, std::int32_t column) {
    const bool same = special(a) == special(b);
    const double off = !same             ? std::numeric_limits<double>::infinity()
                       : special(b) != 0 ? 0.0
                                         : std::abs(a - b) / std::max(1.0, std::abs(b));
    difference.same_specials = difference.same_specials && same;
    if (off > difference.worst) difference = {off, request, head, column, difference.same_specials};
  };
  std::size_t row = 0;
  for (std::int32_t r = 0; r < want.requests; ++r) {
    for (std::int32_t h = 0; h < want.q_heads; ++h, ++row) {
      for (std::int32_t c = 0; c < want.v_dim; ++c) look(got.at(r, h, c), want.at(r, h, c), r, h, c);
      look(got.lse[row], want.lse[row], r, h, want.v_dim);
    }
  }
  return difference;
}

}  // namespace espalier::kernels

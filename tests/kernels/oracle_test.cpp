// The naive oracle against the formula written out for each request, and the comparison of outputs.
#include "kernels/oracle.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace espalier::kernels {
namespace {

using traces::HeadConfig;
using traces::NodeId;
using traces::PrefixForest;
using traces::RequestId;

PrefixForest ragged_forest() {
  traces::ForestSource source;
  source.name = "ragged";
  source.parent = {-1, 0, 0, 2, -1};
  source.tokens = {7, 3, 1, 12, 5};
  source.leaf = {1, 0, 3, 3, 4, 2};  // an inner end, twins, a second root
  return traces::make_forest(source);
}

/// sum_t exp(s_t) v_t / sum_t exp(s_t) over the path, no maximum subtracted; the log of the denominator last.
std::vector<double> by_formula(const PrefixForest& forest, const HeadConfig& heads, const TensorSource& source,
                               RequestId request, int q_head) {
  std::vector<double> q(static_cast<std::size_t>(heads.qk_dim)), k = q, v(static_cast<std::size_t>(heads.v_dim));
  std::vector<double> row(v.size() + 1, 0.0);
  source.query(forest, heads, request, q_head, q.data());
  double denominator = 0;
  for (const NodeId node : traces::path_of(forest, forest.leaf[request])) {
    for (std::int64_t t = 0; t < forest.tokens[node]; ++t) {
      source.key(forest, heads, node, t, q_head / heads.group(), k.data());
      source.value(forest, heads, node, t, q_head / heads.group(), v.data());
      double score = 0;
      for (std::size_t i = 0; i < q.size(); ++i) score += q[i] * k[i];
      const double weight = std::exp(score * heads.softmax_scale());
      denominator += weight;
      for (std::size_t i = 0; i < v.size(); ++i) row[i] += weight * v[i];
    }
  }
  for (std::size_t i = 0; i < v.size(); ++i) row[i] /= denominator;
  row.back() = std::log(denominator);
  return row;
}

TEST(NaiveAttention, EqualsTheFormulaForEveryHeadConfiguration) {
  const PrefixForest forest = ragged_forest();
  for (const char* text : {"4/4/8", "8/2/7", "7/1/16", "6/2/5+3", "4/1/24:16"}) {
    HeadConfig heads = traces::parse_heads(text);
    heads.scale = 0.7;
    const TensorSource source{11};
    const AttentionOutput out = naive_attention(forest, heads, source);
    for (const RequestId r : core::ids<RequestId>(forest.request_count())) {
      for (int head = 0; head < heads.q_heads; ++head) {
        const std::vector<double> want = by_formula(forest, heads, source, r, head);
        for (int c = 0; c < heads.v_dim; ++c) {
          ASSERT_NEAR(out.at(r.value, head, c), want[static_cast<std::size_t>(c)], 1e-13)
              << text << " request " << r.value;
        }
        ASSERT_NEAR(out.lse[static_cast<std::size_t>(r.value * heads.q_heads + head)], want.back(), 1e-13) << text;
      }
    }
  }
}

TEST(NaiveAttention, OfNoRequestsIsEmpty) {
  const AttentionOutput out = naive_attention(PrefixForest{}, HeadConfig{}, {});
  EXPECT_EQ(out.requests, 0);
  EXPECT_TRUE(out.rows.empty());
}

AttentionOutput zeros() {
  HeadConfig heads = traces::parse_heads("2/1/3");
  return make_output(ragged_forest(), heads, 0.0);
}

TEST(Compare, NamesTheWorstCoordinate) {
  AttentionOutput got = zeros(), want = zeros();
  EXPECT_TRUE(compare(got, want).within(0.0));
  EXPECT_EQ(compare(got, want).request, -1);
  got.at(1, 0, 2) = 1e-3;
  got.at(4, 1, 1) = 2e-3;
  Difference difference = compare(got, want);
  EXPECT_EQ(difference.worst, 2e-3);
  EXPECT_EQ(difference.request, 4);
  EXPECT_EQ(difference.head, 1);
  EXPECT_EQ(difference.column, 1);
  EXPECT_FALSE(difference.within(1e-3));
  EXPECT_TRUE(difference.within(2e-3));
  got.lse[7] = 5.0;  // request 3, head 1
  difference = compare(got, want);
  EXPECT_EQ(difference.request, 3);
  EXPECT_EQ(difference.column, want.v_dim);
}

TEST(Compare, IsRelativeAboveOne) {
  AttentionOutput got = zeros(), want = zeros();
  want.at(0, 0, 0) = 100.0;
  got.at(0, 0, 0) = 101.0;
  EXPECT_DOUBLE_EQ(compare(got, want).worst, 0.01);
}

TEST(Compare, WantsTheSameSpecialsInTheSamePlaces) {
  AttentionOutput got = zeros(), want = zeros();
  got.at(2, 1, 0) = want.at(2, 1, 0) = std::nan("");
  EXPECT_TRUE(compare(got, want).within(0.0));
  want.at(2, 1, 1) = std::numeric_limits<double>::infinity();
  got.at(2, 1, 1) = -std::numeric_limits<double>::infinity();
  const Difference difference = compare(got, want);
  EXPECT_FALSE(difference.same_specials);
  EXPECT_FALSE(difference.within(1e300));
  EXPECT_EQ(difference.request, 2);
  EXPECT_EQ(difference.column, 1);
  got.at(3, 0, 0) = std::nan("");  // the first special that differs is named
  EXPECT_EQ(compare(got, want).request, 2);
}

}  // namespace
}  // namespace espalier::kernels

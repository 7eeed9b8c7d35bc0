// The generated inputs: range, formats, independence, and that they follow labels rather than places.
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

#include "kernels/oracle.h"

namespace espalier::kernels {
namespace {

using traces::Dtype;
using traces::HeadConfig;
using traces::NodeId;
using traces::PrefixForest;
using traces::RequestId;

/// Root of 5 tokens with two children of 3 and 4; request a under the first, b under the second.
PrefixForest two_leaves(bool swapped) {
  traces::ForestSource source;
  source.name = "two leaves";
  source.parent = {-1, 0, 0};
  source.tokens = swapped ? std::vector<std::int64_t>{5, 4, 3} : std::vector<std::int64_t>{5, 3, 4};
  source.leaf = {1, 2};
  source.request_label = swapped ? std::vector<std::string>{"b", "a"} : std::vector<std::string>{"a", "b"};
  PrefixForest forest = traces::make_forest(source);
  if (swapped) forest.node_label = {0, 2, 1};
  return forest;
}

HeadConfig small_heads(Dtype dtype = Dtype::bf16) {
  HeadConfig heads;
  heads.q_heads = 4;
  heads.kv_heads = 2;
  heads.qk_dim = 9;
  heads.v_dim = 6;
  heads.q_dtype = heads.kv_dtype = dtype;
  return heads;
}

std::vector<double> key_of(const TensorSource& s, const PrefixForest& f, const HeadConfig& h, int node, int token,
                           int head) {
  std::vector<double> out(static_cast<std::size_t>(h.qk_dim));
  s.key(f, h, NodeId(node), token, head, out.data());
  return out;
}
std::vector<double> value_of(const TensorSource& s, const PrefixForest& f, const HeadConfig& h, int node, int token,
                             int head) {
  std::vector<double> out(static_cast<std::size_t>(h.v_dim));
  s.value(f, h, NodeId(node), token, head, out.data());
  return out;
}
std::vector<double> query_of(const TensorSource& s, const PrefixForest& f, const HeadConfig& h, int request, int head) {
  std::vector<double> out(static_cast<std::size_t>(h.qk_dim));
  s.query(f, h, RequestId(request), head, out.data());
  return out;
}

TEST(TensorSource, GivesNumbersOfTheDtypeSpreadOverTheUnitInterval) {
  const PrefixForest forest = two_leaves(false);
  for (const Dtype dtype : {Dtype::fp32, Dtype::bf16, Dtype::fp16, Dtype::fp8_e4m3}) {
    HeadConfig heads = small_heads(dtype);
    heads.qk_dim = 1024;
    double sum = 0, squares = 0;
    for (int token = 0; token < 5; ++token) {
      for (const double x : key_of({}, forest, heads, 0, token, 0)) {
        ASSERT_LE(std::abs(x), 1.0);
        ASSERT_EQ(x, round_to(dtype, x));
        sum += x;
        squares += x * x;
      }
    }
    EXPECT_NEAR(sum / 5120, 0.0, 0.04);  // five standard deviations
    EXPECT_NEAR(squares / 5120, 1.0 / 3.0, 0.025);
  }
}

TEST(TensorSource, GivesEveryVectorItsOwnNumbers) {
  const PrefixForest forest = two_leaves(false);
  const HeadConfig heads = small_heads();
  std::set<std::vector<double>> seen;
  std::size_t made = 0;
  for (const std::uint64_t seed : {1U, 2U}) {
    const TensorSource source{seed};
    for (int head = 0; head < 2; ++head) {
      for (int token = 0; token < 3; ++token) {
        for (int node = 0; node < 3; ++node, made += 2) {
          seen.insert(key_of(source, forest, heads, node, token, head));
          seen.insert(value_of(source, forest, heads, node, token, head));
        }
      }
      for (int request = 0; request < 2; ++request, ++made) seen.insert(query_of(source, forest, heads, request, head));
    }
  }
  EXPECT_EQ(seen.size(), made);
}

TEST(TensorSource, FollowsLabelsNotPlaces) {
  const PrefixForest forest = two_leaves(false), swapped = two_leaves(true);
  const HeadConfig heads = small_heads();
  const TensorSource source{5};
  EXPECT_EQ(query_of(source, forest, heads, 0, 1), query_of(source, swapped, heads, 1, 1));
  EXPECT_EQ(key_of(source, forest, heads, 1, 2, 1), key_of(source, swapped, heads, 2, 2, 1));
  EXPECT_EQ(value_of(source, forest, heads, 2, 3, 0), value_of(source, swapped, heads, 1, 3, 0));
  EXPECT_NE(key_of(source, forest, heads, 1, 2, 1), key_of(source, swapped, heads, 1, 2, 1));
}

TEST(TensorSource, TellsNodesOfOneLabelApartByPosition) {
  // As when whole-page sharing copies the end of a node into a private node of the same label.
  PrefixForest forest = two_leaves(false);
  forest.node_label = {4, 4, 4};
  EXPECT_NE(key_of({}, forest, small_heads(), 0, 0, 0), key_of({}, forest, small_heads(), 1, 0, 0));
  EXPECT_EQ(key_of({}, forest, small_heads(), 1, 0, 0), key_of({}, forest, small_heads(), 2, 0, 0));
}

TEST(TensorSource, KeepsValuesInsideKeysForLatentAttention) {
  const PrefixForest forest = two_leaves(false);
  HeadConfig heads = small_heads();
  heads.v_in_k = true;
  std::vector<double> key = key_of({}, forest, heads, 1, 2, 1);
  key.resize(static_cast<std::size_t>(heads.v_dim));
  EXPECT_EQ(value_of({}, forest, heads, 1, 2, 1), key);
  heads.v_in_k = false;
  EXPECT_NE(value_of({}, forest, heads, 1, 2, 1), key);
}

}  // namespace
}  // namespace espalier::kernels

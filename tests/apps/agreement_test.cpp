// Errors, best scales and rank correlation against brute force.
#include "apps/agreement.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/rng.h"

namespace espalier::apps {
namespace {

std::optional<double> brute_tau(const std::vector<double>& a, const std::vector<double>& b) {
  double score = 0, in_a = 0, in_b = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const double x = a[i] < a[j] ? -1 : a[i] > a[j], y = b[i] < b[j] ? -1 : b[i] > b[j];
      score += x * y;
      in_a += x * x;
      in_b += y * y;
    }
  }
  if (in_a == 0 || in_b == 0) return std::nullopt;
  return score / std::sqrt(in_a * in_b);
}

TEST(Agreement, ErrorIsRelativeToTheTruth) {
  EXPECT_DOUBLE_EQ(relative_error(std::vector{1.0, 6.0}, std::vector{2.0, 4.0}), 0.5);
  EXPECT_DOUBLE_EQ(relative_error(std::vector{1.0, 6.0}, std::vector{2.0, 4.0}, 2), (0 + 2) / 2.0);
  EXPECT_EQ(relative_error({}, {}), 0);
}

TEST(Agreement, BestScaleHasTheLeastError) {
  EXPECT_DOUBLE_EQ(best_scale(std::vector{1.0, 2.0, 3.0}, std::vector{5.0, 10.0, 15.0}), 5);
  EXPECT_EQ(best_scale({}, {}), 1);
  EXPECT_EQ(best_scale(std::vector{0.0}, std::vector{5.0}), 1);
  core::Rng rng(1);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<double> a, b;
    for (std::int64_t n = rng.integer(1, 30); n > 0; --n) {
      a.push_back(0.1 + 10 * rng.uniform());
      b.push_back(0.1 + 10 * rng.uniform());
    }
    const double best = relative_error(a, b, best_scale(a, b));
    for (int probe = 0; probe < 50; ++probe) EXPECT_LE(best, relative_error(a, b, 5 * rng.uniform()) + 1e-12);
  }
}

TEST(Agreement, TauIsOneForEqualOrderAndNoneForTies) {
  EXPECT_DOUBLE_EQ(*kendall_tau(std::vector{1.0, 2.0, 3.0}, std::vector{10.0, 20.0, 21.0}), 1);
  EXPECT_DOUBLE_EQ(*kendall_tau(std::vector{1.0, 2.0, 3.0}, std::vector{3.0, 2.0, 1.0}), -1);
  EXPECT_FALSE(kendall_tau(std::vector{1.0, 1.0}, std::vector{1.0, 2.0}));
  EXPECT_FALSE(kendall_tau(std::vector{1.0}, std::vector{2.0}));
  EXPECT_FALSE(kendall_tau({}, {}));
}

TEST(Agreement, TauEqualsBruteForceWithTies) {
  core::Rng rng(2);
  for (int trial = 0; trial < 500; ++trial) {
    std::vector<double> a, b;
    const std::int64_t values = rng.integer(1, 12);
    for (std::int64_t n = rng.integer(0, 40); n > 0; --n) {
      a.push_back(static_cast<double>(rng.integer(0, values)));
      b.push_back(static_cast<double>(rng.integer(0, values)));
    }
    const auto got = kendall_tau(a, b), want = brute_tau(a, b);
    ASSERT_EQ(got.has_value(), want.has_value());
    EXPECT_NEAR(got.value_or(0), want.value_or(0), 1e-12);
  }
}

}  // namespace
}  // namespace espalier::apps

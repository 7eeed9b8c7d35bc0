#include "costmodel/regression.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/rng.h"

namespace espalier::costmodel {
namespace {

TEST(NonnegativeLeastSquares, SolvesWhatHasASolution) {
  const std::vector<double> x = nonnegative_least_squares({{1, 0}, {1, 2}, {1, 4}}, std::vector<double>{3, 7, 11});
  EXPECT_NEAR(x[0], 3, 1e-9);
  EXPECT_NEAR(x[1], 2, 1e-9);
}

TEST(NonnegativeLeastSquares, HoldsACoefficientAtZeroInsteadOfLettingItCompensate) {
  // Unconstrained: 4 - x. Constrained the constant alone is best: the mean.
  const std::vector<double> x = nonnegative_least_squares({{1, 1}, {1, 2}, {1, 3}}, std::vector<double>{3, 2, 1});
  EXPECT_NEAR(x[0], 2, 1e-9);
  EXPECT_EQ(x[1], 0);
}

TEST(NonnegativeLeastSquares, MeetsTheOptimalityConditionsOnRandomProblems) {
  core::Rng rng(5);
  for (int round = 0; round < 200; ++round) {
    const auto columns = static_cast<std::size_t>(rng.integer(1, 6)),
               points = static_cast<std::size_t>(rng.integer(6, 20));
    Rows a(points, std::vector<double>(columns));
    std::vector<double> b(points);
    for (std::size_t r = 0; r < points; ++r) {
      const double common = rng.normal();  // like columns, so that one coefficient's gain is another's loss
      for (double& entry : a[r]) entry = common + 0.3 * rng.normal();
      b[r] = common + rng.normal();
    }
    const std::vector<double> x = nonnegative_least_squares(a, b);
    for (std::size_t c = 0; c < columns; ++c) {
      double gradient = 0;  // of half the squared error
      for (std::size_t r = 0; r < points; ++r) {
        double miss = -b[r];
        for (std::size_t k = 0; k < columns; ++k) miss += a[r][k] * x[k];
        gradient += a[r][c] * miss;
      }
      EXPECT_GE(x[c], 0);
      EXPECT_GE(gradient, -1e-8) << "freeing column " << c << " would help";
      EXPECT_NEAR(gradient * x[c], 0, 1e-8);
    }
  }
}

TEST(RobustNonnegative, ShrugsOffAnOutlier) {
  Rows a;
  std::vector<double> b;
  for (int i = 1; i <= 20; ++i) {
    a.push_back({i / 20.0});
    b.push_back(i / 20.0 * 2);
  }
  b[19] = 20;
  EXPECT_GT(nonnegative_least_squares(a, b)[0], 3);
  EXPECT_NEAR(robust_nonnegative(a, b)[0], 2, 0.2);
}

TEST(FitCurve, FindsTheBytesInFlightLawFromAFarStart) {
  core::Rng rng(2);
  std::vector<double> in_flight, log_times;
  const auto law = [](double n, double latency, double peak, double p) {
    return (n / latency) / std::pow(1 + std::pow(n / (latency * peak), p), 1 / p);
  };
  for (double n = 100; n < 1e6; n *= 1.5) {
    in_flight.push_back(n);
    log_times.push_back(-std::log(law(n, 0.5, 3000, 2.2)) + 0.005 * rng.normal());
  }
  log_times[3] += 1;  // an outlier
  const CurveParameter parameters[] = {{2, 0.01, 100}, {500, 10, 1e6}, {1, 1, 10}};
  const auto predict = [&](std::span<const double> v, std::size_t i) {
    return -std::log(law(in_flight[i], v[0], v[1], v[2]));
  };
  const std::vector<double> fit = fit_curve(parameters, log_times, predict, true);
  EXPECT_NEAR(fit[0], 0.5, 0.02);
  EXPECT_NEAR(fit[1], 3000, 60);
  EXPECT_NEAR(fit[2], 2.2, 0.25);
}

TEST(FitCurve, KeepsParametersWithinTheirBounds) {
  const std::vector<double> log_times = {std::log(5.0), std::log(5.0)};
  const CurveParameter parameters[] = {{1, 0.5, 2}};
  const auto predict = [](std::span<const double> v, std::size_t) { return std::log(v[0]); };
  EXPECT_EQ(fit_curve(parameters, log_times, predict, true)[0], 2);
}

TEST(Identify, NamesThePartnerOfACollinearParameter) {
  Rows jacobian;
  for (int i = 0; i < 8; ++i) jacobian.push_back({0.5 + 0.01 * i, 1.0 + 0.02 * i, i % 2 != 0 ? 0.3 : 0.0});
  const std::vector<Identification> told = identify(jacobian);
  EXPECT_GT(told[0].correlation, 0.999);
  EXPECT_EQ(told[0].partner, 1U);
  EXPECT_EQ(told[1].partner, 0U);
  EXPECT_LT(told[2].correlation, 0.9);
  EXPECT_EQ(told[2].sensitive, 4U);
}

TEST(Quantile, LiesBetweenNeighbours) {
  EXPECT_EQ(quantile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_EQ(quantile({7}, 0.9), 7);
}

}  // namespace
}  // namespace espalier::costmodel

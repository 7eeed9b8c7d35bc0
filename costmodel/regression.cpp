// Lawson-Hanson, Levenberg-Marquardt with Huber weights, correlations of estimates. Eigen does the factorisations.
#include "costmodel/regression.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace espalier::costmodel {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;
using Index = Eigen::Index;

/// In log time: 5 % off is still noise, more is another effect.
constexpr double kHuberDelta = 0.05;
constexpr double kStep = 1e-5;
constexpr double kSensitive = 0.05;

MatrixXd matrix_of(const Rows& rows) {
  MatrixXd m(static_cast<Index>(rows.size()), rows.empty() ? 0 : static_cast<Index>(rows.front().size()));
  for (Index r = 0; r < m.rows(); ++r) {
    const auto& row = rows[static_cast<std::size_t>(r)];
    ESPALIER_CHECK_OP(static_cast<Index>(row.size()), ==, m.cols());
    for (Index c = 0; c < m.cols(); ++c) m(r, c) = row[static_cast<std::size_t>(c)];
  }
  return m;
}

/// Unconstrained least squares over the columns in `free`, zero elsewhere.
VectorXd solve_free(const MatrixXd& a, const VectorXd& b, const std::vector<bool>& free) {
  std::vector<Index> columns;
  for (Index c = 0; c < a.cols(); ++c) {
    if (free[static_cast<std::size_t>(c)]) columns.push_back(c);
  }
  MatrixXd part(a.rows(), static_cast<Index>(columns.size()));
  for (std::size_t i = 0; i < columns.size(); ++i) part.col(static_cast<Index>(i)) = a.col(columns[i]);
  const VectorXd solution = part.colPivHouseholderQr().solve(b);
  VectorXd x = VectorXd::Zero(a.cols());
  for (std::size_t i = 0; i < columns.size(); ++i) x(columns[i]) = solution(static_cast<Index>(i));
  return x;
}

/// Parameters in the coordinates the search runs in.
double inward(const CurveParameter& p, double value) { return p.logarithmic ? std::log(value) : value; }
double outward(const CurveParameter& p, double coordinate) {
  return std::clamp(p.logarithmic ? std::exp(coordinate) : coordinate, p.low, p.high);
}

class Curve {
 public:
  Curve(std::span<const CurveParameter> parameters, std::span<const double> log_times, const PredictLog& predict)
      : parameters_(parameters), log_times_(log_times), predict_(predict) {}

  std::vector<double> values(const VectorXd& x) const {
    std::vector<double> out;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      out.push_back(outward(parameters_[i], x(static_cast<Index>(i))));
    }
    return out;
  }
  VectorXd residuals(const VectorXd& x) const {
    const std::vector<double> at = values(x);
    VectorXd r(static_cast<Index>(log_times_.size()));
    for (std::size_t i = 0; i < log_times_.size(); ++i) r(static_cast<Index>(i)) = predict_(at, i) - log_times_[i];
    return r;
  }
  double loss(const VectorXd& r) const {
    double sum = 0;
    for (const double e : r) {
      const double size = std::abs(e);
      sum += size <= kHuberDelta ? e * e / 2 : kHuberDelta * (size - kHuberDelta / 2);
    }
    return sum;
  }
  VectorXd clamped(VectorXd x) const {
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const CurveParameter& p = parameters_[i];
      double& c = x(static_cast<Index>(i));
      c = std::clamp(c, inward(p, p.low), inward(p, p.high));
    }
    return x;
  }
  VectorXd start() const {
    VectorXd x(static_cast<Index>(parameters_.size()));
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      x(static_cast<Index>(i)) =
          inward(parameters_[i], std::clamp(parameters_[i].start, parameters_[i].low, parameters_[i].high));
    }
    return x;
  }
  /// Coordinate by coordinate, twice, over a grid of a factor of eight either way (a line of ten for those that aren't
  /// logarithmic).
  VectorXd look_around(VectorXd x) const {
    constexpr int kGrid = 10;
    double best = loss(residuals(x));
    for (int round = 0; round < 2; ++round) {
      for (std::size_t i = 0; i < parameters_.size(); ++i) {
        const CurveParameter& p = parameters_[i];
        const double centre = x(static_cast<Index>(i));
        for (int g = 0; g <= kGrid; ++g) {
          VectorXd tried = x;
          tried(static_cast<Index>(i)) =
              p.logarithmic ? centre + std::log(8.0) * (2.0 * g / kGrid - 1) : p.low + (p.high - p.low) * g / kGrid;
          tried = clamped(tried);
          const double now = loss(residuals(tried));
          if (now >= best) continue;
          best = now;
          x = tried;
        }
      }
    }
    return x;
  }
  VectorXd descend(VectorXd x) const {
    constexpr int kIterations = 60;
    VectorXd r = residuals(x);
    double now = loss(r), damping = 1e-3;
    for (int iteration = 0; iteration < kIterations; ++iteration) {
      MatrixXd j(r.size(), x.size());
      for (Index c = 0; c < x.size(); ++c) {
        VectorXd moved = x;
        // Inward at the upper bound.
        const CurveParameter& p = parameters_[static_cast<std::size_t>(c)];
        const double step = x(c) + kStep > inward(p, p.high) ? -kStep : kStep;
        moved(c) += step;
        j.col(c) = (residuals(moved) - r) / step;
      }
      VectorXd weight(r.size());
      for (Index i = 0; i < r.size(); ++i) weight(i) = std::min(1.0, kHuberDelta / std::max(std::abs(r(i)), 1e-300));
      const MatrixXd normal = j.transpose() * weight.asDiagonal() * j;
      const VectorXd gradient = j.transpose() * weight.asDiagonal() * r;
      bool better = false;
      double gain = 0;
      for (int attempt = 0; attempt < 12 && !better; ++attempt) {
        MatrixXd damped = normal;
        damped.diagonal() += damping * (normal.diagonal().array() + 1e-12).matrix();
        const VectorXd tried = clamped(x - damped.ldlt().solve(gradient));
        const VectorXd tried_r = residuals(tried);
        const double tried_loss = loss(tried_r);
        better = tried_loss < now;
        damping = better ? std::max(damping / 5, 1e-12) : damping * 4;
        if (!better) continue;
        gain = now - tried_loss;
        x = tried;
        r = tried_r;
        now = tried_loss;
      }
      if (!better || gain <= 1e-10 * now) break;
    }
    return x;
  }

 private:
  std::span<const CurveParameter> parameters_;
  std::span<const double> log_times_;
  const PredictLog& predict_;
};

}  // namespace

std::vector<double> nonnegative_least_squares(const Rows& rows, std::span<const double> right) {
  const MatrixXd a = matrix_of(rows);
  ESPALIER_CHECK_OP(static_cast<std::size_t>(a.rows()), ==, right.size());
  const VectorXd b = Eigen::Map<const VectorXd>(right.data(), static_cast<Index>(right.size()));
  std::vector<bool> free(static_cast<std::size_t>(a.cols()), false);
  VectorXd x = VectorXd::Zero(a.cols());
  const double tolerance = 1e-12 * std::max(1e-300, (a.transpose() * b).cwiseAbs().maxCoeff());
  // Each round frees one column; a column may be freed again after it was held back, so the bound is generous.
  for (Index round = 0; round < 10 * (a.cols() + 1); ++round) {
    const VectorXd gradient = a.transpose() * (b - a * x);
    Index steepest = -1;
    for (Index c = 0; c < a.cols(); ++c) {
      if (!free[static_cast<std::size_t>(c)] && gradient(c) > tolerance &&
          (steepest < 0 || gradient(c) > gradient(steepest))) {
        steepest = c;
      }
    }
    if (steepest < 0) break;
    free[static_cast<std::size_t>(steepest)] = true;
    for (;;) {
      const VectorXd solution = solve_free(a, b, free);
      double reach = 1;
      for (Index c = 0; c < a.cols(); ++c) {
        if (free[static_cast<std::size_t>(c)] && solution(c) <= 0) reach = std::min(reach, x(c) / (x(c) - solution(c)));
      }
      x += std::isfinite(reach) ? VectorXd(reach * (solution - x)) : VectorXd::Zero(a.cols());
      if (reach >= 1) break;
      for (Index c = 0; c < a.cols(); ++c) {
        if (free[static_cast<std::size_t>(c)] && x(c) <= 1e-15 * x.cwiseAbs().maxCoeff()) {
          free[static_cast<std::size_t>(c)] = false;
          x(c) = 0;
        }
      }
      if (std::none_of(free.begin(), free.end(), [](bool f) { return f; })) break;
    }
  }
  return {x.data(), x.data() + x.size()};
}

std::vector<double> robust_nonnegative(const Rows& a, std::span<const double> b) {
  constexpr int kRounds = 4;
  std::vector<double> x = nonnegative_least_squares(a, b);
  for (int round = 0; round < kRounds; ++round) {
    Rows weighted = a;
    std::vector<double> right(b.begin(), b.end());
    bool all_near = true;
    for (std::size_t i = 0; i < a.size(); ++i) {
      double miss = -b[i];
      for (std::size_t c = 0; c < x.size(); ++c) miss += a[i][c] * x[c];
      if (std::abs(miss) <= kHuberDelta) continue;
      all_near = false;
      const double weight = std::sqrt(kHuberDelta / std::abs(miss));
      for (double& entry : weighted[i]) entry *= weight;
      right[i] *= weight;
    }
    if (all_near) break;
    x = nonnegative_least_squares(weighted, right);
  }
  return x;
}

std::vector<double> fit_curve(std::span<const CurveParameter> parameters, std::span<const double> log_times,
                              const PredictLog& predict, bool search) {
  const Curve curve(parameters, log_times, predict);
  VectorXd x = curve.start();
  if (search) x = curve.look_around(x);
  return curve.values(curve.descend(x));
}

std::vector<Identification> identify(const Rows& jacobian) {
  const MatrixXd j = matrix_of(jacobian);
  std::vector<Identification> out(static_cast<std::size_t>(j.cols()));
  for (Index c = 0; c < j.cols(); ++c) {
    for (Index r = 0; r < j.rows(); ++r) {
      out[static_cast<std::size_t>(c)].sensitive += std::abs(j(r, c)) >= kSensitive ? 1 : 0;
    }
  }
  if (j.rows() == 0) return out;
  // Columns scaled to one, so that only their directions count; what is left singular is collinear to the last bit.
  MatrixXd scaled = j;
  for (Index c = 0; c < j.cols(); ++c) scaled.col(c) /= std::max(1e-12, j.col(c).norm());
  MatrixXd normal = scaled.transpose() * scaled;
  normal.diagonal().array() += 1e-10;
  const MatrixXd covariance = normal.inverse();
  for (Index c = 0; c < j.cols(); ++c) {
    Identification& mine = out[static_cast<std::size_t>(c)];
    for (Index o = 0; o < j.cols(); ++o) {
      if (o == c) continue;
      const double correlation = std::abs(covariance(c, o)) / std::sqrt(covariance(c, c) * covariance(o, o));
      if (correlation <= mine.correlation) continue;
      mine.correlation = correlation;
      mine.partner = static_cast<std::size_t>(o);
    }
  }
  return out;
}

double quantile(std::vector<double> values, double q) {
  ESPALIER_CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const double at = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (values[above] - values[below]) * (at - static_cast<double>(below));
}

}  // namespace espalier::costmodel

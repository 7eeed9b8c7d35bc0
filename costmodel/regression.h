// Small dense fits: non-negative least squares for costs that add up, Huber regression on log time for curves, and what
// the data can tell of each parameter. Plain numbers in and out; the linear algebra stays in the .cpp.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

namespace espalier::costmodel {

using Rows = std::vector<std::vector<double>>;  ///< of a matrix, all of one length

/// argmin |A x - b| over x >= 0 (Lawson and Hanson's active set). Every row of `a` has the same number of columns.
std::vector<double> nonnegative_least_squares(const Rows& a, std::span<const double> b);

/// The same with rows that miss by more than 0.05 weighed down as Huber does: rows are relative errors.
std::vector<double> robust_nonnegative(const Rows& a, std::span<const double> b);

/// A parameter of a curve; `logarithmic` ones are searched by their logarithm (low > 0).
struct CurveParameter {
  double start = 1, low = 0, high = 1;
  bool logarithmic = true;
};
/// log of the predicted time of point `i`.
using PredictLog = std::function<double(std::span<const double> parameters, std::size_t i)>;

/// Levenberg-Marquardt on log time, residuals beyond 0.05 weighed down as Huber does, parameters kept within their
/// bounds. `search` looks around on a coarse grid first, for starts that may be far off.
std::vector<double> fit_curve(std::span<const CurveParameter> parameters, std::span<const double> log_times,
                              const PredictLog& predict, bool search);

/// What the points say of one parameter.
struct Identification {
  std::size_t sensitive = 0;  ///< points whose time moves by 5 % or more of the parameter's relative change
  double correlation = 0;     ///< largest, in size, with another parameter's estimate
  std::size_t partner = 0;    ///< that other parameter
};
/// `jacobian`: d log time / d log parameter, a row a point.
std::vector<Identification> identify(const Rows& jacobian);

/// The q-th quantile, linear between neighbours; `values` isn't empty and needn't be sorted.
double quantile(std::vector<double> values, double q);

}  // namespace espalier::costmodel

// How well one list of numbers predicts another: relative error, the best scale for it, rank correlation.
#pragma once

#include <optional>
#include <span>

namespace espalier::apps {

/// Mean of |scale * estimate - truth| / truth. Truths are above zero; 0 for empty lists.
double relative_error(std::span<const double> estimates, std::span<const double> truths, double scale = 1);

/// The scale that makes relative_error() least: the median of truth / estimate, weighted by estimate / truth. 1 when no
/// estimate is above zero. O(n log n).
double best_scale(std::span<const double> estimates, std::span<const double> truths);

/// Kendall's tau-b: 1 for the same order, -1 for the reverse, ties corrected for; nothing when either list is all ties.
/// Knight's algorithm, O(n log n).
std::optional<double> kendall_tau(std::span<const double> a, std::span<const double> b);

}  // namespace espalier::apps

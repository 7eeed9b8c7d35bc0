#include "apps/agreement.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

#include "core/error.h"

namespace espalier::apps {
namespace {

using Pairs = std::vector<std::pair<double, double>>;

std::int64_t choose_two(std::int64_t n) { return n * (n - 1) / 2; }

/// Pairs of equal neighbours in a sorted list.
template <class Same>
std::int64_t tied_pairs(const Pairs& pairs, Same same) {
  std::int64_t ties = 0;
  for (std::size_t i = 0; i < pairs.size();) {
    std::size_t j = i + 1;
    while (j < pairs.size() && same(pairs[i], pairs[j])) ++j;
    ties += choose_two(static_cast<std::int64_t>(j - i));
    i = j;
  }
  return ties;
}

/// Sorts [begin, end) by the second value; returns the exchanges a bubble sort would need: pairs in the wrong order.
std::int64_t sort_counting(Pairs& pairs, Pairs& spare, std::size_t begin, std::size_t end) {
  if (end - begin < 2) return 0;
  const std::size_t middle = begin + (end - begin) / 2;
  std::int64_t swaps = sort_counting(pairs, spare, begin, middle) + sort_counting(pairs, spare, middle, end);
  std::size_t left = begin, right = middle, out = begin;
  while (left < middle || right < end) {
    const bool take_right = left == middle || (right < end && pairs[right].second < pairs[left].second);
    if (take_right) swaps += static_cast<std::int64_t>(middle - left);
    spare[out++] = take_right ? pairs[right++] : pairs[left++];
  }
  std::copy(spare.begin() + static_cast<std::ptrdiff_t>(begin), spare.begin() + static_cast<std::ptrdiff_t>(end),
            pairs.begin() + static_cast<std::ptrdiff_t>(begin));
  return swaps;
}

}  // namespace

double relative_error(std::span<const double> estimates, std::span<const double> truths, double scale) {
  ESPALIER_CHECK_OP(estimates.size(), ==, truths.size());
  if (estimates.empty()) return 0;
  double sum = 0;
  for (std::size_t i = 0; i < estimates.size(); ++i) sum += std::abs(scale * estimates[i] - truths[i]) / truths[i];
  return sum / static_cast<double>(estimates.size());
}

double best_scale(std::span<const double> estimates, std::span<const double> truths) {
  ESPALIER_CHECK_OP(estimates.size(), ==, truths.size());
  // The error is piecewise linear in the scale, with a corner at every truth / estimate: its minimum is a weighted
  // median.
  Pairs corners;
  double total = 0;
  for (std::size_t i = 0; i < estimates.size(); ++i) {
    if (estimates[i] <= 0) continue;
    corners.emplace_back(truths[i] / estimates[i], estimates[i] / truths[i]);
    total += corners.back().second;
  }
  std::sort(corners.begin(), corners.end());
  double below = 0;
  for (const auto& [ratio, weight] : corners) {
    below += weight;
    if (below >= total / 2) return ratio;
  }
  return 1;
}

std::optional<double> kendall_tau(std::span<const double> a, std::span<const double> b) {
  ESPALIER_CHECK_OP(a.size(), ==, b.size());
  Pairs pairs, spare;
  for (std::size_t i = 0; i < a.size(); ++i) pairs.emplace_back(a[i], b[i]);
  spare.resize(pairs.size());
  std::sort(pairs.begin(), pairs.end());
  const std::int64_t all = choose_two(static_cast<std::int64_t>(pairs.size()));
  const std::int64_t both = tied_pairs(pairs, [](const auto& x, const auto& y) { return x == y; });
  const std::int64_t in_a = tied_pairs(pairs, [](const auto& x, const auto& y) { return x.first == y.first; });
  const std::int64_t discordant = sort_counting(pairs, spare, 0, pairs.size());
  const std::int64_t in_b = tied_pairs(pairs, [](const auto& x, const auto& y) { return x.second == y.second; });
  if (in_a == all || in_b == all) return std::nullopt;
  const auto concordant_minus = static_cast<double>(all - in_a - in_b + both - 2 * discordant);
  return concordant_minus / std::sqrt(static_cast<double>(all - in_a)) / std::sqrt(static_cast<double>(all - in_b));
}

}  // namespace espalier::apps

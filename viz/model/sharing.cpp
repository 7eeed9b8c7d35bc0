#include "viz/model/sharing.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>

#include "viz/model/axis.h"

namespace espalier::viz {
namespace {

constexpr double kRatio = 4;  ///< of neighbouring steps of the saving scale

/// A power of two without decimals.
std::string round_bytes(double bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return fmt::format("{:.0f} {}", bytes, kUnits[unit]);
}

}  // namespace

double bytes_saved(const traces::PrefixForest& forest, traces::NodeId node, std::int64_t bytes_per_token) {
  return static_cast<double>(forest.readers(node) - 1) * static_cast<double>(forest.tokens[node]) *
         static_cast<double>(bytes_per_token);
}

SavingScale saving_scale(const traces::PrefixForest& forest, std::int64_t bytes_per_token) {
  double largest = 0;
  for (std::size_t n = 0; n < forest.node_count(); ++n) {
    largest = std::max(largest, bytes_saved(forest, traces::NodeId(n), bytes_per_token));
  }
  return {largest > 0 ? std::exp2(std::ceil(std::log2(largest))) : 0};
}

Paint SavingScale::paint(double bytes) const {
  if (bytes <= 0) return Paint::step0;
  const int below = static_cast<int>(std::floor(std::log(top_bytes / bytes) / std::log(kRatio) + 1e-9));
  return step_paint(std::max(1, kSteps - 1 - below));
}

std::vector<LegendEntry> SavingScale::legend() const {
  std::vector<LegendEntry> entries = {{Paint::step0, "none"}};
  if (top_bytes <= 0) return entries;
  for (int i = 1; i < kSteps; ++i) {
    const double upper = top_bytes / std::pow(kRatio, kSteps - 1 - i);
    if (upper < 1) continue;
    entries.push_back({step_paint(i), "≤ " + round_bytes(upper)});
  }
  return entries;
}

Paint paint_of_queries(std::int64_t queries) {
  return step_paint(static_cast<int>(std::bit_width(static_cast<std::uint64_t>(std::max<std::int64_t>(1, queries)))) -
                    1);
}

std::vector<LegendEntry> queries_legend(std::int64_t most_queries) {
  std::vector<LegendEntry> entries;
  for (int i = 0; i < kSteps; ++i) {
    const std::int64_t low = std::int64_t{1} << i;
    if (low > std::max<std::int64_t>(1, most_queries)) break;
    const std::string range =
        i == 0 ? "1" : std::to_string(low) + (i + 1 == kSteps ? " and more" : "–" + std::to_string(2 * low - 1));
    entries.push_back({step_paint(i), range});
  }
  return entries;
}

}  // namespace espalier::viz

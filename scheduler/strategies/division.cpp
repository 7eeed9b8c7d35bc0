// The division problem of CoDec's planner: estimator table, lower bound, longest-first schedule. Source: the published
// notes on arXiv 2505.17694 (lower bound cost_l by binary search from the estimator, division bounds b_i(c), list
// scheduling); the body of the paper wasn't available, so the exact forms are reconstructed.
#include "scheduler/strategies/division.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/error.h"
#include "core/units.h"

namespace espalier::scheduler::planning {

TileCost::TileCost(const costmodel::CostModel& model, const costmodel::KernelConfig& kernel, costmodel::TaskShape shape,
                   std::int64_t most_tiles) {
  // Two points an octave: the estimate is piecewise linear in the tokens.
  for (std::int64_t octave = 1; octave < most_tiles; octave *= 2) {
    tiles_.push_back(octave);
    if (octave >= 2 && octave + octave / 2 < most_tiles) tiles_.push_back(octave + octave / 2);
  }
  tiles_.push_back(most_tiles);
  for (const std::int64_t tiles : tiles_) {
    shape.kv_tokens = tiles * kernel.kv_tile;
    shape.visible_pairs = shape.kv_tokens * shape.queries;
    us_.push_back(model.task(shape, kernel).us);
    if (us_.size() > 1) us_.back() = std::max(us_.back(), us_[us_.size() - 2]);
  }
}

double TileCost::us(std::int64_t tiles) const {
  const auto at = static_cast<std::size_t>(std::lower_bound(tiles_.begin(), tiles_.end(), tiles) - tiles_.begin());
  ESPALIER_CHECK_OP(at, <, tiles_.size());
  if (tiles_[at] == tiles) return us_[at];
  const double part = static_cast<double>(tiles - tiles_[at - 1]) / static_cast<double>(tiles_[at] - tiles_[at - 1]);
  return us_[at - 1] + part * (us_[at] - us_[at - 1]);
}

std::int64_t TileCost::tiles_within(double us) const {
  const auto above = static_cast<std::size_t>(std::upper_bound(us_.begin(), us_.end(), us) - us_.begin());
  if (above == 0) return 1;
  if (above == us_.size()) return tiles_.back();
  const double part = (us - us_[above - 1]) / (us_[above] - us_[above - 1]);
  auto tiles =
      tiles_[above - 1] + static_cast<std::int64_t>(part * static_cast<double>(tiles_[above] - tiles_[above - 1]));
  while (tiles > tiles_[above - 1] && this->us(tiles) > us) --tiles;  // rounding of the interpolation
  return tiles;
}

PieceSizes piece_sizes(std::int64_t tiles, std::int64_t splits) {
  ESPALIER_CHECK(splits >= 1 && splits <= tiles);
  const std::int64_t small = tiles / splits, larges = tiles % splits;
  return {small + 1, larges, small, splits - larges};
}

std::vector<std::int32_t> splits_within(const DivisionProblem& problem, double us) {
  std::vector<std::int32_t> splits;
  splits.reserve(problem.items.size());
  for (const DivisionItem& item : problem.items) {
    splits.push_back(static_cast<std::int32_t>(core::ceil_div(item.tiles, item.cost->tiles_within(us))));
  }
  return splits;
}

namespace {

double pieces_us(const DivisionItem& item, std::int64_t splits) {
  const PieceSizes sizes = piece_sizes(item.tiles, splits);
  double us = static_cast<double>(sizes.smalls) * item.cost->us(sizes.small);
  if (sizes.larges > 0) us += static_cast<double>(sizes.larges) * item.cost->us(sizes.large);
  return us * item.share;
}

/// W(c): slot time of all pieces.
double total_work(const DivisionProblem& problem, double us) {
  double work = 0;
  for (const DivisionItem& item : problem.items) {
    work += pieces_us(item, core::ceil_div(item.tiles, item.cost->tiles_within(us)));
  }
  return work * static_cast<double>(problem.copies);
}

/// Loads of the slots, the least loaded on top of a heap.
class Slots {
 public:
  explicit Slots(std::int64_t count) : loads_(static_cast<std::size_t>(count), 0.0) {}

  void add(double us, std::int64_t count) {
    const auto slots = static_cast<std::int64_t>(loads_.size());
    if (count > 8 * slots) count = fill(us, count);
    for (; count > 0; --count) {
      std::pop_heap(loads_.begin(), loads_.end(), std::greater<>());
      loads_.back() += us;
      most_ = std::max(most_, loads_.back());
      std::push_heap(loads_.begin(), loads_.end(), std::greater<>());
    }
  }
  double most() const { return most_; }

 private:
  /// Many equal pieces: gives every slot at once what it would have got before time `until`. Returns the pieces left,
  /// at most one a slot or so.
  std::int64_t fill(double us, std::int64_t count) {
    double sum = 0;
    for (const double load : loads_) sum += load;
    const double slots = static_cast<double>(loads_.size());
    const double until = (us * (static_cast<double>(count) - slots) + sum) / slots;
    if (until < most_) return count;
    for (double& load : loads_) {
      const double taken = std::min(std::max(0.0, std::ceil((until - load) / us)), static_cast<double>(count));
      load += taken * us;
      count -= static_cast<std::int64_t>(taken);
      most_ = std::max(most_, load);
    }
    std::make_heap(loads_.begin(), loads_.end(), std::greater<>());
    return count;
  }

  std::vector<double> loads_;
  double most_ = 0;
};

}  // namespace

bool work_fits(const DivisionProblem& problem, double us) {
  return total_work(problem, us) <= static_cast<double>(problem.slots) * us;
}

double cost_lower_bound(const DivisionProblem& problem) {
  const auto fits = [&](double us) { return work_fits(problem, us); };
  double low = 0, high = 0;
  for (const DivisionItem& item : problem.items) {
    low = std::max(low, item.cost->us(1));
    high += item.cost->us(item.tiles) * item.share;
  }
  if (fits(low)) return low;
  high = std::max(low, high * static_cast<double>(problem.copies));
  while (high - low > 1e-3 * low) {
    const double middle = (low + high) / 2;
    if (fits(middle)) {
      high = middle;
    } else {
      low = middle;
    }
  }
  return low;
}

double longest_first_makespan(const DivisionProblem& problem, std::span<const std::int32_t> splits) {
  struct Batch {
    double us;
    std::int64_t count;
  };
  std::vector<Batch> batches;
  double longest = 0;
  for (std::size_t i = 0; i < problem.items.size(); ++i) {
    const DivisionItem& item = problem.items[i];
    const PieceSizes sizes = piece_sizes(item.tiles, splits[i]);
    const auto add = [&](std::int64_t tiles, std::int64_t count) {
      if (count == 0) return;
      const double us = item.cost->us(tiles);
      longest = std::max(longest, us);
      batches.push_back({us * item.share, count * problem.copies});
    };
    add(sizes.large, sizes.larges);
    add(sizes.small, sizes.smalls);
  }
  std::sort(batches.begin(), batches.end(), [](const Batch& a, const Batch& b) { return a.us > b.us; });
  Slots slots(problem.slots);
  for (std::size_t i = 0; i < batches.size();) {
    std::int64_t count = 0;
    std::size_t equal = i;
    for (; equal < batches.size() && batches[equal].us == batches[i].us; ++equal) count += batches[equal].count;
    slots.add(batches[i].us, count);
    i = equal;
  }
  return std::max(longest, slots.most());
}

}  // namespace espalier::scheduler::planning

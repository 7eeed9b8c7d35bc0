// Walks back in time from the last CTA. O(log n) a link, and as many links as CTAs follow each other.
#include "sim/critical_path.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace espalier::sim {
namespace {

using scheduler::LaunchId;

/// The engine takes events within a picosecond for one; twice that also covers the rounding of sums.
constexpr double kTieUs = 2e-6;

class Walk {
 public:
  explicit Walk(const RunLog& log) : log_(log), taken_(log.cohorts.size()) {}

  std::vector<PathPart> back_from(double us) {
    at_us_ = us;
    // Each link is a cohort or a gap, none of them twice.
    for (std::size_t links = log_.cohorts.size() + log_.gaps.size(); links > 0 && at_us_ > kTieUs; --links) {
      if (!step()) break;
    }
    std::reverse(parts_.begin(), parts_.end());
    return std::move(parts_);
  }

 private:
  bool step() {
    const GapRecord* gap = gap_before();
    const CohortRecord* cohort = gap == nullptr ? cohort_before() : nullptr;
    if (gap != nullptr) {
      PathPart part;
      part.kind = gap->barrier ? PathPart::Kind::barrier : PathPart::Kind::launch_gap;
      part.launch = gap->launch;
      part.begin_us = gap->begin_us;
      part.end_us = at_us_;
      part.spent.us[static_cast<int>(Bound::fixed)] = part.end_us - part.begin_us;
      parts_.push_back(part);
      at_us_ = gap->begin_us;
      after_gap_ = gap;
      return true;
    }
    if (cohort == nullptr) return false;
    add(*cohort);
    at_us_ = cohort->begin_us;
    next_ = cohort;
    after_gap_ = nullptr;
    return true;
  }

  /// The gap that ended now: of the launch of the CTA that follows, or after a gap (a launch without CTAs) any.
  const GapRecord* gap_before() const {
    if (next_ == nullptr) return nullptr;
    for (const GapRecord& gap : log_.gaps) {
      if (&gap == after_gap_ || std::abs(gap.end_us - at_us_) > kTieUs || gap.begin_us >= gap.end_us) continue;
      if (after_gap_ == nullptr ? gap.launch == next_->launch : !has_cohort_before()) return &gap;
    }
    return nullptr;
  }

  bool has_cohort_before() const { return cohort_before() != nullptr; }

  const CohortRecord* cohort_before() const {
    const auto begin = std::lower_bound(log_.cohorts.begin(), log_.cohorts.end(), at_us_ - kTieUs,
                                        [](const CohortRecord& c, double us) { return c.end_us < us; });
    const CohortRecord* best = nullptr;
    int best_rank = -1;
    for (auto it = begin; it != log_.cohorts.end() && it->end_us <= at_us_ + kTieUs; ++it) {
      const bool shorter =
          it->end_us - it->begin_us <= 0 && taken_[static_cast<std::size_t>(it - log_.cohorts.begin())];
      if (shorter || it->begin_us > at_us_) continue;
      const int rank = rank_of(*it);
      // Of equals the one that took longest: the chain is the most work that had to be done in turn.
      if (rank > best_rank || (rank == best_rank && it->begin_us < best->begin_us)) {
        best = &*it;
        best_rank = rank;
      }
    }
    return best;
  }

  int rank_of(const CohortRecord& cohort) const {
    if (next_ == nullptr) return 0;
    const bool own = cohort.launch == next_->launch;
    if (own && next_->worker >= 0 && cohort.worker == next_->worker) return 2;
    return own ? 1 : 0;
  }

  void add(const CohortRecord& cohort) {
    taken_[static_cast<std::size_t>(&cohort - log_.cohorts.data())] = true;
    const double us = at_us_ - cohort.begin_us;
    const auto kind = cohort.phase < 0 ? PathPart::Kind::idle_worker
                      : cohort.merging ? PathPart::Kind::steps
                                       : PathPart::Kind::tasks;
    const bool grows = !parts_.empty() && parts_.back().kind == kind && parts_.back().phase == cohort.phase &&
                       parts_.back().launch == cohort.launch;
    if (!grows) {
      PathPart part;
      part.kind = kind;
      part.launch = cohort.launch;
      part.phase = cohort.phase;
      part.end_us = at_us_;
      parts_.push_back(part);
    }
    PathPart& part = parts_.back();
    part.begin_us = cohort.begin_us;
    ++part.ctas;
    for (int b = 0; b < kBounds; ++b) part.spent.us[b] += cohort.spent.us[b];
    if (us <= part.longest_us) return;
    part.longest = cohort.item;
    part.longest_us = us;
  }

  const RunLog& log_;
  std::vector<bool> taken_;
  std::vector<PathPart> parts_;
  double at_us_ = 0;
  const CohortRecord* next_ = nullptr;
  const GapRecord* after_gap_ = nullptr;
};

}  // namespace

std::vector<PathPart> critical_path(const RunLog& log, double makespan_us) { return Walk(log).back_from(makespan_us); }

}  // namespace espalier::sim

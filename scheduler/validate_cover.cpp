// Exact cover of a rectangle by rectangles: a sorted walk proves the usual layouts (columns of abutting pieces);
// whatever it can't prove is swept with an ordered set of the pieces on the line, which also says where and by whom.
#include <algorithm>
#include <set>
#include <tuple>

#include "scheduler/validate_internal.h"

namespace espalier::scheduler::validation {
namespace {

/// True when the rectangles, sorted by (x0, x1, y0), are columns side by side, each tiled from bottom to top.
bool tiles_in_columns(const Rect& domain, const std::vector<Rect>& rects) {
  std::int64_t x = domain.x0;
  for (std::size_t i = 0; i < rects.size();) {
    const Rect& first = rects[i];
    if (first.x0 != x) return false;
    std::int64_t y = domain.y0;
    for (; i < rects.size() && rects[i].x0 == first.x0 && rects[i].x1 == first.x1; ++i) {
      if (rects[i].y0 != y) return false;
      y = rects[i].y1;
    }
    if (y != domain.y1) return false;
    x = first.x1;
  }
  return x == domain.x1;
}

class Sweep {
 public:
  Sweep(const Rect& domain, const std::vector<Rect>& rects, int limit) : domain_(domain), rects_(rects), limit_(limit) {
    by_end_.resize(rects.size());
    for (std::size_t i = 0; i < rects.size(); ++i) by_end_[i] = i;
    std::sort(by_end_.begin(), by_end_.end(),
              [&](std::size_t a, std::size_t b) { return std::tie(rects[a].x1, a) < std::tie(rects[b].x1, b); });
  }

  std::vector<CoverFault> run() {
    std::size_t entering = 0, leaving = 0;
    for (std::int64_t x = domain_.x0; x < domain_.x1 && !(full(gaps_) && full(twice_));) {
      for (; leaving < rects_.size() && rects_[by_end_[leaving]].x1 <= x; ++leaving) remove(by_end_[leaving]);
      for (; entering < rects_.size() && rects_[entering].x0 <= x; ++entering) insert(entering, x);
      // Without overlaps the sum of heights tells whether the line is full.
      if (height_ != domain_.y1 - domain_.y0 || twice_ > 0) find_gaps(x);
      x = domain_.x1;
      if (leaving < rects_.size()) x = std::min(x, rects_[by_end_[leaving]].x1);
      if (entering < rects_.size()) x = std::min(x, rects_[entering].x0);
    }
    return std::move(faults_);
  }

 private:
  bool full(int count) const { return count >= limit_; }

  void remove(std::size_t i) {
    line_.erase({rects_[i].y0, i});
    height_ -= rects_[i].y1 - rects_[i].y0;
  }

  void insert(std::size_t i, std::int64_t x) {
    const Rect& rect = rects_[i];
    const auto at = line_.emplace(rect.y0, i).first;
    height_ += rect.y1 - rect.y0;
    if (at != line_.begin()) check_pair(std::prev(at)->second, i, x);
    if (std::next(at) != line_.end()) check_pair(i, std::next(at)->second, x);
  }

  void check_pair(std::size_t low, std::size_t high, std::int64_t x) {
    const Rect &a = rects_[low], &b = rects_[high];
    if (a.y1 <= b.y0 || full(twice_)) return;
    ++twice_;
    faults_.push_back({true, x, b.y0, std::min(a.y1, b.y1), std::min(a.item, b.item), std::max(a.item, b.item)});
  }

  void find_gaps(std::int64_t x) {
    std::int64_t y = domain_.y0;
    for (const auto& [y0, i] : line_) {
      if (full(gaps_)) return;
      if (y0 > y) add_gap(x, y, y0);
      y = std::max(y, rects_[i].y1);
    }
    if (y < domain_.y1) add_gap(x, y, domain_.y1);
  }

  void add_gap(std::int64_t x, std::int64_t y0, std::int64_t y1) {
    if (full(gaps_)) return;
    ++gaps_;
    faults_.push_back({false, x, y0, y1});
  }

  const Rect& domain_;
  const std::vector<Rect>& rects_;
  int limit_;
  int gaps_ = 0, twice_ = 0;
  std::int64_t height_ = 0;
  std::vector<std::size_t> by_end_;
  std::set<std::pair<std::int64_t, std::size_t>> line_;
  std::vector<CoverFault> faults_;
};

}  // namespace

std::vector<CoverFault> check_cover(const Rect& domain, std::vector<Rect>& rects, int limit) {
  if (domain.x0 >= domain.x1 || domain.y0 >= domain.y1) return {};
  std::erase_if(rects, [](const Rect& r) { return r.x0 >= r.x1 || r.y0 >= r.y1; });
  if (rects.size() > 1) {
    const auto key = [](const Rect& r) { return std::tie(r.x0, r.x1, r.y0, r.y1, r.item); };
    const auto less = [&](const Rect& a, const Rect& b) { return key(a) < key(b); };
    if (!std::is_sorted(rects.begin(), rects.end(), less)) std::sort(rects.begin(), rects.end(), less);
  }
  if (tiles_in_columns(domain, rects)) return {};
  return Sweep(domain, rects, limit).run();
}

}  // namespace espalier::scheduler::validation

// Rows of epochs, raised and handed on.
#include "kernels/emulator/warp_clocks.h"

#include <algorithm>

namespace espalier::kernels::emulator {

WarpClocks::WarpClocks(int count)
    : count_(count), seen_(static_cast<std::size_t>(count) * static_cast<std::size_t>(count), 0),
      fenced_(seen_.size(), 0) {
  for (int w = 0; w < count; ++w) seen_[index(w, w)] = 1;
}

void WarpClocks::raise(std::vector<std::uint32_t>& into, const std::vector<std::uint32_t>& rows, int warp) const {
  into.resize(static_cast<std::size_t>(count_), 0);
  for (int known = 0; known < count_; ++known) {
    auto& most = into[static_cast<std::size_t>(known)];
    most = std::max(most, rows[index(warp, known)]);
  }
}

void WarpClocks::release(int warp, Clock& into) {
  raise(into.seen, seen_, warp);
  raise(into.fenced, fenced_, warp);
  advance(warp);
}

void WarpClocks::acquire(int warp, const Clock& from) {
  const auto take = [&](const std::vector<std::uint32_t>& given, std::vector<std::uint32_t>& into) {
    for (std::size_t known = 0; known < given.size(); ++known) {
      auto& most = into[index(warp, static_cast<int>(known))];
      most = std::max(most, given[known]);
    }
  };
  take(from.seen, seen_);
  take(from.fenced, fenced_);
}

void WarpClocks::synchronise(const std::vector<int>& warps) {
  Clock latest;
  for (const int w : warps) {
    raise(latest.seen, seen_, w);
    raise(latest.fenced, fenced_, w);
  }
  for (const int w : warps) {
    acquire(w, latest);
    advance(w);
  }
}

void WarpClocks::fence_engine(int warp) {
  for (int known = 0; known < count_; ++known) fenced_[index(warp, known)] = seen(warp, known);
  advance(warp);  // what it does next has no fence yet
}

}  // namespace espalier::kernels::emulator

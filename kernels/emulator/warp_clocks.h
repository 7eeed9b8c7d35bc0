// Who knows of what: vector clocks of a cluster's warps, and of an engine a block for the copies that barriers count.
//
// An access must come after a barrier that its predecessor's warp took part in, whatever order the emulator happened to
// run them in. Lanes of one warp are not told apart. Engines beside the warps (bulk copies, products of warpgroups) see
// what ordinary stores wrote only behind a fence that lies between: a second clock says which do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace espalier::kernels::emulator {

class WarpClocks {
 public:
  /// By warp or engine: the latest epoch that is known of, and the latest with a fence since.
  struct Clock {
    std::vector<std::uint32_t> seen, fenced;
  };

  explicit WarpClocks(int count);

  int count() const { return count_; }
  /// The latest epoch of `known` that `knower` is after.
  std::uint32_t seen(int knower, int known) const { return seen_[index(knower, known)]; }
  /// Likewise, with a fence between.
  std::uint32_t fenced(int knower, int known) const { return fenced_[index(knower, known)]; }
  std::uint32_t now(int warp) const { return seen(warp, warp); }
  std::uint32_t advance(int warp) { return ++seen_[index(warp, warp)]; }

  /// What a warp did, and knows of, so far is before what those do next who acquire the clock later.
  void release(int warp, Clock& clock);
  void acquire(int warp, const Clock& clock);
  /// The warps met at a barrier: what each did is before what any of them does next.
  void synchronise(const std::vector<int>& warps);
  /// What the warp did and knows of so far, engines see, too: its own, and those that learn of it from the warp.
  void fence_engine(int warp);

 private:
  /// into = the larger of itself and the row of `warp`, number by number.
  void raise(std::vector<std::uint32_t>& into, const std::vector<std::uint32_t>& rows, int warp) const;
  std::size_t index(int a, int b) const {
    return static_cast<std::size_t>(a) * static_cast<std::size_t>(count_) + static_cast<std::size_t>(b);
  }

  int count_;
  std::vector<std::uint32_t> seen_, fenced_;  ///< [knower][known]
};

}  // namespace espalier::kernels::emulator

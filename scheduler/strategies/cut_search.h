// How the tiles of a candidate are cut: several cuts are forecast, and the one that is done first is kept.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "scheduler/strategies/candidate.h"
#include "scheduler/strategies/length_classes.h"
#include "scheduler/strategies/piece_prices.h"

namespace espalier::scheduler::planning {

/// Of a plan that makes each task in `copies` of heads, of which `fresh_copies`, a share, read a KV head first.
class CutSearch {
 public:
  CutSearch(const PlanRequest& request, const PiecePrices& prices, std::int32_t copies, double fresh_copies)
      : request_(request), prices_(prices), copies_(copies), fresh_copies_(fresh_copies) {
    forecast_of_.reserve(32);
  }

  /// Cuts the candidate's tiles and sets its forecast; who can't be below `limit_us` may be told any time from there
  /// on.
  void cut(Candidate& candidate, double limit_us);
  /// Memory serves the first requests of all CTAs in turn, so in the shortest plans those that begin last should have
  /// less to read.
  void taper(Candidate& candidate);

 private:
  void refine(Candidate& candidate, double round, std::span<const double> tried, std::size_t best);
  void fill_once(Candidate& candidate, double round);
  void cut_last(Candidate& candidate, std::int64_t tokens);
  double sms_taken(const Candidate& candidate, double goal) const;
  void try_shares(Candidate& candidate);
  PieceCut piece_cut(const Candidate& candidate, std::size_t h, double goal) const;
  using Cuts = std::array<PieceCut, kMaxHeights>;
  bool try_cut(Candidate& candidate, double goal, bool tapered = false);
  bool try_cuts(Candidate& candidate, const Cuts& cuts, double goal);
  double read_again(const Candidate& candidate, const TileLayer& layer) const;
  void add_classes(const Candidate& candidate, const Cuts& cuts, double& rows);
  void add_lengths(LengthHistogram& by_length, const TileKernel& kernel, double cold);
  void add_alone(const TileKernel& kernel);
  double limit_us(const Candidate& candidate) const;

  const PlanRequest& request_;
  const PiecePrices& prices_;
  std::int32_t copies_;
  double fresh_copies_;
  double limit_us_ = 0;                                 ///< of what is cut now
  std::array<PieceLine, kMaxHeights> lines_;            ///< prices of its pieces, by height
  Cuts tried_;                                          ///< at the last try, by height
  std::vector<std::uint64_t> forecast_of_;              ///< fingerprints of CTAs that were forecast for this candidate
  std::array<LengthHistogram, kMaxHeights> by_length_;  ///< pieces, by height
  LengthHistogram alone_;                               ///< of tiles that read what no other tile reads
  std::vector<CtaClass> classes_;
  double most_rows_ = 0;  ///< partial rows of a request of the tile that leaves it most
};

}  // namespace espalier::scheduler::planning

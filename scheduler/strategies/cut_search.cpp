#include "scheduler/strategies/cut_search.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <utility>

#include "core/units.h"
#include "scheduler/strategies/rounds.h"
#include "scheduler/strategies/shares.h"

namespace espalier::scheduler::planning {
namespace {

/// Rounds between which pieces are just as many as there are slots; and kinds of tiles for which that is looked for.
constexpr std::array kFilledOnce = {0.6, 1.3};
constexpr std::size_t kMostRunsToFill = 64;
/// Waves after which the last one is a small part.
constexpr std::int64_t kMostWaves = 8;

/// Waves of equal tiles do the same at the same time: what HBM, L2 and arithmetic take shows one after the other, not
/// beside each other as forecast, where the least of them takes this share of the longest.
constexpr double kAllFull = 0.8;

/// Of CTAs and their merges: what the forecast of one candidate's cuts depends on.
std::uint64_t fingerprint(std::span<const CtaClass> classes, double partial_rows, double most_rows) {
  std::uint64_t print =
      std::bit_cast<std::uint64_t>(partial_rows) + std::rotl(std::bit_cast<std::uint64_t>(most_rows), 32);
  for (const CtaClass& c : classes) {
    for (const double number : {c.tokens, c.ctas, c.cold, c.longest}) {
      print = std::rotl(print, 23) * 0x9e3779b97f4a7c15ULL ^ std::bit_cast<std::uint64_t>(number);
    }
    print += static_cast<std::uint64_t>(c.kernel->queries);
  }
  return print;
}

bool all_full(const Forecast& f) {
  const auto [least, longest] = std::minmax({f.hbm_us, f.l2_us, f.compute_us});
  return least >= kAllFull * longest;
}

}  // namespace

void CutSearch::cut(Candidate& candidate, double limit_us) {
  limit_us_ = limit_us;
  std::int64_t longest = 0, shortest = std::numeric_limits<std::int64_t>::max();
  double round = 0;  // a full device works off all tiles in this time
  for (std::size_t h = 0; h < candidate.kernels.size(); ++h) lines_[h] = prices_.line(*candidate.kernels[h]);
  for (const TileLayer& layer : candidate.cover.layers) {
    for (const TileRun& run : layer.runs) {
      if (run.tokens == 0) continue;
      const TileKernel& kernel = *candidate.kernels[run.height];
      round += prices_.piece_us(kernel, run.tokens) * run.tiles * copies_ / (kernel.residents * request_.device.sms);
      longest = std::max(longest, run.tokens);
      shortest = std::min(shortest, run.tokens);
    }
  }
  // A tile is read whole before the next: what they share must still lie in the L2 then.
  const double tile_bytes = static_cast<double>(longest) * static_cast<double>(request_.heads.kv_bytes_per_token());
  const bool alike = longest <= shortest + shortest / 4;
  const bool uniform = !candidate.boxes && alike && tile_bytes <= request_.device.l2_knee_mib * 1024 * 1024;
  candidate.forecast.total_us = std::numeric_limits<double>::infinity();
  tried_ = {};
  forecast_of_.clear();
  candidate.is_long = round >= kLongUs;
  // In few rounds one long piece keeps all waiting; in many, tiles that read the same tokens had better meet. Those of
  // one length do.
  candidate.even = !candidate.is_long || (longest == shortest && round < kEndlessUs);
  // Tiles of one length need no cuts where they fill the rounds well.
  if (uniform || candidate.boxes) try_cut(candidate, round * kUncutRounds);
  const std::span<const double> tried = rounds_to_try(round, candidate.boxes, candidate.kernels.size() > 1);
  std::size_t best = tried.size();
  for (std::size_t i = 0; i < tried.size(); ++i) best = try_cut(candidate, round / tried[i]) ? i : best;
  if (candidate.is_long && !candidate.boxes && best < tried.size()) refine(candidate, round, tried, best);
  if (round < kEndlessUs && !candidate.boxes) fill_once(candidate, round);
  if (candidate.kernels.size() > 1 || candidate.boxes) return;
  try_shares(candidate);
  if (candidate.is_long && longest == shortest) cut_last(candidate, longest);
}

/// Pieces as short as leave none waiting: between two of the rounds tried there may be that one cut. Where uncut tiles
/// are more than the slots there is none, and the fewest rounds are tried.
void CutSearch::fill_once(Candidate& candidate, double round) {
  std::size_t runs = 0;
  for (const TileLayer& layer : candidate.cover.layers) runs += layer.runs.size();
  if (runs > kMostRunsToFill) return;
  double fits = kFilledOnce.front(), waits = kFilledOnce.back();
  for (int i = 0; i < 6; ++i) {
    const double rounds = (fits + waits) / 2;
    (sms_taken(candidate, round / rounds) <= request_.device.sms ? fits : waits) = rounds;
  }
  try_cut(candidate, round / fits);
}

/// Tiles of one length in a few waves: where only those of the last are cut, it is full, and few requests have rows to
/// merge.
void CutSearch::cut_last(Candidate& candidate, std::int64_t tokens) {
  std::int64_t tiles = 0;
  for (const TileRun& run : candidate.cover.layers[0].runs) tiles += run.tokens > 0 ? run.tiles : 0;
  const std::int64_t wave = static_cast<std::int64_t>(request_.device.sms) * candidate.kernels[0]->residents / copies_;
  if (wave == 0 || tiles <= wave || tiles > kMostWaves * wave || tiles % wave == 0) return;
  const std::int64_t kv_tile = lines_[0].kv_tile;
  const std::int64_t full = tiles / wave;
  for (std::int64_t waves = full; waves > 0 && waves + 1 >= full; --waves) {
    const std::int64_t last = tiles - waves * wave, pieces = (full - waves + 1) * wave / last;
    for (std::int64_t each = std::max<std::int64_t>(2, pieces); each <= pieces + 1; ++each) {
      Cuts cuts;
      cuts[0] = {core::round_up(core::ceil_div(tokens, each), kv_tile), kv_tile, false, tiles - last};
      try_cuts(candidate, cuts, prices_.piece_us(*candidate.kernels[0], cuts[0].tokens));
    }
  }
}

double CutSearch::sms_taken(const Candidate& candidate, double goal) const {
  Cuts cuts;
  for (std::size_t h = 0; h < candidate.kernels.size(); ++h) cuts[h] = piece_cut(candidate, h, goal);
  double sms = 0;
  for (const TileLayer& layer : candidate.cover.layers) {
    const auto pieces = count_pieces(layer, cuts);
    for (std::size_t h = 0; h < candidate.kernels.size(); ++h) {
      sms += static_cast<double>(pieces[h] * copies_) / candidate.kernels[h]->residents;
    }
  }
  return sms;
}

/// Between the best number of rounds and its neighbours. Short plans aren't worth the time.
void CutSearch::refine(Candidate& candidate, double round, std::span<const double> tried, std::size_t best) {
  if (best > 0) try_cut(candidate, round / std::sqrt(tried[best] * tried[best - 1]));
  if (best + 1 < tried.size()) try_cut(candidate, round / std::sqrt(tried[best] * tried[best + 1]));
}

/// Where arithmetic is what takes time, hardware order leaves SMs idle that wait for nobody's memory: equal shares
/// don't.
void CutSearch::try_shares(Candidate& candidate) {
  if (!prices_.of_device() || !is_compute_bound(candidate.forecast)) return;
  const ShareTask task{candidate.kernels[0], &candidate.cover.layers[0], copies_, fresh_copies_};
  ShareTrial trial = try_equal_shares(request_, task, limit_us(candidate));
  if (trial.shares.list.empty() || trial.forecast.total_us >= candidate.forecast.total_us) return;
  candidate.forecast = trial.forecast;
  candidate.shares = std::move(trial.shares.list);
}

/// What a better plan than the best so far is forecast below.
double CutSearch::limit_us(const Candidate& candidate) const {
  return std::min(limit_us_, candidate.forecast.total_us);
}

PieceCut CutSearch::piece_cut(const Candidate& candidate, std::size_t h, double goal) const {
  return {lines_[h].tokens_within(goal), candidate.even ? lines_[h].kv_tile : 0};
}

/// Pieces of about `goal` microseconds, kept when they are forecast to be done sooner.
bool CutSearch::try_cut(Candidate& candidate, double goal, bool tapered) {
  Cuts cuts;
  for (std::size_t h = 0; h < candidate.kernels.size(); ++h) {
    cuts[h] = piece_cut(candidate, h, goal);
    cuts[h].tapered = tapered;
  }
  return try_cuts(candidate, cuts, goal);
}

bool CutSearch::try_cuts(Candidate& candidate, const Cuts& cuts, double goal) {
  if (std::exchange(tried_, cuts) == cuts) return false;
  classes_.clear();
  double partial_rows = static_cast<double>(candidate.cover.partial_rows);
  add_classes(candidate, cuts, partial_rows);
  // Other numbers of tokens often come to the same pieces.
  const std::uint64_t print = fingerprint(classes_, partial_rows, most_rows_);
  if (std::find(forecast_of_.begin(), forecast_of_.end(), print) != forecast_of_.end()) return false;
  forecast_of_.push_back(print);
  const Workload work{classes_,
                      candidate.kernels.size() == 1,
                      static_cast<double>(copies_),
                      static_cast<double>(request_.forest.request_count()),
                      partial_rows,
                      candidate.boxes,
                      most_rows_};
  const bool last = cuts[0].whole > 0;
  const double limit = limit_us(candidate) * (last && !candidate.cuts_last() ? 1 - kWorthLast : 1);
  const Forecast trial = forecast(request_, work, limit);
  if (trial.total_us >= (last ? limit : candidate.forecast.total_us)) return false;
  if (last && all_full(trial)) return false;
  candidate.forecast = trial;
  candidate.goal_us = goal;
  candidate.cuts.assign(cuts.data(), cuts.data() + candidate.set.count);
  candidate.shares.clear();
  return true;
}

/// Tiles that meet a node at different places from their first token are cut differently: in long plans its tokens have
/// left the L2 when the second one comes.
double CutSearch::read_again(const Candidate& candidate, const TileLayer& layer) const {
  if (layer.again == 0 && (!candidate.is_long || layer.apart == 0)) return 0;
  const double all_bytes = static_cast<double>(layer.unique * request_.heads.kv_bytes_per_token());
  const double kept = request_.device.l2_knee_mib * 0x1p20 / all_bytes;
  const double again = kept < 1 ? static_cast<double>(layer.again) : 0;
  return again + (candidate.is_long ? static_cast<double>(layer.apart) * std::max(0.0, 1 - kept) : 0);
}

void CutSearch::add_classes(const Candidate& candidate, const Cuts& cuts, double& rows) {
  most_rows_ = 0;
  std::array<double, kMaxHeights> read{}, cold{};  // tokens, by height; of these, shares that come from HBM
  double alone = 0;                                // tokens read by tiles that nobody else's reading helps
  for (const TileLayer& layer : candidate.cover.layers) {
    std::array<double, kMaxHeights> own{};
    for_cut_runs(layer, cuts, [&](const TileRun& run, const PieceLengths& lengths) {
      if (run.tokens == 0) return;
      (run.alone ? alone : own[run.height]) += static_cast<double>(run.tokens) * run.tiles;
      LengthHistogram& by_length = run.alone ? alone_ : by_length_[run.height];
      by_length.add(lengths.last, run.tiles);
      if (lengths.count == 1) return;
      const std::int64_t others = lengths.count - 1 - lengths.longer;
      if (lengths.longer > 0) by_length.add(lengths.each + lengths.more, lengths.longer * run.tiles);
      if (others > 0) by_length.add(lengths.each, others * run.tiles);
      const double tile_rows =
          candidate.boxes ? static_cast<double>(run.requests * (lengths.count - 1)) : cut_rows(run, lengths);
      rows += run.tiles * tile_rows;
      most_rows_ = std::max(most_rows_, tile_rows / run.requests);
    });
    const double all = std::accumulate(own.begin(), own.end(), 0.0);
    if (all == 0) continue;
    const double first = static_cast<double>(layer.unique) - alone + read_again(candidate, layer);
    const double share = fresh_copies_ * std::min(1.0, first / all);
    for (std::size_t h = 0; h < candidate.kernels.size(); ++h) {
      if (own[h] == 0) continue;
      read[h] += own[h];
      cold[h] += (share - cold[h]) * (own[h] / read[h]);
    }
  }
  for (std::size_t h = 0; h < candidate.kernels.size(); ++h) {
    if (read[h] > 0) add_lengths(by_length_[h], *candidate.kernels[h], cold[h]);
  }
  if (alone > 0) add_alone(*candidate.kernels[0]);
}

void CutSearch::add_lengths(LengthHistogram& by_length, const TileKernel& kernel, double cold) {
  by_length.drain([&](double tokens, double count, double longest) {
    classes_.push_back({&kernel, tokens / count, count * copies_, cold, longest});
  });
}

/// Few, and mostly none: a merge would ask for memory. Boxes are of one kernel.
void CutSearch::add_alone(const TileKernel& kernel) {
  const auto middle = static_cast<std::ptrdiff_t>(classes_.size());
  add_lengths(alone_, kernel, fresh_copies_);
  for (auto next = classes_.begin() + middle; next != classes_.end(); ++next) {
    const auto to = std::upper_bound(classes_.begin(), next, next->tokens,
                                     [](double tokens, const CtaClass& c) { return tokens < c.tokens; });
    std::rotate(to, next, next + 1);
  }
}

void CutSearch::taper(Candidate& candidate) {
  if (candidate.forecast.total_us >= kShortUs || candidate.boxes || !candidate.shares.empty()) return;
  limit_us_ = std::numeric_limits<double>::infinity();
  forecast_of_.clear();
  for (std::size_t h = 0; h < candidate.kernels.size(); ++h) lines_[h] = prices_.line(*candidate.kernels[h]);
  const double goal_us = candidate.goal_us;
  for (const double goal : {goal_us, goal_us / 1.2, goal_us * 1.2}) try_cut(candidate, goal, true);
}

}  // namespace espalier::scheduler::planning

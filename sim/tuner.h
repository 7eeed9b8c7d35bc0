// The tuner: simulated annealing over drafts with the simulator as judge, begun from the plans of all strategies.
//
// Iterations are numbered: first every opening and every given plan's draft in its launch and merge variants, then
// annealing in cycles that each begin at the best draft so far. What iteration i does depends on the seed, i and the
// state before it alone, so a run that stops and resumes makes the same steps as one that doesn't. The best plan is
// never slower than the fastest plan given.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/draft_moves.h"

namespace espalier::sim {

/// Where a search stands: everything that iteration i + 1 depends on besides what it was begun with.
struct TuneState {
  std::int64_t iteration = 0;
  std::optional<PlanDraft> best, current;
  double best_us = 0, current_us = 0;  ///< simulated; 0 without a draft
  std::int64_t accepted = 0;
  std::uint64_t start_hash = 0;  ///< of the plans it was begun with
};

/// What a state belongs to.
struct TuneKey {
  std::string input;
  std::int64_t snapshot = 0;
  std::uint64_t seed = 1;
  std::uint64_t forest_hash = 0, device_hash = 0;
  std::string device, heads;
};

class Tuner {
 public:
  /// `plans`: valid ones for this forest, heads and device. The references must outlive the tuner.
  Tuner(const traces::PrefixForest& forest, const traces::HeadConfig& heads, const costmodel::DeviceSpec& device,
        std::vector<scheduler::Plan> plans, std::uint64_t seed);

  const DraftSpace& space() const { return space_; }
  /// Iterations before annealing begins.
  std::int64_t opening_iterations() const;
  void step();
  const TuneState& state() const { return state_; }
  /// Takes up a search. Throws Error (bad input, naming `where`) when it was begun with other plans, or its drafts
  /// aren't valid plans here or no longer take the time they took.
  void resume(TuneState state, const std::string& where);

  /// Takes a draft found elsewhere if it is faster than the search's best. Not part of the state that resumes.
  void offer(const PlanDraft& draft);

  const std::vector<double>& plan_times_us() const { return plan_us_; }
  double best_us() const;
  /// The fastest plan known, valid on the device.
  scheduler::Plan best_plan() const;

 private:
  PlanDraft start_draft(std::int64_t iteration) const;
  void consider(PlanDraft draft);
  void check_resumed(const std::optional<PlanDraft>& draft, double us, const std::string& where) const;

  DraftSpace space_;
  std::vector<double> plan_us_;
  std::optional<scheduler::Plan> fastest_;  ///< of the plans given
  double fastest_us_ = 0;
  std::vector<PlanDraft> drafts_;  ///< of the plans that have one
  std::vector<Opening> openings_;
  std::uint64_t seed_ = 1;
  TuneState state_;
};

/// tune_state/1: one entry an input. Reading checks the drafts against their forests: `spaces` are those of the
/// entries, in order.
struct TuneEntry {
  TuneKey key;
  TuneState state;
};
std::string write_tune_state(std::span<const TuneEntry> entries, std::span<const DraftSpace* const> spaces);
/// Throws Error (bad input) when the file is broken or its keys are not `keys`.
std::vector<TuneState> read_tune_state(std::string_view text, const std::string& file, std::span<const TuneKey> keys,
                                       std::span<const DraftSpace* const> spaces);

}  // namespace espalier::sim

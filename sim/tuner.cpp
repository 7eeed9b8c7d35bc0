// The annealing loop; see the header.
#include "sim/tuner.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/hash.h"
#include "scheduler/validate.h"
#include "sim/simulator.h"

namespace espalier::sim {

using scheduler::Plan;

namespace {

/// Iterations of one cooling from kHottest to kHottest / e^kCooling, as shares of the present time. Long enough to
/// rearrange a plan of a hundred pieces, short enough that a minute holds many.
constexpr std::int64_t kCycle = 500;
constexpr double kHottest = 0.015, kCooling = 6;
/// Merge and launch variants in which each given plan's draft is tried.
constexpr std::int64_t kVariants = 6;

double temperature(std::int64_t iteration) {
  return kHottest * std::exp(-kCooling * static_cast<double>(iteration % kCycle) / static_cast<double>(kCycle));
}

/// A plan that only lacks memory is turned down; anything else that is wrong is our fault.
bool acceptable(const Plan& plan, const costmodel::DeviceSpec& device) {
  const std::vector<scheduler::Violation> violations = scheduler::validate(plan, device);
  for (const scheduler::Violation& v : violations) {
    if (v.violation != scheduler::ViolationClass::workspace_too_large) {
      core::fail_check(__FILE__, __LINE__, "a draft makes a valid plan", scheduler::violations_text(violations));
    }
  }
  return violations.empty();
}

}  // namespace

Tuner::Tuner(const traces::PrefixForest& forest, const traces::HeadConfig& heads, const costmodel::DeviceSpec& device,
             std::vector<Plan> plans, std::uint64_t seed)
    : space_(make_draft_space(forest, heads, device)), openings_(openings(space_)), seed_(seed) {
  core::Hasher hasher;
  for (Plan& plan : plans) {
    const double us = simulate(plan, device).makespan_us;
    plan_us_.push_back(us);
    hasher.value(plan.hash);
    std::optional<PlanDraft> draft = draft_of(space_, plan);
    if (draft && std::find(drafts_.begin(), drafts_.end(), *draft) == drafts_.end()) {
      drafts_.push_back(std::move(*draft));
    }
    if (fastest_ && us >= fastest_us_) continue;
    fastest_us_ = us;
    fastest_ = std::move(plan);
  }
  state_.start_hash = hasher.digest();
}

std::int64_t Tuner::opening_iterations() const {
  return static_cast<std::int64_t>(openings_.size()) + kVariants * static_cast<std::int64_t>(drafts_.size());
}

PlanDraft Tuner::start_draft(std::int64_t iteration) const {
  const auto given = kVariants * static_cast<std::int64_t>(drafts_.size());
  if (iteration >= given) return open_draft(space_, openings_[static_cast<std::size_t>(iteration - given)]);
  PlanDraft draft = drafts_[static_cast<std::size_t>(iteration / kVariants)];
  const std::int64_t variant = iteration % kVariants;
  if (variant == 0) return draft;
  if (variant >= 4) sort_longest_first(space_, draft);
  draft.merge = variant == 1 ? DraftMerge::launch : variant == 2 ? DraftMerge::programmatic : DraftMerge::on_arrival;
  draft.persistent = variant == 5;
  return draft;
}

void Tuner::step() {
  const std::int64_t iteration = state_.iteration++;
  if (iteration < opening_iterations()) return consider(start_draft(iteration));
  if ((iteration - opening_iterations()) % kCycle == 0 && state_.best) {
    state_.current = state_.best;
    state_.current_us = state_.best_us;
  }
  if (!state_.current) return;  // nothing fits the memory, not even an opening
  core::Rng rng(core::random_bits(seed_, static_cast<std::uint64_t>(iteration)));
  PlanDraft draft = *state_.current;
  const std::int64_t moves = rng.chance(0.8) ? 1 : rng.integer(2, 4);
  bool moved = false;
  for (std::int64_t m = 0; m < moves; ++m) moved = mutate(space_, draft, rng) || moved;
  if (!moved) return;
  // An equally fast plan is taken: plateaus are wide where a launch waits for one task.
  const double chance = rng.uniform();
  const Plan plan = emit_draft(space_, draft);
  const double us = simulate(plan, space_.device).makespan_us;
  const double worse = us / state_.current_us - 1;
  if (worse > 0 && chance >= std::exp(-worse / temperature(iteration - opening_iterations()))) return;
  if (!acceptable(plan, space_.device)) return;
  ++state_.accepted;
  state_.current_us = us;
  if (us < state_.best_us) {
    state_.best = draft;
    state_.best_us = us;
  }
  state_.current = std::move(draft);
}

void Tuner::consider(PlanDraft draft) {
  const Plan plan = emit_draft(space_, draft);
  const double us = simulate(plan, space_.device).makespan_us;
  if ((state_.best && us >= state_.best_us) || !acceptable(plan, space_.device)) return;
  ++state_.accepted;
  state_.best_us = state_.current_us = us;
  state_.current = draft;
  state_.best = std::move(draft);
}

void Tuner::offer(const PlanDraft& draft) { consider(draft); }

void Tuner::check_resumed(const std::optional<PlanDraft>& draft, double us, const std::string& where) const {
  if (!draft) return;
  const Plan plan = emit_draft(space_, *draft);
  const auto violations = scheduler::validate(plan, space_.device);
  if (!violations.empty()) {
    throw core::bad_input(where, "a draft that makes a valid plan", scheduler::violations_text(violations));
  }
  const double now_us = simulate(plan, space_.device).makespan_us;
  if (now_us != us) {
    throw core::bad_input(
        where, fmt::format("a plan of {} us, as simulated now (the state may be of another version)", now_us),
        fmt::format("{} us", us));
  }
}

void Tuner::resume(TuneState state, const std::string& where) {
  if (state.start_hash != state_.start_hash) {
    throw core::bad_input(
        where,
        fmt::format("a search begun with the strategies' plans of today (hash {})", core::hash_text(state_.start_hash)),
        core::hash_text(state.start_hash));
  }
  check_resumed(state.best, state.best_us, where);
  check_resumed(state.current, state.current_us, where);
  state_ = std::move(state);
}

double Tuner::best_us() const {
  if (!state_.best) return fastest_us_;
  return fastest_ ? std::min(fastest_us_, state_.best_us) : state_.best_us;
}

Plan Tuner::best_plan() const {
  if (fastest_ && (!state_.best || fastest_us_ <= state_.best_us)) return *fastest_;
  ESPALIER_CHECK(state_.best.has_value());
  Plan plan = emit_draft(space_, *state_.best);
  plan.provenance.seed = seed_;
  plan.provenance.why.push_back(
      fmt::format("the fastest of {} plans tried, {:.2f} us as simulated", state_.iteration, state_.best_us));
  if (fastest_) {
    plan.provenance.why.push_back(fmt::format("{:.2f}x faster than the best strategy's, {}",
                                              fastest_us_ / state_.best_us, fastest_->provenance.strategy));
  }
  seal(plan);
  return plan;
}

}  // namespace espalier::sim

// How many rounds of pieces our planner tries: pieces that a slot works off one after the other, on average.
#pragma once

#include <span>

namespace espalier::scheduler::planning {

/// A goal of so many rounds cuts nothing.
inline constexpr double kUncutRounds = 1e6;
/// Microseconds of a plan from which it is short, long, and endless.
inline constexpr double kShortUs = 20, kLongUs = 60, kEndlessUs = 300;

/// Rounds worth trying, rising, for a plan that a full device works off in `plan_us` microseconds. Short plans can't
/// afford the fixed cost of many pieces, long ones end more evenly with them; the shorter a plan, the more slots it may
/// leave empty, so as to have fewer rows to merge. `boxes`: nodes by themselves (node_boxes.h), which are of many
/// lengths; only the longest are cut then. `mixed`: tiles of two heights or more.
inline std::span<const double> rounds_to_try(double plan_us, bool boxes, bool mixed) {
  static constexpr double kTiny[] = {0.03, 0.06, 0.12, 0.2, 0.275, 0.35, 0.42, 0.5, 0.6, 0.75, 0.85, 1, 1.25, 1.5};
  static constexpr double kShort[] = {0.6, 0.75, 0.85, 1, 1.25, 1.5, 2, 3};
  static constexpr double kLong[] = {0.75, 0.85, 1.25, 2, 3, 4, 6};
  static constexpr double kEndless[] = {1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24}, kBoxes[] = {0.75, 1, 1.5, 2, 3};
  // High tiles that compute take one wave of a part of the SMs, and low ones that read the others.
  static constexpr double kMixed[] = {0.75, 0.85, 1, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 2, 3, 4, 6, 8, 12, 16, 24};
  if (boxes) return kBoxes;
  if (plan_us < kShortUs) return kTiny;
  if (plan_us < kLongUs) return kShort;
  if (mixed) return kMixed;
  if (plan_us < kEndlessUs) return kLong;
  return kEndless;
}

}  // namespace espalier::scheduler::planning

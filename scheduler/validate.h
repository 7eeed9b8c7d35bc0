// The proof that a plan is right: every request reads each of its tokens exactly once for every head, and every partial
// row reaches that request's final row exactly once.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "costmodel/device_spec.h"
#include "scheduler/plan.h"

namespace espalier::scheduler {

enum class ViolationClass : std::uint8_t {
  bad_index,  ///< an interval or id points outside its column
  uncovered_token,
  token_covered_twice,
  segment_outside_node,
  segment_foreign_path,  ///< a query sees a segment of a node that isn't on its path
  query_unknown,         ///< a query group names a request twice, out of order, or one that doesn't exist
  head_range,            ///< heads outside the configuration, or not aligned to KV heads where the kernel packs them
  slot_written_twice,
  slot_never_written,
  slot_never_merged,
  slot_merged_twice,
  slot_mismatch,       ///< rows, heads, kind or dtype of a slot don't fit its writer or reader
  merge_row_mismatch,  ///< a merge brings rows of different requests together
  merge_cycle,         ///< data flows backwards: against launch and phase order, or in a circle
  final_row_missing,
  final_row_twice,
  kernel_limit,  ///< rows beyond the query tile, or a kernel that doesn't fit the device
  queue_repeats,
  queue_misses,
  queue_workers,        ///< more workers than the device can hold at once
  storage_overlap,      ///< live slots share bytes, or a slot lies outside the workspace or off its alignment
  workspace_too_large,  ///< workspace and KV don't fit the device's memory
  phase_order,          ///< phases or launches don't partition the tasks and steps
  hash_mismatch,
};
inline constexpr int kViolationClasses = static_cast<int>(ViolationClass::hash_mismatch) + 1;
std::string_view violation_name(ViolationClass violation);

struct Violation {
  ViolationClass violation;
  std::string sentence;  ///< in the file's own ids
};

/// All violations found, at most `most` a class (the first ones, in a fixed order). Empty: the plan is right.
std::vector<Violation> validate(const Plan& plan, const costmodel::DeviceSpec& device, int most = 8);

/// "2 violations: uncovered_token (request 7 …), …" for error messages; "valid" when empty.
std::string violations_text(const std::vector<Violation>& violations);

}  // namespace espalier::scheduler

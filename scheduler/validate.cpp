// The validator's front: runs the checks in order of dependence and names what they find.
//
// Indices come first; while one is broken nothing that follows it may run. Then shapes (groups, heads, segments,
// phases), then the proofs: coverage, data flow, storage, queues. Every "exactly once" is one exact-cover check of
// rectangles.
#include "scheduler/validate.h"

#include <algorithm>

#include "core/hash.h"
#include "scheduler/validate_internal.h"

namespace espalier::scheduler {

using namespace validation;

std::string_view violation_name(ViolationClass violation) {
  switch (violation) {
    case ViolationClass::bad_index:
      return "bad_index";
    case ViolationClass::uncovered_token:
      return "uncovered_token";
    case ViolationClass::token_covered_twice:
      return "token_covered_twice";
    case ViolationClass::segment_outside_node:
      return "segment_outside_node";
    case ViolationClass::segment_foreign_path:
      return "segment_foreign_path";
    case ViolationClass::query_unknown:
      return "query_unknown";
    case ViolationClass::head_range:
      return "head_range";
    case ViolationClass::slot_written_twice:
      return "slot_written_twice";
    case ViolationClass::slot_never_written:
      return "slot_never_written";
    case ViolationClass::slot_never_merged:
      return "slot_never_merged";
    case ViolationClass::slot_merged_twice:
      return "slot_merged_twice";
    case ViolationClass::slot_mismatch:
      return "slot_mismatch";
    case ViolationClass::merge_row_mismatch:
      return "merge_row_mismatch";
    case ViolationClass::merge_cycle:
      return "merge_cycle";
    case ViolationClass::final_row_missing:
      return "final_row_missing";
    case ViolationClass::final_row_twice:
      return "final_row_twice";
    case ViolationClass::kernel_limit:
      return "kernel_limit";
    case ViolationClass::queue_repeats:
      return "queue_repeats";
    case ViolationClass::queue_misses:
      return "queue_misses";
    case ViolationClass::queue_workers:
      return "queue_workers";
    case ViolationClass::storage_overlap:
      return "storage_overlap";
    case ViolationClass::workspace_too_large:
      return "workspace_too_large";
    case ViolationClass::phase_order:
      return "phase_order";
    case ViolationClass::hash_mismatch:
      return "hash_mismatch";
  }
  return "unknown";
}

std::vector<Violation> validate(const Plan& plan, const costmodel::DeviceSpec& device, int most) {
  Report report(most);
  if (const std::uint64_t hash = plan_hash(plan); hash != plan.hash) {
    report.add(ViolationClass::hash_mismatch, "the plan's content has hash {}, it says {}", core::hash_text(hash),
               core::hash_text(plan.hash));
  }
  Facts facts{plan, device};
  if (!check_structure(facts, report)) return report.take();
  check_shapes(facts, report);
  check_kernels(facts, report);
  check_queues(facts, report);
  check_coverage(facts, report);
  const SlotAccesses accesses = collect_accesses(facts, report);
  check_flow(facts, accesses, report);
  check_score_chain(facts, accesses, report);
  check_storage(facts, accesses, report);
  check_memory(facts, report);
  return report.take();
}

std::string violations_text(const std::vector<Violation>& violations) {
  if (violations.empty()) return "valid";
  // Of a class no more than a few are looked for; a class that has them all may have more.
  constexpr std::ptrdiff_t kLookedFor = 8;
  const bool more = std::any_of(violations.begin(), violations.end(), [&](const Violation& v) {
    return std::count_if(violations.begin(), violations.end(),
                         [&](const Violation& w) { return w.violation == v.violation; }) >= kLookedFor;
  });
  std::string text =
      fmt::format("{}{} violation{}: ", more ? "at least " : "", violations.size(), violations.size() == 1 ? "" : "s");
  for (std::size_t i = 0; i < violations.size(); ++i) {
    text +=
        fmt::format("{}{} ({})", i == 0 ? "" : ", ", violation_name(violations[i].violation), violations[i].sentence);
  }
  return text;
}

}  // namespace espalier::scheduler

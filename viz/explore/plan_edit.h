// Changing a plan by hand, one task at a time. Every edit keeps the cover exact; what it costs is for the simulator to
// say.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "costmodel/device_spec.h"
#include "scheduler/plan.h"

namespace espalier::viz {

enum class EditKind : std::uint8_t {
  split_tokens,    ///< in two tasks of about half the tokens, whole KV tiles
  split_requests,  ///< in two tasks of about half the requests
  join,            ///< with the nearest task, in launch order, that can be read together with it
  first,
  earlier,
  later,
  last,      ///< in the launch order, among tasks of its kernel; with queues, in those of its copies
  to_queue,  ///< a copy of it, to the end of another worker's queue
  taller,
  lower,  ///< into our kernel with the next query tile
};
inline constexpr int kEditKinds = static_cast<int>(EditKind::lower) + 1;
std::string_view edit_name(EditKind kind);

/// As a queue to move to: whichever reads least.
inline constexpr std::int32_t kEmptiestQueue = -1;

struct PlanEdit {
  EditKind kind = EditKind::split_tokens;
  std::int32_t task = 0;             ///< of the plan as the edits before it left it
  std::int32_t copy = 0, queue = 0;  ///< of to_queue alone
  friend bool operator==(const PlanEdit&, const PlanEdit&) = default;
};

/// "split task 3", "move copy 2 of task 3 to queue 17".
std::string edit_text(const PlanEdit& edit);
/// The changed plan, sealed, with the edit in its `why`; or why it can't be.
std::variant<scheduler::Plan, std::string> edit_plan(const scheduler::Plan& plan, const costmodel::DeviceSpec& device,
                                                     const PlanEdit& edit);

}  // namespace espalier::viz

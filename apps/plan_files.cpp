#include "apps/plan_files.h"

#include <fmt/core.h>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/text.h"
#include "scheduler/plan_statistics.h"
#include "scheduler/validate.h"

namespace espalier::apps {

scheduler::Plan load_plan(const std::string& path) { return scheduler::read_plan(core::read_file(path), path); }

costmodel::DeviceSpec device_for(const PlanFileCommand& command, const scheduler::Plan& plan) {
  if (command.devices.size() > 1) throw core::usage_error("--device: expected one device");
  return command.devices.empty() ? costmodel::find_named_device(plan.provenance.device, command.plan)
                                 : costmodel::find_device(command.devices.front());
}

void require_valid(const scheduler::Plan& plan, const costmodel::DeviceSpec& device) {
  const auto violations = scheduler::validate(plan, device);
  if (violations.empty()) return;
  const scheduler::Violation& first = violations.front();
  const auto others = static_cast<std::int64_t>(violations.size()) - 1;
  throw core::Error(
      core::ErrorKind::check_failed,
      fmt::format(
          "the plan is not valid on {}: {} ({}){}", device.name, scheduler::violation_name(first.violation),
          first.sentence,
          others == 0 ? "" : fmt::format(", and {}: check lists all", core::counted(others, "more violation"))));
}

void print_statistics(const scheduler::Plan& plan) {
  const scheduler::PlanStatistics s = scheduler::statistics(plan);
  fmt::print("plan {} by {} for {}: {}, {}\n", core::hash_text(plan.hash), plan.provenance.strategy,
             plan.provenance.device, core::counted(static_cast<std::int64_t>(plan.forest.request_count()), "request"),
             core::counted(static_cast<std::int64_t>(plan.forest.node_count()), "node"));
  fmt::print("  {} tasks (longest {} tokens), {}, {} launch{}, {}\n", core::count_text(s.tasks), s.longest_task_tokens,
             core::counted(s.padding, "padding CTA"), s.launches, s.launches == 1 ? "" : "es",
             core::counted(s.steps, "merge step"));
  fmt::print("  KV tokens read {:.2f}x the unique ones, {} partial rows a head (at most {} a request), workspace {}\n",
             s.requested_over_unique, core::count_text(s.partial_rows), s.max_partials_per_request,
             core::bytes_text(s.workspace_bytes));
  for (const std::string& why : plan.provenance.why) fmt::print("  why: {}\n", why);
}

}  // namespace espalier::apps

#include "apps/plan_files.h"

#include "core/error.h"
#include "core/file.h"
#include "scheduler/validate.h"

namespace espalier::apps {

scheduler::Plan load_plan(const std::string& path) { return scheduler::read_plan(core::read_file(path), path); }

costmodel::DeviceSpec device_for(const PlanFileCommand& command, const scheduler::Plan& plan) {
  if (command.devices.size() > 1) throw core::usage_error("--device: expected one device");
  return costmodel::find_device(command.devices.empty() ? plan.provenance.device : command.devices.front());
}

void require_valid(const scheduler::Plan& plan, const costmodel::DeviceSpec& device) {
  const auto violations = scheduler::validate(plan, device);
  if (!violations.empty()) throw core::Error(core::ErrorKind::check_failed, scheduler::violations_text(violations));
}

}  // namespace espalier::apps

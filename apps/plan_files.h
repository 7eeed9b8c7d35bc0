// Plan files as commands take them: read, with the device they are for, proved right.
#pragma once

#include <string>
#include <string_view>

#include "apps/commands.h"

namespace espalier::apps {

scheduler::Plan load_plan(const std::string& path);
/// The one device that the command names, else the plan's own.
costmodel::DeviceSpec device_for(const PlanFileCommand& command, const scheduler::Plan& plan);
/// Throws Error (check failed) with the first violation and the number of the others.
void require_valid(const scheduler::Plan& plan, const costmodel::DeviceSpec& device);
/// A plan in four lines, and why it was made so.
void print_statistics(const scheduler::Plan& plan);

}  // namespace espalier::apps

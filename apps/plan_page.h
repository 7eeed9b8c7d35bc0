// export html: one plan as a self-contained page.
#pragma once

#include <string>

#include "scheduler/plan.h"
#include "sim/explain.h"

namespace espalier::apps {

/// `explanation` holds a timeline and sensitivities of this plan on this device.
std::string plan_page(const scheduler::Plan& plan, const costmodel::DeviceSpec& device,
                      const sim::Explanation& explanation);

/// A page's beginning up to and with its heading; "</section>", a footer and the end come after.
std::string page_head(const std::string& title);
/// What a tenth more of each thing would buy; `name`: whose plan it is, where there are several.
std::string helps_html(const sim::Explanation& explanation, const std::string& name = {});
/// Whether a command line can name a device so: one of the catalog, maybe with fields changed.
bool names_known_device(const std::string& name);
/// The command that makes a plan again; where nothing in it says all that it was made of, a remark that only its file
/// holds it.
std::string plan_command(const scheduler::Plan& plan, const std::string& file);

}  // namespace espalier::apps

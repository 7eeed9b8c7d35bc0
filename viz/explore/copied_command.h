// What is on show as a command line, to be copied; or why no command says it.
#pragma once

#include <string>

#include "viz/explore/session.h"

namespace espalier::viz {

struct CopiedCommand {
  std::string text;
  std::string why_not;  ///< a sentence; then there is no text
};

/// "espalier plan …": makes the plan of a side again.
CopiedCommand plan_command_of(const Settings& settings, SideId side, const Given& given);
/// "espalier view …": opens this view again, edits by hand and all.
CopiedCommand view_command_of(const Session& session);

/// "codec:rounds=1": as command lines take it.
std::string strategy_spec(const Side& side);

}  // namespace espalier::viz

// What is looked at, and what is planned as far as no option says it, as a line of text:
// "panel=tasks,colour=bound,time=0.25:0.5,a.edits=split:3,select=task:3". A view can be opened again by it.
#pragma once

#include <string>
#include <string_view>

#include "viz/explore/session.h"

namespace espalier::viz {

/// Only what differs from a fresh session's.
std::string look_text(const Session& session);
/// Throws Error (usage) for names that mean nothing and numbers out of range; `option` is what it calls the text.
void read_look(Session& session, std::string_view text, const std::string& option);

/// "kind:number".
Item read_item(std::string_view text, const std::string& option);

}  // namespace espalier::viz

// The explorer's session as a command line asks for it.
#pragma once

#include "apps/commands.h"
#include "viz/explore/session.h"

namespace espalier::apps {

/// What inputs name is in the session. Throws Error with a sentence.
void choose_batch(viz::Session& session, const ViewCommand& command);
/// Reads what is named; devices that are `known` by the same name aren't measured again. Throws Error with a sentence.
viz::Session session_of(const ViewCommand& command, const viz::Given* known = nullptr);
/// Sides as named, or as a plan that was opened has them.
void choose_sides(viz::Session& session, const ViewCommand& command);

/// Index of a name among those known. Throws Error (usage) for others.
std::size_t place_among(const char* kind, const std::string& name, const std::vector<std::string>& names);

}  // namespace espalier::apps

// Everything that can be done with a key or by its name: keys and the palette read the same table.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "viz/explore/session.h"

namespace espalier::viz {

struct Command {
  char key = 0;  ///< 0: none
  std::string name;
  Action action;
};

/// What the help says of keys, mouse and their meaning.
struct HelpLine {
  const char *key, *meaning;
};
const std::vector<HelpLine>& help_lines();

/// As the session stands; those with keys first.
std::vector<Command> commands_of(const Session& session);
/// Those whose names hold all words of a text, whatever their case; those that begin with it first.
std::vector<Command> matching_commands(const Session& session, std::string_view text);

}  // namespace espalier::viz

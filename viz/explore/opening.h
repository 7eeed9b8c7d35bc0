// Files dropped on a window: read beside it, then joined to what its session has become meanwhile.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "viz/explore/session.h"

namespace espalier::viz {

/// What a file that was read makes of the session there is when it is called; waits for nothing. Throws Error with a
/// sentence.
using Opening = std::function<Session(const Session& now)>;
/// Reads a file that is dropped on a session. Throws Error likewise.
using Reader = std::function<Opening(const Session& session, const std::string& path)>;

struct ReadFiles {
  std::vector<Opening> openings;
  std::string problem;  ///< why a file, the last of such, isn't among them
};
/// In order, each for the session that those before it make: a measurement joins the plan it came with.
ReadFiles read_files(const Reader& reader, Session session, const std::vector<std::string>& paths);

struct Joined {
  std::optional<Session> session;  ///< none when nothing opened
  std::string problem;
};
/// Changes made to `now` since the files were asked for stay, but for those of a session that another file replaces.
Joined join_files(const ReadFiles& files, const Session& now);

}  // namespace espalier::viz

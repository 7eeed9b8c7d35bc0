// Files that an open explorer reads: dropped on its window, or written again since.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "apps/commands.h"
#include "viz/explore/opening.h"

namespace espalier::apps {

/// Reads a dropped file: measurements join their plan, all else begins anew. Throws Error with a sentence.
viz::Opening dropped(const viz::Session& session, const std::string& path);

/// What the session opened, or the command that began it names, read again, with the devices it has: nothing is
/// measured again. Throws Error with a sentence.
viz::Session reopened(const viz::Session& session, const ViewCommand& command);

/// Whether a file that is open has been written since the last call that spoke of it.
class FileWatch {
 public:
  bool operator()(const viz::Given& given);

 private:
  std::map<std::string, std::filesystem::file_time_type> seen_;
};

}  // namespace espalier::apps

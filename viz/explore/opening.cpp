#include "viz/explore/opening.h"

#include <utility>

#include "core/error.h"

namespace espalier::viz {

ReadFiles read_files(const Reader& reader, Session session, const std::vector<std::string>& paths) {
  ReadFiles files;
  for (const std::string& path : paths) {
    try {
      Opening opening = reader(session, path);
      session = opening(session);
      files.openings.push_back(std::move(opening));
    } catch (const core::Error& e) {
      files.problem = e.what();
    }
  }
  return files;
}

Joined join_files(const ReadFiles& files, const Session& now) {
  Joined joined{{}, files.problem};
  for (const Opening& opening : files.openings) {
    try {
      joined.session = opening(joined.session ? *joined.session : now);
    } catch (const core::Error& e) {
      joined.problem = e.what();
    }
  }
  return joined;
}

}  // namespace espalier::viz

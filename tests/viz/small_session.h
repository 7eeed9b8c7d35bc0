// A session small enough to look at: one generated forest of a few requests.
#pragma once

#include "viz/explore/session.h"

namespace espalier::viz {

inline Session small_session() {
  Session session;
  session.settings.family_options = {{"blocks", 3}, {"questions", 4}, {"root", 400}};
  return session;
}

}  // namespace espalier::viz

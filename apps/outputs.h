// Where a command writes to, looked at before it works.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace espalier::apps {

struct Output {
  std::string_view option;
  std::string path;  ///< "-" is stdout; empty: not asked for
};

/// Throws Error (usage) where two would be written into one place, Error (bad input) where one can't be written.
void require_outputs(const std::vector<Output>& outputs);

}  // namespace espalier::apps

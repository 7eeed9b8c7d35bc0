#include "apps/outputs.h"

#include <fmt/core.h>

#include <filesystem>

#include "core/error.h"
#include "core/file.h"

namespace espalier::apps {
namespace {

/// What is written there is gone, as in /dev/null, or goes on: neither lies over the other.
bool keeps_nothing(const std::string& path) {
  std::error_code error;
  return path != "-" && std::filesystem::is_character_file(path, error);
}

/// One text for one place, whichever way it is written.
std::string place_of(const std::string& path) {
  if (path.empty() || path == "-") return path;
  std::error_code error;
  const std::filesystem::path place = std::filesystem::weakly_canonical(std::filesystem::current_path() / path, error);
  return error ? path : place.string();
}

}  // namespace

void require_outputs(const std::vector<Output>& outputs) {
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    for (std::size_t k = 0; k < i; ++k) {
      if (outputs[i].path.empty() || keeps_nothing(outputs[i].path) ||
          place_of(outputs[i].path) != place_of(outputs[k].path))
        continue;
      throw core::usage_error(fmt::format("{} and {} would both write to {}", outputs[k].option, outputs[i].option,
                                          outputs[i].path == "-" ? "stdout" : outputs[i].path));
    }
  }
  for (const Output& output : outputs) {
    if (!output.path.empty()) core::require_writable(output.path);
  }
}

}  // namespace espalier::apps

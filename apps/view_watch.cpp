#include "apps/view_watch.h"

#include <system_error>
#include <utility>
#include <vector>

#include "apps/view_files.h"
#include "apps/view_session.h"
#include "core/file.h"

namespace espalier::apps {

using viz::Session;

viz::Opening dropped(const Session& session, const std::string& path) {
  const std::string text = core::read_file(path);
  if (session.given.plan != nullptr && is_measurement(text)) {
    return [run = read_run(session, text, path)](const Session& now) {
      Session joined = now;
      join_run(joined, run);
      return joined;
    };
  }
  Session fresh;
  fresh.given.devices = session.given.devices;
  fresh.given.device_specs = session.given.device_specs;
  open_in_view(fresh, path);
  ViewCommand command;
  command.file = path;
  choose_sides(fresh, command);
  return [fresh](const Session& now) {
    Session next = fresh;
    next.look.theme = now.look.theme;
    return next;
  };
}

Session reopened(const Session& session, const ViewCommand& command) {
  Session fresh;
  fresh.given.devices = session.given.devices;
  fresh.given.device_specs = session.given.device_specs;
  if (!session.given.named_files.empty()) choose_batch(fresh, command);
  for (const std::string& file : session.given.files) {
    open_in_view(fresh, file);
    fresh.settings.a.device = session.settings.a.device;  // what a measurement is set against
    fresh.settings.a.device_fields = session.settings.a.device_fields;
  }
  return fresh;
}

bool FileWatch::operator()(const viz::Given& given) {
  bool changed = false;
  std::vector<std::string> files = given.files;
  files.insert(files.end(), given.named_files.begin(), given.named_files.end());
  for (const std::string& file : files) {
    std::error_code failed;
    const auto time = std::filesystem::last_write_time(file, failed);
    if (failed) continue;  // being written anew
    const auto [seen, first] = seen_.emplace(file, time);
    changed |= !first && seen->second != time;
    seen->second = time;
  }
  return changed;
}

}  // namespace espalier::apps

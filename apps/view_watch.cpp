#include "apps/view_watch.h"

#include <system_error>
#include <utility>

#include "apps/view_files.h"
#include "apps/view_session.h"
#include "core/file.h"

namespace espalier::apps {

using viz::Session;

Session dropped(const Session& session, const std::string& path) {
  if (session.given.plan != nullptr && is_measurement(path)) {
    Session joined = session;
    open_in_view(joined, path);
    return joined;
  }
  Session fresh;
  fresh.look.theme = session.look.theme;
  fresh.given.devices = session.given.devices;
  fresh.given.device_specs = session.given.device_specs;
  open_in_view(fresh, path);
  choose_sides(fresh, {});
  return fresh;
}

Session reopened(const Session& session) {
  Session fresh;
  fresh.given.devices = session.given.devices;
  fresh.given.device_specs = session.given.device_specs;
  for (const std::string& file : session.given.files) {
    open_in_view(fresh, file);
    fresh.settings.a.device = session.settings.a.device;  // what a measurement is set against
    fresh.settings.a.device_fields = session.settings.a.device_fields;
  }
  return fresh;
}

bool FileWatch::operator()(const viz::Given& given) {
  bool changed = false;
  for (const std::string& file : given.files) {
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

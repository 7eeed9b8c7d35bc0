// espalier view: the explorer's session from the command line; then a window, or a picture of one.
#include <fmt/format.h>

#include <algorithm>

#include "apps/exports.h"
#include "apps/view_files.h"
#include "apps/view_session.h"
#include "apps/view_watch.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "viz/explore/regions.h"
#ifdef ESPALIER_HAS_EXPLORER
#include "viz/ui/offscreen.h"
#ifdef ESPALIER_HAS_WINDOW
#include "viz/app/window.h"
#endif
#endif

namespace espalier::apps {
namespace {

using viz::Session;

#ifdef ESPALIER_HAS_EXPLORER
constexpr std::int64_t kMost = 8192;  ///< pixels each way

/// Part 0 or 1 of "1280x800".
std::int32_t pixels(const std::string& size, std::size_t part) {
  const std::vector<std::string> parts = core::split(size, 'x');
  constexpr std::int64_t kLeast[] = {static_cast<std::int64_t>(viz::kLeastWindow.width),
                                     static_cast<std::int64_t>(viz::kLeastWindow.height)};
  const std::int64_t value = parts.size() == 2 ? core::parse_integer(parts[part]).value_or(0) : 0;
  if (value < kLeast[part] || value > kMost) {
    throw core::usage_error(fmt::format(
        "--size: expected WIDTHxHEIGHT of {}x{} to {}x{} pixels, below which the cards have no room, got '{}'",
        kLeast[0], kLeast[1], kMost, kMost, size));
  }
  return static_cast<std::int32_t>(value);
}

viz::OffscreenOptions offscreen_options(const ViewCommand& command) {
  viz::OffscreenOptions options;
  options.width = pixels(command.size, 0);
  options.height = pixels(command.size, 1);
  options.scale = command.scale;
  if (std::max(options.width, options.height) * options.scale > kMost) {
    throw core::usage_error(
        fmt::format("--scale: {} at scale {} is more than {} pixels each way", command.size, options.scale, kMost));
  }
  options.face = static_cast<viz::Face>(place_among("font", command.font, {"best", "builtin"}));
  return options;
}

#ifdef ESPALIER_HAS_WINDOW
/// Writes into the current folder; returns the sentence to show.
std::string save(const Session& session, const viz::Outcome& outcome, const std::string& format) {
  const viz::SideOutcome &a = outcome.sides[0], &b = outcome.sides[1], &side = outcome.side(session.look.edited);
  if (format.starts_with("both.")) {
    if (!a.shown() || !b.shown()) throw core::usage_error("there aren't two plans to write");
    if (b.measurement != nullptr) throw core::usage_error("a measured run isn't simulated: write side A alone");
    const std::string of = format.substr(5),
                      name = of == "perfetto" ? "espalier.both.trace.json" : fmt::format("espalier.both.{}", of);
    core::write_file(name, export_pair({*a.plan, a.device}, {*b.plan, b.device}, of));
    return fmt::format("{} and {} are written to {}", a.title, b.title, name);
  }
  if (!side.shown()) throw core::usage_error("there is no plan to write");
  ExportOptions options;
  options.format = format;
  const std::string name = fmt::format("espalier.{}", format == "perfetto" ? "trace.json"
                                                      : format == "plan"   ? "plan.json"
                                                                           : format);
  core::write_file(name, export_plan(*side.plan, side.device, options));
  return fmt::format("{} is written to {}", side.title, name);
}

viz::WindowOptions window_options(const ViewCommand& command) {
  return {offscreen_options(command), FileWatch(), dropped,
          [command](const Session& session) { return reopened(session, command); }, save};
}

int show_window(Session session, const ViewCommand& command) {
  viz::run_window(std::move(session), window_options(command));
  return 0;
}

viz::Image gl_picture(Session session, const ViewCommand& command) {
  return viz::window_picture(std::move(session), window_options(command));
}
#else
[[noreturn]] void miss_window() {
  throw core::usage_error(
      "this espalier was built without windows: install libglfw3-dev and OpenGL and build again, or give --render "
      "FILE.png");
}
int show_window(Session, const ViewCommand&) { miss_window(); }
viz::Image gl_picture(Session, const ViewCommand&) { miss_window(); }
#endif

viz::Image soft_picture(Session session, const ViewCommand& command) {
  viz::Offscreen offscreen(std::move(session), offscreen_options(command));
  offscreen.settle();
  return offscreen.picture();
}

int show(Session session, const ViewCommand& command) {
  if (command.render.empty()) return show_window(std::move(session), command);
  core::write_file(command.render, viz::write_png(command.gl ? gl_picture(std::move(session), command)
                                                             : soft_picture(std::move(session), command)));
  return 0;
}
#else
int show(Session, const ViewCommand&) {
  throw core::usage_error(
      "this espalier was built without the explorer: install libimgui-dev and libpng-dev (script/bootstrap does) and "
      "build again");
}
#endif

}  // namespace

int run_view(const ViewCommand& command) { return show(session_of(command), command); }

}  // namespace espalier::apps

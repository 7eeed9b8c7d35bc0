// The explorer in a window of the desktop: GLFW, OpenGL 3.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "viz/explore/opening.h"
#include "viz/soft/image.h"
#include "viz/ui/offscreen.h"

namespace espalier::viz {

struct WindowOptions {
  OffscreenOptions look;
  /// Whether a file of what was opened has changed since it was last asked. Called on the window's thread; all others
  /// on one beside it.
  std::function<bool(const Given&)> changed;
  /// Reads files that are dropped on the window; sentences of its Errors are shown.
  Reader open;
  /// What was opened, read again. Throws Error likewise.
  std::function<Session(const Session&)> reopen;
  /// Writes what is shown in a format of viz::Export; returns the sentence to show. Throws Error likewise.
  std::function<std::string(const Session&, const Outcome&, const std::string& format)> save;
};

/// Shows the window until it is closed. Throws Error (no device) without a display or OpenGL 3.
void run_window(Session session, const WindowOptions& options);
/// Draws the window unseen, with OpenGL, until it has settled.
Image window_picture(Session session, const WindowOptions& options);

/// Milliseconds of each of `frames` frames of such a window, from its panels to the last pixel; `before` each of them
/// something may be done.
std::vector<double> window_frame_times(Session session, const WindowOptions& options, int frames,
                                       const std::function<void(Explorer&)>& before);

}  // namespace espalier::viz

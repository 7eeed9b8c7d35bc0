// The explorer without a window: frames driven by a script, drawn on the CPU. The same panels as on a screen.
#pragma once

#include <memory>

#include "viz/soft/image.h"
#include "viz/ui/explorer.h"

struct ImGuiContext;

namespace espalier::viz {

struct OffscreenOptions {
  std::int32_t width = 1280, height = 800;  ///< at scale 1
  double scale = 1;
  Face face = Face::best;
};

/// One at a time: ImGui has one current context.
class Offscreen {
 public:
  Offscreen(Session session, const OffscreenOptions& options);
  ~Offscreen();
  Offscreen(const Offscreen&) = delete;
  Offscreen& operator=(const Offscreen&) = delete;

  Explorer& explorer() { return explorer_; }
  /// A frame; then outcomes of whatever it asked for are computed, with sensitivities, before it returns.
  void frame();
  /// Frames until nothing is wanted and sizes have settled.
  void settle();
  void move_mouse(double x, double y);
  /// Moves, presses and releases the button in the middle of a named widget; false when it isn't there.
  bool click(std::string_view name);
  /// The same at a place given in shares of the widget.
  bool click(std::string_view name, double across, double down);
  /// Presses at one share of a widget's width, releases at another.
  bool drag(std::string_view name, double from, double to);
  struct Share {
    double across = 0.5, down = 0.5;
  };
  bool drag(std::string_view name, Share from, Share to);
  void wheel(std::string_view name, double by);
  void type(char sign);
  void control_key(char letter);
  std::string clipboard() const;
  Image picture() const;

 private:
  std::optional<Area> place_of(std::string_view name) const;
  OffscreenOptions options_;
  ImGuiContext* context_;
  Fonts fonts_;
  Explorer explorer_;
};

}  // namespace espalier::viz

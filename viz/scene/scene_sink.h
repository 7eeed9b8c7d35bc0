// What receives a scene: SVG, a page, a text dump, a draw list.
#pragma once

#include "viz/scene/scene.h"

namespace espalier::viz {

/// Called by draw(): begin once, then every shape in painting order, then end once. Units are pixels at scale 1, y
/// downwards. A sink keeps no reference to what it is given, and equal calls give equal results.
class SceneSink {
 public:
  virtual ~SceneSink() = default;
  virtual void begin(const Scene& scene) = 0;
  virtual void rect(const Rect& rect) = 0;
  virtual void line(const Line& line) = 0;
  virtual void text(const Text& text) = 0;
  virtual void end() = 0;
};

void draw(const Scene& scene, SceneSink& sink);

}  // namespace espalier::viz

// Boxes and lines as SVG elements. Plain boxes of one look that follow each other become one path.
#pragma once

#include <string>

#include "viz/scene/scene.h"

namespace espalier::viz {

/// Appends to `out`, which must outlive it. Text may only be appended to `out` after flush().
class SvgShapes {
 public:
  SvgShapes(std::string& out, bool items) : out_(out), items_(items) {}
  void rect(const Rect& rect);
  void line(const Line& line);
  void flush();

 private:
  void look(const Rect& rect);

  std::string& out_;
  bool items_;  ///< write what a box stands for
  std::string path_;
  Paint path_fill_ = Paint::none;
  std::uint8_t path_alpha_ = 255;
};

}  // namespace espalier::viz

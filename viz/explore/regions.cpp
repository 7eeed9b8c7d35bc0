#include "viz/explore/regions.h"

#include <algorithm>

namespace espalier::viz {

Regions regions_of(ViewSize window) {
  constexpr double kGutter = 10, kHeader = 46;
  const double width = std::max(window.width, kLeastWindow.width),
               height = std::max(window.height, kLeastWindow.height);
  const double summary = width < 1280 ? 156 : 138;  // a narrow verdict takes a row more
  const double left = std::clamp(width * 0.2, 240.0, 320.0), right = std::clamp(width * 0.2, 256.0, 340.0);
  Regions r;
  r.header = {0, 0, width, kHeader};
  const double top = kHeader + kGutter, bottom = height - kGutter;
  r.controls = {kGutter, top, left, bottom - top};
  const double x = r.controls.x + left + kGutter, w = width - x - right - 2 * kGutter;
  r.summary = {x, top, w, summary};
  const double planes = top + summary + kGutter, rest = bottom - planes;
  const double high = std::clamp(rest * 0.4, 140.0, 480.0), half = (w - kGutter) / 2;
  r.forest = {x, planes, half, high};
  r.cover = {x + half + kGutter, planes, half, high};
  r.wide = {x, planes + high + kGutter, w, rest - high - kGutter};
  const double rx = x + w + kGutter, facts = std::clamp((bottom - top) * 0.5, 260.0, 400.0);
  r.facts = {rx, top, right, facts};
  r.insight = {rx, top + facts + kGutter, right, bottom - top - facts - kGutter};
  return r;
}

}  // namespace espalier::viz

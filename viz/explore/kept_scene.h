// Pictures that stay until something they show changes: laying out the tasks of a large plan takes longer than all else
// of a frame.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "viz/explore/views.h"

namespace espalier::viz {

/// What of a session a picture depends on, besides the outcome.
struct SceneKey {
  SideId side = SideId::a;
  ViewSize size;
  Span1 across, down = {};  ///< of the plane, or time alone
  std::optional<Span1> range = {};
  std::optional<Brush> brush = {};
  ColourBy colour_by = ColourBy::queries;
  Paint isolated = Paint::none;
  Selection selection = {};
  SideId selected_side = SideId::a;
  friend bool operator==(const SceneKey&, const SceneKey&) = default;
};
/// Of the forest and of a plan; of the timelines.
SceneKey plane_key(const Session& session, SideId side, ViewSize size);
SceneKey time_key(const Session& session, ViewSize size);

class KeptScene {
 public:
  const Scene& get(const std::shared_ptr<const Outcome>& outcome, const SceneKey& key,
                   const std::function<Scene()>& make);

 private:
  std::shared_ptr<const Outcome> outcome_;
  SceneKey key_;
  Scene scene_;
};

struct KeptScenes {
  KeptScene forest, plan, timeline, roofline;
};

}  // namespace espalier::viz

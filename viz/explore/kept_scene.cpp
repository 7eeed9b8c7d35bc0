#include "viz/explore/kept_scene.h"

namespace espalier::viz {

SceneKey plane_key(const Session& session, SideId side, ViewSize size) {
  const Look& look = session.look;
  return {.side = side,
          .size = size,
          .across = look.forest_requests,
          .down = look.forest_tokens,
          .brush = look.brush,
          .colour_by = look.colour_by,
          .isolated = look.isolated,
          .selection = session.selection,
          .selected_side = session.selected_side};
}

SceneKey time_key(const Session& session, ViewSize size) {
  const Look& look = session.look;
  return {.side = SideId::a,
          .size = size,
          .across = look.time,
          .range = look.range,
          .brush = look.brush,
          .colour_by = look.colour_by,
          .isolated = look.isolated,
          .selection = session.selection,
          .selected_side = session.selected_side};
}

const Scene& KeptScene::get(const std::shared_ptr<const Outcome>& outcome, const SceneKey& key,
                            const std::function<Scene()>& make) {
  if (outcome_ == outcome && key_ == key && outcome_ != nullptr) return scene_;
  scene_ = make();
  outcome_ = outcome;
  key_ = key;
  return scene_;
}

}  // namespace espalier::viz

#include "viz/explore/kept_scene.h"

namespace espalier::viz {

SceneKey plane_key(const Session& session, SideId side, ViewSize size) {
  const Look& look = session.look;
  return {side,       size,           look.forest_requests, look.forest_tokens, {},
          look.brush, look.colour_by, look.isolated,        session.selection,  session.selected_side};
}

SceneKey time_key(const Session& session, ViewSize size) {
  const Look& look = session.look;
  return {SideId::a,         size,
          look.time,         {},
          look.range,        look.brush,
          look.colour_by,    look.isolated,
          session.selection, session.selected_side};
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

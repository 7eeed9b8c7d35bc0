// The explorer's cards, one function each. They read the session and leave actions behind.
#pragma once

#include <vector>

#include "viz/explore/kept_scene.h"
#include "viz/explore/regions.h"
#include "viz/explore/sorted_table.h"
#include "viz/ui/widgets.h"

namespace espalier::viz {

struct PanelContext {
  Widgets& ui;
  const Session& session;
  const std::shared_ptr<const Outcome>& held_outcome;
  const Outcome& outcome;
  const Regions& regions;
  bool planning = false;  ///< newer settings are being answered
  const std::string& message;
  TableCache& tables;
  KeptScenes& scenes;
  std::vector<Action>& out;
  void act(Action action) const { out.push_back(std::move(action)); }
  void change(Knob knob, std::string name, double value = 0) const;
};

void header_panel(const PanelContext& context);
void controls_panel(const PanelContext& context);
void summary_panel(const PanelContext& context);
void plane_panels(const PanelContext& context);
void wide_panel(const PanelContext& context);
void facts_panel(const PanelContext& context);
void insight_panel(const PanelContext& context);
void help_panel(const PanelContext& context);
void palette_panel(const PanelContext& context);

}  // namespace espalier::viz

// The explorer's whole window: reads the session and the outcome on show, turns clicks and keys into actions. Knows no
// files, threads or window systems.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "viz/explore/kept_scene.h"
#include "viz/explore/sorted_table.h"
#include "viz/ui/widgets.h"

namespace espalier::viz {

class Explorer {
 public:
  explicit Explorer(Session session);

  /// Draws a frame between ImGui's NewFrame() and Render(), then performs what was done in it.
  void frame(const Fonts& fonts, float scale, ImDrawCallback clear = nullptr);

  /// Settings that nothing on show or under way answers; asking marks them as under way.
  std::optional<Settings> wanted();
  /// Puts an outcome on show. Settings that it is of may be older than the wanted ones.
  void take(std::shared_ptr<const Outcome> outcome);
  /// Formats to be written, once.
  std::vector<std::string> take_exports() { return std::exchange(session_.exports, {}); }
  /// Goes on with another session. What answers it already stays on show, or is waited for; else it is wanted.
  void restart(Session session);
  /// Shows a sentence until the next action.
  void say(std::string sentence) { message_ = std::move(sentence); }

  const std::string& message() const { return message_; }
  const Session& session() const { return session_; }
  const Outcome& outcome() const { return *outcome_; }
  const std::shared_ptr<const Outcome>& held_outcome() const { return outcome_; }
  /// How often it was restarted: what was read for an earlier session is no longer wanted.
  int restarts() const { return restarts_; }
  const Placements& placements() const { return placed_; }
  void perform(const Action& action);

 private:
  Session session_;
  std::shared_ptr<const Outcome> outcome_;
  struct Question {
    Settings settings;
    Given given;
  };
  std::optional<Question> asked_;
  Placements placed_;
  TableCache tables_;
  KeptScenes scenes_;
  std::vector<Action> actions_;
  std::string message_;
  int restarts_ = 0;
  bool drag_open_ = false;  ///< the control held now has changed something already
};

}  // namespace espalier::viz

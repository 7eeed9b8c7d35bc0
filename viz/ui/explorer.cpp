#include "viz/ui/explorer.h"

#include <fmt/format.h>

#include "core/error.h"
#include "viz/explore/commands.h"
#include "viz/ui/panels.h"
#include "viz/ui/theme.h"

namespace espalier::viz {
namespace {

constexpr std::int32_t kPlayedTokens = 4;  ///< a frame whose plans are ready

void add_key(std::vector<Action>& actions, unsigned sign, const Session& session) {
  for (const Command& command : commands_of(session)) {
    // Caps lock changes nothing: no two keys differ by it.
    const unsigned key = static_cast<unsigned char>(command.key);
    if (key != 0 && (key == sign || (sign >= 'A' && sign <= 'Z' && key == sign - 'A' + 'a'))) {
      return actions.push_back(command.action);
    }
  }
}

void add_keys(std::vector<Action>& actions, const Session& session) {
  const ImGuiIO& io = ImGui::GetIO();
  if (io.WantTextInput || session.look.palette) return;  // keys are letters then
  if (io.KeyCtrl) {
    if (ImGui::IsKeyPressed(ImGui::GetKeyIndex(ImGuiKey_Z))) {
      actions.push_back(io.KeyShift ? Action(Redo{}) : Action(Undo{}));
    }
    if (ImGui::IsKeyPressed(ImGui::GetKeyIndex(ImGuiKey_Y))) actions.push_back(Redo{});
    return;
  }
  if (ImGui::IsKeyPressed(ImGui::GetKeyIndex(ImGuiKey_Escape))) {
    actions.push_back(session.look.help ? Action(ShowHelp{false}) : Action(Select{}));
  }
  for (const ImWchar sign : io.InputQueueCharacters) add_key(actions, sign, session);
}

}  // namespace

namespace {

/// Whether all strategies would be ranked alike: sides may have chosen others.
bool same_ranking(Settings a, const Settings& b) {
  if (!a.rank || !b.rank) return false;
  a.a.strategy = b.a.strategy;
  a.a.options = b.a.options;
  a.a.cost_model = b.a.cost_model;
  a.a.edits = b.a.edits;
  a.b = b.b;
  a.compare = b.compare;
  a.given_plan = b.given_plan;
  a.measured = b.measured;
  return a == b;
}

}  // namespace

Explorer::Explorer(Session session) : session_(std::move(session)), outcome_(std::make_shared<const Outcome>()) {}

std::optional<Settings> Explorer::wanted() {
  if (asked_ && asked_->settings == session_.settings && same_inputs(asked_->given, session_.given)) {
    return std::nullopt;
  }
  asked_ = {session_.settings, session_.given};
  return session_.settings;
}

void Explorer::take(std::shared_ptr<const Outcome> outcome) {
  const bool same_batch = same_inputs(outcome->given, outcome_->given);
  if (outcome->ranking.empty() && !outcome_->ranking.empty() && same_batch &&
      same_ranking(outcome->settings, outcome_->settings)) {  // it stays until it comes anew
    auto ranked = std::make_shared<Outcome>(*outcome);
    ranked->ranking = outcome_->ranking;
    outcome = std::move(ranked);
  }
  follow_selection(session_, *outcome_, *outcome);
  for (const SideId id : kSides) {  // once: simulations of the same come in twice
    const SideOutcome &now = outcome->side(id), &before = outcome_->side(id);
    if (now.edits_left_out > before.edits_left_out) message_ = fmt::format("Can't be: {}.", now.edit_problem);
  }
  outcome_ = std::move(outcome);
  if (answers(*outcome_, session_)) clamp_copy(session_, *outcome_);
}

void Explorer::restart(Session session) {
  session_ = std::move(session);
  message_.clear();
  ++restarts_;
}

void Explorer::perform(const Action& action) {
  try {
    viz::perform(session_, action, *outcome_);
  } catch (const core::Error& e) {
    message_ = e.what();
  }
}

void Explorer::frame(const Fonts& fonts, float scale, ImDrawCallback clear) {
  set_style(session_.look.theme, scale);
  placed_.clear();
  actions_.clear();
  Widgets ui(fonts, scale, session_.look.theme, placed_, clear);
  const ImVec2 size = ImGui::GetIO().DisplaySize;
  const Regions regions = regions_of({static_cast<double>(size.x / scale), static_cast<double>(size.y / scale)});
  ImGui::SetNextWindowPos({0, 0});
  ImGui::SetNextWindowSize(size);
  ImGui::PushFont(fonts.at(12.5, false));
  ImGui::PushStyleVar(ImGuiStyleVar_WindowRounding, 0);
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, {0, 0});
  ImGui::Begin("explorer", nullptr,
               ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoBackground | ImGuiWindowFlags_NoMove |
                   ImGuiWindowFlags_NoBringToFrontOnFocus | ImGuiWindowFlags_NoScrollWithMouse);
  ImGui::PopStyleVar(2);
  const bool planning = !answers(*outcome_, session_);
  const PanelContext context{ui,       session_, outcome_, *outcome_, regions,
                             planning, message_, tables_,  scenes_,   actions_};
  header_panel(context);
  controls_panel(context);
  summary_panel(context);
  plane_panels(context);
  wide_panel(context);
  facts_panel(context);
  insight_panel(context);
  ImGui::End();
  help_panel(context);
  palette_panel(context);
  ImGui::PopFont();
  add_keys(actions_, session_);
  if (session_.look.playing && !planning) actions_.push_back(Decode{kPlayedTokens});
  if (!ImGui::IsAnyItemActive()) drag_open_ = false;
  for (Action& action : actions_) {
    if (auto* choose = std::get_if<Choose>(&action)) {
      choose->held = drag_open_;
      drag_open_ = ImGui::IsAnyItemActive();
    }
    if (!std::holds_alternative<ShowHelp>(action)) message_.clear();
    perform(action);
  }
  if (!session_.said.empty()) message_ = std::exchange(session_.said, {});
}

}  // namespace espalier::viz

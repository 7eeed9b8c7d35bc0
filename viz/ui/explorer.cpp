#include "viz/ui/explorer.h"

#include "core/error.h"
#include "viz/ui/panels.h"
#include "viz/ui/theme.h"

namespace espalier::viz {
namespace {

constexpr std::int32_t kPlayedTokens = 4;  ///< a frame whose plans are ready

void add_key(std::vector<Action>& actions, unsigned sign, const Session& session) {
  constexpr std::int32_t kDecodeStep = 16;
  constexpr double kCloser = 0.8, kStep = 0.1;
  switch (sign) {
    case 'w': actions.push_back(Zoom{Plane::time, kCloser, 0.5, 0.5}); break;
    case 's': actions.push_back(Zoom{Plane::time, 1 / kCloser, 0.5, 0.5}); break;
    case 'a': actions.push_back(Pan{Plane::time, -kStep, 0}); break;
    case 'd': actions.push_back(Pan{Plane::time, kStep, 0}); break;
    case 'f': actions.push_back(FitAll{}); break;
    case 'g': actions.push_back(FitSelection{}); break;
    case 'c': actions.push_back(SetColourBy{static_cast<ColourBy>((static_cast<int>(session.look.colour_by) + 1) % kColourings)}); break;
    case 'm': actions.push_back(session.look.range ? Measure{} : Measure{session.look.time}); break;
    case 't': actions.push_back(SetTheme{session.look.theme == Theme::dark ? Theme::light : Theme::dark}); break;
    case 'b': actions.push_back(Choose{{Knob::compare, SideId::a, {}, session.settings.compare ? 0.0 : 1.0}, false}); break;
    case 'x': actions.push_back(Choose{{Knob::swap, SideId::a, {}, 0}, false}); break;
    case 'e': actions.push_back(EditSide{session.look.edited == SideId::a && session.settings.compare ? SideId::b : SideId::a}); break;
    case '.': actions.push_back(Decode{kDecodeStep}); break;
    case ',': actions.push_back(Decode{-kDecodeStep}); break;
    case 'p': actions.push_back(Play{!session.look.playing}); break;
    case '1': actions.push_back(ShowPanel{Panel::timeline}); break;
    case '2': actions.push_back(ShowPanel{Panel::tasks}); break;
    case '3': actions.push_back(ShowPanel{Panel::nodes}); break;
    case '4': actions.push_back(ShowPanel{Panel::requests}); break;
    case '5': actions.push_back(ShowInsight{Insight::why}); break;
    case '6': actions.push_back(ShowInsight{Insight::helps}); break;
    case '7': actions.push_back(ShowInsight{Insight::roofline}); break;
    case '8': actions.push_back(ShowInsight{Insight::fit}); break;
    case '?': actions.push_back(ShowHelp{!session.look.help}); break;
    default: break;
  }
}

void add_keys(std::vector<Action>& actions, const Session& session) {
  const ImGuiIO& io = ImGui::GetIO();
  if (io.WantTextInput) return;
  if (io.KeyCtrl) {
    if (ImGui::IsKeyPressed(ImGui::GetKeyIndex(ImGuiKey_Z))) actions.push_back(io.KeyShift ? Action(Redo{}) : Action(Undo{}));
    if (ImGui::IsKeyPressed(ImGui::GetKeyIndex(ImGuiKey_Y))) actions.push_back(Redo{});
    return;
  }
  if (ImGui::IsKeyPressed(ImGui::GetKeyIndex(ImGuiKey_Escape))) actions.push_back(session.look.help ? Action(ShowHelp{false}) : Action(Select{}));
  for (const ImWchar sign : io.InputQueueCharacters) add_key(actions, sign, session);
}

}  // namespace

Explorer::Explorer(Session session) : session_(std::move(session)), outcome_(std::make_shared<const Outcome>()) {}

std::optional<Settings> Explorer::wanted() {
  if (asked_ == session_.settings) return std::nullopt;
  asked_ = session_.settings;
  return asked_;
}

void Explorer::take(std::shared_ptr<const Outcome> outcome) { outcome_ = std::move(outcome); }

void Explorer::restart(Session session) {
  session_ = std::move(session);
  asked_.reset();
  message_.clear();
}

void Explorer::perform(const Action& action) {
  try {
    viz::perform(session_, action, *outcome_);
  } catch (const core::Error& e) {
    message_ = e.what();
  }
}

void Explorer::frame(const Fonts& fonts, float scale) {
  set_style(session_.look.theme, scale);
  placed_.clear();
  actions_.clear();
  Widgets ui(fonts, scale, session_.look.theme, placed_);
  const ImVec2 size = ImGui::GetIO().DisplaySize;
  const Regions regions = regions_of({static_cast<double>(size.x / scale), static_cast<double>(size.y / scale)});
  ImGui::SetNextWindowPos({0, 0});
  ImGui::SetNextWindowSize(size);
  ImGui::PushFont(fonts.at(12.5, false));
  ImGui::PushStyleVar(ImGuiStyleVar_WindowRounding, 0);
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, {0, 0});
  ImGui::Begin("explorer", nullptr, ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoMove | ImGuiWindowFlags_NoBringToFrontOnFocus | ImGuiWindowFlags_NoScrollWithMouse);
  ImGui::PopStyleVar(2);
  const bool planning = !(outcome_->settings == session_.settings) || outcome_->forest == nullptr;
  const PanelContext context{ui, session_, outcome_, *outcome_, regions, planning && outcome_->problem.empty(), message_, tables_, actions_};
  header_panel(context);
  controls_panel(context);
  summary_panel(context);
  plane_panels(context);
  wide_panel(context);
  facts_panel(context);
  insight_panel(context);
  ImGui::End();
  help_panel(context);
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
}

}  // namespace espalier::viz

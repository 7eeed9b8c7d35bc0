#include "viz/ui/offscreen.h"

#include <imgui.h>

#include "viz/soft/raster.h"

namespace espalier::viz {
namespace {

/// Keys stand for themselves here, as no window system numbers them.
void number_keys(ImGuiIO& io) {
  for (int key = 0; key < ImGuiKey_COUNT; ++key) io.KeyMap[key] = key;
}

int key_of(char letter) {
  switch (letter) {
    case 'z':
      return ImGuiKey_Z;
    case 'y':
      return ImGuiKey_Y;
    case '\x1b':
      return ImGuiKey_Escape;
    case '\r':
      return ImGuiKey_Enter;
    default:
      return ImGuiKey_Space;
  }
}

}  // namespace

Offscreen::Offscreen(Session session, const OffscreenOptions& options)
    : options_(options), context_(ImGui::CreateContext()), explorer_(std::move(session)) {
  ImGui::SetCurrentContext(context_);
  ImGuiIO& io = ImGui::GetIO();
  io.IniFilename = nullptr;
  io.LogFilename = nullptr;
  io.BackendFlags |= ImGuiBackendFlags_RendererHasVtxOffset;
  io.ConfigFlags |= ImGuiConfigFlags_NavEnableKeyboard;
  io.DisplaySize = {static_cast<float>(options.width * options.scale),
                    static_cast<float>(options.height * options.scale)};
  io.DeltaTime = 1.0F / 60;
  io.MousePos = {-1, -1};
  number_keys(io);
  fonts_.load(*io.Fonts, options.face, static_cast<float>(options.scale));
  unsigned char* pixels = nullptr;
  int width = 0, height = 0;
  io.Fonts->GetTexDataAsAlpha8(&pixels, &width, &height);
}

Offscreen::~Offscreen() { ImGui::DestroyContext(context_); }

void Offscreen::frame() {
  ImGui::NewFrame();
  explorer_.frame(fonts_, static_cast<float>(options_.scale));
  ImGui::Render();
  if (const std::optional<Settings> wanted = explorer_.wanted()) {
    auto outcome = std::make_shared<Outcome>(compute(*wanted, explorer_.session().given));
    add_sensitivities(*outcome);
    add_ranking(*outcome, explorer_.session().given);
    explorer_.take(std::move(outcome));
  }
}

void Offscreen::settle() {
  constexpr int kFrames = 4;  // sizes of scrolled and automatic windows are known a frame late
  for (int i = 0; i < kFrames; ++i) frame();
}

void Offscreen::move_mouse(double x, double y) {
  ImGui::GetIO().MousePos = {static_cast<float>(x), static_cast<float>(y)};
}

std::optional<Area> Offscreen::place_of(std::string_view name) const {
  const auto at = explorer_.placements().find(name);
  if (at == explorer_.placements().end()) return std::nullopt;
  return at->second;
}

bool Offscreen::click(std::string_view name) { return click(name, 0.5, 0.5); }

bool Offscreen::click(std::string_view name, double across, double down) {
  const std::optional<Area> area = place_of(name);
  if (!area) return false;
  move_mouse(area->x + across * area->w, area->y + down * area->h);
  frame();
  ImGui::GetIO().MouseDown[0] = true;
  frame();
  ImGui::GetIO().MouseDown[0] = false;
  frame();
  frame();
  return true;
}

bool Offscreen::drag(std::string_view name, double from, double to) { return drag(name, {from, 0.5}, {to, 0.5}); }

bool Offscreen::drag(std::string_view name, Share from, Share to) {
  constexpr int kMoves = 4;
  const std::optional<Area> area = place_of(name);
  if (!area) return false;
  const auto move = [&](double part) {
    move_mouse(area->x + (from.across + (to.across - from.across) * part) * area->w,
               area->y + (from.down + (to.down - from.down) * part) * area->h);
  };
  move(0);
  frame();
  ImGui::GetIO().MouseDown[0] = true;
  frame();
  for (int i = 1; i <= kMoves; ++i) {
    move(static_cast<double>(i) / kMoves);
    frame();
  }
  ImGui::GetIO().MouseDown[0] = false;
  frame();
  frame();
  return true;
}

void Offscreen::wheel(std::string_view name, double by) {
  if (const std::optional<Area> area = place_of(name)) move_mouse(area->x + area->w / 2, area->y + area->h / 2);
  frame();
  ImGui::GetIO().MouseWheel = static_cast<float>(by);
  frame();
  frame();
}

void Offscreen::type(char sign) {
  ImGui::GetIO().AddInputCharacter(static_cast<unsigned char>(sign));
  frame();
  frame();
}

void Offscreen::control_key(char letter) {
  ImGuiIO& io = ImGui::GetIO();
  io.KeyCtrl = letter != '\x1b' && letter != '\r';
  io.KeyMods = io.KeyCtrl ? ImGuiKeyModFlags_Ctrl : ImGuiKeyModFlags_None;
  io.KeysDown[key_of(letter)] = true;
  frame();
  io.KeysDown[key_of(letter)] = false;
  io.KeyCtrl = false;
  io.KeyMods = ImGuiKeyModFlags_None;
  frame();
  frame();
}

std::string Offscreen::clipboard() const {
  const char* text = ImGui::GetClipboardText();
  return text == nullptr ? "" : text;
}

Image Offscreen::picture() const {
  unsigned char* pixels = nullptr;
  int width = 0, height = 0;
  ImGui::GetIO().Fonts->GetTexDataAsAlpha8(&pixels, &width, &height);
  return rasterise(*ImGui::GetDrawData(), {pixels, width, height},
                   colour_of(Paint::desk, explorer_.session().look.theme));
}

}  // namespace espalier::viz

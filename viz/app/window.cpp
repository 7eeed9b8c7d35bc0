#include "viz/app/window.h"

#include <backends/imgui_impl_glfw.h>
#include <backends/imgui_impl_opengl3.h>
#define GLFW_INCLUDE_GLEXT
#include <GLFW/glfw3.h>
#include <fmt/format.h>
#include <imgui.h>

#include <algorithm>
#include <memory>

#include "core/error.h"
#include "viz/explore/regions.h"
#include "viz/explore/worker.h"

namespace espalier::viz {
namespace {

std::string& last_problem() {
  static std::string problem;
  return problem;
}

/// GLFW and its window; one at a time.
class Desktop {
 public:
  Desktop(const OffscreenOptions& look, bool visible) {
    glfwSetErrorCallback([](int, const char* what) { last_problem() = what; });
    if (glfwInit() == 0) throw core::Error(core::ErrorKind::usage, fmt::format("view needs a display to open a window ({}); --render FILE.png needs none", last_problem()));
    glfwWindowHint(GLFW_CONTEXT_VERSION_MAJOR, 3);
    glfwWindowHint(GLFW_CONTEXT_VERSION_MINOR, 3);
    glfwWindowHint(GLFW_OPENGL_PROFILE, GLFW_OPENGL_CORE_PROFILE);
    glfwWindowHint(GLFW_VISIBLE, visible ? GLFW_TRUE : GLFW_FALSE);
    window_ = glfwCreateWindow(static_cast<int>(look.width * look.scale), static_cast<int>(look.height * look.scale), "Espalier", nullptr, nullptr);
    if (window_ == nullptr) {
      glfwTerminate();
      throw core::Error(core::ErrorKind::usage, fmt::format("view needs OpenGL 3.3 to open a window ({}); --render FILE.png needs none", last_problem()));
    }
    const auto least = [&](double size) { return static_cast<int>(size * look.scale); };
    glfwSetWindowSizeLimits(window_, least(kLeastWindow.width), least(kLeastWindow.height), GLFW_DONT_CARE, GLFW_DONT_CARE);
    glfwMakeContextCurrent(window_);
    glfwSwapInterval(visible ? 1 : 0);
  }
  ~Desktop() {
    glfwDestroyWindow(window_);
    glfwTerminate();
  }
  Desktop(const Desktop&) = delete;
  Desktop& operator=(const Desktop&) = delete;
  GLFWwindow* window() const { return window_; }

 private:
  GLFWwindow* window_ = nullptr;
};

/// ImGui on that window.
class Canvas {
 public:
  Canvas(const Desktop& desktop, const OffscreenOptions& look) : window_(desktop.window()), scale_(static_cast<float>(look.scale)), context_(ImGui::CreateContext()) {
    ImGui::SetCurrentContext(context_);
    ImGuiIO& io = ImGui::GetIO();
    io.IniFilename = nullptr;
    io.LogFilename = nullptr;
    io.ConfigFlags |= ImGuiConfigFlags_NavEnableKeyboard;
    ImGui_ImplGlfw_InitForOpenGL(window_, true);
    ImGui_ImplOpenGL3_Init("#version 330");
    fonts_.load(look.face, scale_);
  }
  ~Canvas() {
    ImGui_ImplOpenGL3_Shutdown();
    ImGui_ImplGlfw_Shutdown();
    ImGui::DestroyContext(context_);
  }
  Canvas(const Canvas&) = delete;
  Canvas& operator=(const Canvas&) = delete;

  void frame(Explorer& explorer) {
    ImGui_ImplOpenGL3_NewFrame();
    ImGui_ImplGlfw_NewFrame();
    ImGui::NewFrame();
    explorer.frame(fonts_, scale_);
    ImGui::Render();
    int width = 0, height = 0;
    glfwGetFramebufferSize(window_, &width, &height);
    glViewport(0, 0, width, height);
    const Rgb ground = colour_of(Paint::desk, explorer.session().look.theme);
    glClearColor(static_cast<float>(ground.r) / 255, static_cast<float>(ground.g) / 255, static_cast<float>(ground.b) / 255, 1);
    glClear(GL_COLOR_BUFFER_BIT);
    ImGui_ImplOpenGL3_RenderDrawData(ImGui::GetDrawData());
  }

  Image picture() const {
    Image image;
    glfwGetFramebufferSize(window_, &image.width, &image.height);
    const std::size_t row = static_cast<std::size_t>(image.width) * 3;
    std::vector<std::uint8_t> pixels(row * static_cast<std::size_t>(image.height));
    glPixelStorei(GL_PACK_ALIGNMENT, 1);
    glReadPixels(0, 0, image.width, image.height, GL_RGB, GL_UNSIGNED_BYTE, pixels.data());
    for (std::int32_t y = image.height; y-- > 0;) {  // GL counts rows from below
      const auto from = pixels.begin() + static_cast<std::ptrdiff_t>(row) * y;
      image.rgb.insert(image.rgb.end(), from, from + static_cast<std::ptrdiff_t>(row));
    }
    return image;
  }

 private:
  GLFWwindow* window_;
  float scale_;
  ImGuiContext* context_;
  Fonts fonts_;
};

/// What GLFW's callbacks reach.
struct Dropped {
  std::vector<std::string> paths;
};

void open_dropped(Dropped& dropped, Explorer& explorer, const WindowOptions& options) {
  for (const std::string& path : std::exchange(dropped.paths, {})) {
    Session next = explorer.session();
    try {
      options.open(next, path);
      explorer.restart(std::move(next));
    } catch (const core::Error& e) {
      explorer.say(e.what());
    }
  }
}

/// Whether a changed file was read again.
bool reload_changed(Explorer& explorer, const WindowOptions& options) {
  if (!options.reload) return false;
  Session next = explorer.session();
  try {
    if (!options.reload(next)) return false;
    explorer.restart(std::move(next));
    explorer.say("The file has changed and was read again.");
  } catch (const core::Error& e) {
    explorer.say(e.what());
  }
  return true;
}

void save_wanted(Explorer& explorer, const WindowOptions& options) {
  for (const std::string& format : explorer.take_exports()) {
    try {
      explorer.say(options.save(explorer.session(), explorer.outcome(), format));
    } catch (const core::Error& e) {
      explorer.say(e.what());
    }
  }
}

}  // namespace

void run_window(Session session, const WindowOptions& options) {
  constexpr double kIdleSeconds = 0.5, kBusySeconds = 0.05;
  constexpr int kFramesAfterEvent = 3;  // ImGui needs one to see an event, one to show what came of it
  Desktop desktop(options.look, true);
  Explorer explorer(std::move(session));
  Dropped dropped;
  glfwSetWindowUserPointer(desktop.window(), &dropped);
  glfwSetDropCallback(desktop.window(), [](GLFWwindow* window, int count, const char** paths) {
    auto& to = *static_cast<Dropped*>(glfwGetWindowUserPointer(window));
    to.paths.assign(paths, paths + count);
  });
  Canvas canvas(desktop, options.look);
  Worker worker([] { glfwPostEmptyEvent(); });
  int frames = kFramesAfterEvent;
  while (glfwWindowShouldClose(desktop.window()) == 0) {
    if (const std::optional<Settings> wanted = explorer.wanted()) worker.ask(*wanted, explorer.session().given);
    const double before = glfwGetTime();
    const double wait = frames > 0 ? 0 : worker.busy() ? kBusySeconds : kIdleSeconds;
    if (wait > 0) {
      glfwWaitEventsTimeout(wait);
    } else {
      glfwPollEvents();
    }
    frames = wait > 0 && glfwGetTime() - before < wait * 0.95 ? kFramesAfterEvent : frames - 1;
    if (auto outcome = worker.take()) {
      explorer.take(std::move(outcome));
      frames = kFramesAfterEvent;
    }
    if (wait >= kIdleSeconds && reload_changed(explorer, options)) frames = kFramesAfterEvent;
    if (explorer.session().look.playing && frames <= 0) frames = 1;
    if (frames < 0) continue;
    open_dropped(dropped, explorer, options);
    canvas.frame(explorer);
    save_wanted(explorer, options);
    glfwSwapBuffers(desktop.window());
  }
}

namespace {

/// An unseen window whose session is planned and drawn before it is used.
class HiddenWindow {
 public:
  HiddenWindow(Session session, const WindowOptions& options) : desktop_(options.look, false), explorer_(std::move(session)), canvas_(desktop_, options.look) {
    constexpr int kFrames = 6;
    for (int i = 0; i < kFrames; ++i) {
      glfwPollEvents();
      frame();
      if (const std::optional<Settings> wanted = explorer_.wanted()) {
        auto outcome = std::make_shared<Outcome>(compute(*wanted, explorer_.session().given));
        add_sensitivities(*outcome);
        add_ranking(*outcome, explorer_.session().given);
        explorer_.take(std::move(outcome));
      }
    }
  }
  void frame() { canvas_.frame(explorer_); }
  Explorer& explorer() { return explorer_; }
  const Canvas& canvas() const { return canvas_; }

 private:
  Desktop desktop_;
  Explorer explorer_;
  Canvas canvas_;
};

}  // namespace

Image window_picture(Session session, const WindowOptions& options) { return HiddenWindow(std::move(session), options).canvas().picture(); }

std::vector<double> window_frame_times(Session session, const WindowOptions& options, int frames, const std::function<void(Explorer&)>& before) {
  HiddenWindow window(std::move(session), options);
  std::vector<double> ms;
  for (int i = 0; i < frames; ++i) {
    if (before) before(window.explorer());
    const double begin = glfwGetTime();
    window.frame();
    glFinish();
    ms.push_back((glfwGetTime() - begin) * 1e3);
  }
  return ms;
}

}  // namespace espalier::viz

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
#include "viz/explore/errands.h"
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
    if (glfwInit() == 0) {
      throw core::Error(
          core::ErrorKind::usage,
          fmt::format("view needs a display to open a window ({}); --render FILE.png needs none", last_problem()));
    }
    glfwWindowHint(GLFW_CONTEXT_VERSION_MAJOR, 3);
    glfwWindowHint(GLFW_CONTEXT_VERSION_MINOR, 3);
    glfwWindowHint(GLFW_OPENGL_PROFILE, GLFW_OPENGL_CORE_PROFILE);
    glfwWindowHint(GLFW_VISIBLE, visible ? GLFW_TRUE : GLFW_FALSE);
    window_ = glfwCreateWindow(static_cast<int>(look.width * look.scale), static_cast<int>(look.height * look.scale),
                               "Espalier", nullptr, nullptr);
    if (window_ == nullptr) {
      glfwTerminate();
      throw core::Error(
          core::ErrorKind::usage,
          fmt::format("view needs OpenGL 3.3 to open a window ({}); --render FILE.png needs none", last_problem()));
    }
    const auto least = [&](double size) { return static_cast<int>(size * look.scale); };
    glfwSetWindowSizeLimits(window_, least(kLeastWindow.width), least(kLeastWindow.height), GLFW_DONT_CARE,
                            GLFW_DONT_CARE);
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

/// Of a card: blending its ground costs a software renderer more than all that stands on it.
void clear_clip(const ImDrawList*, const ImDrawCmd* command) {
  const auto colour =
      ImGui::ColorConvertU32ToFloat4(static_cast<ImU32>(reinterpret_cast<std::uintptr_t>(command->UserCallbackData)));
  const ImVec4& box = command->ClipRect;
  const float height = ImGui::GetDrawData()->DisplaySize.y;
  glScissor(static_cast<GLint>(box.x), static_cast<GLint>(height - box.w), static_cast<GLsizei>(box.z - box.x),
            static_cast<GLsizei>(box.w - box.y));
  glClearColor(colour.x, colour.y, colour.z, 1);
  glClear(GL_COLOR_BUFFER_BIT);
}

/// ImGui on that window.
class Canvas {
 public:
  Canvas(const Desktop& desktop, const OffscreenOptions& look)
      : window_(desktop.window()), scale_(static_cast<float>(look.scale)), context_(ImGui::CreateContext()) {
    ImGui::SetCurrentContext(context_);
    ImGuiIO& io = ImGui::GetIO();
    io.IniFilename = nullptr;
    io.LogFilename = nullptr;
    io.ConfigFlags |= ImGuiConfigFlags_NavEnableKeyboard;
    ImGui_ImplGlfw_InitForOpenGL(window_, true);
    ImGui_ImplOpenGL3_Init("#version 330");
    fonts_.load(*io.Fonts, look.face, scale_);
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
    explorer.frame(fonts_, scale_, &clear_clip);
    ImGui::Render();
    int width = 0, height = 0;
    glfwGetFramebufferSize(window_, &width, &height);
    glViewport(0, 0, width, height);
    const Rgb ground = colour_of(Paint::desk, explorer.session().look.theme);
    glClearColor(static_cast<float>(ground.r) / 255, static_cast<float>(ground.g) / 255,
                 static_cast<float>(ground.b) / 255, 1);
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

/// What the window has others do: nothing here waits for a file. Errands hold copies of it and may end after it.
struct Chores {
  Explorer& explorer;
  Errands& errands;
  const WindowOptions& options;

  /// All that were dropped at once, in order.
  void open(std::vector<std::string> paths) const {
    errands.ask([*this, paths = std::move(paths), session = explorer.session()]() -> Finish {
      return [*this, files = read_files(options.open, session, paths)] {
        Joined joined = join_files(files, explorer.session());
        if (joined.session) explorer.restart(std::move(*joined.session));
        if (!joined.problem.empty()) explorer.say(joined.problem);
      };
    });
  }
  void reopen() const {
    errands.ask([*this, session = explorer.session(), restarts = explorer.restarts()]() -> Finish {
      return [*this, restarts, fresh = options.reopen(session)]() mutable {
        if (explorer.restarts() != restarts) return;  // something else was opened meanwhile
        explorer.restart(continued(std::move(fresh), explorer.session()));
        explorer.say("The file has changed and was read again.");
      };
    });
  }
  void save(const std::string& format) const {
    explorer.say("Writing …");
    errands.ask([*this, format, session = explorer.session(), outcome = explorer.held_outcome()]() -> Finish {
      return [*this, said = options.save(session, *outcome, format)] { explorer.say(said); };
    });
  }
  /// Whether anything was finished.
  bool finish() const {
    const std::vector<Finish> finished = errands.take();
    for (const Finish& done : finished) {
      try {
        done();
      } catch (const std::exception& e) {
        explorer.say(e.what());
      }
    }
    return !finished.empty();
  }
};

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
  Errands errands([] { glfwPostEmptyEvent(); });
  const Chores chores{explorer, errands, options};
  if (options.changed) (void)options.changed(explorer.session().given);
  int frames = kFramesAfterEvent;
  while (glfwWindowShouldClose(desktop.window()) == 0) {
    if (const std::optional<Settings> wanted = explorer.wanted()) worker.ask(*wanted, explorer.session().given);
    const double before = glfwGetTime();
    const double wait = frames > 0 ? 0 : worker.busy() || errands.busy() ? kBusySeconds : kIdleSeconds;
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
    if (chores.finish()) frames = kFramesAfterEvent;
    if (wait >= kIdleSeconds && !errands.busy() && options.changed && options.changed(explorer.session().given)) {
      chores.reopen();
    }
    if (explorer.session().look.playing && frames <= 0) frames = 1;
    if (frames < 0) continue;
    if (!dropped.paths.empty()) chores.open(std::exchange(dropped.paths, {}));
    canvas.frame(explorer);
    for (const std::string& format : explorer.take_exports()) chores.save(format);
    glfwSwapBuffers(desktop.window());
  }
}

namespace {

/// An unseen window whose session is planned and drawn before it is used.
class HiddenWindow {
 public:
  HiddenWindow(Session session, const WindowOptions& options)
      : desktop_(options.look, false), explorer_(std::move(session)), canvas_(desktop_, options.look) {
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

Image window_picture(Session session, const WindowOptions& options) {
  return HiddenWindow(std::move(session), options).canvas().picture();
}

std::vector<double> window_frame_times(Session session, const WindowOptions& options, int frames,
                                       const std::function<void(Explorer&)>& before) {
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

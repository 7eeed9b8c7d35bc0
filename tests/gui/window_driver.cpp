// Uses a window as a person does: starts a command, waits for its window on this display, moves the pointer, clicks,
// types, closes the window by its frame's button. Exits as the command does.
//   window_driver COMMAND ARGUMENT… -- STEP…, a step being: click X Y | type LETTER | sleep MS | await FILE | close
#include <X11/Xlib.h>
#include <X11/Xutil.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int kPatienceMs = 30'000, kPauseMs = 120;

void pause(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

/// Tries every so often; whether it came true in time.
template <class Condition>
bool await(Condition condition) {
  constexpr int kEveryMs = 50;
  for (int waited = 0; waited < kPatienceMs; waited += kEveryMs) {
    if (condition()) return true;
    pause(kEveryMs);
  }
  return false;
}

Window find_window(Display* display, Window in, const char* name) {
  char* title = nullptr;
  const bool found = XFetchName(display, in, &title) != 0 && std::strcmp(title, name) == 0;
  if (title != nullptr) XFree(title);
  if (found) return in;
  Window root = 0, parent = 0, result = 0, *children = nullptr;
  unsigned count = 0;
  if (XQueryTree(display, in, &root, &parent, &children, &count) == 0) return 0;
  for (unsigned i = 0; i < count && result == 0; ++i) result = find_window(display, children[i], name);
  if (children != nullptr) XFree(children);
  return result;
}

bool is_visible(Display* display, Window window) {
  XWindowAttributes attributes;
  return XGetWindowAttributes(display, window, &attributes) != 0 && attributes.map_state == IsViewable;
}

/// Where a step's event happens.
struct Driver {
  Display* display;
  Window window;
  int x = 0, y = 0;

  void send(int type, unsigned detail, long mask) const {
    XEvent event;
    std::memset(&event, 0, sizeof event);
    event.xkey.type = type;
    event.xkey.display = display;
    event.xkey.window = window;
    event.xkey.root = DefaultRootWindow(display);
    event.xkey.x = x;
    event.xkey.y = y;
    event.xkey.same_screen = True;
    event.xkey.keycode = detail;  // a button's number stands in the same place
    XSendEvent(display, window, True, mask, &event);
    XFlush(display);
    pause(kPauseMs);
  }
  void click(int to_x, int to_y) {
    x = to_x;
    y = to_y;
    XWarpPointer(display, None, window, 0, 0, 0, 0, x, y);
    XFlush(display);
    pause(kPauseMs);
    send(ButtonPress, Button1, ButtonPressMask);
    send(ButtonRelease, Button1, ButtonReleaseMask);
  }
  void type(const char* letter) const {
    const KeyCode code = XKeysymToKeycode(display, XStringToKeysym(letter));
    send(KeyPress, code, KeyPressMask);
    send(KeyRelease, code, KeyReleaseMask);
  }
  void close() const {
    XEvent event;
    std::memset(&event, 0, sizeof event);
    event.xclient.type = ClientMessage;
    event.xclient.window = window;
    event.xclient.message_type = XInternAtom(display, "WM_PROTOCOLS", False);
    event.xclient.format = 32;
    event.xclient.data.l[0] = static_cast<long>(XInternAtom(display, "WM_DELETE_WINDOW", False));
    XSendEvent(display, window, False, NoEventMask, &event);
    XFlush(display);
  }
};

/// Whether the steps could be made.
bool drive(Driver& driver, const std::vector<std::string>& steps) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (steps[i] == "click" && i + 2 < steps.size()) {
      driver.click(std::atoi(steps[i + 1].c_str()), std::atoi(steps[i + 2].c_str()));
      i += 2;
    } else if (steps[i] == "type" && i + 1 < steps.size()) {
      driver.type(steps[++i].c_str());
    } else if (steps[i] == "sleep" && i + 1 < steps.size()) {
      pause(std::atoi(steps[++i].c_str()));
    } else if (steps[i] == "await" && i + 1 < steps.size()) {
      struct stat found;
      const std::string file = steps[++i];
      if (!await([&] { return stat(file.c_str(), &found) == 0 && found.st_size > 0; })) {
        return std::fprintf(stderr, "no %s\n", file.c_str()), false;
      }
    } else if (steps[i] == "close") {
      driver.close();
    } else {
      return std::fprintf(stderr, "unknown step %s\n", steps[i].c_str()), false;
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<char*> command;
  int i = 1;
  for (; i < argc && std::strcmp(argv[i], "--") != 0; ++i) command.push_back(argv[i]);
  const std::vector<std::string> steps(argv + std::min(argc, i + 1), argv + argc);
  Display* display = XOpenDisplay(nullptr);
  if (display == nullptr || command.empty()) return 99;
  command.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    execv(command[0], command.data());
    _exit(98);
  }
  Driver driver{display, 0};
  int status = 0;
  pid_t ended = 0;
  const bool shown = await([&] {
    driver.window = find_window(display, DefaultRootWindow(display), "Espalier");
    ended = waitpid(child, &status, WNOHANG);
    return ended != 0 || (driver.window != 0 && is_visible(display, driver.window));
  });
  const bool driven = shown && ended == 0 && drive(driver, steps);
  if (driven && await([&] { return (ended = waitpid(child, &status, WNOHANG)) != 0; })) {
    return WIFEXITED(status) ? WEXITSTATUS(status) : 97;
  }
  std::fprintf(stderr, ended != 0 ? "the command ended by itself\n"
                       : driven   ? "the window doesn't close\n"
                                  : "the window can't be driven\n");
  if (ended == 0) {
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
  }
  return 96;
}

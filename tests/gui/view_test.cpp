// `espalier view` from outside: files, exit codes, and the real window under Xvfb against the pixels made on the CPU.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <png.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/text.h"
#include "tests/apps/command.h"
#include "viz/soft/image.h"
#include "viz/ui/offscreen.h"

namespace espalier::viz {
namespace {

class View : public apps::CommandTest {
 protected:
  /// Not the command itself, but something that calls it.
  Result shell(const std::string& line) const {
    const int status =
        std::system(fmt::format("cd '{}' && {} >stdout.txt 2>stderr.txt", folder_.string(), line).c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read("stdout.txt"), read("stderr.txt")};
  }

  Image picture(const std::string& name) const {
    const std::string path = (folder_ / name).string();
    png_image header;
    std::memset(&header, 0, sizeof header);
    header.version = PNG_IMAGE_VERSION;
    Image image;
    if (png_image_begin_read_from_file(&header, path.c_str()) == 0) return image;
    header.format = PNG_FORMAT_RGB;
    image.width = static_cast<std::int32_t>(header.width);
    image.height = static_cast<std::int32_t>(header.height);
    image.rgb.resize(PNG_IMAGE_SIZE(header));
    if (png_image_finish_read(&header, nullptr, image.rgb.data(), 0, nullptr) == 0) image = {};
    return image;
  }
};

std::int64_t lines(const std::string& text) { return std::count(text.begin(), text.end(), '\n'); }

/// Peak signal over noise, in dB.
double likeness(const Image& a, const Image& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.rgb.size(); ++i) sum += std::pow(1.0 * a.rgb[i] - b.rgb[i], 2);
  return 10 * std::log10(255.0 * 255.0 / std::max(1e-9, sum / static_cast<double>(a.rgb.size())));
}

TEST_F(View, RendersTheSameBytesTwice) {
  for (const char* name : {"a.png", "b.png"}) {
    const Result r = run(fmt::format("view --family tot --select node:3 --size 1100x700 --render {}", name));
    ASSERT_EQ(r.code, 0) << r.err;
  }
  EXPECT_EQ(read("a.png"), read("b.png"));
  EXPECT_EQ(picture("a.png").width, 1100);
  EXPECT_EQ(picture("a.png").height, 700);
}

TEST_F(View, OpensWhatThePlanCommandWrites) {
  ASSERT_EQ(run("plan --family rag --strategy fasttree -o plan.json").code, 0);
  const Result r = run("view plan.json --render plan.png");
  EXPECT_EQ(r.code, 0) << r.err;
  std::string text = read("plan.json");
  char& digit = text.at(text.find_first_of("12345678", text.find("tokens")));
  ++digit;
  write("plan.json", text);
  const Result changed = run("view plan.json --render changed.png");
  EXPECT_EQ(changed.code, 3);
  EXPECT_EQ(lines(changed.err), 1) << changed.err;
}

TEST_F(View, ExportsPicturesAndPages) {
  ASSERT_EQ(run("plan --family few_shot:blocks=3 --strategy espalier -o plan.json").code, 0);
  for (const char* name : {"a.png", "b.png"}) {
    const Result r = run(fmt::format("export png plan.json --font builtin --scale 1 -o {}", name));
    ASSERT_EQ(r.code, 0) << r.err;
  }
  EXPECT_EQ(read("a.png"), read("b.png"));
  EXPECT_EQ(picture("a.png").width, 1200);
  ASSERT_EQ(run("export png plan.json --theme dark -o dark.png").code, 0);
  EXPECT_EQ(picture("dark.png").width, 2400);
  EXPECT_LT(picture("dark.png").rgb.at(0), 64);
  ASSERT_EQ(run("export html plan.json -o page.html").code, 0);
  const std::string page = read("page.html");
  EXPECT_EQ(page.find("http"), page.find("http://www.w3.org/2000/svg")) << "nothing from outside";
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_NE(page.find("espalier takes"), std::string::npos);
  EXPECT_EQ(run("export png plan.json --font comic -o c.png").code, 2);
  EXPECT_EQ(run("export html wrong.json -o d.html").code, 3);
}

TEST_F(View, ExportsTwoPlansBesideEachOther) {
  ASSERT_EQ(run("plan --family few_shot:blocks=3 --strategy espalier -o a.json").code, 0);
  ASSERT_EQ(run("plan --family few_shot:blocks=3 --strategy pat -o b.json").code, 0);
  ASSERT_EQ(run("export html a.json --beside b.json -o page.html").code, 0);
  const std::string page = read("page.html");
  EXPECT_NE(page.find("as fast as"), std::string::npos);
  EXPECT_NE(page.find("<h3>What would help espalier on h100-sxm</h3>"), std::string::npos) << "the faster one";
  ASSERT_EQ(run("export html b.json --beside a.json -o swapped.html").code, 0);
  EXPECT_NE(read("swapped.html").find("<h3>What would help espalier on h100-sxm</h3>"), std::string::npos);
  const std::size_t begin = page.find("<pre>espalier ") + 14, end = page.find("</pre>", begin);
  ASSERT_LT(begin, end) << "how to reproduce it";
  const std::vector<std::string> commands = core::split(page.substr(begin, end - begin), '\n');
  ASSERT_EQ(commands.size(), 3U);
  const std::string a = read("a.json"), b = read("b.json");
  for (std::size_t i = 0; i < commands.size(); ++i) {
    const std::string command = i == 0 ? commands[i] : commands[i].substr(9);  // without the program
    ASSERT_EQ(run(command).code, 0) << command;
  }
  EXPECT_EQ(read("a.json"), a);
  EXPECT_EQ(read("b.json"), b);
  EXPECT_EQ(read("page.html"), page);
  EXPECT_EQ(page.find("http"), page.find("http://www.w3.org/2000/svg")) << "nothing from outside";
  EXPECT_EQ(page.find("<script"), std::string::npos);
  ASSERT_EQ(run("export perfetto a.json --beside b.json -o trace.json").code, 0);
  const std::string trace = read("trace.json");
  for (const char* name : {"\"A espalier: h100-sxm\"", "\"B pat: h100-sxm\"", "\"A espalier: launches\""}) {
    EXPECT_NE(trace.find(name), std::string::npos) << name;
  }
  EXPECT_EQ(run("export csv a.json --beside b.json -o c.csv").code, 2);
  EXPECT_EQ(run("export html a.json --beside page.html -o c.html").code, 3);
}

TEST_F(View, ComparesAMeasuredRunWithItsForecast) {
  ASSERT_EQ(run("plan --tree '1,4|256,64' --heads 4/1/64 --strategy fasttree -o plan.json").code, 0);
  ASSERT_EQ(run("run plan.json --backend host --repeats 2 --json run.json").code, 0);
  const Result r = run("view plan.json --measured run.json --device host --render fit.png");
  EXPECT_EQ(r.code, 0) << r.err;
  for (const char* call : {"view plan.json --measured run.json --render x.png",
                           "view --measured run.json --render x.png", "view run.json --render x.png"}) {
    const Result wrong = run(call);
    EXPECT_EQ(wrong.code, 2) << call;
    EXPECT_EQ(lines(wrong.err), 1) << wrong.err;
  }
}

TEST_F(View, SaysWhatIsWrongInOneSentence) {
  write("wrong.json", "{\"schema\": \"plan/9\"}");
  write("empty.jsonl", "");
  for (const char* call :
       {"--select leaf:1", "--theme grey", "--size 12x", "--size 1099x700", "--size 8192x700 --scale 1.5",
        "--size 1100x640", "--select task:99999", "--select node:68", "--look select=merge:7777,of=b",
        "--look a.edits=fold:3", "--look a.edits=to-queue:3", "--look find", "--strategy a,b,c", "--strategy codex"}) {
    const Result r = run(fmt::format("view --render x.png {}", call));
    EXPECT_EQ(r.code, 2) << call << r.err;
    EXPECT_EQ(lines(r.err), 1) << r.err;
    EXPECT_FALSE(exists("x.png")) << call;
  }
  for (const char* call : {"wrong.json --render x.png", "empty.jsonl --render x.png", "missing.json --render x.png",
                           "--render no/such/folder/x.png", "missing.json"}) {
    const Result r = run(fmt::format("view {}", call));
    EXPECT_EQ(r.code, 3) << call << r.err;
    EXPECT_EQ(lines(r.err), 1) << r.err;
    EXPECT_FALSE(exists("x.png")) << call;
  }
}

TEST_F(View, RefusesAFileBesideOtherInputs) {
  write("f.jsonl", "{\"parent\": [-1, 0], \"tokens\": [100, 40], \"leaf\": [1, 1]}\n");
  ASSERT_EQ(run("view f.jsonl --size 1100x700 --render x.png").code, 0);
  for (const char* others : {"--forest f.jsonl", "--tree '1,4|300,50'", "--family tot", "--suite pat20",
                             "--block-table b.jsonl", "--trace t.jsonl", "--page-size 16"}) {
    const Result r = run(fmt::format("view f.jsonl {} --render y.png", others));
    EXPECT_EQ(r.code, 2) << others;
    EXPECT_EQ(lines(r.err), 1) << r.err;
    EXPECT_TRUE(r.err.find("not both") != std::string::npos || r.err.find("--page-size goes with") != std::string::npos)
        << r.err;
    EXPECT_FALSE(exists("y.png")) << others;
  }
}

TEST_F(View, NeedsADisplayOnlyForAWindow) {
  const Result r = shell("env -u DISPLAY -u WAYLAND_DISPLAY '" ESPALIER_BINARY_DIR "/espalier' view");
  EXPECT_EQ(r.code, 2);
  EXPECT_NE(r.err.find("--render"), std::string::npos) << r.err;
  EXPECT_EQ(lines(r.err), 1) << r.err;
}

TEST_F(View, WindowShowsWhatTheProcessorDraws) {
  if (std::string(ESPALIER_XVFB_RUN).empty()) GTEST_SKIP() << "xvfb-run isn't installed";
  // Mesa keeps some memory to itself.
  const Result gl =
      shell("env ASAN_OPTIONS=detect_leaks=0 " ESPALIER_XVFB_RUN " -a -s '-screen 0 1280x800x24' '" ESPALIER_BINARY_DIR
            "/espalier' view --gl --render gl.png");
  ASSERT_EQ(gl.code, 0) << gl.err;
  const Result soft = run("view --render soft.png");
  ASSERT_EQ(soft.code, 0) << soft.err;
  const Image shown = picture("gl.png"), made = picture("soft.png");
  ASSERT_EQ(shown.rgb.size(), made.rgb.size());
  ASSERT_FALSE(made.rgb.empty());
  EXPECT_GT(likeness(shown, made), 45);
}

#ifdef ESPALIER_WINDOW_DRIVER
/// The middle of what is named, in the window as it is drawn without one.
std::string middle(Offscreen& window, const std::string& name) {
  const auto& placed = window.explorer().placements();
  const auto at = placed.find(name);
  return at == placed.end()
             ? "0 0"
             : fmt::format("{:.0f} {:.0f}", at->second.x + at->second.w / 2, at->second.y + at->second.h / 2);
}

/// Opened, clicked, typed at and closed like any window; what it wrote is the edited plan.
TEST_F(View, LiveWindowIsUsedAndClosed) {
  if (std::string(ESPALIER_XVFB_RUN).empty()) GTEST_SKIP() << "xvfb-run isn't installed";
  Offscreen window(Session{}, {});
  window.settle();
  window.explorer().perform(Select{{ItemKind::task, 3}, SideId::a});
  window.settle();
  const std::string split = middle(window, "Split"), menu = middle(window, "Export");
  ASSERT_TRUE(window.click("Export"));
  const std::string plan = middle(window, "Export/Plan");
  ASSERT_NE(plan, "0 0");
  const std::string page = middle(window, "Export/Page (HTML)");
  const std::string steps = fmt::format(
      "sleep 1500 type t sleep 300 click {} sleep 1500 click {} click {} await espalier.plan.json click {} click {} "
      "await espalier.html close",
      split, menu, plan, menu, page);
  const Result r = shell(fmt::format(
      "env ASAN_OPTIONS=detect_leaks=0 {} -a -s '-screen 0 1280x800x24' '{}' '{}/espalier' view --select task:3 -- {}",
      ESPALIER_XVFB_RUN, ESPALIER_WINDOW_DRIVER, ESPALIER_BINARY_DIR, steps));
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(run("check espalier.plan.json").code, 0);
  EXPECT_NE(read("espalier.plan.json").find("split task 3"), std::string::npos) << "the click on Split counts";
  ASSERT_EQ(run("export html espalier.plan.json -o command.html").code, 0);
  EXPECT_EQ(read("espalier.html"), read("command.html")) << "the menu writes what the command writes";
}
#endif

}  // namespace
}  // namespace espalier::viz

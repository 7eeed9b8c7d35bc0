// Frames of the explorer's panels, without drawing their pixels, and of what follows a change of settings.
#include <benchmark/benchmark.h>
#include <imgui.h>

#include <algorithm>
#include <ctime>

#include "viz/ui/offscreen.h"
#ifdef ESPALIER_HAS_WINDOW
#include "core/error.h"
#include "viz/app/window.h"
#endif

namespace {

using namespace espalier;

viz::Session session_of(std::int64_t requests) {
  viz::Session session;
  viz::apply(session.settings, {viz::Knob::family, viz::SideId::a, "no_share", 0}, {});
  session.settings.family_options = {{"requests", static_cast<double>(requests)}, {"context", 300}};
  session.settings.a.strategy = "fa3_dynamic";
  return session;
}

std::int64_t rectangles() {
  std::int64_t indices = 0;
  const ImDrawData& data = *ImGui::GetDrawData();
  for (int i = 0; i < data.CmdListsCount; ++i) indices += data.CmdLists[i]->IdxBuffer.Size;
  return indices / 6;
}

/// A frame in which nothing changed (0), the timeline was zoomed (1), or forest and plan were (2).
void BM_Frame(benchmark::State& state) {
  viz::Offscreen window(session_of(state.range(0)), {});
  window.settle();
  for (auto _ : state) {
    if (state.range(1) != 0) {
      window.explorer().perform(viz::Zoom{state.range(1) == 1 ? viz::Plane::time : viz::Plane::forest, 0.9, 0.4, 0.5});
    }
    const viz::Look& look = window.explorer().session().look;
    if (look.time.size() < 0.01 || look.forest_requests.size() < 0.01) window.explorer().perform(viz::FitAll{});
    window.frame();
  }
  if (rectangles() >= 60'000) state.SkipWithError("more than 60,000 rectangles");
  state.counters["tasks"] = static_cast<double>(window.explorer().outcome().side(viz::SideId::a).statistics.tasks);
  state.counters["rectangles"] = static_cast<double>(rectangles());
}
BENCHMARK(BM_Frame)
    ->ArgNames({"requests", "zooming"})
    ->ArgsProduct({{1250, 12500}, {0, 1, 2}})
    ->Unit(benchmark::kMillisecond);

#ifdef ESPALIER_HAS_WINDOW
/// The same with OpenGL, down to the last pixel of a window of 1280 x 800: llvmpipe's time under Xvfb. Needs a display.
/// cpu_ms: of all threads, which other programs on the machine disturb less.
void BM_WindowFrame(benchmark::State& state) {
  constexpr int kFrames = 20;
  const bool zooms = state.range(1) != 0;
  std::vector<std::clock_t> begins;
  const auto before = [&](viz::Explorer& explorer) {
    begins.push_back(std::clock());
    if (!zooms) return;
    explorer.perform(viz::Zoom{viz::Plane::time, 0.9, 0.4, 0.5});
    if (explorer.session().look.time.size() < 0.01) explorer.perform(viz::FitAll{});
  };
  try {
    for (auto _ : state) {
      std::vector<double> ms = viz::window_frame_times(session_of(state.range(0)), {}, kFrames, before);
      std::sort(ms.begin(), ms.end());
      state.SetIterationTime(ms[kFrames / 2] / 1e3);
      state.counters["cpu_ms"] =
          1e3 * static_cast<double>(begins.back() - begins.front()) / CLOCKS_PER_SEC / (kFrames - 1);
      begins.clear();
    }
  } catch (const espalier::core::Error& e) {
    state.SkipWithError(e.what());
  }
}
BENCHMARK(BM_WindowFrame)
    ->ArgNames({"requests", "zooming"})
    ->ArgsProduct({{1250}, {0, 1}})
    ->Iterations(3)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);
#endif

/// Planning, simulating and indexing both sides, without sensitivities.
void BM_Outcome(benchmark::State& state) {
  const viz::Session session = session_of(state.range(0));
  double tasks = 0;
  for (auto _ : state) {
    const viz::Outcome outcome = viz::compute(session.settings, {});
    tasks = static_cast<double>(outcome.side(viz::SideId::a).statistics.tasks);
  }
  state.counters["tasks"] = tasks;
}
BENCHMARK(BM_Outcome)->Arg(1250)->Unit(benchmark::kMillisecond);

}  // namespace

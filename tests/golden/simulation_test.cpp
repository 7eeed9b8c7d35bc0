// Simulations whose every byte is known: the same at every optimisation level and under sanitizers.
//
// A change of the model changes tests/golden/simulations.txt on purpose; write it anew with
//   ESPALIER_WRITE_GOLDEN=1 build/release/tests/golden/golden_tests
// and say in the commit why times moved. The times are there for people: they show by how much.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "core/file.h"
#include "core/hash.h"
#include "scheduler/strategy.h"
#include "sim/explain.h"
#include "traces/families.h"
#include "traces/import.h"

namespace espalier::sim {
namespace {

constexpr const char* kFile = ESPALIER_SOURCE_DIR "/tests/golden/simulations.txt";

struct Case {
  const char* forest;  ///< a tree, or a family of seed 1
  const char* strategy;
  const char* device;
  const char* heads;
};

constexpr Case kCases[] = {
    {"1,4,32,256|2048,512,256,128", "hydragen", "h100-sxm", "32/8/128"},
    {"1,4,32,256|2048,512,256,128", "flash_decoding", "h100-sxm", "32/8/128"},
    {"1,4,32,256|2048,512,256,128", "cascade", "a100-80", "32/8/128"},
    {"1,16|30000,200", "codec", "l4", "64/8/128"},
    {"1,16|30000,200", "bifurcated", "h100-sxm", "32/32/128"},
    {"tool_agent", "chunk_attention", "h200", "32/8/128"},
    {"tool_agent", "fasttree", "h100-sxm", "32/8/128"},
    {"tool_agent", "flashinfer_persistent", "h100-sxm", "32/8/128"},
    {"rag", "lean", "h100-sxm", "28/4/128"},
    {"rag", "pat", "a100-80", "32/8/128"},
    {"chat", "fa3_dynamic", "h100-sxm", "32/8/128"},
    {"beam", "deft_flatten", "a10g", "8/2/64"},
};

scheduler::Plan plan_of(const Case& c, const costmodel::DeviceSpec& device) {
  const bool is_tree = std::string_view(c.forest).find('|') != std::string_view::npos;
  const auto forest = is_tree ? traces::parse_tree(c.forest) : traces::generate_family(c.forest, 1);
  const auto heads = traces::parse_heads(c.heads);
  auto made =
      scheduler::make_plan(scheduler::parse_strategy(c.strategy), {.forest = forest, .heads = heads, .device = device});
  return std::get<scheduler::Plan>(std::move(made));
}

std::string simulate_all() {
  std::string text;
  for (const Case& c : kCases) {
    const auto device = costmodel::find_device(c.device);
    const scheduler::Plan plan = plan_of(c, device);
    const SimResult plain = simulate(plan, device, {.timeline = true});
    const Explanation explained = explain(plan, device);
    core::Hasher hasher;
    hasher.text(write_sim(plain, plan, &explained));
    hasher.text(scheduler::write_trace_events(plain.timeline, plan));
    text += fmt::format("{} | {} | {} | {} | plan {} | {} us | {}\n", c.forest, c.strategy, c.device, c.heads,
                        core::hash_text(plan.hash), plain.makespan_us, core::hash_text(hasher.digest()));
  }
  return text;
}

TEST(Golden, SimulationsKeepTheirBytes) {
  const std::string now = simulate_all();
  if (std::getenv("ESPALIER_WRITE_GOLDEN") != nullptr) core::write_file(kFile, now);
  EXPECT_EQ(now, core::read_file(kFile)) << "where the plan's hash differs too, it is the planner that changed";
}

}  // namespace
}  // namespace espalier::sim

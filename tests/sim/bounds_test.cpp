// No simulation is faster than the instance's lower bound, whatever the plan.
#include <gmock/gmock.h>

#include "scheduler/plan_statistics.h"
#include "scheduler/strategy.h"
#include "sim_plans.h"
#include "traces/families.h"

namespace espalier::sim::testing {
namespace {

const HeadConfig kHeads[] = {{.q_heads = 32, .kv_heads = 8},
                             {.q_heads = 8, .kv_heads = 8, .qk_dim = 64, .v_dim = 64},
                             {.q_heads = 16, .kv_heads = 1, .qk_dim = 576, .v_dim = 512, .v_in_k = true}};

TEST(LowerBound, HoldsForHandMadePlansOnEveryDevice) {
  core::Rng rng(3);
  for (int round = 0; round < 60; ++round) {
    const PrefixForest forest = random_forest(rng, 50, 20'000);
    const DeviceSpec& device =
        costmodel::device_catalog()[static_cast<std::size_t>(round) % costmodel::device_catalog().size()];
    const HeadConfig& heads = kHeads[round % 3];
    const KernelConfig& kernel = costmodel::our_attend_kernel(16, heads, device);
    const double bound = scheduler::lower_bound(forest, heads, device).us;
    for (const Plan& plan :
         {node_plan(forest, heads, kernel, rng.integer(64, 4096)), request_plan(forest, heads, kernel, 2048)}) {
      EXPECT_GE(simulate(plan, device).makespan_us, bound) << device.name << " round " << round;
    }
  }
}

TEST(LowerBound, HoldsForEveryStrategyAndFamily) {
  for (const traces::Family& family : traces::families()) {
    const PrefixForest forest = traces::generate_family(family.name, 5);
    for (const std::string device_name : {"h100-sxm", "a100-80", "l4"}) {
      const DeviceSpec device = costmodel::find_device(device_name);
      const HeadConfig& heads = kHeads[0];
      const double bound = scheduler::lower_bound(forest, heads, device).us;
      for (const scheduler::Strategy* strategy : scheduler::strategies()) {
        const scheduler::PlanRequest request{.forest = forest, .heads = heads, .device = device};
        const auto result = scheduler::make_plan({strategy, {}}, request);
        if (const Plan* plan = std::get_if<Plan>(&result)) {
          EXPECT_GE(simulate(*plan, device).makespan_us, bound)
              << family.name << ' ' << strategy->info().name << ' ' << device_name;
        }
      }
    }
  }
}

TEST(Sharing, BeatsReadingThePrefixForEveryRequestTenfold) {
  // 1024 requests of 32 tokens under a prefix of 2048, no grouped heads.
  const DeviceSpec device = costmodel::find_device("h100-sxm");
  const HeadConfig heads{.q_heads = 32, .kv_heads = 32};
  const PrefixForest forest = shared_root(2048, 1024, 32);
  const auto time = [&](std::string_view strategy) {
    const auto result =
        scheduler::make_plan(scheduler::parse_strategy(strategy), {.forest = forest, .heads = heads, .device = device});
    return simulate(std::get<Plan>(result), device).makespan_us;
  };
  EXPECT_GT(time("flash_decoding") / time("codec"), 10);
}

}  // namespace
}  // namespace espalier::sim::testing

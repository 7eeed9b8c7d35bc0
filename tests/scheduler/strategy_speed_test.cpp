// What the strategies are for, by the simulator: sharing pays where there is sharing, and never costs where there is
// none.
#include <gtest/gtest.h>

#include "core/rng.h"
#include "scheduler/strategy.h"
#include "sim/simulator.h"
#include "traces/families.h"
#include "traces/import.h"

namespace espalier::scheduler {
namespace {

double simulated_us(std::string_view strategy, const traces::PrefixForest& forest, const traces::HeadConfig& heads,
                    const costmodel::DeviceSpec& device) {
  const PlanResult result = make_plan(parse_strategy(strategy), PlanRequest{forest, heads, device});
  return sim::simulate(std::get<Plan>(result), device).makespan_us;
}

void expect_no_loss(const traces::PrefixForest& forest) {
  for (const char* device_name : {"h100-sxm", "a100-80"}) {
    const costmodel::DeviceSpec device = costmodel::find_device(device_name);
    for (const char* heads_name : {"32/32/128", "32/8/128", "64/8/64", "128/1/576:512"}) {
      SCOPED_TRACE(testing::Message() << forest.name << " at " << heads_name << " on " << device_name);
      const traces::HeadConfig heads = traces::parse_heads(heads_name);
      const double flat = simulated_us("flash_decoding", forest, heads, device);
      EXPECT_LE(simulated_us("codec", forest, heads, device), 1.03 * flat);
      EXPECT_LE(simulated_us("cascade", forest, heads, device), 1.03 * flat);
    }
  }
}

TEST(Unshared, CostsSharingStrategiesNothing) {
  for (const char* tree : {"1|1", "1|1000", "4|8192", "20|5000", "32|8192", "64|1024", "256|1024", "1|131072"}) {
    expect_no_loss(traces::parse_tree(tree));
  }
  expect_no_loss(traces::generate_family("no_share", 1));
}

TEST(Unshared, CostsSharingStrategiesNothingOnRaggedBatches) {
  core::Rng rng(11);
  for (int round = 0; round < 12; ++round) {
    traces::ForestSource source;
    source.name = "ragged " + std::to_string(round);
    const double sigma = 1.6 * rng.uniform(), median = 100 + 8000 * rng.uniform();
    for (std::int64_t r = 0; r < 1 + 7 * round; ++r) {
      source.parent.push_back(-1);
      source.tokens.push_back(rng.log_normal(median, sigma));
      source.leaf.push_back(r);
    }
    expect_no_loss(traces::make_forest(source));
  }
}

TEST(Sharing, PaysTenfoldOnAThousandRequestsUnderOnePrefix) {
  const traces::PrefixForest forest = traces::parse_tree("1,1024|2048,32");
  const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  const traces::HeadConfig heads = traces::parse_heads("32/32/128");
  EXPECT_GT(simulated_us("flash_decoding", forest, heads, device), 10 * simulated_us("codec", forest, heads, device));
}

TEST(Sharing, PaysOnPrefixTrees) {
  const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  const traces::HeadConfig heads = traces::parse_heads("32/8/128");
  for (const char* tree : {"1,64|8192,256", "1,4,32,256|2048,512,256,128", "1,32,1024|2048,512,128"}) {
    const traces::PrefixForest forest = traces::parse_tree(tree);
    const double flat = simulated_us("flash_decoding", forest, heads, device),
                 codec = simulated_us("codec", forest, heads, device);
    EXPECT_GT(flat, 2 * codec) << tree;
    // Two levels of one big node are cascade's best case: its finer chunks may win there, by less than the estimator's
    // error.
    EXPECT_LE(codec, 1.2 * simulated_us("cascade", forest, heads, device)) << tree;
    EXPECT_LT(codec, simulated_us("bifurcated", forest, heads, device)) << tree;
    EXPECT_LT(codec, simulated_us("deft_flatten", forest, heads, device)) << tree;
  }
}

}  // namespace
}  // namespace espalier::scheduler

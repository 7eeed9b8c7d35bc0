// What our planner is for, by the simulator: better than the best of the others on the peers' own benchmark trees, also
// when launches cost more or less than we think, and no worse than the best flat planner where nothing is shared.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <string>

#include "scheduler/strategies/length_classes.h"
#include "scheduler/strategy.h"
#include "sim/simulator.h"
#include "traces/families.h"
#include "traces/import.h"
#include "traces/suites.h"

namespace espalier::scheduler {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr std::size_t kStep = 7;  // a sample is enough to look for bad memory accesses
#else
constexpr std::size_t kStep = 1;
#endif

double simulated_us(const Strategy& strategy, const traces::PrefixForest& forest, const costmodel::DeviceSpec& device) {
  static const traces::HeadConfig heads = traces::parse_heads("32/8/128");
  const PlanResult result = make_plan(parse_strategy(strategy.info().name), PlanRequest{forest, heads, device});
  const Plan* plan = std::get_if<Plan>(&result);
  return plan == nullptr ? std::numeric_limits<double>::infinity() : sim::simulate(*plan, device).makespan_us;
}

/// How much faster our plan is than the best of `others`.
double gain(const traces::PrefixForest& forest, const costmodel::DeviceSpec& device,
            const std::set<std::string_view>& others) {
  double best = std::numeric_limits<double>::infinity();
  for (const Strategy* strategy : strategies()) {
    if (others.contains(strategy->info().name)) best = std::min(best, simulated_us(*strategy, forest, device));
  }
  return best / simulated_us(find_strategy("espalier"), forest, device);
}

std::set<std::string_view> all_others() {
  std::set<std::string_view> names;
  for (const Strategy* strategy : strategies()) names.insert(strategy->info().name);
  names.erase("espalier");
  return names;
}

double planned_us(const char* strategy, const traces::PrefixForest& forest, const costmodel::DeviceSpec& device,
                  const char* heads) {
  return sim::simulate(std::get<Plan>(make_plan(parse_strategy(strategy),
                                                PlanRequest{forest, traces::parse_heads(heads), device})),
                       device)
      .makespan_us;
}

TEST(OurPlanner, KnowsThatQueuesMayReadAPrefixTooFarApartForTheCache) {
  const traces::PrefixForest forest = traces::make_suite("pat20").at(17);
  const costmodel::DeviceSpec device = costmodel::find_device("a100-80");
  // Equal shares of tiles of four requests would take 1.6 times as long.
  EXPECT_LT(planned_us("espalier", forest, device, "64/8/128"), planned_us("pat", forest, device, "64/8/128"));
}

TEST(OurPlanner, CutsALongPrefixOfFewRequestsIntoFewPieces) {
  const traces::PrefixForest forest = traces::parse_tree("1,16|118154,1846");
  const costmodel::DeviceSpec device = costmodel::find_device("a100-80");
  // Eight rounds of pieces leave so many partial rows that they take 1.13 times as long as CoDec's single one.
  EXPECT_LT(planned_us("espalier", forest, device, "32/8/128"), 1.05 * planned_us("codec", forest, device, "32/8/128"));
}

TEST(OurPlanner, LetsHighTilesComputeWhileLowOnesRead) {
  // Sixty-four requests keep the tensor cores busy on a long prefix, and memory on their own tokens after it. High
  // tiles on a part of the SMs, for as long as low ones read on the others, take 0.9 of the time of one after the
  // other.
  const costmodel::DeviceSpec device = costmodel::find_device("a100-80");
  for (const char* tree : {"1,64|120000,2048", "1,128|120000,1024"}) {
    const traces::PrefixForest forest = traces::parse_tree(tree);
    EXPECT_LT(planned_us("espalier", forest, device, "32/8/128"),
              1.02 * planned_us("codec", forest, device, "32/8/128"))
        << tree;
    EXPECT_LT(planned_us("espalier", forest, device, "32/8/128"), planned_us("relay", forest, device, "32/8/128"))
        << tree;
  }
}

/// What our planner's plan takes, of what `other`'s does.
double share_of(const char* other, const traces::PrefixForest& forest, const char* device_name, const char* heads) {
  const costmodel::DeviceSpec device = costmodel::find_device(device_name);
  return planned_us("espalier", forest, device, heads) / planned_us(other, forest, device, heads);
}

TEST(OurPlanner, ReadsOwnTokensWhileThePrefixOfVeryManyRequestsIsComputed) {
  // All pieces of the prefix first, as its readers meet in the L2 then, and the requests' own tokens after it would
  // take 1.25 times as long; and nodes by themselves come in that order, which must be forecast: 1.14 times.
  const traces::PrefixForest forest = traces::parse_tree("1,256|120000,4096");
  EXPECT_LT(share_of("deft_node", forest, "h100-sxm", "32/8/128"), 1);
  EXPECT_LT(share_of("codec", forest, "h100-sxm", "64/8/128"), 1);
}

TEST(OurPlanner, FillsTheDeviceOnceWhereThatIsBetweenTwoOfItsCuts) {
  // Without it, 1.09 times as long.
  const traces::PrefixForest forest = traces::make_suite("deft_suite/keyword-c").at(0);
  EXPECT_LT(share_of("fa3_static", forest, "a100-80", "16/1/576:512"), 1.04);
}

TEST(OurPlanner, CutsTilesOfOneLengthEvenlyInLongerPlans) {
  // 32 requests of 6,144 tokens and one KV head: with a short piece at the end of each, 1.11 times as long.
  const traces::PrefixForest forest = traces::make_suite("codec_suite/depth-6").at(0);
  EXPECT_LT(share_of("fa3_static", forest, "h100-sxm", "16/1/576:512"), 1.02);
}

TEST(OurPlanner, CutsTheLastWaveOfTilesOfOneLength) {
  // 32 tiles of eight heads on 216 slots: one wave, and 40 CTAs after it that would leave most SMs idle; PAT's plan
  // takes 1.10 times as long as whole tiles, or as equal shares of all.
  const traces::PrefixForest forest = traces::make_suite("pat20/18").at(0);
  EXPECT_LT(share_of("pat", forest, "a100-80", "64/8/128"), 0.86);
  EXPECT_LT(share_of("pat", forest, "a100-80", "32/8/128"), 0.86);
  // Equal shares of latent attention's tiles cut nearly all of them: 0.97 of FlashMLA's time.
  const traces::PrefixForest latent = traces::make_suite("pat20/04").at(0);
  EXPECT_LT(share_of("flashmla", latent, "a100-80", "128/1/576:512"), 0.92);
  // Where HBM, L2 and arithmetic take about as long, waves of whole tiles don't fill all of them at once: 0.81 of
  // CoDec's time, where other plans take 0.62.
  EXPECT_LT(share_of("codec", traces::parse_tree("1,640|4768,1"), "l40s", "32/32/128"), 0.75);
}

TEST(OurPlanner, KnowsThatTilesMeetANodeAtDifferentTimes) {
  // Ten requests a document and eight a tile: every other tile begins within one, and reads the next at another time
  // than the tile after it. Nodes by themselves take 0.8 of the time.
  const traces::PrefixForest forest = traces::parse_tree("1,9,90|14143,18871,1327");
  EXPECT_LT(share_of("deft_node", forest, "a100-80", "64/8/128"), 1.02);
}

TEST(OurPlanner, ReadsTogetherWhatTilesOfSeveralLengthsShare) {
  // Seven requests a node in tiles of four and three: the shorter after all of the longer, 1.10 times codec's time.
  const traces::PrefixForest forest = traces::parse_tree("1,3,15,105|9000,5000,2500,700");
  EXPECT_LT(share_of("codec", forest, "a100-80", "32/8/128"), 0.95);
}

TEST(OurPlanner, LaunchesTheLongestFirstInShortPlans) {
  // What readers of the same tokens save by coming together is less than what a long piece costs that comes late.
  const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  int plans = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    const traces::PrefixForest forest = traces::generate_family("random:nodes=12", seed);
    const Plan plan = std::get<Plan>(
        make_plan(parse_strategy("espalier"), PlanRequest{forest, traces::parse_heads("32/8/128"), device}));
    if (sim::simulate(plan, device).makespan_us > 20 || !plan.queues.empty()) continue;
    ++plans;
    for (const Phase& phase : plan.phases) {
      if (phase.kind != PhaseKind::tasks) continue;
      int before = std::numeric_limits<int>::max();
      for (TaskId t(phase.range.begin); t.value < phase.range.end; ++t.value) {
        const int length = planning::length_class(task_shape(plan, plan.tasks[t]).kv_tokens);
        EXPECT_LE(length, before) << "seed " << seed << ", task " << t.value;
        before = length;
      }
    }
  }
  EXPECT_GT(plans, 10);
}

TEST(OurPlanner, SpreadsTheHeadsOfFewRequestsOverMoreTiles) {
  // Two requests of 128 heads: tiles of 64 rows are too few CTAs, of 16 rows they take 0.73 of the time.
  const traces::PrefixForest forest = traces::make_suite("codec_suite/depth-2").at(0);
  EXPECT_LT(share_of("sglang_triton", forest, "h100-sxm", "128/1/576:512"), 1.02);
}

TEST(OurPlanner, LeavesAFewReadersTooManyToALowTile) {
  const auto share = [](const char* tree, const char* device, const char* heads) {
    return share_of("codec", traces::parse_tree(tree), device, heads);
  };
  // One to ten requests more than fill the highest tiles.
  EXPECT_LE(share("1,65|20000,200", "a100-80", "64/8/128"), 1.01);
  EXPECT_LE(share("1,97|20000,50", "a100-80", "32/8/128"), 1.01);
  EXPECT_LE(share("1,34|10000,200", "b200", "64/8/64"), 1.01);
  EXPECT_LE(share("1,84|60000,800", "h100-sxm", "64/8/128"), 0.81);
  // Where other kernels would find nothing of the prefix in the L2 the highest serve all.
  EXPECT_LE(share("1,34|10000,200", "a10g", "32/4/128"), 0.75);
}

TEST(OurPlanner, LeavesRequestsAloneInTheShortestPlans) {
  const auto share = [](const char* other, const char* tree, const char* heads) {
    return share_of(other, traces::parse_tree(tree), "h100-sxm", heads);
  };
  // Two KV tiles of one request, one after the other, are done before their merge would be.
  EXPECT_LE(share("cascade", "4|100", "8/1/128"), 1);
  EXPECT_LE(share("chunk_attention", "1,5|20,100", "16/2/128"), 1);
  EXPECT_LE(share("fa3_dynamic", "1,3|20,100", "8/1/128"), 1);
}

TEST(OurPlanner, KnowsThatTheMergeOfOneLongRequestMayBeTheLast) {
  EXPECT_LE(share_of("flashmla", traces::generate_family("one_hot", 1), "h200", "8/1/128"), 1.01);
}

TEST(OurPlanner, KnowsThatAMergeReadsThroughOnePort) {
  // Forty-eight pieces of one request with rows of 512 columns: the merges alone would take half of the time.
  const traces::PrefixForest forest = traces::make_suite("codec_suite/chain").at(0);
  EXPECT_LT(share_of("fa3_static", forest, "a100-80", "16/1/576:512"), 1.1);
}

TEST(OurPlanner, SaysWhichCoversItDidNotTry) {
  const costmodel::DeviceSpec device = costmodel::find_device("a100-80");
  int untried = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const traces::PrefixForest forest = traces::generate_family("random:nodes=12", seed);
    const Plan plan = std::get<Plan>(
        make_plan(parse_strategy("espalier"), PlanRequest{forest, traces::parse_heads("32/8/128"), device}));
    double forecast = 0, others = 0;
    for (const std::string& why : plan.provenance.why) {
      if (why.starts_with("forecast ")) forecast = std::stod(why.substr(9));
      const std::size_t below = why.find("forecast below ");
      if (below == std::string::npos) continue;
      others = std::stod(why.substr(below + 15));
      const bool said = why.starts_with("best of those tried");
      untried += said ? 1 : 0;
      EXPECT_TRUE(said ? others <= forecast : others >= forecast) << "seed " << seed << ": " << why;
    }
  }
  EXPECT_GT(untried, 0) << "else this shows nothing";
}

TEST(OurPlanner, LeavesSlotsEmptyWhereThereIsLittleToRead) {
  const traces::PrefixForest forest = traces::parse_tree("1|3072");
  const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  // A fifth of the slots would get a KV tile each, and all would wait for a merge of 48 rows: 4.7 us instead of 3.7.
  EXPECT_LT(planned_us("espalier", forest, device, "16/1/128"),
            1.01 * planned_us("flash_decoding", forest, device, "16/1/128"));
}

TEST(OurPlanner, KnowsThatLaunchesSideBySideBeginInTurn) {
  const std::vector<traces::PrefixForest> forests = traces::make_suite("ragged40");
  const auto forest =
      std::find_if(forests.begin(), forests.end(), [](const auto& f) { return f.name.ends_with("medium-14"); });
  ASSERT_NE(forest, forests.end());
  // The best plan known takes 15.2 us; three heights, forecast to be 6 % faster than it is, 17.4 us.
  EXPECT_LT(planned_us("espalier", *forest, costmodel::find_device("h100-sxm"), "32/8/128"), 16.2);
}

TEST(OurPlanner, KnowsThatResourcesAreNotAllFullAtOnce) {
  const traces::PrefixForest forest = traces::parse_tree("1,50|20000,400");
  const costmodel::DeviceSpec device = costmodel::find_device("a100-80");
  // Equal shares of tiles of eight requests need HBM, L2 and tensor cores for about as long: they take 1.25 times as
  // long as two phases.
  EXPECT_LT(planned_us("espalier", forest, device, "32/8/128"),
            1.15 * planned_us("hydragen", forest, device, "32/8/128"));
}

struct Gains {
  double log_sum = 0, least = std::numeric_limits<double>::infinity();
  int count = 0;
  void add(double gain) {
    log_sum += std::log(gain);
    least = std::min(least, gain);
    ++count;
  }
  double mean() const { return std::exp(log_sum / count); }
};

class PeersSuites : public testing::TestWithParam<double> {};

TEST_P(PeersSuites, AreWonByOurPlanner) {
  Gains gains;
  for (const auto& [suite, name] : {std::pair("pat20", "a100-80"), std::pair("ft15", "h100-sxm")}) {
    costmodel::DeviceSpec device = costmodel::find_device(name);
    for (double costmodel::DeviceSpec::*cost :
         {&costmodel::DeviceSpec::launch_stream_us, &costmodel::DeviceSpec::launch_graph_us,
          &costmodel::DeviceSpec::launch_pdl_us, &costmodel::DeviceSpec::grid_sync_us,
          &costmodel::DeviceSpec::cta_start_ns, &costmodel::DeviceSpec::cta_end_ns}) {
      device.*cost *= GetParam();
    }
    const auto forests = traces::make_suite(suite);
    for (std::size_t i = 0; i < forests.size(); i += kStep) {
      const double times = gain(forests[i], device, all_others());
      EXPECT_GE(times, 0.99) << forests[i].name;
      gains.add(times);
    }
  }
  EXPECT_GE(gains.mean(), 1.15);
}

INSTANTIATE_TEST_SUITE_P(FixedCosts, PeersSuites, testing::Values(1.0, 0.7, 1.3));

TEST(NothingShared, OurPlannerIsAFlatPlannerOfTheBest) {
  const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  Gains gains;
  for (std::uint64_t seed = 1; seed <= 12 / kStep; ++seed) {
    gains.add(gain(traces::generate_family("no_share", seed), device, all_others()));
  }
  for (const char* tree : {"1|8192", "16|4096", "64|8192", "256|1024", "200|777"}) {
    gains.add(gain(traces::parse_tree(tree), device, all_others()));
  }
  EXPECT_GE(gains.least, 0.98);
  EXPECT_GE(gains.mean(), 0.995);
}

}  // namespace
}  // namespace espalier::scheduler

// Every strategy on every kind of forest and heads: a valid plan or a refusal from the written list; and the table's
// own rules.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "scheduler/plan_statistics.h"
#include "scheduler/strategy.h"
#include "scheduler/validate.h"
#include "tests/property/refusals.h"
#include "traces/families.h"
#include "traces/import.h"

namespace espalier::scheduler {
namespace {

using traces::ForestSource;
using traces::PrefixForest;

const costmodel::DeviceSpec& h100() {
  static const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  return device;
}

PlanResult build(std::string_view strategy, const PrefixForest& forest, const traces::HeadConfig& heads,
                 KernelSet kernels = KernelSet::ours) {
  return make_plan(parse_strategy(strategy), PlanRequest{forest, heads, h100(), kernels});
}

/// Checks one case; returns true when there is a plan.
bool check_case(const Strategy& strategy, const PrefixForest& forest, const char* heads_name, KernelSet kernels) {
  const traces::HeadConfig heads = traces::parse_heads(heads_name);
  SCOPED_TRACE(testing::Message() << strategy.info().name << " on " << forest.name << " at " << heads_name
                                  << (kernels == KernelSet::ours ? " ours" : " published"));
  const PlanResult result = build(strategy.info().name, forest, heads, kernels);
  if (const Refusal* refusal = std::get_if<Refusal>(&result)) {
    EXPECT_EQ(property::refusal_fault(strategy.info().name, PlanRequest{forest, heads, h100(), kernels}, result), "");
    EXPECT_FALSE(refusal->sentence.empty()) << refusal_name(refusal->refusal);
    return false;
  }
  const Plan& plan = std::get<Plan>(result);
  EXPECT_EQ(violations_text(validate(plan, h100())), "valid");
  EXPECT_EQ(plan.provenance.strategy, strategy.info().name);
  EXPECT_FALSE(plan.provenance.why.empty());
  EXPECT_EQ(plan_hash(plan), std::get<Plan>(build(strategy.info().name, forest, heads, kernels)).hash);
  return true;
}

constexpr const char* kHeads[] = {"32/32/128", "32/8/128",      "28/4/128",    "64/8/64",
                                  "16/1/128",  "128/1/576:512", "16/1/576:512"};

TEST(Strategies, AreValidOrRefusedOnEveryFamily) {
  const char* families[] = {"doc_qa:docs=2,questions=9", "few_shot", "chat",   "tot", "rag", "best_of_n",
                            "chain:levels=20",           "no_share", "one_hot"};
  int plans = 0;
  for (const char* family : families) {
    const PrefixForest forest = traces::generate_family(family, 3);
    for (const Strategy* strategy : strategies()) {
      for (const char* heads : {"32/32/128", "28/4/128"}) {
        plans += check_case(*strategy, forest, heads, KernelSet::ours);
      }
      plans += check_case(*strategy, forest, "32/8/128", KernelSet::published);
    }
  }
  EXPECT_GT(plans, 4 * 27);
}

TEST(Strategies, AreValidOrRefusedOnRandomForests) {
  int plans = 0, cases = 0;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    const PrefixForest forest = traces::generate_family("random:nodes=40,requests=50,tokens=120", seed);
    for (const Strategy* strategy : strategies()) {
      for (const char* heads : kHeads) {
        plans += check_case(*strategy, forest, heads, KernelSet::ours);
        plans += check_case(*strategy, forest, heads, KernelSet::published);
        cases += 2;
      }
      plans += check_case(*strategy, forest, "8/2/64", KernelSet::ours);
    }
  }
  EXPECT_GT(plans, cases / 2);
}

/// With our kernels, by the list of refusals.
bool serves(const Strategy& strategy, const PrefixForest& forest, const char* heads) {
  return !property::must_refuse(strategy.info().name, PlanRequest{forest, traces::parse_heads(heads), h100()});
}

/// A random forest below one root: what bifurcated and relay can serve.
PrefixForest rooted(std::uint64_t seed) {
  const PrefixForest random = traces::generate_family("random:nodes=30,requests=40,tokens=300", seed);
  ForestSource source;
  source.name = "rooted";
  source.parent = {-1};
  source.tokens = {777};
  source.leaf = {0, 0};
  for (const NodeId n : core::ids<NodeId>(random.node_count())) {
    source.parent.push_back(random.is_root(n) ? 0 : random.parent[n].value + 1);
    source.tokens.push_back(random.tokens[n]);
  }
  for (const NodeId leaf : random.leaf) source.leaf.push_back(leaf.value + 1);
  return traces::make_forest(source);
}

TEST(Strategies, AreValidBelowOneRootWithRequestsEndingAtIt) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    const PrefixForest forest = rooted(seed);
    for (const Strategy* strategy : strategies()) {
      for (const char* heads : kHeads) {
        EXPECT_EQ(check_case(*strategy, forest, heads, KernelSet::ours), serves(*strategy, forest, heads)) << heads;
      }
    }
  }
}

TEST(Strategies, ServeTwinsAndSingleRequests) {
  ForestSource twins;
  twins.name = "twins";
  twins.parent = {-1, 0, 0};
  twins.tokens = {1, 129, 7};
  twins.leaf = {1, 1, 1, 0, 0, 2};
  const PrefixForest forest = traces::make_forest(twins);
  const PrefixForest single = traces::parse_tree("1|1");
  const PrefixForest long_single = traces::parse_tree("1,1,1|70000,1,4096");
  for (const Strategy* strategy : strategies()) {
    for (const char* heads : kHeads) {
      EXPECT_EQ(check_case(*strategy, forest, heads, KernelSet::ours), serves(*strategy, forest, heads));
      EXPECT_EQ(check_case(*strategy, single, heads, KernelSet::ours), serves(*strategy, single, heads));
      EXPECT_EQ(check_case(*strategy, long_single, heads, KernelSet::ours), serves(*strategy, long_single, heads));
    }
  }
}

TEST(Strategies, GiveAnEmptyPlanForNoRequests) {
  const PrefixForest forest;
  for (const Strategy* strategy : strategies()) {
    const PlanResult result = build(strategy->info().name, forest, {});
    ASSERT_TRUE(std::holds_alternative<Plan>(result)) << strategy->info().name;
    EXPECT_TRUE(std::get<Plan>(result).launches.empty());
    EXPECT_EQ(violations_text(validate(std::get<Plan>(result), h100())), "valid");
  }
}

TEST(Strategies, BuildADeepChain) {
  const PrefixForest deep = traces::generate_family("chain:levels=200,tokens=64,tail=0", 1);
  const PrefixForest shallower = traces::generate_family("chain:levels=70,tokens=64,tail=0", 1);
  const traces::HeadConfig heads = traces::parse_heads("32/8/128");
  for (const char* strategy :
       {"flash_decoding", "cascade", "bifurcated", "deft_flatten", "codec", "codec:rounds=1", "deft_node",
        "deft_node_chunk", "fasttree", "relay", "pat:splits=4096", "chunk_attention", "codec_release"}) {
    for (const PrefixForest* forest : {&deep, &shallower}) {
      const PlanResult result = build(strategy, *forest, heads);
      ASSERT_TRUE(std::holds_alternative<Plan>(result)) << strategy << std::get<Refusal>(result).sentence;
      const Plan& plan = std::get<Plan>(result);
      // Proving hundreds of dependent launches takes seconds; those plans are proved on the shallower chain.
      if (plan.launches.size() < 200) {
        EXPECT_EQ(violations_text(validate(plan, h100())), "valid") << strategy;
      }
    }
  }
}

TEST(Strategies, AreGraphSafeExceptThosePublishedWithoutGraphs) {
  const std::set<std::string_view> eager = {"deft_flatten", "deft_node", "deft_node_chunk", "fasttree",
                                            "pat",          "hydragen",  "chunk_attention", "codec_release"};
  const PrefixForest forest = traces::parse_tree("1,8|1024,64");
  for (const Strategy* strategy : strategies()) {
    for (const KernelSet set : {KernelSet::ours, KernelSet::published}) {
      const traces::HeadConfig heads = traces::parse_heads("32/32/128");
      if (property::must_refuse(strategy->info().name, PlanRequest{forest, heads, h100(), set})) continue;
      const Plan plan = std::get<Plan>(build(strategy->info().name, forest, heads, set));
      const bool safe = set == KernelSet::ours || !eager.contains(strategy->info().name);
      EXPECT_EQ(plan.provenance.graph_safe, safe) << strategy->info().name;
    }
  }
}

TEST(Strategies, MergeOnArrivalWithOurKernelsWhereOneLaunchHoldsAllTasks) {
  int merging = 0;
  for (const char* family : {"doc_qa:docs=2,questions=9", "few_shot", "tot", "no_share"}) {
    const PrefixForest forest = traces::generate_family(family, 3);
    for (const Strategy* strategy : strategies()) {
      const PlanResult result = build(strategy->info().name, forest, traces::parse_heads("32/8/128"));
      const Plan* plan = std::get_if<Plan>(&result);
      if (plan == nullptr || plan->steps.empty()) continue;
      const auto holds_tasks = [&](const Launch& launch) {
        const auto first = plan->phases.begin() + launch.phases.begin, last = plan->phases.begin() + launch.phases.end;
        return std::any_of(first, last, [](const Phase& phase) { return phase.kind == PhaseKind::tasks; });
      };
      const auto& launches = plan->launches.raw();
      if (std::count_if(launches.begin(), launches.end(), holds_tasks) > 1) continue;
      EXPECT_EQ(launches.size(), 1u) << strategy->info().name << " on " << family;
      ++merging;
    }
  }
  EXPECT_GT(merging, 30);
}

TEST(Strategies, StandInTheTablesOrder) {
  std::vector<std::string_view> names;
  for (const Strategy* strategy : strategies()) {
    names.push_back(strategy->info().name);
    EXPECT_FALSE(strategy->info().needs.empty());
    EXPECT_FALSE(strategy->info().source.empty());
  }
  EXPECT_THAT(names, testing::ElementsAre("flash_decoding", "fa3_static", "fa3_dynamic", "flashinfer_decode",
                                          "flashinfer_prefill", "flashinfer_persistent", "sglang_triton", "lean",
                                          "flashmla", "vllm_cascade", "cascade", "bifurcated", "deft_flatten", "codec",
                                          "deft_node", "deft_node_chunk", "fasttree", "relay", "pat", "hydragen",
                                          "chunk_attention", "codec_release", "espalier"));
}

template <class F>
std::string error_of(F&& call) {
  try {
    call();
  } catch (const core::Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(ParseStrategy, FillsOptionsAndNamesWhatIsWrong) {
  EXPECT_EQ(parse_strategy("codec").options.at("rounds"), -1);
  EXPECT_EQ(parse_strategy("codec:rounds=1").options.at("rounds"), 1);
  EXPECT_EQ(parse_strategy("deft_flatten:block=256,queries=16").options.at("queries"), 16);
  EXPECT_THAT(error_of([] { parse_strategy("codex"); }), testing::HasSubstr("codec"));
  EXPECT_THAT(error_of([] { parse_strategy("codec:round=1"); }), testing::HasSubstr("rounds"));
  EXPECT_THAT(error_of([] { parse_strategy("codec:rounds=7"); }),
              testing::HasSubstr("whole number from -1 to 1, got 7"));
  EXPECT_THAT(error_of([] { parse_strategy("codec:rounds=0.5"); }), testing::HasSubstr("got 0.5"));
  EXPECT_THAT(error_of([] { parse_strategy("codec:rounds=x"); }), testing::HasSubstr("expected a number, got 'x'"));
  EXPECT_THAT(error_of([] { parse_strategy("codec:rounds"); }), testing::HasSubstr("option=value"));
  EXPECT_THAT(error_of([] { parse_strategy("cascade:levels=2"); }),
              testing::HasSubstr("unknown option of strategy cascade"));
  EXPECT_EQ(parse_strategy("cascade:cluster=2").options.at("cluster"), 2) << "an option of all";
  EXPECT_THAT(error_of([] { parse_strategy("cascade:cluster=17"); }),
              testing::HasSubstr("whole number from 1 to 16, got 17"));
}

Refusal refusal_of(std::string_view strategy, const PrefixForest& forest, const char* heads = "32/8/128",
                   KernelSet kernels = KernelSet::ours) {
  const PlanResult result = build(strategy, forest, traces::parse_heads(heads), kernels);
  const Refusal* refusal = std::get_if<Refusal>(&result);
  return refusal == nullptr ? Refusal{RefusalClass::heads, "a plan"} : *refusal;
}

TEST(Refusals, NameClassAndReason) {
  const Refusal roots = refusal_of("bifurcated", traces::parse_tree("3,6|64,64"));
  EXPECT_EQ(roots.refusal, RefusalClass::structure);
  EXPECT_EQ(roots.sentence, "needs one root shared by all requests; this forest has 3");

  ForestSource chain;
  chain.name = "chain";
  for (int i = 0; i < 300; ++i) {
    chain.parent.push_back(i - 1);
    chain.tokens.push_back(2);
    chain.leaf.push_back(i);
  }
  const Refusal deep = refusal_of("cascade", traces::make_forest(chain));
  EXPECT_EQ(deep.refusal, RefusalClass::size);
  EXPECT_EQ(deep.sentence, "the plan would have 300 levels, more than 256");

  const Refusal wide =
      refusal_of("flash_decoding", traces::parse_tree("1,4|64,64"), "128/1/576:512", KernelSet::published);
  EXPECT_EQ(wide.refusal, RefusalClass::kernel);
  EXPECT_THAT(wide.sentence, testing::HasSubstr("fa2_split_n64"));

  const Refusal huge = refusal_of("flash_decoding", traces::parse_tree("1|1000000000"));
  EXPECT_EQ(huge.refusal, RefusalClass::size);
  EXPECT_THAT(huge.sentence, testing::HasSubstr("GiB, h100-sxm has 80.0 GiB"));

  // 64 k requests on 30 k tokens: the KV is small, the scores are not.
  const Refusal scores = refusal_of("bifurcated", traces::parse_tree("1,65536|30000,1"));
  EXPECT_EQ(scores.refusal, RefusalClass::size);
  EXPECT_THAT(scores.sentence, testing::HasSubstr("materialised scores take"));
}

}  // namespace
}  // namespace espalier::scheduler

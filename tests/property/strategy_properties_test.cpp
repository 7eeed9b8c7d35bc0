// Every strategy with both kernel sets: a valid plan or a listed refusal; the interpreter equals the oracle; a
// request's output doesn't depend on its place; the same seed gives the same plan. ESPALIER_FULL=1 runs twenty times as
// many random forests.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "core/rng.h"
#include "forests.h"
#include "plan_checks.h"
#include "traces/families.h"

namespace espalier::property {
namespace {

using costmodel::DeviceSpec;
using traces::HeadConfig;

/// The catalog's H100, and one with few SMs: what splits for parallelism on one doesn't on the other.
const DeviceSpec& device_of(std::uint64_t seed) {
  static const std::vector<DeviceSpec> devices = {costmodel::find_device("h100-sxm"),
                                                  costmodel::find_device("h100-sxm:sms=3")};
  return devices[seed % devices.size()];
}

void check(const PrefixForest& forest, const std::string& heads, std::uint64_t seed) {
  check_case(forest, traces::parse_heads(heads), device_of(seed));
}

const std::vector<std::string> kSmallHeads = {"4/1/16", "8/2/16", "7/1/8", "4/4/8", "6/2/12+8", "8/1/24:16"};
const std::vector<std::string> kRealHeads = {"32/32/128", "32/8/128", "28/4/128",     "40/8/128",      "64/8/64",
                                             "16/1/128",  "16/2/256", "64/4/192+128", "128/1/576:512", "16/1/576:512"};

TEST(StrategyProperties, HoldOnRandomForests) {
  const std::uint64_t forests = cases(120);
  for (std::uint64_t seed = 0; seed < forests && !::testing::Test::HasFailure(); ++seed) {
    const PrefixForest forest = traces::make_forest(random_source(seed, seed % 4 == 3 ? 1500 : 150));
    check(forest, kSmallHeads[seed % kSmallHeads.size()], seed / 2);
  }
}

TEST(StrategyProperties, HoldOnPagedForests) {
  const std::uint64_t forests = cases(40);
  for (std::uint64_t seed = 0; seed < forests && !::testing::Test::HasFailure(); ++seed) {
    const PrefixForest forest = traces::make_forest(random_source(1000 + seed, 400));
    check(traces::floor_to_pages(forest, 16), kSmallHeads[seed % kSmallHeads.size()], seed / 2);
  }
}

TEST(StrategyProperties, HoldOnEdgeCases) {
  for (const ForestSource& source : edge_sources()) {
    const PrefixForest forest = traces::make_forest(source);
    check(forest, "7/1/8", 1);
    if (kSanitized) continue;
    check(forest, "8/2/16", 0);
    check(traces::floor_to_pages(forest, 16), "4/1/16", 0);
  }
}

TEST(StrategyProperties, HoldOnADeepChain) {
  check(traces::make_forest(chain(kSanitized ? 60 : 205, 1, true)), "4/1/16", 0);
}

TEST(StrategyProperties, HoldOnEveryDevice) {
  for (const DeviceSpec& device : costmodel::device_catalog()) {
    check_case(traces::make_forest(random_source(5000, 60)), traces::parse_heads("8/2/128"), device);
    check_case(traces::make_forest(star(20, 4, 3)), traces::parse_heads("16/1/576:512"), device);
  }
}

TEST(StrategyProperties, HoldOnRealHeads) {
  const std::uint64_t forests = cases(1);
  for (std::uint64_t seed = 0; seed < forests && !::testing::Test::HasFailure(); ++seed) {
    for (const std::string& heads : kRealHeads) {
      check(traces::make_forest(random_source(2000 + seed, 24)), heads, seed);
      ForestSource shared = star(9 + static_cast<std::int64_t>(seed), 3, 2);
      shared.leaf.push_back(2);
      check(traces::make_forest(shared), heads, seed + 1);
    }
  }
}

/// Heads that every set of published kernels was compiled for, or nearly every one.
TEST(StrategyProperties, HoldOnHeadsOfPublishedKernels) {
  const std::vector<std::string> heads = {"2/2/128", "4/1/64", "2/1/128"};
  const std::uint64_t forests = cases(12);
  for (std::uint64_t seed = 0; seed < forests && !::testing::Test::HasFailure(); ++seed) {
    check(traces::make_forest(random_source(6000 + seed, seed % 4 == 3 ? 600 : 80)), heads[seed % 3], seed);
  }
}

TEST(StrategyProperties, HoldOnStorageDtypes) {
  const PrefixForest forest = traces::make_forest(random_source(3000, 200));
  for (const auto dtype : {traces::Dtype::fp32, traces::Dtype::fp16, traces::Dtype::fp8_e4m3}) {
    HeadConfig heads = traces::parse_heads("8/2/16");
    heads.kv_dtype = dtype;
    check_case(forest, heads, device_of(0));
  }
}

/// Each option its default or anything in its range, small values as likely as large ones.
scheduler::StrategyChoice drawn_choice(const scheduler::Strategy& strategy, core::Rng& rng) {
  scheduler::StrategyChoice choice{&strategy, {}};
  for (const scheduler::StrategyOption& option : scheduler::all_options(strategy.info())) {
    if (rng.chance(0.3)) continue;
    const double value = option.low + std::expm1(rng.uniform() * std::log1p(option.high - option.low));
    choice.options.emplace(option.name, std::clamp(std::round(value), option.low, option.high));
  }
  return choice;
}

TEST(StrategyProperties, HoldOnDrawnOptionsAndCostModels) {
  const std::uint64_t forests = cases(40);
  const kernels::TensorSource source{23};
  std::size_t plans = 0;
  for (std::uint64_t seed = 0; seed < forests && !::testing::Test::HasFailure(); ++seed) {
    const PrefixForest forest = traces::make_forest(random_source(8000 + seed, 300));
    const HeadConfig heads = traces::parse_heads(kSmallHeads[seed % kSmallHeads.size()]);
    const kernels::AttentionOutput want = kernels::naive_attention(forest, heads, source);
    core::Rng rng(seed);
    for (const scheduler::Strategy* strategy : scheduler::strategies()) {
      const scheduler::StrategyInfo& info = strategy->info();
      const scheduler::StrategyChoice choice = drawn_choice(*strategy, rng);
      scheduler::PlanRequest request{.forest = forest, .heads = heads, .device = device_of(seed)};
      request.kernels = rng.chance(0.3) ? scheduler::KernelSet::published : scheduler::KernelSet::ours;
      const auto& models = costmodel::cost_model_names();
      if (info.uses_cost_model && rng.chance(0.7)) {
        request.cost_model = models[static_cast<std::size_t>(rng.integer(0, std::ssize(models) - 1))];
      }
      if (request.cost_model == "table") request.cost_model = "analytic";
      std::string trace = fmt::format("{}, {}, model '{}'", forest.name, info.name, request.cost_model);
      for (const auto& [name, value] : choice.options) trace += fmt::format(", {}={}", name, value);
      SCOPED_TRACE(trace);
      const scheduler::PlanResult result = scheduler::make_plan(choice, request);
      if (const auto* refusal = std::get_if<scheduler::Refusal>(&result)) {
        // Of options alone come too many pieces, or a tile that no kernel has.
        const bool by_option =
            refusal->refusal == scheduler::RefusalClass::size || refusal->refusal == scheduler::RefusalClass::kernel;
        EXPECT_TRUE(by_option || refusal_fault(info.name, request, result).empty()) << refusal->sentence;
        continue;
      }
      const auto& plan = std::get<scheduler::Plan>(result);
      const auto violations = scheduler::validate(plan, request.device);
      ASSERT_TRUE(violations.empty()) << scheduler::violations_text(violations);
      expect_exact(plan, source, want);
      ++plans;
    }
  }
  EXPECT_GT(plans, 5 * forests);
}

/// A small batch of each family. A family without a row here fails FamiliesAreAllTested.
const std::map<std::string, std::string>& small_families() {
  static const std::map<std::string, std::string> specs = {
      {"beam", "beam:prompts=2,beams=6"},
      {"bfs_search", "bfs_search:problems=2,children=3,steps=3"},
      {"coding_agent", "coding_agent:sessions=8,agents=3,tools=2"},
      {"spec_tree", "spec_tree:contexts=2,tree=t32"},
      {"best_of_n", "best_of_n:groups=3,samples=5"},
      {"chain", "chain:levels=12"},
      {"chat", "chat:requests=12,twin=0.3"},
      {"chat_offline", "chat_offline:requests=24"},
      {"doc_qa", "doc_qa:docs=3,questions=5"},
      {"few_shot", "few_shot:blocks=3,questions=5"},
      {"kary", "kary:k=3,levels=4,noise=0.5"},
      {"no_share", "no_share:requests=12"},
      {"one_hot", "one_hot:requests=9,shape=shared"},
      {"rag", "rag:requests=16,pool=20"},
      {"random", "random:nodes=30,requests=20"},
      {"tool_agent", "tool_agent:requests=16"},
      {"tot", "tot:trees=3,width=5,levels=4"},
  };
  return specs;
}

TEST(Families, AreAllTested) {
  for (const traces::Family& family : traces::families()) {
    EXPECT_TRUE(small_families().contains(std::string(family.name)))
        << family.name << " needs a row in small_families()";
  }
}

TEST(StrategyProperties, HoldOnEveryFamily) {
  const std::uint64_t seeds = cases(2);
  for (const auto& [family, spec] : small_families()) {
    for (std::uint64_t seed = 0; seed < seeds && !::testing::Test::HasFailure(); ++seed) {
      check(shortened(traces::generate_family(spec, seed), 1200), kSmallHeads[seed % kSmallHeads.size()], seed);
    }
  }
}

/// Rows and log-sum-exps of `from` in the order of another forest's requests, matched by label.
kernels::AttentionOutput in_order_of(const PrefixForest& wanted, const PrefixForest& has,
                                     const kernels::AttentionOutput& from) {
  std::map<std::string, RequestId> place;
  for (const RequestId r : core::ids<RequestId>(has.request_count())) place[has.request_label[r]] = r;
  kernels::AttentionOutput out = from;
  const auto width = static_cast<std::size_t>(from.q_heads) * static_cast<std::size_t>(from.v_dim),
             heads = static_cast<std::size_t>(from.q_heads);
  for (const RequestId r : core::ids<RequestId>(wanted.request_count())) {
    const std::size_t at = place.at(wanted.request_label[r]).index();
    std::copy_n(&from.rows[at * width], width, &out.rows[r.index() * width]);
    std::copy_n(&from.lse[at * heads], heads, &out.lse[r.index() * heads]);
  }
  return out;
}

TEST(StrategyProperties, KeepARequestsOutputWhereverItStands) {
  const std::uint64_t forests = cases(30);
  const HeadConfig heads = traces::parse_heads("8/2/16");
  const kernels::TensorSource tensors{29};
  for (std::uint64_t seed = 0; seed < forests && !::testing::Test::HasFailure(); ++seed) {
    const ForestSource source = random_source(4000 + seed, 200);
    const PrefixForest first = traces::make_forest(source), second = reordered(source, seed);
    for (const Subject& subject : subjects()) {
      SCOPED_TRACE(source.name + ", " + subject_name(subject));
      const auto a = sound_plan(subject, first, heads, device_of(seed)),
                 b = sound_plan(subject, second, heads, device_of(seed));
      ASSERT_EQ(a.index(), b.index());
      if (!std::holds_alternative<scheduler::Plan>(a)) continue;
      const kernels::AttentionOutput moved = kernels::interpret(std::get<scheduler::Plan>(b), tensors);
      expect_rows(in_order_of(first, second, moved), kernels::interpret(std::get<scheduler::Plan>(a), tensors),
                  "in another order");
    }
  }
}

TEST(StrategyProperties, GiveAnEmptyPlanForNoRequests) {
  const PrefixForest forest;
  for (const Subject& subject : subjects()) {
    SCOPED_TRACE(subject_name(subject));
    const auto plan = sound_plan(subject, forest, HeadConfig{}, device_of(0));
    ASSERT_TRUE(std::holds_alternative<scheduler::Plan>(plan));
    EXPECT_TRUE(std::get<scheduler::Plan>(plan).tasks.empty());
    EXPECT_EQ(kernels::interpret(std::get<scheduler::Plan>(plan), {}).requests, 0);
  }
}

}  // namespace
}  // namespace espalier::property

// Plans that follow their batch: random steps, joins and leaves over random forests; every plan on the way is valid and
// exact.
#include "scheduler/batch_update.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "core/error.h"
#include "forests.h"
#include "plan_checks.h"

namespace espalier::property {
namespace {

using scheduler::Plan;

/// Requests decode at nodes of their own: nobody else reads what grows.
PrefixForest decoding_forest(std::uint64_t seed) {
  ForestSource source = random_source(seed, 600);
  for (std::int64_t& leaf : source.leaf) {
    source.parent.push_back(leaf);
    source.tokens.push_back(1 + static_cast<std::int64_t>(seed % 40));
    leaf = static_cast<std::int64_t>(source.parent.size()) - 1;
  }
  return traces::make_forest(source);
}

Plan fresh_plan(const PrefixForest& forest, const traces::HeadConfig& heads, const costmodel::DeviceSpec& device,
                const std::string& strategy) {
  return std::get<Plan>(scheduler::make_plan(scheduler::parse_strategy(strategy), {forest, heads, device}));
}

void step(Plan& plan) {
  auto tokens = plan.forest.tokens;
  for (const NodeId leaf : plan.forest.leaf) ++tokens[leaf];
  scheduler::grow(plan, tokens);
}

/// A node that no request decodes at, or none.
NodeId joinable(const PrefixForest& forest, core::Rng& rng) {
  const NodeId n(static_cast<std::int32_t>(rng.integer(-1, static_cast<std::int64_t>(forest.node_count()) - 1)));
  for (NodeId at = n; at.valid(); at = forest.parent[at]) {
    if (std::find(forest.leaf.begin(), forest.leaf.end(), at) == forest.leaf.end()) return at;
  }
  return {};
}

void expect_sound(const Plan& plan, const costmodel::DeviceSpec& device, bool exact) {
  traces::check_forest(plan.forest);
  const auto violations = scheduler::validate(plan, device);
  ASSERT_TRUE(violations.empty()) << scheduler::violations_text(violations);
  EXPECT_EQ(plan.hash, scheduler::plan_hash(plan));
  if (!exact) return;
  const kernels::TensorSource source{23};
  expect_exact(plan, source, kernels::naive_attention(plan.forest, plan.heads, source));
}

struct Tally {
  int updates = 0, refused = 0;
};

void follow(std::uint64_t seed, const std::string& strategy, Tally& tally) {
  SCOPED_TRACE(strategy + ", seed " + std::to_string(seed));
  core::Rng rng(seed);
  const costmodel::DeviceSpec device = costmodel::find_device(seed % 2 == 0 ? "h100-sxm" : "h100-sxm:sms=3");
  const traces::HeadConfig heads = traces::parse_heads(seed % 3 == 0 ? "8/2/16" : "4/1/16");
  Plan plan = fresh_plan(decoding_forest(seed), heads, device, strategy);
  for (int i = 0; i < 8 && !::testing::Test::HasFailure(); ++i) {
    const std::uint64_t before = plan.hash;
    const auto requests = static_cast<std::int64_t>(plan.forest.request_count());
    bool done = true;
    if (rng.chance(0.3)) {
      step(plan);
    } else if (rng.chance(0.5)) {
      const std::string label = "new " + std::to_string(i);
      const auto joined = scheduler::join(plan, {joinable(plan.forest, rng), rng.integer(1, 200), label});
      done = joined.has_value();
      EXPECT_EQ(done ? plan.forest.request_label[*joined] : label, label);
      EXPECT_EQ(static_cast<std::int64_t>(plan.forest.request_count()), requests + (done ? 1 : 0));
    } else {
      const RequestId gone(static_cast<std::int32_t>(rng.integer(0, requests - 1)));
      const std::string label = plan.forest.request_label[gone];
      done = scheduler::leave(plan, gone);
      EXPECT_EQ(std::count(plan.forest.request_label.begin(), plan.forest.request_label.end(), label), done ? 0 : 1);
    }
    ++tally.updates;
    tally.refused += done ? 0 : 1;
    EXPECT_EQ(plan.hash == before, !done);
    expect_sound(plan, device, i % 4 == 3);
    if (!done) plan = fresh_plan(plan.forest, heads, device, strategy);
  }
}

TEST(BatchUpdates, KeepPlansSoundOverRandomSequences) {
  Tally tally;
  for (std::uint64_t seed = 0; seed < cases(150) && !::testing::Test::HasFailure(); ++seed) {
    follow(seed, "espalier", tally);
  }
  // The exceptions: the last request leaves, and a long newcomer in a plan that merges nothing.
  EXPECT_LT(tally.refused, tally.updates / 4);
  RecordProperty("refused", tally.refused);
}

TEST(BatchUpdates, ServeEveryStrategyOrLeaveItsPlanAlone) {
  for (const scheduler::Strategy* strategy : scheduler::strategies()) {
    if (strategy->info().name == "flashmla" || strategy->info().name == "hydragen" ||
        strategy->info().name == "relay" || strategy->info().name == "bifurcated") {
      continue;  // serve forests or heads of their own kind only
    }
    Tally tally;
    for (std::uint64_t seed = 0; seed < cases(8) && !::testing::Test::HasFailure(); ++seed) {
      follow(seed, std::string(strategy->info().name), tally);
    }
  }
}

TEST(BatchUpdates, BoundTheLongestTask) {
  const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  const PrefixForest forest = traces::make_forest(star(4096, 64, 256));
  Plan plan = fresh_plan(forest, traces::parse_heads("32/8/128"), device, "espalier");
  const std::int64_t longest = scheduler::longest_task_tokens(plan);
  for (int i = 0; i < 16; ++i) {
    ASSERT_TRUE(scheduler::join(plan, {NodeId(0), 3000, "new " + std::to_string(i)}).has_value());
  }
  EXPECT_LE(scheduler::longest_task_tokens(plan), longest + 64);  // whole KV tiles
  step(plan);
  EXPECT_GT(scheduler::longest_task_tokens(plan), longest);
}

TEST(BatchUpdates, LeaveAlonePlansTheyCannotServe) {
  const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  Plan scores = fresh_plan(traces::make_forest(star(64, 8, 16)), traces::parse_heads("4/1/16"), device, "bifurcated");
  const std::uint64_t hash = scheduler::plan_hash(scores);
  EXPECT_FALSE(scheduler::leave(scores, RequestId(1)));
  EXPECT_FALSE(scheduler::join(scores, {NodeId(0), 5, "new"}).has_value());
  EXPECT_EQ(scheduler::plan_hash(scores), hash);
  Plan last = fresh_plan(traces::make_forest(star(64, 1, 16)), traces::parse_heads("4/1/16"), device, "espalier");
  EXPECT_FALSE(scheduler::leave(last, RequestId(0)));
  EXPECT_THROW(scheduler::join(last, {NodeId(0), 0, "new"}), core::Error);
}

}  // namespace
}  // namespace espalier::property

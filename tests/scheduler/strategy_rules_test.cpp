// What each method must decide: split counts, blocks, items and partial rows against acceptance values of the published
// planners, and the promises of CoDec's division.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/rng.h"
#include "core/units.h"
#include "scheduler/plan_statistics.h"
#include "scheduler/strategies/division.h"
#include "scheduler/strategies/flat.h"
#include "scheduler/strategies/split_rules.h"
#include "scheduler/strategy.h"
#include "scheduler/validate.h"
#include "traces/families.h"
#include "traces/import.h"

namespace espalier::scheduler {
namespace {

using traces::PrefixForest;

const costmodel::DeviceSpec& h100() {
  static const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  return device;
}

Plan plan_of(std::string_view strategy, const PrefixForest& forest, const char* heads,
             KernelSet kernels = KernelSet::ours) {
  return std::get<Plan>(
      make_plan(parse_strategy(strategy), PlanRequest{forest, traces::parse_heads(heads), h100(), kernels}));
}

// The four trees of the planners' acceptance values.
PrefixForest s1() { return traces::parse_tree("1,64|8192,256"); }
PrefixForest s2() { return traces::parse_tree("1,4,32,256|2048,512,256,128"); }
PrefixForest s3() { return traces::parse_tree("1,32,1024|2048,512,128"); }
PrefixForest s4() {
  traces::ForestSource chain;
  chain.name = "S4";
  for (std::int64_t i = 0; i < 64; ++i) {
    chain.parent.push_back(i == 0 ? -1 : 2 * (i - 1));
    chain.parent.push_back(2 * i);
    chain.tokens.insert(chain.tokens.end(), {128, 128});
    chain.leaf.push_back(2 * i + 1);
  }
  return traces::make_forest(chain);
}

TEST(FlashDecoding, ChoosesThePublishedSplitCounts) {
  struct Row {
    std::int64_t requests, length, on_132, on_108;
  };
  const Row rows[] = {{1, 1024, 8, 8}, {1, 8192, 32, 22}, {1, 32768, 29, 24}, {4, 8192, 7, 6},
                      {8, 8192, 4, 3}, {16, 8192, 2, 3},  {32, 8192, 1, 1},   {64, 32768, 1, 1}};
  for (const Row& row : rows) {
    const std::int64_t blocks = core::ceil_div(row.length, planning::fa2_block_tokens(128));
    EXPECT_EQ(planning::fa2_splits(row.requests * 8, 2 * 132, blocks), row.on_132)
        << row.requests << " x " << row.length;
    EXPECT_EQ(planning::fa2_splits(row.requests * 8, 2 * 108, blocks), row.on_108)
        << row.requests << " x " << row.length;
  }
}

TEST(FlashDecoding, CutsAllRequestsByTheLongestAndPadsTheRest) {
  traces::ForestSource source;
  source.name = "ragged";
  source.parent = {-1, -1};
  source.tokens = {8192, 300};
  source.leaf = {0, 1};
  const Plan plan = plan_of("flash_decoding", traces::make_forest(source), "32/8/128", KernelSet::published);
  const PlanRequest request{plan.forest, plan.heads, h100()};
  const planning::FlatCut cut = planning::flat_cut(request, 0);
  ASSERT_GT(cut.splits, 1);
  EXPECT_EQ(cut.split_tokens % 128, 0);
  const PlanStatistics figures = statistics(plan);
  EXPECT_EQ(figures.tasks + figures.padding, 2 * cut.splits * 8);
  EXPECT_EQ(figures.tasks, 8 * (core::ceil_div(8192, cut.split_tokens) + core::ceil_div(300, cut.split_tokens)));
  EXPECT_EQ(figures.launches, 2);
}

TEST(FlashDecoding, CutsInsideAndAcrossNodes) {
  const Plan plan = plan_of("flash_decoding:splits=3", traces::parse_tree("1,1,1|100,200,500"), "32/8/128");
  ASSERT_EQ(statistics(plan).tasks, 3 * 8);
  std::vector<std::int64_t> tokens;
  for (const Task& task : plan.tasks) tokens.push_back(task_shape(plan, task).kv_tokens);
  EXPECT_THAT(tokens, testing::ElementsAre(384, 384, 32));
  EXPECT_EQ(plan.tasks[TaskId(0)].segments.size(), 3);
}

TEST(Cascade, HasThePublishedItemsAHead) {
  const struct {
    PrefixForest forest;
    std::int64_t mha, gqa;
  } cases[] = {{s1(), 72, 96}, {s2(), 304, 352}, {s3(), 1064, 1088}};
  for (const auto& c : cases) {
    EXPECT_EQ(statistics(plan_of("cascade", c.forest, "32/32/128", KernelSet::published)).tasks, 32 * c.mha)
        << c.forest.name;
    EXPECT_EQ(statistics(plan_of("cascade", c.forest, "32/8/128", KernelSet::published)).tasks, 8 * c.gqa)
        << c.forest.name;
  }
}

TEST(Cascade, LaunchesAttentionAndMergesALevel) {
  // Level 0 is split: attention, split merge and join; levels 1 and 2 aren't.
  const Plan plan = plan_of("cascade", traces::parse_tree("1,32,256|8192,256,128"), "32/8/128", KernelSet::published);
  std::vector<PhaseKind> kinds;
  for (const Phase& phase : plan.phases) kinds.push_back(phase.kind);
  const auto t = PhaseKind::tasks, s = PhaseKind::steps;
  EXPECT_THAT(kinds, testing::ElementsAre(t, t, s, t, s, s));
  EXPECT_EQ(plan.launches.size(), 6u);
}

TEST(Cascade, UsesOneLaunchForOneUnsplitLevel) {
  const Plan plan = plan_of("cascade", traces::parse_tree("400|512"), "32/8/128", KernelSet::published);
  EXPECT_EQ(plan.launches.size(), 1u);
  EXPECT_TRUE(plan.slots.empty());
}

TEST(Cascade, FallsBackToTheFlatPlanWhenNothingIsShared) {
  const PrefixForest forest = traces::parse_tree("20|5000");
  const Plan cascade = plan_of("cascade", forest, "32/8/128"), flat = plan_of("flash_decoding", forest, "32/8/128");
  EXPECT_EQ(cascade.segments.size(), flat.segments.size());
  EXPECT_EQ(cascade.launches.size(), flat.launches.size());
  EXPECT_THAT(cascade.provenance.why.front(), testing::HasSubstr("nothing is shared"));
}

TEST(Cascade, MergesInPlace) {
  const Plan plan = plan_of("cascade", traces::generate_family("chain:levels=12,tokens=64,tail=0", 5), "32/8/128");
  std::set<std::int64_t> offsets;
  for (const Slot& slot : plan.slots) offsets.insert(slot.offset);
  EXPECT_LT(offsets.size(), plan.slots.size());
}

TEST(DeftFlatten, HasThePublishedBlocksAndPartialRows) {
  const struct {
    PrefixForest forest;
    std::int64_t tasks, rows;
  } cases[] = {{s1(), 256, 4224}, {s2(), 480, 5888}, {s3(), 1664, 21504}, {s4(), 160, 2144}};
  for (const auto& c : cases) {
    const Plan plan = plan_of("deft_flatten", c.forest, "32/8/128", KernelSet::published);
    std::int64_t rows = 0;
    for (const Task& task : plan.tasks) rows += task.slot.valid() ? task.queries.size() : 0;
    EXPECT_EQ(static_cast<std::int64_t>(plan.tasks.size()), c.tasks) << c.forest.name;
    EXPECT_EQ(statistics(plan).tasks, 32 * c.tasks) << c.forest.name;
    EXPECT_EQ(rows, c.rows) << c.forest.name;
  }
}

TEST(DeftFlatten, MasksByRowIntervalsAcrossNodes) {
  // Root of 100 tokens and two leaves of 28 and 40: block 0 holds the root and the first leaf.
  traces::ForestSource source;
  source.name = "mixed";
  source.parent = {-1, 0, 0};
  source.tokens = {100, 28, 40};
  source.leaf = {1, 2};
  const Plan plan = plan_of("deft_flatten", traces::make_forest(source), "32/8/128");
  ASSERT_EQ(plan.tasks.size(), 2u);
  const Task& first = plan.tasks[TaskId(0)];
  ASSERT_EQ(first.segments.size(), 2);
  EXPECT_EQ(first.queries.size(), 2);
  EXPECT_EQ(plan.segments[0].row_end, 2);
  EXPECT_EQ(plan.segments[1].row_begin, 0);
  EXPECT_EQ(plan.segments[1].row_end, 1);
}

TEST(DeftFlatten, LeavesOutNodesThatAGroupDoesNotSee) {
  // One block: a root of 64 tokens and 40 leaves of one; groups of 32 and 8 queries.
  const Plan plan = plan_of("deft_flatten", traces::parse_tree("1,40|64,1"), "32/8/128");
  ASSERT_EQ(plan.tasks.size(), 2u);
  EXPECT_EQ(plan.tasks[TaskId(0)].segments.size(), 1 + 32);
  EXPECT_EQ(plan.tasks[TaskId(1)].segments.size(), 1 + 8);
}

TEST(DeftFlatten, PacksHeadsOnlyWithOurKernels) {
  const Plan ours = plan_of("deft_flatten", s1(), "32/8/128"),
             published = plan_of("deft_flatten", s1(), "32/8/128", KernelSet::published);
  EXPECT_EQ(ours.tasks[TaskId(0)].head_count, 4);
  EXPECT_EQ(ours.tasks[TaskId(0)].queries.size(), 32);
  EXPECT_EQ(published.tasks[TaskId(0)].head_count, 1);
  EXPECT_EQ(published.tasks[TaskId(0)].copies, 32);
}

TEST(Bifurcated, UsesOneSoftmaxAndSumsOnly) {
  const Plan plan = plan_of("bifurcated", s1(), "32/8/128");
  std::int64_t softmax = 0;
  for (const Task& task : plan.tasks) softmax += task.kind == TaskKind::softmax ? 1 : 0;
  EXPECT_EQ(softmax, 64);
  EXPECT_EQ(plan.steps.size(), 64u);
  for (const ReductionStep& step : plan.steps) EXPECT_EQ(step.op, ReductionOp::sum);
  EXPECT_EQ(plan.launches.size(), 4u);
  EXPECT_EQ(plan_of("bifurcated", s1(), "32/8/128", KernelSet::published).launches.size(), 6u);
}

TEST(Codec, ReadsSharedKvOnceATileAndKeepsItsWord) {
  const Plan plan = plan_of("codec", s1(), "32/32/128");
  EXPECT_DOUBLE_EQ(statistics(plan).requested_over_unique, 1.0);
  EXPECT_THAT(plan.provenance.why.front(), testing::HasSubstr("x cost_l"));
  EXPECT_EQ(plan.provenance.cost_model, "analytic");
}

TEST(Codec, JoinsNodesWithTheSameReaders) {
  // Three nodes in a row with the same readers: one run. Enough leaves that nothing is split.
  const Plan plan = plan_of("codec", traces::parse_tree("1,1,1,2000|64,64,64,256"), "32/8/128");
  EXPECT_EQ(statistics(plan).max_partials_per_request, 2);
  for (const Task& task : plan.tasks) EXPECT_EQ(task.segments.size(), task.queries.size() > 1 ? 3 : 1);
}

TEST(Codec, LaunchesLongestFirst) {
  const Plan plan = plan_of("codec", traces::generate_family("random:nodes=60,requests=80,tokens=2000", 9), "32/8/128");
  for (const Phase& phase : plan.phases) {
    if (phase.kind != PhaseKind::tasks) continue;
    const std::int64_t tile = plan.kernels[phase.kernel].kv_tile;
    for (std::int32_t t = phase.range.begin + 1; t < phase.range.end; ++t) {
      const auto tiles = [&](std::int32_t task) {
        return core::ceil_div(task_shape(plan, plan.tasks[TaskId(task)]).kv_tokens, tile);
      };
      // Costs fall, and equal query counts then mean that lengths fall.
      if (plan.tasks[TaskId(t)].queries.size() == plan.tasks[TaskId(t - 1)].queries.size()) {
        EXPECT_GE(tiles(t - 1), tiles(t));
      }
    }
  }
}

TEST(Codec, ReducesInRoundsWhenAsked) {
  const PrefixForest forest = s2();
  const Plan rounds = plan_of("codec:rounds=1", forest, "32/8/128"),
             once = plan_of("codec:rounds=0", forest, "32/8/128");
  const auto merges = [](const Plan& plan) {
    return std::count_if(plan.phases.begin(), plan.phases.end(),
                         [](const Phase& p) { return p.kind == PhaseKind::steps; });
  };
  EXPECT_EQ(merges(once), 1);
  EXPECT_GE(merges(rounds), 3);
  EXPECT_EQ(violations_text(validate(rounds, h100())), "valid");
}

class FakeModel final : public costmodel::CostModel {
 public:
  FakeModel(double fixed, double a_token) : fixed_(fixed), token_(a_token) {}
  std::string_view name() const override { return "fake"; }
  costmodel::Cost task(const costmodel::TaskShape& shape, const costmodel::KernelConfig&) const override {
    return {fixed_ + token_ * static_cast<double>(shape.kv_tokens)};
  }
  costmodel::Cost reduction(const costmodel::ReductionShape&, const costmodel::KernelConfig&) const override {
    return {1};
  }

 private:
  double fixed_, token_;
};

TEST(Division, TableInterpolatesTheModel) {
  costmodel::KernelConfig kernel;
  const planning::TileCost cost(FakeModel(3, 0.5), kernel, {}, 1000);
  for (const std::int64_t tiles : {1, 2, 3, 5, 7, 100, 777, 1000}) {
    EXPECT_NEAR(cost.us(tiles), 3 + 0.5 * 64 * static_cast<double>(tiles), 1e-9);
    EXPECT_EQ(cost.tiles_within(3 + 0.5 * 64 * static_cast<double>(tiles) + 1e-6), tiles);
  }
  EXPECT_EQ(cost.tiles_within(0), 1);
}

TEST(Division, FindsTheBoundOfOneLongRunOnTwoSlots) {
  costmodel::KernelConfig kernel;
  // 1 + 64 tiles x 1: two pieces of 33 each; no slot can finish sooner.
  const planning::TileCost cost(FakeModel(1, 1.0 / 64), kernel, {}, 64);
  planning::DivisionProblem problem{{{64, &cost, 1.0}}, 1, 2};
  const double bound = planning::cost_lower_bound(problem);
  EXPECT_NEAR(bound, 33, 0.05);
  EXPECT_DOUBLE_EQ(planning::longest_first_makespan(problem, std::vector<std::int32_t>{2}), 33);
  EXPECT_DOUBLE_EQ(planning::longest_first_makespan(problem, std::vector<std::int32_t>{1}), 65);
}

TEST(Division, NeverBeatsItsBoundAndLeavesShortRunsWhole) {
  core::Rng rng(7);
  costmodel::KernelConfig kernel;
  for (int round = 0; round < 200; ++round) {
    const planning::TileCost cost(FakeModel(0.1 + rng.uniform() * 4, 0.001 + rng.uniform() * 0.02), kernel, {}, 4096);
    planning::DivisionProblem problem;
    problem.copies = rng.integer(1, 8);
    problem.slots = rng.integer(1, 264);
    for (std::int64_t i = rng.integer(1, 60); i > 0; --i) {
      problem.items.push_back({std::min<std::int64_t>(4096, rng.log_normal(40, 1.5)), &cost, 1.0});
    }
    const double bound = planning::cost_lower_bound(problem);
    for (const double factor : {1.0, 1.3, 2.0, 5.0, 1e9}) {
      const std::vector<std::int32_t> splits = planning::splits_within(problem, bound * factor);
      EXPECT_GE(planning::longest_first_makespan(problem, splits), bound * (1 - 1e-12));
      for (std::size_t i = 0; i < splits.size(); ++i) {
        if (cost.us(problem.items[i].tiles) <= bound * factor) {
          EXPECT_EQ(splits[i], 1);
        } else {
          const planning::PieceSizes sizes = planning::piece_sizes(problem.items[i].tiles, splits[i]);
          EXPECT_LE(cost.us(sizes.larges > 0 ? sizes.large : sizes.small), bound * factor + 1e-9);
        }
      }
    }
    // Any other division of the same runs obeys the bound too.
    std::vector<std::int32_t> other;
    for (const planning::DivisionItem& item : problem.items) {
      other.push_back(static_cast<std::int32_t>(rng.integer(1, std::min<std::int64_t>(item.tiles, 40))));
    }
    EXPECT_GE(planning::longest_first_makespan(problem, other), bound * (1 - 1e-12));
  }
}

TEST(Division, SchedulesManyEqualPiecesAsOneByOne) {
  costmodel::KernelConfig kernel;
  const planning::TileCost cost(FakeModel(1, 0.01), kernel, {}, 256);
  core::Rng rng(3);
  for (int round = 0; round < 50; ++round) {
    planning::DivisionProblem problem{
        {{200, &cost, 1.0}, {3, &cost, 0.5}, {256, &cost, 1.0}}, rng.integer(400, 3000), rng.integer(2, 40)};
    const std::vector<std::int32_t> splits = {1, 1, 7};
    std::vector<double> pieces;
    for (std::int64_t c = 0; c < problem.copies; ++c) {
      for (std::size_t i = 0; i < 3; ++i) {
        const planning::PieceSizes sizes = planning::piece_sizes(problem.items[i].tiles, splits[i]);
        for (std::int64_t p = 0; p < sizes.larges; ++p) pieces.push_back(cost.us(sizes.large) * problem.items[i].share);
        for (std::int64_t p = 0; p < sizes.smalls; ++p) pieces.push_back(cost.us(sizes.small) * problem.items[i].share);
      }
    }
    std::sort(pieces.begin(), pieces.end(), std::greater<>());
    std::multiset<double> loads;
    for (std::int64_t s = 0; s < problem.slots; ++s) loads.insert(0);
    for (const double us : pieces) {
      const double least = *loads.begin();
      loads.erase(loads.begin());
      loads.insert(least + us);
    }
    EXPECT_NEAR(planning::longest_first_makespan(problem, splits), *loads.rbegin(), 1e-6 * *loads.rbegin());
  }
}

}  // namespace
}  // namespace espalier::scheduler

// What the validator accepts: every shape of plan over random forests and all head configurations; its words; its
// agreement with brute force under thousands of random changes; and that no garbage makes it fall over.
#include "scheduler/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>

#include "scheduler/plan_builder.h"
#include "tests/scheduler/brute_force.h"
#include "tests/scheduler/sample_plans.h"
#include "traces/head_config.h"

namespace espalier::scheduler {
namespace {

using samples::Sample;
using samples::sample_device;

TEST(Validate, AcceptsEveryShapeOverRandomForests) {
  for (const char* heads : {"32/32/128", "32/8/128", "28/4/128", "16/1/128", "128/1/576:512", "2/2/64"}) {
    const traces::HeadConfig config = traces::parse_heads(heads);
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
      core::Rng rng(seed);
      const traces::PrefixForest forest = samples::ragged_forest(rng, 14, 60);
      for (const Sample& sample : samples::all_samples(forest, config, rng)) {
        const auto violations = validate(sample.plan, sample_device());
        EXPECT_TRUE(violations.empty()) << sample.name << " " << heads << " seed " << seed << ": "
                                        << violations_text(violations);
      }
    }
  }
}

TEST(Validate, AcceptsTheEmptyPlan) {
  Plan plan;
  seal(plan);
  EXPECT_EQ(violations_text(validate(plan, sample_device())), "valid");
}

TEST(Validate, AcceptsPlansThatGrow) {
  core::Rng rng(5);
  const traces::PrefixForest forest = samples::ragged_forest(rng, 10, 40);
  Plan plan = samples::node_plan(forest, traces::parse_heads("4/2/64"), rng);
  auto tokens = plan.forest.tokens;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) tokens[n] += rng.integer(0, 5);
  grow(plan, tokens);
  EXPECT_EQ(violations_text(validate(plan, sample_device())), "valid");
}

/// One request of 10 tokens and one attend task that reads tokens [begin, 10).
Plan one_task_plan(std::int64_t begin) {
  traces::ForestSource source;
  source.name = "one";
  source.parent = {-1};
  source.tokens = {10};
  source.leaf = {0};
  source.request_label = {"alice"};
  core::Rng rng(1);
  Plan plan = samples::fold_plan(traces::make_forest(source), traces::parse_heads("2/1/64"), rng);
  plan.segments[0].token_begin = static_cast<std::int32_t>(begin);
  plan.segments[0].token_end = kToNodeEnd;
  seal(plan);
  return plan;
}

TEST(Validate, SpeaksInTheFilesOwnIds) {
  const auto violations = validate(one_task_plan(3), sample_device());
  ASSERT_FALSE(violations.empty());
  EXPECT_EQ(violations[0].violation, ViolationClass::uncovered_token);
  EXPECT_THAT(violations[0].sentence,
              testing::HasSubstr("no attend task reads tokens [0, 3) of node 0 for request alice, heads [0, 2)"));
  EXPECT_THAT(violations_text(violations), testing::StartsWith("1 violation: uncovered_token (no attend task"));
}

TEST(Validate, KeepsAtMostTheAskedNumberOfAClass) {
  core::Rng rng(3);
  traces::PrefixForest forest;
  while (forest.node_count() < 5) forest = samples::ragged_forest(rng, 14, 60);
  Plan plan = samples::request_plan(forest, traces::parse_heads("4/2/64"), rng);
  for (Segment& segment : plan.segments) segment.row_end = 0;
  for (const int most : {1, 3}) {
    int uncovered = 0;
    for (const Violation& v : validate(plan, sample_device(), most)) {
      uncovered += v.violation == ViolationClass::uncovered_token;
    }
    EXPECT_EQ(uncovered, most);
  }
}

TEST(Validate, NamesEveryClass) {
  for (int i = 0; i < kViolationClasses; ++i) EXPECT_NE(violation_name(static_cast<ViolationClass>(i)), "unknown") << i;
}

TEST(Validate, AgreesWithAbsurdLengths) {
  traces::ForestSource source;
  source.name = "long";
  for (int n = 0; n < 3; ++n) {
    source.parent.push_back(n - 1);
    source.tokens.push_back(2'000'000'000);
  }
  source.leaf = {2, 2, 0};
  core::Rng rng(1);
  const traces::HeadConfig heads = traces::parse_heads("4096/4096/1024");
  const Plan plan = samples::fold_plan(traces::make_forest(source), heads, rng);
  const auto violations = validate(plan, sample_device());
  ASSERT_EQ(violations.size(), 1U) << violations_text(violations);
  EXPECT_EQ(violations[0].violation, ViolationClass::workspace_too_large);
}

/// One request, one node of 10 tokens, two heads: a scores task for each head, both into one slot, the second with the
/// columns given.
Plan two_score_writers(std::vector<Interval> second_columns) {
  traces::ForestSource source;
  source.name = "one";
  source.parent = {-1};
  source.tokens = {10};
  source.leaf = {0};
  core::Rng rng(1);
  Plan plan = samples::two_gemm_plan(traces::make_forest(source), traces::parse_heads("2/2/64"), rng);
  Task scores = plan.tasks[TaskId(0)], values = plan.tasks.raw().back(), softmax;
  for (const Task& task : plan.tasks) {
    if (task.kind == TaskKind::softmax) softmax = task;
  }
  plan.segments = {{NodeId(0), 0, 6, 0, 1}, {NodeId(0), 6, 10, 0, 1}};
  for (const Interval columns : second_columns) plan.segments.push_back({NodeId(0), columns.begin, columns.end, 0, 1});
  const auto segments = static_cast<std::int32_t>(plan.segments.size());
  plan.fold_slots = {SlotId(0)};
  Slot partial = plan.slots.raw().back();
  partial.offset = 256;
  plan.slots.raw().resize(1);
  plan.slots[SlotId(0)].columns = 10;
  scores.slot = SlotId(0);
  scores.copies = scores.head_count = 1;
  scores.segments = {0, 2};
  Task second = scores;
  second.head_begin = 1;
  if (segments > 2) second.segments = {2, segments};
  softmax.folds = values.folds = {0, 1};
  values.segments = {0, 2};
  values.slot = plan.slots.push_back(partial);
  plan.tasks = core::Column<TaskId, Task>{scores, second, softmax, values};
  const std::int32_t ends[] = {0, 2, 3, 4};
  for (std::size_t i = 0; i < 3; ++i) plan.phases[i].range = {ends[i], ends[i + 1]};
  plan.steps.raw().resize(1);
  plan.steps[StepId(0)].inputs = {0, 1};
  plan.reduction_inputs = {{values.slot, 0}};
  plan.workspace_bytes = 4096;
  seal(plan);
  return plan;
}

TEST(Validate, WantsOneMeaningOfAScoreSlotsColumns) {
  EXPECT_EQ(violations_text(validate(two_score_writers({}), sample_device())), "valid");
  const auto violations = validate(two_score_writers({{6, 10}, {0, 6}}), sample_device());
  ASSERT_EQ(violations.size(), 1U) << violations_text(violations);
  EXPECT_EQ(violations[0].violation, ViolationClass::slot_mismatch);
  EXPECT_THAT(violations[0].sentence, testing::HasSubstr("write different tokens into the columns of slot 0"));
}

// ---- against brute force
// ---------------------------------------------------------------------------------------------------

/// A column seen as rows of 32-bit fields. Slots count up to their dtype's place; the rest of a slot isn't changed.
struct Fields {
  unsigned char* data;
  std::size_t rows, stride, fields;
  std::int32_t get(std::size_t row, std::size_t field) const {
    std::int32_t value;
    std::memcpy(&value, data + row * stride + 4 * field, 4);
    return value;
  }
  void set(std::size_t row, std::size_t field, std::int32_t value) const {
    std::memcpy(data + row * stride + 4 * field, &value, 4);
  }
};

template <class T>
Fields fields_of(std::vector<T>& column, std::size_t fields = sizeof(T) / 4) {
  return {reinterpret_cast<unsigned char*>(column.data()), column.size(), sizeof(T), fields};
}

std::vector<Fields> all_fields(Plan& plan) {
  std::vector<Fields> all{fields_of(plan.tasks.raw()),      fields_of(plan.segments),
                          fields_of(plan.query_rows),       fields_of(plan.fold_slots),
                          fields_of(plan.slots.raw(), 5),   fields_of(plan.steps.raw()),
                          fields_of(plan.reduction_inputs), fields_of(plan.phases),
                          fields_of(plan.dependencies),     fields_of(plan.launches.raw(), 4)};
  std::erase_if(all, [](const Fields& f) { return f.rows == 0; });
  return all;
}

/// One random change: a field gets a small value, its neighbour's, or one off its own; or two rows change places.
void change(Plan& plan, core::Rng& rng) {
  const auto columns = all_fields(plan);
  const Fields& column =
      columns[static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(columns.size()) - 1))];
  const auto any_row = [&] {
    return static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(column.rows) - 1));
  };
  const std::size_t row = any_row(), other = any_row();
  const auto field = static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(column.fields) - 1));
  const std::int32_t old = column.get(row, field);
  switch (rng.integer(0, 4)) {
    case 0:
      column.set(row, field, static_cast<std::int32_t>(rng.integer(-2, 8)));
      break;
    case 1:
      column.set(row, field, old + 1);
      break;
    case 2:
      column.set(row, field, old - 1);
      break;
    case 3:
      column.set(row, field, column.get(other, field));
      break;
    default:
      for (std::size_t f = 0; f < column.fields; ++f) {
        const std::int32_t a = column.get(row, f), b = column.get(other, f);
        column.set(row, f, b);
        column.set(other, f, a);
      }
  }
}

bool flow_valid(const std::vector<Violation>& violations) {
  return std::none_of(violations.begin(), violations.end(), [](const Violation& v) {
    switch (v.violation) {
      case ViolationClass::kernel_limit:
      case ViolationClass::queue_repeats:
      case ViolationClass::queue_misses:
      case ViolationClass::queue_workers:
      case ViolationClass::storage_overlap:
      case ViolationClass::workspace_too_large:
      case ViolationClass::hash_mismatch:
        return false;
      default:
        return true;
    }
  });
}

TEST(Validate, AgreesWithBruteForceOnRandomChanges) {
  int changed = 0, still_valid = 0;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    core::Rng rng(seed);
    const traces::PrefixForest forest = samples::ragged_forest(rng, 4, 5);
    const traces::HeadConfig heads = traces::parse_heads(seed % 2 == 0 ? "4/2/64" : "2/1/64");
    for (const Sample& sample : samples::all_samples(forest, heads, rng)) {
      ASSERT_TRUE(samples::brute_force_valid(sample.plan)) << sample.name << " seed " << seed;
      for (int i = 0; i < 40; ++i) {
        Plan plan = sample.plan;
        const auto changes = rng.integer(1, 2);
        for (int c = 0; c < changes; ++c) change(plan, rng);
        // Queues speak of tasks, and their order is the queues' own matter.
        for (Launch& launch : plan.launches) launch.workers = 0;
        const auto violations = validate(plan, sample_device());
        const bool want = samples::brute_force_valid(plan);
        ASSERT_EQ(flow_valid(violations), want)
            << sample.name << " seed " << seed << " change " << i << ": " << violations_text(violations);
        ++changed;
        still_valid += want;
      }
    }
  }
  // Both answers occur often enough to mean something.
  EXPECT_GT(still_valid, changed / 20);
  EXPECT_LT(still_valid, changed / 2);
}

TEST(Validate, SurvivesGarbage) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    core::Rng rng(seed);
    const traces::PrefixForest forest = samples::ragged_forest(rng, 6, 9);
    for (const Sample& sample : samples::all_samples(forest, traces::parse_heads("4/2/64"), rng)) {
      for (int i = 0; i < 12; ++i) {
        Plan plan = sample.plan;
        auto columns = all_fields(plan);
        columns.push_back(fields_of(plan.launches.raw()));
        if (!plan.queues.empty()) columns.push_back(fields_of(plan.queues));
        if (!plan.queue_items.empty()) columns.push_back(fields_of(plan.queue_items));
        columns.push_back(fields_of(plan.forest.parent.raw()));
        columns.push_back(fields_of(plan.forest.request_begin.raw()));
        columns.push_back(fields_of(plan.forest.leaf.raw()));
        columns.push_back(fields_of(plan.forest.tokens.raw()));
        columns.push_back(fields_of(plan.forest.pages.first_page.raw()));
        const auto changes = rng.integer(1, i < 8 ? 2 : 200);
        for (int c = 0; c < changes; ++c) {
          const Fields& column =
              columns[static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(columns.size()) - 1))];
          const auto row = static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(column.rows) - 1));
          const auto field = static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(column.fields) - 1));
          const std::int32_t edge[] = {INT32_MAX, INT32_MIN, -1, INT32_MAX - 1};
          column.set(row, field, rng.chance(0.5) ? edge[rng.integer(0, 3)] : static_cast<std::int32_t>(rng.bits()));
        }
        if (rng.chance(0.1)) plan.slots.raw().resize(plan.slots.size() / 2);
        if (rng.chance(0.1)) plan.forest.request_label.raw().clear();
        if (rng.chance(0.1)) plan.heads.kv_heads = static_cast<std::int32_t>(rng.integer(-1, 3));
        if (rng.chance(0.1)) plan.workspace_bytes = static_cast<std::int64_t>(rng.bits());
        for (Slot& slot : plan.slots) {
          if (!rng.chance(0.1)) continue;
          slot.columns = static_cast<std::int64_t>(rng.bits());
          slot.offset = static_cast<std::int64_t>(rng.bits());
        }
        const auto violations = validate(plan, sample_device());
        EXPECT_TRUE(plan_hash(plan) == plan.hash || !violations.empty());
      }
    }
  }
}

// ---- cost
// ------------------------------------------------------------------------------------------------------------------

TEST(Validate, TakesTimeOfRecordsNotOfTokensOrHeads) {
  // 1000 requests, a root of 32768 tokens cut 30 ways for each request of a flat plan: 60 000 tasks with 32 copies
  // each.
  traces::ForestSource source;
  source.name = "wide";
  source.parent.push_back(-1);
  source.tokens.push_back(1 << 15);
  for (int r = 0; r < 1000; ++r) {
    source.parent.push_back(0);
    source.tokens.push_back(3000);
    source.leaf.push_back(r + 1);
  }
  const traces::PrefixForest forest = traces::make_forest(source);
  PlanBuilder builder(forest, traces::parse_heads("32/32/128"));
  core::Rng rng(1);
  const Plan small = samples::request_plan(samples::ragged_forest(rng, 4, 40), traces::parse_heads("2/1/64"), rng);
  const KernelId attend = builder.kernel(small.kernels[KernelId(0)]),
                 reduce = builder.kernel(small.kernels[KernelId(1)]);
  builder.launch();
  const TaskId first = builder.next_task();
  for (const RequestId r : core::ids<RequestId>(1000)) {
    const NodeId leaf = forest.leaf[r];
    for (int c = 0; c < 30; ++c) {
      const std::int64_t root_end = c == 29 ? forest.tokens[NodeId(0)] : (c + 1) * 1092;
      const Segment shared = builder.segment(NodeId(0), c * 1092, root_end, 1),
                    own = builder.segment(leaf, c * 100, (c + 1) * 100, 1);
      builder.attend(attend, std::span(&shared, 1), builder.queries(r, RequestId(r.value + 1)));
      builder.attend(attend, std::span(&own, 1), builder.queries(r, RequestId(r.value + 1)));
    }
  }
  builder.task_phase(attend, first);
  builder.launch();
  builder.step_phase(reduce, builder.finish_rows(traces::Dtype::fp32));
  const Plan plan = std::move(builder).finish({});
  ASSERT_EQ(plan.tasks.size(), 60'000U);
  const auto begin = std::chrono::steady_clock::now();
  const auto violations = validate(plan, sample_device());
  const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_EQ(violations_text(violations), "valid");
  RecordProperty("milliseconds", std::to_string(ms));
  EXPECT_LT(ms, 5000) << "expected tens of milliseconds in a release build";
}

TEST(Validate, TakesTimeInProportionToLaunchesWithQueues) {
  constexpr std::int32_t kLaunches = 40'000;
  traces::ForestSource source;
  source.name = "wide";
  for (std::int32_t r = 0; r < kLaunches; ++r) {
    source.parent.push_back(-1);
    source.tokens.push_back(16);
    source.leaf.push_back(r);
  }
  const traces::PrefixForest forest = traces::make_forest(source);
  const traces::HeadConfig heads = traces::parse_heads("1/1/64");
  core::Rng rng(1);
  PlanBuilder builder(forest, heads);
  const KernelId attend =
      builder.kernel(samples::request_plan(samples::ragged_forest(rng, 4, 40), heads, rng).kernels[KernelId(0)]);
  for (const RequestId r : core::ids<RequestId>(kLaunches)) {
    builder.launch();
    const TaskId task = builder.next_task();
    const Segment own = builder.segment(forest.leaf[r], 0, 16, 1);
    builder.attend(attend, std::span(&own, 1), builder.queries(r, RequestId(r.value + 1)));
    builder.task_phase(attend, task);
    builder.queues(std::vector<std::vector<QueueItem>>{{{task, 0}}});
  }
  const Plan plan = std::move(builder).finish({});
  ASSERT_EQ(plan.launches.size(), static_cast<std::size_t>(kLaunches));
  const auto begin = std::chrono::steady_clock::now();
  const auto violations = validate(plan, sample_device());
  const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_EQ(violations_text(violations), "valid");
  EXPECT_LT(ms, 3000) << "expected tens of milliseconds in a release build";
}

}  // namespace
}  // namespace espalier::scheduler

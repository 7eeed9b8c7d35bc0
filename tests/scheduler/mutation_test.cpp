// Valid plans broken in every way there is a class for: the validator must name the class. One mutator is one way of
// breaking; each must find work in some sample plan, and each class must have a mutator.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "scheduler/validate.h"
#include "tests/scheduler/brute_force.h"
#include "tests/scheduler/mutators.h"
#include "tests/scheduler/sample_plans.h"
#include "traces/head_config.h"

namespace espalier::scheduler {
namespace {

using core::Rng;
using samples::any;
using samples::Mutator;
using samples::Sample;
using samples::sample_device;
using enum ViolationClass;

std::vector<Mutator> mutators() {
  std::vector<Mutator> all;
  for (const auto& part :
       {samples::index_mutators(), samples::coverage_mutators(), samples::head_mutators(), samples::slot_mutators(),
        samples::mismatch_mutators(), samples::order_mutators(), samples::limit_mutators()}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

/// The sample with partial rows of another type, where it was.
Sample with_partials(const Sample& sample, traces::Dtype dtype) {
  Sample narrow = sample;
  narrow.name.append(" ").append(traces::dtype_name(dtype));
  for (costmodel::KernelConfig& kernel : narrow.plan.kernels) kernel.partial_dtype = dtype;
  for (Slot& slot : narrow.plan.slots) {
    if (slot.kind == SlotKind::partial) slot.dtype = dtype;
  }
  seal(narrow.plan);
  return narrow;
}

TEST(Mutation, IsNamedByItsClass) {
  std::map<std::pair<ViolationClass, std::string>, int> applied;
  const std::vector<Mutator> all = mutators();
  for (const char* heads : {"8/2/64", "28/4/128", "128/1/576:512", "3/3/32"}) {
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
      Rng rng(seed);
      const traces::PrefixForest forest = samples::ragged_forest(rng, 10, 16);
      for (const Sample& sample : samples::all_samples(forest, traces::parse_heads(heads), rng)) {
        ASSERT_EQ(violations_text(validate(sample.plan, sample_device())), "valid")
            << sample.name << " " << heads << " seed " << seed;
        for (const Mutator& mutator : all) {
          Plan plan = sample.plan;
          if (!mutator.apply(plan, rng)) continue;
          ++applied[{mutator.violation, mutator.name}];
          if (mutator.violation != hash_mismatch) seal(plan);
          const auto violations = validate(plan, sample_device());
          const bool named = std::any_of(violations.begin(), violations.end(),
                                         [&](const Violation& v) { return v.violation == mutator.violation; });
          EXPECT_TRUE(named) << violation_name(mutator.violation) << " by " << mutator.name << ", " << sample.name
                             << " " << heads << " seed " << seed << ": " << violations_text(violations);
          for (const Violation& v : violations) EXPECT_FALSE(v.sentence.empty());
        }
      }
    }
  }
  std::set<ViolationClass> classes;
  for (const Mutator& mutator : all) {
    EXPECT_GE((applied[{mutator.violation, mutator.name}]), 3)
        << violation_name(mutator.violation) << " by " << mutator.name;
    classes.insert(mutator.violation);
  }
  EXPECT_EQ(classes.size(), static_cast<std::size_t>(kViolationClasses));
}

TEST(Mutation, QueueThatMeetsABarrierBackwardsIsACycle) {
  Rng rng(2);
  traces::PrefixForest forest;
  while (forest.node_count() < 4) forest = samples::ragged_forest(rng, 8, 20);
  Plan plan = samples::queue_plan(forest, traces::parse_heads("2/2/64"), rng);
  // The last task gets a phase of its own behind the barrier; its worker has it first.
  Phase& tasks = plan.phases[0];
  Phase late = tasks;
  late.range.begin = tasks.range.end -= 1;
  late.start = PhaseStart::barrier;
  plan.phases.insert(plan.phases.begin() + 1, late);
  plan.launches.raw()[0].phases.end += 1;
  std::vector<QueueItem> in_order = plan.queue_items;
  std::sort(in_order.begin(), in_order.end(), [](const QueueItem& a, const QueueItem& b) {
    return std::pair(a.task, a.copy) < std::pair(b.task, b.copy);
  });
  plan.queue_items = in_order;
  plan.queues.assign(plan.queues.size(), Interval{0, 0});
  plan.queues[0] = {0, static_cast<std::int32_t>(in_order.size())};
  seal(plan);
  EXPECT_EQ(violations_text(validate(plan, sample_device())), "valid");
  std::reverse(plan.queue_items.begin(), plan.queue_items.end());
  seal(plan);
  const auto violations = validate(plan, sample_device());
  ASSERT_FALSE(violations.empty());
  for (const Violation& v : violations) EXPECT_EQ(v.violation, merge_cycle) << v.sentence;
}

TEST(Mutation, SharedStorageThatIsUnsafeIsNamed) {
  int unsafe = 0, accepted = 0;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    Rng rng(seed);
    const traces::PrefixForest forest = samples::ragged_forest(rng, 6, 6);
    std::vector<Sample> all = samples::all_samples(forest, traces::parse_heads("2/1/64"), rng);
    for (std::size_t s = all.size(); s-- > 0;) {
      for (const traces::Dtype dtype : {traces::Dtype::bf16, traces::Dtype::fp16}) {
        all.push_back(with_partials(all[s], dtype));
      }
    }
    for (const Sample& sample : all) {
      ASSERT_EQ(violations_text(validate(sample.plan, sample_device())), "valid") << sample.name;
      ASSERT_TRUE(samples::brute_force_storage_valid(sample.plan)) << sample.name;
      for (int i = 0; i < 10 && sample.plan.slots.size() > 1; ++i) {
        Plan plan = sample.plan;
        Slot* a = any(plan.slots.raw(), rng);
        const Slot* b = any(plan.slots.raw(), rng);
        // Whole rows further on or back lie on other rows, 16 bytes on parts of two, 4 bytes off the alignment.
        const std::int64_t row = b->head_count * b->columns * traces::dtype_bytes(b->dtype);
        const std::int64_t distances[] = {row, row, 16, 4};
        a->offset = b->offset + rng.integer(-1, 1) * distances[rng.integer(0, 3)];
        const auto violations = validate(plan, sample_device());
        const bool named = std::any_of(violations.begin(), violations.end(),
                                       [](const Violation& v) { return v.violation == storage_overlap; });
        const bool safe = samples::brute_force_storage_valid(plan);
        EXPECT_TRUE(named || safe) << sample.name << " seed " << seed;
        unsafe += !safe;
        accepted += !named;
      }
    }
  }
  EXPECT_GT(unsafe, 100);
  EXPECT_GT(accepted, 100);
}

}  // namespace
}  // namespace espalier::scheduler

// Events that kernels record, as the emulator orders them: every item once, at its place, and nothing before what it
// waits for.
#include "kernels/event_timeline.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <variant>

#include "costmodel/device_spec.h"
#include "kernels/device_image.h"
#include "kernels/emulate.h"
#include "scheduler/strategy.h"
#include "tests/kernels/hand_plans.h"
#include "tests/property/forests.h"

namespace espalier::kernels {
namespace {

using scheduler::KernelSet;
using scheduler::Plan;
using scheduler::Span;
using scheduler::SpanKind;
using scheduler::StepId;
using scheduler::TaskId;
using scheduler::Timeline;

Emulation recorded(const Plan& plan, std::uint64_t seed, bool timeline = true) {
  EmulateOptions options;
  options.machine = {.order = emulator::Order::shuffled,
                     .seed = seed,
                     .copies = emulator::CopyMoment::latest,
                     .resident_blocks = 3,
                     .count_accesses = false};
  options.timeline = timeline;
  return emulate(plan, TensorSource{1}, options);
}

Plan plan_of(const std::string& strategy, const traces::PrefixForest& forest, const char* heads,
             KernelSet kernels = KernelSet::ours) {
  costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  device.sms = 5;
  const traces::HeadConfig config = traces::parse_heads(heads);
  const scheduler::PlanRequest request{
      .forest = forest, .heads = config, .device = device, .kernels = kernels, .options = {}};
  return std::get<Plan>(scheduler::make_plan(scheduler::parse_strategy(strategy), request));
}

/// When a row of a slot was written for a head.
using Written = std::map<std::pair<std::int32_t, std::int32_t>, double>;

struct Heads {
  std::int32_t begin, count;
};

/// A step on arrival runs a unit of heads at a time.
Heads heads_of(const Plan& plan, const Timeline& timeline, const Span& span) {
  const scheduler::ReductionStep& step = plan.steps[StepId(span.item)];
  const bool on_arrival = std::any_of(plan.phases.begin(), plan.phases.end(), [&](const scheduler::Phase& p) {
    return p.kind == scheduler::PhaseKind::steps && p.start == scheduler::PhaseStart::on_arrival &&
           p.range.begin <= span.item && span.item < p.range.end;
  });
  if (!on_arrival) return {step.head_begin, step.head_count};
  const auto units = std::count_if(timeline.spans.begin(), timeline.spans.end(),
                                   [&](const Span& s) { return s.kind == SpanKind::step && s.item == span.item; });
  const auto count = static_cast<std::int32_t>(step.head_count / units);
  return {step.head_begin + span.copy * count, count};
}

Written expect_every_copy(const Plan& plan, const Timeline& timeline) {
  std::set<std::pair<std::int32_t, std::int32_t>> copies;
  Written written;
  const auto note = [&](scheduler::SlotId slot, Heads heads, double end) {
    for (std::int32_t h = heads.begin; slot.valid() && h < heads.begin + heads.count; ++h) {
      double& latest = written[{slot.value, h}];
      latest = std::max(latest, end);
    }
  };
  for (const Span& span : timeline.spans) {
    EXPECT_LT(span.begin_us, span.end_us);
    if (span.kind == SpanKind::task) {
      EXPECT_TRUE(copies.emplace(span.item, span.copy).second) << "task " << span.item << ", copy " << span.copy;
      const scheduler::Task& task = plan.tasks[TaskId(span.item)];
      note(task.slot, {task.head_begin + span.copy * task.head_count, task.head_count}, span.end_us);
    } else if (span.item >= 0) {
      note(plan.steps[StepId(span.item)].out, heads_of(plan, timeline, span), span.end_us);
    }
  }
  std::size_t want = 0;
  for (const scheduler::Task& task : plan.tasks) want += static_cast<std::size_t>(task.copies);
  EXPECT_EQ(copies.size(), want);
  return written;
}

/// Number of steps that the timeline names.
std::size_t expect_steps_behind_their_inputs(const Plan& plan, const Timeline& timeline, const Written& written) {
  std::set<std::int32_t> merged;
  for (const Span& span : timeline.spans) {
    if (span.kind != SpanKind::step || span.item < 0) continue;
    merged.insert(span.item);
    const Heads heads = heads_of(plan, timeline, span);
    const scheduler::Interval inputs = plan.steps[StepId(span.item)].inputs;
    for (std::int32_t i = inputs.begin; i < inputs.end; ++i) {
      const scheduler::SlotId slot = plan.reduction_inputs[static_cast<std::size_t>(i)].slot;
      for (std::int32_t h = heads.begin; h < heads.begin + heads.count; ++h) {
        EXPECT_GT(span.begin_us, written.at({slot.value, h})) << "step " << span.item << ", head " << h;
      }
    }
  }
  return merged.size();
}

void expect_lanes_of_one_thing_at_a_time(const Timeline& timeline) {
  std::map<std::int32_t, double> until;
  for (const Span& span : timeline.spans) {
    EXPECT_LT(span.lane, static_cast<std::int32_t>(timeline.lanes.size()));
    EXPECT_GE(span.begin_us, until[span.lane]) << "lane " << timeline.lanes[static_cast<std::size_t>(span.lane)];
    until[span.lane] = span.end_us;
  }
}

TEST(EventTimeline, HoldsEveryTaskCopyOnceAndStepsBehindWhatTheyMerge) {
  const traces::PrefixForest forest = traces::make_forest(property::star(900, 3, 60));
  // Steps behind a grid barrier, on arrival of a persistent launch and of a grid, and in launches of their own.
  for (const auto& [strategy, kernels] :
       {std::pair("flashinfer_persistent", KernelSet::published), std::pair("lean", KernelSet::ours),
        std::pair("flash_decoding:splits=3", KernelSet::ours),
        std::pair("flash_decoding:splits=3", KernelSet::published), std::pair("espalier", KernelSet::ours)}) {
    const Plan plan = plan_of(strategy, forest, "4/2/64", kernels);
    const Timeline timeline = recorded(plan, 3).timeline;
    SCOPED_TRACE(std::string(strategy) + (kernels == KernelSet::ours ? ", ours" : ", published"));
    EXPECT_EQ(timeline.plan_hash, plan.hash);
    const Written written = expect_every_copy(plan, timeline);
    expect_lanes_of_one_thing_at_a_time(timeline);
    EXPECT_GT(expect_steps_behind_their_inputs(plan, timeline, written), 0U);
  }
}

TEST(EventTimeline, HoldsEveryStepOfATreeBehindItsInputs) {
  const Plan plan =
      testing::tree_merge(testing::small_forest(), traces::parse_heads("4/2/64"), scheduler::PhaseStart::on_arrival);
  const Timeline timeline = recorded(plan, 2).timeline;
  EXPECT_EQ(expect_steps_behind_their_inputs(plan, timeline, expect_every_copy(plan, timeline)), plan.steps.size());
}

/// Clocks of SMs tick every 32 ns, and may be a tick apart.
TEST(EventTimeline, KeepsBlocksInOneLaneThatSeemToOverlapByATick) {
  const Plan plan = testing::node_halves(testing::small_forest(), traces::parse_heads("4/2/64"));
  const DevicePlan lowered = lower_plan(plan, {.set = host_kernels()});
  const EventLayout layout = event_layout(plan, lowered);
  std::vector<EventRecord> records(static_cast<std::size_t>(layout.count));
  std::uint64_t now = 6400;
  for (std::size_t l = 0; l < lowered.launches.size(); ++l) {
    const DeviceLaunch& launch = lowered.launches[l];
    for (std::int32_t block = 0; block < launch.blocks; ++block) {
      const std::int32_t place =
          launch.attend != nullptr ? layout.items + launch.items.begin + block : layout.merges[l] + block;
      EventRecord& record = records[static_cast<std::size_t>(place)];
      record.begin_ns = now - (block % 2 == 1 ? 32 : 0);
      now += 320;
      record.end_ns = now;
      record.block = static_cast<std::uint32_t>(block) + 1;
      record.sm = 7;
    }
  }
  const Timeline timeline = event_timeline(plan, lowered, records, "a device");
  EXPECT_EQ(timeline.lanes.size(), 1U);
  expect_lanes_of_one_thing_at_a_time(timeline);
}

TEST(EventTimeline, LeavesResultsAndCountsAlone) {
  const Plan plan = plan_of("espalier", traces::make_forest(property::star(60, 4, 9)), "4/2/64");
  const Emulation with = recorded(plan, 1, true), without = recorded(plan, 1, false);
  EXPECT_EQ(with.output.lse, without.output.lse);
  EXPECT_EQ(with.counters.mmas, without.counters.mmas);
  EXPECT_TRUE(without.timeline.spans.empty());
  // Warps meet before an end is stamped: it is the block's, not its first warp's.
  EXPECT_GE(with.counters.block_barriers - without.counters.block_barriers,
            static_cast<std::int64_t>(with.timeline.spans.size()));
  EXPECT_EQ(without.counters.written(emulator::MemoryKind::other).bytes, 0);
  EXPECT_GT(with.counters.written(emulator::MemoryKind::other).bytes, 0);
}

}  // namespace
}  // namespace espalier::kernels

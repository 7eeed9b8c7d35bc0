// Trace-event JSON: well-formed, complete, equal bytes for equal timelines.
#include "scheduler/timeline.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/json.h"
#include "tests/scheduler/node_plans.h"

namespace espalier::scheduler {
namespace {

Timeline sample(const Plan& plan) {
  Timeline t;
  t.device = "sample";
  t.plan_hash = plan.hash;
  t.lanes = {"SM 0 slot 0", "SM 1 slot 0", "launches"};
  t.spans = {{2, SpanKind::launch_gap, LaunchId(0), -1, 0, 0.0, 1.5},
             {0, SpanKind::task, LaunchId(0), 0, 1, 1.5, 4.0},
             {1, SpanKind::task, LaunchId(0), 2, 0, 2.0, 3.0},
             {0, SpanKind::barrier, LaunchId(0), -1, 0, 4.0, 4.5},
             {1, SpanKind::step, LaunchId(1), 1, 0, 6.0, 7.25}};
  t.counters = {{"HBM", "GB/s", {0.0, 1.5}, {0.0, 2000.5}}};
  return t;
}

struct Events {
  core::JsonDocument document;
  std::vector<core::JsonView> all;
};

Events parse(const std::string& text) {
  Events events{core::JsonDocument::parse(text, "trace"), {}};
  const core::JsonView list = events.document.root().at("traceEvents");
  for (std::size_t i = 0; i < list.size(); ++i) events.all.push_back(list.at(i));
  return events;
}

std::vector<core::JsonView> with(const Events& events, const std::string& key, const std::string& value) {
  std::vector<core::JsonView> found;
  for (const auto& event : events.all) {
    const auto field = event.find(key);
    if (field && field->string() == value) found.push_back(event);
  }
  return found;
}

TEST(TraceEvents, HoldEverySpanOnItsLane) {
  const Plan plan = node_plans::node_plan(node_plans::small_forest(), node_plans::heads());
  const Events events = parse(write_trace_events(sample(plan), plan));
  const auto tasks = with(events, "cat", "task");
  ASSERT_EQ(tasks.size(), 2u);
  EXPECT_EQ(tasks[0].at("ph").string(), "X");
  EXPECT_EQ(tasks[0].at("name").string(), "attend node 0");
  EXPECT_EQ(tasks[0].at("tid").integer(), 0);
  EXPECT_DOUBLE_EQ(tasks[0].at("ts").number(), 1.5);
  EXPECT_DOUBLE_EQ(tasks[0].at("dur").number(), 2.5);
  EXPECT_EQ(tasks[0].at("args").at("copy").integer(), 1);
  EXPECT_EQ(tasks[0].at("args").at("head_begin").integer(), 2);
  EXPECT_EQ(tasks[0].at("args").at("kv_tokens").integer(), 100);
  EXPECT_EQ(tasks[1].at("args").at("output").string(), "slot 2");
  const auto steps = with(events, "cat", "step");
  ASSERT_EQ(steps.size(), 1u);
  EXPECT_EQ(steps[0].at("args").at("inputs").integer(), 2);
  EXPECT_EQ(steps[0].at("args").at("output").string(), "final rows");
  EXPECT_EQ(with(events, "cat", "barrier").size(), 1u);
  EXPECT_EQ(with(events, "cat", "launch_gap").size(), 1u);
}

TEST(TraceEvents, SpanEachLaunchInAProcessOfTheirOwn) {
  const Plan plan = node_plans::node_plan(node_plans::small_forest(), node_plans::heads());
  const Events events = parse(write_trace_events(sample(plan), plan));
  const auto launches = with(events, "cat", "launch");
  ASSERT_EQ(launches.size(), 2u);
  EXPECT_EQ(launches[0].at("name").string(), "launch 0 attend16");
  EXPECT_DOUBLE_EQ(launches[0].at("ts").number(), 1.5);
  EXPECT_DOUBLE_EQ(launches[0].at("dur").number(), 3.0);
  EXPECT_NE(launches[0].at("pid").integer(), with(events, "cat", "task")[0].at("pid").integer());
}

TEST(TraceEvents, NameProcessesAndLanesAndCarryCounters) {
  const Plan plan = node_plans::node_plan(node_plans::small_forest(), node_plans::heads());
  const Events events = parse(write_trace_events(sample(plan), plan));
  EXPECT_EQ(with(events, "name", "process_name").size(), 2u);
  std::vector<std::string> lanes;
  for (const auto& event : with(events, "name", "thread_name")) lanes.push_back(event.at("args").at("name").string());
  EXPECT_EQ(lanes, (std::vector<std::string>{"SM 0 slot 0", "SM 1 slot 0", "launches", "stream 0"}));
  const auto counters = with(events, "ph", "C");
  ASSERT_EQ(counters.size(), 2u);
  EXPECT_EQ(counters[1].at("name").string(), "HBM (GB/s)");
  EXPECT_DOUBLE_EQ(counters[1].at("args").at("GB/s").number(), 2000.5);
}

TEST(TraceEvents, AreTheSameBytesForTheSameTimeline) {
  const Plan plan = node_plans::node_plan(node_plans::small_forest(), node_plans::heads());
  EXPECT_EQ(write_trace_events(sample(plan), plan), write_trace_events(sample(plan), plan));
}

TEST(TraceEvents, RefuseATimelineOfAnotherPlan) {
  const Plan plan = node_plans::node_plan(node_plans::small_forest(), node_plans::heads());
  Timeline other = sample(plan);
  ++other.plan_hash;
  EXPECT_THROW(write_trace_events(other, plan), core::InvariantError);
}

}  // namespace
}  // namespace espalier::scheduler

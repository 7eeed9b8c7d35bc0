// run/1: what is written reads back; what doesn't fit the plan is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/hash.h"
#include "scheduler/strategy.h"
#include "scheduler/timeline.h"
#include "traces/import.h"

namespace espalier::scheduler {
namespace {

using ::testing::HasSubstr;

Plan small_plan() {
  const traces::PrefixForest forest = traces::parse_tree("1,2,4|512,256,64");
  const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  PlanResult result =
      make_plan(parse_strategy("fasttree"),
                PlanRequest{forest, traces::parse_heads("4/1/128"), device, KernelSet::ours, {}, {}, 1});
  return std::get<Plan>(std::move(result));
}

Measurement run_of(const Plan& plan) {
  Measurement m;
  m.device = "a machine";
  m.backend = "host";
  m.plan_hash = plan.hash;
  m.repeats_us = {12.5, 11};
  m.max_error = 1e-7;
  m.environment = {"a processor", "2 threads"};
  m.timeline.lanes = {"core 0", "core 1"};
  m.timeline.spans = {{0, SpanKind::task, LaunchId(0), 0, 0, 0.5, 3.25},
                      {1, SpanKind::task, LaunchId(0), 1, 0, 0.5, 2},
                      {1, SpanKind::step, LaunchId(0), 0, 0, 4, 11}};
  return m;
}

/// The sentence a changed document is refused with; empty: it is read.
std::string refusal_of(const Plan& plan, const std::string& from, const std::string& to) {
  std::string text = write_measurement(run_of(plan), plan);
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from << "\n" << text;
  text.replace(at, from.size(), to);
  try {
    (void)read_measurement(text, "m.json", plan);
  } catch (const core::Error& e) {
    return e.what();
  }
  return "";
}

TEST(MeasurementFile, ReadsBackWhatWasWritten) {
  const Plan plan = small_plan();
  const std::string text = write_measurement(run_of(plan), plan);
  const Measurement back = read_measurement(text, "m.json", plan);
  EXPECT_EQ(write_measurement(back, plan), text);
  ASSERT_EQ(back.timeline.spans.size(), 3U);
  EXPECT_EQ(back.timeline.spans[2].kind, SpanKind::step);
  EXPECT_EQ(back.timeline.plan_hash, plan.hash);
}

TEST(MeasurementFile, RefusesWhatThePlanDoesntHave) {
  const Plan plan = small_plan();
  EXPECT_THAT(refusal_of(plan, core::hash_text(plan.hash), core::hash_text(plan.hash + 1)),
              HasSubstr("a measurement of plan"));
  EXPECT_THAT(refusal_of(plan, R"("item": [0,)", R"("item": [100000,)"), HasSubstr("timeline.spans.item[0]"));
  EXPECT_THAT(refusal_of(plan, R"("copy": [0,)", R"("copy": [77,)"), HasSubstr("copies"));
  EXPECT_THAT(refusal_of(plan, R"("lane": [0,)", R"("lane": [2,)"), HasSubstr("lane[0]"));
  EXPECT_THAT(refusal_of(plan, R"("launch": [0,)", R"("launch": [9,)"), HasSubstr("launch[0]"));
  EXPECT_THAT(refusal_of(plan, R"("task","task","step")", R"("task","task","nap")"), HasSubstr("kind[2]"));
  EXPECT_THAT(refusal_of(plan, R"("end_us": [3.25,)", R"("end_us": [0.25,)"), HasSubstr("not before begin_us"));
  EXPECT_THAT(refusal_of(plan, R"("copy": [0,0,0])", R"("copy": [0,0])"), HasSubstr("columns of 3 values"));
  EXPECT_THAT(refusal_of(plan, R"("repeats_us": [12.5, 11])", R"("repeats_us": [])"), HasSubstr("at least one time"));
  EXPECT_THAT(refusal_of(plan, "run/1", "run/2"), HasSubstr("run/2"));
  EXPECT_THAT(refusal_of(plan, "run/1", "measurement/1"),
              HasSubstr("got times of a device (measurement/1), which calibrate and validate --from read"));
  EXPECT_THAT(refusal_of(plan, R"("backend")", R"("back_end")"), HasSubstr("back_end"));
}

}  // namespace
}  // namespace espalier::scheduler

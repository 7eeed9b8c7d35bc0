// What must hold of every plan of every strategy; used by the property tests and by those on real forests.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "costmodel/device_spec.h"
#include "kernels/oracle.h"
#include "refusals.h"
#include "scheduler/strategy.h"
#include "scheduler/validate.h"

namespace espalier::property {

/// A strategy under test with one kernel set.
struct Subject {
  std::string strategy;
  scheduler::KernelSet kernels;
};

inline std::vector<Subject> subjects() {
  std::vector<Subject> all;
  for (const scheduler::Strategy* strategy : scheduler::strategies()) {
    for (const auto kernels : {scheduler::KernelSet::ours, scheduler::KernelSet::published}) {
      all.push_back({std::string(strategy->info().name), kernels});
    }
  }
  return all;
}

inline std::string subject_name(const Subject& subject) {
  return subject.strategy + (subject.kernels == scheduler::KernelSet::ours ? "_ours" : "_published");
}

constexpr double kTolerance = 1e-10;

/// The plan, proven valid and made twice to the same bytes; nothing when the subject refuses as the list allows.
inline std::variant<std::monostate, scheduler::Plan> sound_plan(const Subject& subject,
                                                                const traces::PrefixForest& forest,
                                                                const traces::HeadConfig& heads,
                                                                const costmodel::DeviceSpec& device) {
  const scheduler::StrategyChoice choice = scheduler::parse_strategy(subject.strategy);
  const scheduler::PlanRequest request{
      .forest = forest, .heads = heads, .device = device, .kernels = subject.kernels, .options = {}};
  scheduler::PlanResult result = scheduler::make_plan(choice, request);
  EXPECT_EQ(refusal_fault(subject.strategy, request, result), "");
  if (std::holds_alternative<scheduler::Refusal>(result)) return {};
  auto& plan = std::get<scheduler::Plan>(result);
  const auto violations = scheduler::validate(plan, device);
  EXPECT_TRUE(violations.empty()) << scheduler::violations_text(violations);
  const scheduler::PlanResult again = scheduler::make_plan(choice, request);
  EXPECT_EQ(scheduler::plan_hash(std::get<scheduler::Plan>(again)), plan.hash) << "not the same plan for the same seed";
  return std::move(plan);
}

inline void expect_rows(const kernels::AttentionOutput& got, const kernels::AttentionOutput& want,
                        std::string_view how) {
  const kernels::Difference difference = kernels::compare(got, want);
  EXPECT_TRUE(difference.within(kTolerance))
      << how << ": off by " << difference.worst << " at request " << difference.request << ", head " << difference.head
      << ", column " << difference.column;
}

/// Runs the plan as written, and in a random order with slots at their places of the workspace.
inline void expect_exact(const scheduler::Plan& plan, const kernels::TensorSource& source,
                         const kernels::AttentionOutput& want) {
  expect_rows(kernels::interpret(plan, source), want, "as written");
  expect_rows(kernels::interpret(plan, source, {.shuffle_seed = plan.hash | 1, .shared_storage = true}), want,
              "in random order on shared storage");
}

/// All of it for one case and every subject, against one run of the oracle.
inline void check_case(const traces::PrefixForest& forest, const traces::HeadConfig& heads,
                       const costmodel::DeviceSpec& device) {
  const kernels::TensorSource source{23};
  const kernels::AttentionOutput want = kernels::naive_attention(forest, heads, source);
  for (const Subject& subject : subjects()) {
    SCOPED_TRACE(subject_name(subject) + ", " + forest.name + ", heads " + traces::heads_text(heads) + ", device " +
                 device.name);
    const auto plan = sound_plan(subject, forest, heads, device);
    if (std::holds_alternative<scheduler::Plan>(plan)) expect_exact(std::get<scheduler::Plan>(plan), source, want);
  }
}

}  // namespace espalier::property

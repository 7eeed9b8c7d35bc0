// Plans changed by hand: always right, and what was asked for.
#include "viz/explore/plan_edit.h"

#include <gtest/gtest.h>

#include "core/rng.h"
#include "scheduler/validate.h"
#include "viz_samples.h"

namespace espalier::viz {
namespace {

const costmodel::DeviceSpec& device() {
  static const costmodel::DeviceSpec kDevice = costmodel::find_device("h100-sxm");
  return kDevice;
}

scheduler::Plan edited(const scheduler::Plan& plan, EditKind kind, std::int32_t task) {
  std::variant<scheduler::Plan, std::string> result = edit_plan(plan, device(), {kind, task});
  if (const auto* why = std::get_if<std::string>(&result)) throw std::runtime_error(*why);
  return std::get<scheduler::Plan>(std::move(result));
}

std::int64_t tokens_of(const scheduler::Plan& plan, std::int32_t task) {
  std::int64_t tokens = 0;
  const scheduler::Task& t = plan.tasks[scheduler::TaskId(task)];
  for (std::int32_t s = t.segments.begin; s < t.segments.end; ++s) tokens += scheduler::segment_tokens(plan, plan.segments[static_cast<std::size_t>(s)]);
  return tokens;
}

TEST(PlanEdit, SplitsTokensInHalvesOfWholeTiles) {
  const scheduler::Plan plan = plan_of("espalier", "1,8|4096,200");
  const scheduler::Plan split = edited(plan, EditKind::split_tokens, 0);
  EXPECT_EQ(split.tasks.size(), plan.tasks.size() + 1);
  EXPECT_EQ(tokens_of(split, 0) + tokens_of(split, 1), tokens_of(plan, 0));
  EXPECT_EQ(tokens_of(split, 0) % 32, 0);
  EXPECT_LE(std::abs(tokens_of(split, 0) - tokens_of(split, 1)), 64);
  EXPECT_NE(split.hash, plan.hash);
  EXPECT_EQ(split.hash, scheduler::plan_hash(split));
  EXPECT_EQ(split.provenance.why.back(), "by hand: split task 0");
}

TEST(PlanEdit, HalvesLongTasks) {
  const scheduler::Plan split = edited(plan_of("flash_decoding:splits=1", "1|6400"), EditKind::split_tokens, 0);
  ASSERT_EQ(split.tasks.size(), 2U);
  EXPECT_EQ(tokens_of(split, 0), 3200);
}

TEST(PlanEdit, JoinTakesBackASplit) {
  const scheduler::Plan plan = plan_of("espalier", "1,8|4096,200");
  const scheduler::Plan split = edited(plan, EditKind::split_tokens, 0);
  const scheduler::Plan joined = edited(split, EditKind::join, 0);
  EXPECT_EQ(joined.tasks.size(), plan.tasks.size());
  EXPECT_EQ(tokens_of(joined, 0), tokens_of(plan, 0));
}

TEST(PlanEdit, MovesToTheEndsOfTheLaunchOrder) {
  const scheduler::Plan plan = plan_of("flash_decoding", "1,6|512,100");
  const auto queries = [](const scheduler::Plan& p, std::int32_t t) { return p.query_rows[static_cast<std::size_t>(p.tasks[scheduler::TaskId(t)].queries.begin)]; };
  const auto last = static_cast<std::int32_t>(plan.tasks.size()) - 1;
  EXPECT_EQ(queries(edited(plan, EditKind::first, last), 0), queries(plan, last));
  EXPECT_EQ(queries(edited(plan, EditKind::last, 0), last), queries(plan, 0));
  EXPECT_EQ(queries(edited(plan, EditKind::last, 0), 0), queries(plan, 1));
}

TEST(PlanEdit, ChangesTheQueryTileWhereTheRowsFit) {
  const scheduler::Plan plan = plan_of("espalier", "1,4|4096,200");
  const auto tile = [](const scheduler::Plan& p, std::int32_t t) { return p.kernels[scheduler::task_kernels(p)[scheduler::TaskId(t)]].query_tile; };
  const scheduler::Plan taller = edited(plan, EditKind::taller, 0);
  std::int32_t tallest = 0;
  for (std::size_t t = 0; t < taller.tasks.size(); ++t) tallest = std::max(tallest, tile(taller, static_cast<std::int32_t>(t)));
  EXPECT_GT(tallest, tile(plan, 0));
}

TEST(PlanEdit, SaysWhyNot) {
  const auto why = [](const scheduler::Plan& plan, EditKind kind, std::int32_t task) {
    const auto result = edit_plan(plan, device(), {kind, task});
    const auto* text = std::get_if<std::string>(&result);
    return text == nullptr ? std::string("it worked") : *text;
  };
  const scheduler::Plan alone = plan_of("flash_decoding", "1|40");
  EXPECT_EQ(why(alone, EditKind::split_requests, 0), "split requests task 0: it serves a single request");
  EXPECT_EQ(why(alone, EditKind::split_tokens, 0), "split task 0: it reads a single KV tile");
  EXPECT_EQ(why(alone, EditKind::join, 0), "join task 0: no other task can be read together with it");
  EXPECT_EQ(why(alone, EditKind::first, 99), "run first task 99: the plan has no such task");
}

TEST(PlanEdit, RandomEditsLeavePlansRight) {
  int done = 0;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    core::Rng rng(seed);
    scheduler::Plan plan = plan_of(seed % 3 == 0 ? "codec" : seed % 3 == 1 ? "espalier" : "fasttree", "2,5,15|900,300,77");
    for (int step = 0; step < 12; ++step) {
      const PlanEdit edit{static_cast<EditKind>(rng.integer(0, kEditKinds - 1)), static_cast<std::int32_t>(rng.integer(0, static_cast<std::int64_t>(plan.tasks.size()) - 1))};
      std::variant<scheduler::Plan, std::string> result = edit_plan(plan, device(), edit);
      if (std::holds_alternative<std::string>(result)) continue;
      plan = std::get<scheduler::Plan>(std::move(result));
      const auto violations = scheduler::validate(plan, device());
      ASSERT_TRUE(violations.empty()) << seed << " " << edit_name(edit.kind) << ": " << scheduler::violations_text(violations);
      ++done;
    }
  }
  EXPECT_GT(done, 60);
}

}  // namespace
}  // namespace espalier::viz

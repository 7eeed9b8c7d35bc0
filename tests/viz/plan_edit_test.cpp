// Plans changed by hand: always right, and what was asked for.
#include "viz/explore/plan_edit.h"

#include <gtest/gtest.h>

#include "core/rng.h"
#include "scheduler/validate.h"
#include "viz/explore/queue_edit.h"
#include "viz/model/task_diff.h"
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
  for (std::int32_t s = t.segments.begin; s < t.segments.end; ++s) {
    tokens += scheduler::segment_tokens(plan, plan.segments[static_cast<std::size_t>(s)]);
  }
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
  const auto queries = [](const scheduler::Plan& p, std::int32_t t) {
    return p.query_rows[static_cast<std::size_t>(p.tasks[scheduler::TaskId(t)].queries.begin)];
  };
  const auto last = static_cast<std::int32_t>(plan.tasks.size()) - 1;
  EXPECT_EQ(queries(edited(plan, EditKind::first, last), 0), queries(plan, last));
  EXPECT_EQ(queries(edited(plan, EditKind::last, 0), last), queries(plan, 0));
  EXPECT_EQ(queries(edited(plan, EditKind::last, 0), 0), queries(plan, 1));
}

TEST(PlanEdit, ChangesTheQueryTileWhereTheRowsFit) {
  const scheduler::Plan plan = plan_of("espalier", "1,4|4096,200");
  const auto tile = [](const scheduler::Plan& p, std::int32_t t) {
    return p.kernels[scheduler::task_kernels(p)[scheduler::TaskId(t)]].query_tile;
  };
  const scheduler::Plan taller = edited(plan, EditKind::taller, 0);
  std::int32_t tallest = 0;
  for (std::size_t t = 0; t < taller.tasks.size(); ++t) {
    tallest = std::max(tallest, tile(taller, static_cast<std::int32_t>(t)));
  }
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

scheduler::Plan moved(const scheduler::Plan& plan, std::int32_t task, std::int32_t copy, std::int32_t queue) {
  return std::get<scheduler::Plan>(edit_plan(plan, device(), {EditKind::to_queue, task, copy, queue}));
}

TEST(PlanEdit, MovesACopyToAnotherQueueAndChangesNothingElse) {
  const scheduler::Plan plan = plan_of("flashinfer_persistent", "1,8|4096,200");
  ASSERT_FALSE(plan.queues.empty());
  const std::int32_t from = queues_of(plan, 1).at(2), to = from == 7 ? 8 : 7;
  const scheduler::Plan changed = moved(plan, 1, 2, to);
  EXPECT_TRUE(scheduler::validate(changed, device()).empty());
  EXPECT_EQ(queues_of(changed, 1).at(2), to);
  EXPECT_EQ(queues_of(changed, 1).at(3), queues_of(plan, 1).at(3));
  EXPECT_EQ(changed.queues.at(static_cast<std::size_t>(to)).size(),
            plan.queues.at(static_cast<std::size_t>(to)).size() + 1);
  EXPECT_EQ(changed.queue_items.size(), plan.queue_items.size());
  EXPECT_NE(changed.hash, plan.hash);
  EXPECT_EQ(changed.provenance.why.back(), fmt::format("by hand: move copy 2 of task 1 to queue {}", to));
  const TaskDiff diff = diff_tasks(plan, changed);
  EXPECT_EQ(diff.moved, 1);
  EXPECT_EQ(diff.only_new + diff.only_old, 0);
  EXPECT_EQ(diff.change.at(1), TaskChange::moved);
  const scheduler::Plan back = moved(changed, 1, 2, from);
  EXPECT_EQ(diff_tasks(plan, back).only_new, 0);
  EXPECT_EQ(queues_of(back, 1), queues_of(plan, 1));
}

TEST(PlanEdit, SendsToTheEmptiestQueue) {
  const scheduler::Plan plan = plan_of("flashinfer_persistent", "1,8|4096,200");
  const std::vector<std::int64_t> tokens = queue_tokens(plan);
  const scheduler::Plan changed = moved(plan, 0, 0, kEmptiestQueue);
  const auto emptiest = static_cast<std::int32_t>(std::min_element(tokens.begin(), tokens.end()) - tokens.begin());
  EXPECT_EQ(queues_of(changed, 0).at(0), emptiest);
}

TEST(PlanEdit, OrdersTasksWithinTheirQueues) {
  scheduler::Plan plan = plan_of("flashinfer_persistent", "1,8|4096,200");
  plan = moved(plan, 1, 0, queues_of(plan, 0).at(0));
  const auto queue = static_cast<std::size_t>(queues_of(plan, 0).at(0));
  const auto last = [&](const scheduler::Plan& p) {
    return p.queue_items[static_cast<std::size_t>(p.queues[queue].end - 1)].task.value;
  };
  EXPECT_EQ(last(plan), 1);
  const scheduler::Plan first = edited(plan, EditKind::first, 1);
  EXPECT_NE(last(first), 1);
  EXPECT_EQ(first.queue_items[static_cast<std::size_t>(first.queues[queue].begin)].task.value, 1);
  EXPECT_TRUE(scheduler::validate(first, device()).empty());
  EXPECT_EQ(last(edited(first, EditKind::last, 1)), 1);
}

TEST(PlanEdit, OtherEditsLeaveQueuesAsTheyWere) {
  const scheduler::Plan plan = plan_of("lean", "1,8|4096,200");
  ASSERT_FALSE(plan.queues.empty());
  const auto last = static_cast<std::int32_t>(plan.tasks.size()) - 1;
  const std::int32_t to = (queues_of(plan, last).at(0) + 5) % static_cast<std::int32_t>(plan.queues.size());
  const scheduler::Plan chosen = moved(plan, last, 0, to);
  const scheduler::Plan split = edited(chosen, EditKind::split_tokens, 0);
  EXPECT_TRUE(scheduler::validate(split, device()).empty());
  EXPECT_EQ(split.queues.size(), plan.queues.size());
  const TaskDiff diff = diff_tasks(plan, split);
  EXPECT_EQ(diff.moved, 1) << "the one that was moved, and stays where it was put";
  EXPECT_EQ(diff.only_new, 2);
  EXPECT_EQ(diff.only_old, 1);
}

TEST(PlanEdit, SaysThatHardwareOrderHasNoQueues) {
  const auto result = edit_plan(plan_of("flash_decoding", "1,6|512,100"), device(), {EditKind::to_queue, 0, 0, 3});
  ASSERT_TRUE(std::holds_alternative<std::string>(result));
  EXPECT_NE(std::get<std::string>(result).find("move copy 0 of task 0 to queue 3: the plan has no queues"),
            std::string::npos)
      << std::get<std::string>(result);
  const scheduler::Plan plan = plan_of("flashinfer_persistent", "1,8|4096,200");
  for (const PlanEdit wrong : {PlanEdit{EditKind::to_queue, 0, 99, 3}, PlanEdit{EditKind::to_queue, 0, 0, 100'000},
                               PlanEdit{EditKind::to_queue, 9999, 0, 1}, PlanEdit{EditKind::earlier, 9999}}) {
    EXPECT_TRUE(std::holds_alternative<std::string>(edit_plan(plan, device(), wrong)));
  }
}

TEST(TaskDiff, CountsWhatEditsDo) {
  const scheduler::Plan plan = plan_of("flash_decoding", "1,6|512,100");
  EXPECT_FALSE(diff_tasks(plan, plan).any());
  const TaskDiff later = diff_tasks(plan, edited(plan, EditKind::last, 0));
  EXPECT_EQ(later.moved, 1) << "not all that come earlier for it";
  EXPECT_EQ(later.only_new + later.only_old, 0);
  const TaskDiff split = diff_tasks(plan, edited(plan, EditKind::split_tokens, 0));
  EXPECT_EQ(split.only_new, 2);
  EXPECT_EQ(split.only_old, 1);
  EXPECT_EQ(split.moved, 0);
  EXPECT_EQ(split.partner.at(2), 1);
  const TaskDiff other = diff_tasks(plan_of("fasttree", "1,6|512,100"), plan);
  EXPECT_EQ(other.only_new + other.moved + std::count(other.change.begin(), other.change.end(), TaskChange::same),
            static_cast<std::ptrdiff_t>(plan.tasks.size()));
}

TEST(TaskDiff, TakesAPlanForItselfWhateverItsEditsWere) {
  for (const char* strategy : {"lean", "espalier", "codec", "flashinfer_persistent"}) {
    const scheduler::Plan plan = plan_of(strategy, "2,5,15|900,300,77");
    const scheduler::Plan split = edited(plan, EditKind::split_tokens, 0);
    const TaskDiff there = diff_tasks(plan, split), back = diff_tasks(split, plan);
    EXPECT_EQ(there.only_new, back.only_old) << strategy;
    EXPECT_EQ(there.only_old, back.only_new) << strategy;
  }
}

TEST(PlanEdit, RandomEditsLeavePlansRight) {
  int done = 0;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    core::Rng rng(seed);
    scheduler::Plan plan =
        plan_of(std::vector<const char*>{"codec", "espalier", "fasttree", "lean"}.at(seed % 4), "2,5,15|900,300,77");
    for (int step = 0; step < 12; ++step) {
      const PlanEdit edit{static_cast<EditKind>(rng.integer(0, kEditKinds - 1)),
                          static_cast<std::int32_t>(rng.integer(0, static_cast<std::int64_t>(plan.tasks.size()) - 1)),
                          static_cast<std::int32_t>(rng.integer(0, 7)),
                          static_cast<std::int32_t>(rng.integer(-1, 100))};
      std::variant<scheduler::Plan, std::string> result = edit_plan(plan, device(), edit);
      if (std::holds_alternative<std::string>(result)) continue;
      plan = std::get<scheduler::Plan>(std::move(result));
      const auto violations = scheduler::validate(plan, device());
      ASSERT_TRUE(violations.empty()) << seed << " " << edit_name(edit.kind) << ": "
                                      << scheduler::violations_text(violations);
      ++done;
    }
  }
  EXPECT_GT(done, 60);
}

}  // namespace
}  // namespace espalier::viz

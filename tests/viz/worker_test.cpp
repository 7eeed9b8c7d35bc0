// Planning away from the window.
#include "viz/explore/worker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>

#include "core/error.h"
#include "viz/explore/errands.h"
#include "viz/explore/session.h"

namespace espalier::viz {
namespace {

using Clock = std::chrono::steady_clock;

/// The next outcome of some settings, or null after a minute.
std::shared_ptr<const Outcome> wait_for(Worker& worker, const Settings& settings, bool sensitivities) {
  for (const auto end = Clock::now() + std::chrono::minutes(1); Clock::now() < end;) {
    auto outcome = worker.take();
    if (outcome != nullptr && outcome->settings == settings &&
        outcome->side(SideId::a).explanation.sensitivities.empty() != sensitivities) {
      return outcome;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return nullptr;
}

Settings small(double blocks) {
  Settings settings = bundled_settings();
  settings.family_options = {{"blocks", blocks}, {"questions", 4}};
  return settings;
}

TEST(Worker, AnswersFirstWithoutThenWithSensitivities) {
  std::atomic<int> notified = 0;
  Worker worker([&] { ++notified; });
  worker.ask(small(2), {});
  const auto whole = wait_for(worker, small(2), true);
  ASSERT_NE(whole, nullptr);
  EXPECT_EQ(whole->side(SideId::a).us(), compute(small(2), {}).side(SideId::a).us());
  for (const auto end = Clock::now() + std::chrono::minutes(1); worker.busy() && Clock::now() < end;) {
    std::this_thread::yield();
  }
  EXPECT_FALSE(worker.busy());
  EXPECT_EQ(notified, 2);  // an answer can be taken before its notice is out
}

TEST(Worker, OnlyTheLastQuestionMatters) {
  Worker worker([] {});
  for (int blocks = 2; blocks <= 12; ++blocks) worker.ask(small(blocks), {});
  ASSERT_NE(wait_for(worker, small(12), true), nullptr);
  EXPECT_EQ(worker.take(), nullptr) << "nothing older comes after";
}

TEST(Worker, AskingAndTakingNeverWaits) {
  Settings large;
  large.family = "no_share";
  large.family_options = {{"requests", 4096}};
  Worker worker([] {});
  worker.ask(large, {});
  const auto begin = Clock::now();
  for (int i = 0; i < 100; ++i) {
    worker.ask(small(2 + i % 3), {});
    (void)worker.take();
  }
  EXPECT_LT(Clock::now() - begin, std::chrono::milliseconds(500));
}

TEST(Worker, StopsWhileBusy) {
  Settings large;
  large.family = "no_share";
  large.family_options = {{"requests", 2048}};
  for (int i = 0; i < 3; ++i) {
    Worker worker([] {});
    worker.ask(large, {});
  }
}

/// All that is finished until nothing is under way.
std::vector<Finish> finished(Errands& errands) {
  std::vector<Finish> all;
  for (const auto end = Clock::now() + std::chrono::minutes(1); Clock::now() < end;) {
    for (Finish& finish : errands.take()) all.push_back(std::move(finish));
    if (!errands.busy()) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return all;
}

TEST(Errands, AreDoneElsewhereInTheOrderAsked) {
  std::atomic<int> notified = 0;
  Errands errands([&] { ++notified; });
  const auto here = std::this_thread::get_id();
  std::atomic<bool> elsewhere = true, open = false;
  std::vector<int> order;
  for (int i = 0; i < 5; ++i) {
    errands.ask([&, i]() -> Finish {
      while (!open) std::this_thread::yield();
      elsewhere = elsewhere && std::this_thread::get_id() != here;
      return [&order, i] { order.push_back(i); };
    });
  }
  EXPECT_TRUE(errands.busy()) << "asking doesn't wait";
  EXPECT_TRUE(errands.take().empty());
  open = true;
  for (const Finish& finish : finished(errands)) finish();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
  EXPECT_TRUE(elsewhere);
  EXPECT_EQ(notified, 5);
}

TEST(Errands, HandErrorsToWhoAsked) {
  Errands errands([] {});
  errands.ask([]() -> Finish { throw core::usage_error("no such file"); });
  errands.ask([]() -> Finish { return {}; });
  const std::vector<Finish> all = finished(errands);
  ASSERT_EQ(all.size(), 1U) << "what has nothing left to do isn't handed out";
  EXPECT_THROW(all.front()(), core::Error);
}

TEST(Errands, AreFinishedBeforeTheyAreGone) {
  std::atomic<int> done = 0;
  {
    Errands errands([] {});
    for (int i = 0; i < 3; ++i) {
      errands.ask([&]() -> Finish {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        ++done;
        return {};
      });
    }
  }
  EXPECT_EQ(done, 3) << "a picture asked for before the window closes is written";
}

}  // namespace
}  // namespace espalier::viz

// Planning away from the window.
#include "viz/explore/worker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>

#include "viz/explore/session.h"

namespace espalier::viz {
namespace {

using Clock = std::chrono::steady_clock;

/// The next outcome of some settings, or null after a minute.
std::shared_ptr<const Outcome> wait_for(Worker& worker, const Settings& settings, bool sensitivities) {
  for (const auto end = Clock::now() + std::chrono::minutes(1); Clock::now() < end;) {
    auto outcome = worker.take();
    if (outcome != nullptr && outcome->settings == settings && outcome->side(SideId::a).explanation.sensitivities.empty() != sensitivities) return outcome;
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
  EXPECT_EQ(notified, 2);
  EXPECT_EQ(whole->side(SideId::a).us(), compute(small(2), {}).side(SideId::a).us());
  for (const auto end = Clock::now() + std::chrono::minutes(1); worker.busy() && Clock::now() < end;) std::this_thread::yield();
  EXPECT_FALSE(worker.busy());
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

}  // namespace
}  // namespace espalier::viz
